//! Every route against a simulated host: time takes no time, and the outside does what a test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use ice_core::budget::Budget;
use ice_core::catalog::Effects;
use ice_core::id::{Digest, ExecutionId, Identity};
use ice_core::ports::{Documents, Failure};
use ice_core::problem::{Code, Problem};
use ice_engine::testing::{Answers, Fakes, MemoryStore, Refusing, SimClock};
use ice_engine::{Engine, EngineOptions, Ports, WaitFilter};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::EXECUTIONS_MAX;
use crate::{Access, Api, ApiOptions, Parts, Rate, Token};

mod bounds;
mod executions;
mod following;
mod left;

/// Some time in 2026.
const NOW: u64 = 1_790_000_000_000;

const TOKEN: &str = "a-token-of-a-test";

/// A host and what it logged.
struct World {
    api: Api,
    store: Arc<MemoryStore>,
    fakes: Arc<Fakes>,
    logged: Arc<Mutex<Vec<Problem>>>,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The status and the code of the first problem.
    #[track_caller]
    fn refused(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["problems"][0]["code"].as_str().unwrap_or("none").to_owned())
    }
}

/// `echo` gives its input back, `slow` takes an hour unless it is stopped, `bad` fails.
fn fakes() -> Fakes {
    Fakes::new()
        .tool("echo", Effects::None, Ok)
        .tool("bad", Effects::None, |_| Err(Failure::never(Problem::new(Code::X031, "it is broken"))))
        .slow_tool("slow", Effects::External, |_, scope| async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(3_600)) => Ok(json!({})),
                () = scope.cancelled() => Err(Failure::never(Problem::new(Code::X002, "stopped"))),
            }
        })
        .blueprint("demo.hello", json!({ "nodes": [{ "id": "hello", "type": "tool", "tool_name": "echo" }] }))
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(SimClock::at(NOW));
        Self::over(MemoryStore::new(clock as _), NOW, |_| {})
    }

    fn with(change: impl FnOnce(&mut ApiOptions)) -> Self {
        let clock = Arc::new(SimClock::at(NOW));
        Self::over(MemoryStore::new(clock as _), NOW, change)
    }

    /// A process that begins at `now` over what is stored.
    fn over(store: Arc<MemoryStore>, now: u64, change: impl FnOnce(&mut ApiOptions)) -> Self {
        let (fakes, clock) = (Arc::new(fakes()), Arc::new(SimClock::at(now)));
        store.set_clock(Arc::clone(&clock) as _);
        let ports = Ports {
            components: Arc::clone(&fakes) as _,
            llm: Arc::new(Answers::echo()),
            memory: Arc::new(Refusing),
            http: Arc::new(Refusing),
            events: Arc::clone(&store) as _,
            documents: Arc::clone(&store) as _,
            clock: Arc::clone(&clock) as _,
        };
        let parts = Parts {
            engine: Engine::new(ports, EngineOptions::default()),
            components: Arc::clone(&fakes) as _,
            events: Arc::clone(&store) as _,
            documents: Arc::clone(&store) as _,
            clock,
        };
        let logged = Arc::<Mutex<Vec<Problem>>>::default();
        let log = Arc::clone(&logged);
        let mut options = ApiOptions {
            access: Access::Token(Token::new(TOKEN).expect("long enough")),
            identity: Identity::local(),
            budget: Budget::default(),
            rate: None,
            executions_max: EXECUTIONS_MAX,
            log: Arc::new(move |problem| log.lock().expect("no test panics in here").push(problem.clone())),
        };
        change(&mut options);
        Self { api: Api::new(parts, options), store, fakes, logged }
    }

    /// A request with the token; one with a body is JSON.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", format!("Bearer {TOKEN}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).expect("a request")).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.api.router().oneshot(request).await.expect("a router answers");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer { status: head.status, headers: head.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &[], Some(body)).await
    }

    /// Starts a blueprint of one tool node and waits for nothing.
    async fn start(&self, tool: &str) -> String {
        let started = self.post("/api/v1/executions", json!({ "blueprint": one(tool) })).await;
        assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.text);
        started.json()["execution_id"].as_str().expect("an id").to_owned()
    }

    async fn rested(&self, id: &str) {
        if let Some(handle) = self.api.0.parts.engine.running(&ExecutionId(id.into())) {
            handle.rest().await;
        }
    }
}

/// A blueprint of one tool node.
fn one(tool: &str) -> Value {
    json!({ "schema_version": "1.2.0", "nodes": [{ "id": "only", "type": "tool", "tool_name": tool }] })
}
