//! The http capability below `wasi:http`: what a guest's request becomes on its way out.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use ice_core::grant::{Grant, LimitSettings};
use ice_core::id::{ExecutionId, NodePath};
use ice_core::ports::{Failure, HttpResponse};
use ice_core::problem::{Code, Problem};
use wasmtime_wasi_http::{Error, WasiHttpHooks as _};

use super::fakes::{FakeScope, World};
use crate::capabilities::http::Hooks;
use crate::gate::{Caller, Gate, Role, Surroundings};
use crate::limits::{Bounds, Limits};

struct Door {
    world: Arc<World>,
    scope: Arc<FakeScope>,
    gate: Arc<Gate>,
    hooks: Hooks,
}

fn door(settings: &[&str], scope: FakeScope) -> Door {
    door_in(Arc::new(World::default()), settings, scope)
}

fn door_in(world: Arc<World>, settings: &[&str], scope: FakeScope) -> Door {
    let mut grant = Grant::default();
    for setting in settings {
        grant.set(setting).unwrap();
    }
    let bounds = Bounds::tighten(&Limits::TOOL, &grant.limits, &LimitSettings::default());
    let caller = Caller {
        role: Role::Tool("fetch".into()),
        plugin: "test/web".into(),
        execution: ExecutionId("e".into()),
        path: NodePath::root(),
        grant: Arc::new(grant),
    };
    let scope = Arc::new(scope);
    let around = Surroundings {
        ports: Arc::new(World::ports(&world)),
        catalog: Arc::default(),
        scope: Arc::clone(&scope) as _,
        spending: Arc::default(),
        engine: wasmtime::Engine::default(),
    };
    let gate = Arc::new(Gate::new(caller, bounds, around));
    Door { hooks: Hooks::new(Arc::clone(&gate)), world, scope, gate }
}

impl Door {
    async fn send(&mut self, method: &str, url: &str, body: &[u8]) -> Result<(u16, Bytes), Error> {
        let body = Full::new(Bytes::copy_from_slice(body)).map_err(Error::from).boxed_unsync();
        let request = http::Request::builder().method(method).uri(url);
        let request = request.header("host", "forged.example").header("x-key", "{{secret:KEY}}").body(body).unwrap();
        let sent = self.hooks.send_request(request, None, Box::new(async { Ok(()) }));
        let (response, _) = Pin::from(sent).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

#[tokio::test]
async fn a_granted_request_is_sent_once_and_recorded_with_its_answer() {
    let mut door = door(&["http=POST https://api.example.com/v1/*"], FakeScope::default());
    let answer = door.send("POST", "https://api.example.com/v1/items?q=1", b"body").await.unwrap();
    assert_eq!(answer, (200, Bytes::from_static(b"pong")));
    {
        let sent = door.world.sent.lock().unwrap();
        assert_eq!(sent[0].url, "https://api.example.com/v1/items?q=1");
        assert_eq!(sent[0].body, b"body");
        assert_eq!(sent[0].headers, [("x-key".to_owned(), "{{secret:KEY}}".to_owned())], "the host is the port's");
        assert!(sent[0].timeout_ms <= 30_000);
        let uses = door.scope.uses.lock().unwrap();
        assert_eq!(uses[0].operation, "POST https://api.example.com/v1/items");
    }
    let resumed = door.scope.resumed();
    let mut again = door_in(Arc::clone(&door.world), &["http=POST https://api.example.com/v1/*"], resumed);
    let answer = again.send("POST", "https://api.example.com/v1/items?q=1", b"body").await.unwrap();
    assert_eq!(answer.1, "pong");
    assert_eq!(door.world.sent.lock().unwrap().len(), 1, "sent before the crash, not again");
    let requests = |door: &Door| door.gate.receipt(std::time::Duration::ZERO, 0).http_requests;
    assert_eq!((requests(&door), requests(&again)), (1, 0), "what was not sent is not counted");
}

#[tokio::test]
async fn a_request_that_is_not_granted_is_not_sent() {
    let mut door = door(&["http=GET https://api.example.com/*"], FakeScope::default());
    for (method, url) in [("POST", "https://api.example.com/"), ("GET", "https://evil.example/")] {
        let error = door.send(method, url, b"").await.unwrap_err();
        assert!(matches!(error, Error::HttpRequestDenied), "{error}");
    }
    assert!(door.world.sent.lock().unwrap().is_empty());
    let receipt = door.gate.receipt(std::time::Duration::ZERO, 0);
    assert_eq!(receipt.denied.len(), 2);
    assert!(receipt.denied[1].ends_with("allow it with `ice plugins grant web 'http=GET https://evil.example/*'`"));
    assert_eq!(door.scope.lines().len(), 2, "whoever follows the execution sees why");
}

#[tokio::test]
async fn bytes_over_the_limit_do_not_leave() {
    let settings = ["http=* https://api.example.com/*", "limits.egress_bytes=1000"];
    let mut door = door(&settings, FakeScope::default());
    door.send("POST", "https://api.example.com/", &[1; 500]).await.unwrap();
    let error = door.send("POST", "https://api.example.com/", &[1; 500]).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestBodySize(Some(1000))), "{error}");
    assert_eq!(door.world.sent.lock().unwrap().len(), 1);
    let receipt = door.gate.receipt(std::time::Duration::ZERO, 0);
    assert!((500..=1_000).contains(&receipt.egress_bytes), "{}", receipt.egress_bytes);
    assert!(receipt.denied[0].contains("limits.egress_bytes=2000"));
}

#[tokio::test]
async fn a_large_answer_of_an_effect_is_lost_after_a_crash_but_the_effect_is_not_repeated() {
    let mut door = door(&["http=* https://api.example.com/*"], FakeScope::default());
    let (headers, url) = (vec![], String::new());
    *door.world.answer.lock().unwrap() = Some(Ok(HttpResponse { status: 200, headers, body: vec![1; 300 << 10], url }));
    let (_, body) = door.send("POST", "https://api.example.com/", b"").await.unwrap();
    assert_eq!(body.len(), 300 << 10);
    let resumed = door.scope.resumed();
    let mut again = door_in(Arc::clone(&door.world), &["http=* https://api.example.com/*"], resumed);
    let error = again.send("POST", "https://api.example.com/", b"").await.unwrap_err();
    assert!(matches!(error, Error::InternalError(Some(text)) if text.contains("too large to keep")));
    assert_eq!(door.world.sent.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refusal_by_the_port_is_a_denial_and_other_failures_have_their_case() {
    let mut door = door(&["http=* https://api.example.com/*"], FakeScope::default());
    let fail = |code| Some(Err(Failure::never(Problem::new(code, "no").help("do that"))));
    *door.world.answer.lock().unwrap() = fail(Code::G020);
    let error = door.send("GET", "https://api.example.com/", b"").await.unwrap_err();
    assert!(matches!(error, Error::DestinationIpProhibited), "{error}");
    assert_eq!(door.gate.last_denial().unwrap().code, Code::G020);
    *door.world.answer.lock().unwrap() = fail(Code::X064);
    let error = door.send("GET", "https://api.example.com/", b"").await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseTimeout), "{error}");
    let uses = door.scope.uses.lock().unwrap();
    assert!(uses.iter().all(|used| used.reply.is_none()), "what failed may be tried again");
}
