//! The runtime as the rest of the house sees it: which component answers a call, with which grant and limits.
//!
//! How a guest runs is in `call.rs`, what it may do in `gate.rs`, where its code comes from in `cache.rs`.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};

use async_trait::async_trait;
use ice_core::budget::Receipt;
use ice_core::catalog::{CallKind, Callable, Catalog};
use ice_core::grant::{Grant, LimitSettings};
use ice_core::id::{Digest, ExecutionId, NodePath};
use ice_core::ports::{Artifacts, Call, Clock, Components, Failure, Http, Llm, Memory, Outcome, Scope};
use ice_core::problem::{Code, Problem};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::bindings::imports::ice::types::types::CallContext;
use crate::cache::{Cache, CacheCounts, Loaded, Source};
use crate::call::{self, Question, Reply};
use crate::describe::{Description, description};
use crate::engine::Sandbox;
use crate::gate::{Caller, Gate, Role, Surroundings};
use crate::limits::{Bounds, HostLimits, Limits, Spending, Stop};
use crate::linker::Linkers;
use crate::nobody::Nobody;
use crate::ticker::Ticker;

/// Choices of whoever builds a runtime.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// Where compiled code is kept between processes; `None` compiles in every process.
    pub cache_dir: Option<PathBuf>,
    /// Limits of one call.
    pub limits: HostLimits,
}

/// The outside, as guests reach it through the gate.
pub struct RuntimePorts {
    /// Verified bytes of components.
    pub artifacts: Arc<dyn Artifacts>,
    /// Language models.
    pub llm: Arc<dyn Llm>,
    /// Memory.
    pub memory: Arc<dyn Memory>,
    /// Outgoing requests.
    pub http: Arc<dyn Http>,
    /// The wall clock that guests read.
    pub clock: Arc<dyn Clock>,
}

/// Runs components. Cheap to clone; one per process. Needs to live inside a tokio runtime.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    sandbox: Sandbox,
    ticker: Ticker,
    cache: Cache,
    ports: Arc<RuntimePorts>,
    limits: HostLimits,
    spending: Arc<Spending>,
    catalog: RwLock<Arc<Catalog>>,
    warnings: Vec<Problem>,
}

impl Runtime {
    /// Starts the engine, with an empty catalog. Fails (C003) when this machine cannot run it.
    pub fn new(options: RuntimeOptions, ports: RuntimePorts) -> Result<Self, Problem> {
        let sandbox = Sandbox::new()?;
        let ticker = Ticker::start(sandbox.engine.clone())?;
        let linkers = Linkers::new(&sandbox.engine)
            .map_err(|error| Problem::new(Code::X035, format!("the host's interfaces do not link: {error:#}")))?;
        let (cache, warning) = Cache::new(sandbox.engine.clone(), linkers, options.cache_dir.as_deref());
        let inner = Inner {
            sandbox,
            ticker,
            cache,
            ports: Arc::new(ports),
            limits: options.limits,
            spending: Arc::default(),
            catalog: RwLock::default(),
            warnings: warning.into_iter().collect(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Replaces the catalog. Calls that run keep the one they started with.
    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        *self.inner.catalog.write().expect("no panic while locked") = catalog;
    }

    /// What did not keep the runtime from starting but should be shown: a cache that cannot be used.
    pub fn warnings(&self) -> &[Problem] {
        &self.inner.warnings
    }

    /// Compiled code on disk that was refused since this was last asked (T037): to be shown, because somebody changed
    /// it. The component was compiled anew.
    pub fn take_refused(&self) -> Vec<Problem> {
        self.inner.cache.take_refused()
    }

    /// How instances are allocated, for people: `pooling + pagemap scan`, `pooling` or `on demand`.
    pub fn allocation(&self) -> &'static str {
        self.inner.sandbox.allocation
    }

    /// How often components were compiled and found compiled.
    pub fn cache_counts(&self) -> CacheCounts {
        self.inner.cache.counts()
    }

    /// Whether the component of `digest` can be called without compiling it first.
    pub fn is_ready(&self, digest: &Digest) -> bool {
        self.inner.cache.is_ready(digest)
    }

    /// Makes the component of `digest` ready to call: fetches, verifies, compiles or loads it, once however many ask.
    /// Takes seconds for a large component. Fails with T-codes.
    pub async fn precompile(&self, digest: &Digest) -> Result<(), Failure> {
        self.inner.load(digest).await.map(drop)
    }

    /// Asks a component that nobody vouches for yet what it is: fresh instance, no grant, the limits for
    /// `describe`.
    /// Fails with T-codes when it is no component of this host, with G- and X-codes when it misbehaves.
    pub async fn describe(&self, bytes: &[u8]) -> Result<Description, Failure> {
        let digest = Digest::of(bytes);
        let loaded = self.inner.cache.load(&digest, || Source::Bytes(bytes.to_vec())).await?;
        let named = format!("the component {}", digest.short());
        let limits = self.inner.limits.describe;
        let reply = self.inner.ask_nobody(loaded, Role::Describe, &named, limits, Question::Describe).await?;
        description(reply)
    }
}

#[async_trait]
impl Components for Runtime {
    fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog()
    }

    async fn call(&self, call: Call, scope: Arc<dyn Scope>) -> Outcome {
        // A task of its own, so that calls made side by side use every core. It ends when this future is dropped.
        let inner = Arc::clone(&self.inner);
        Guard(tokio::spawn(async move { inner.call(call, scope).await })).await
    }

    async fn blueprint(&self, entry: &str) -> Result<Value, Failure> {
        let catalog = self.inner.catalog();
        let Some(found) = catalog.blueprints.get(entry) else {
            return Err(Failure::never(
                Problem::new(Code::X034, format!("no blueprint `{entry}` is installed"))
                    .help("list what is installed with `ice list`"),
            ));
        };
        let loaded = self.inner.load(&found.artifact).await?;
        let name = entry.rsplit('.').next().unwrap_or(entry).to_owned();
        let (role, limits) = (Role::Blueprint(name.clone()), self.inner.limits.tool);
        let question = Question::Blueprint { name };
        let reply = self.inner.ask_nobody(loaded, role, &found.plugin, limits, question).await?;
        json_of(reply).map_err(|text| Failure::never(Problem::new(Code::X033, format!("blueprint `{entry}` {text}"))))
    }
}

impl Inner {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().expect("no panic while locked"))
    }

    async fn load(&self, digest: &Digest) -> Result<Arc<Loaded>, Failure> {
        self.cache.load(digest, || Source::Artifacts(Arc::clone(&self.ports.artifacts))).await
    }

    async fn call(&self, call: Call, scope: Arc<dyn Scope>) -> Outcome {
        let catalog = self.catalog();
        let Some(callable) = catalog.find(call.kind, &call.name).map(Arc::clone) else {
            return without_receipt(not_installed(&call));
        };
        let agent = call.kind == CallKind::Agent;
        let host = if agent { self.limits.agent } else { self.limits.tool };
        let bounds = Bounds::tighten(&host, &callable.granted.limits, &call.limits);
        let caller = caller(&call, &callable);

        let (words, subject) = (caller.words(), caller.subject());
        let digest = call.artifact.unwrap_or(callable.artifact);
        let ready = async {
            let loaded = self.load(&digest).await?;
            let slot = self.sandbox.slot(loaded.weight, agent).await;
            Ok::<_, Failure>((loaded, slot))
        };
        let ready = tokio::select! {
            biased;
            () = scope.cancelled() => Err(Failure::never(Stop::Cancelled.problem(&bounds, &words, "", None))),
            ready = ready => ready,
        };
        let (loaded, slot) = match ready {
            Ok(ready) => ready,
            Err(mut failure) => {
                failure.problem.at.get_or_insert_default().subject.get_or_insert(subject);
                return without_receipt(failure);
            }
        };

        let question = question(&call, scope.as_ref(), &bounds);
        let gate = Arc::new(Gate::new(caller, bounds, self.around(catalog, scope)));
        let (reply, receipt) = call::run(&self.sandbox, &self.ticker, &loaded, &gate, question).await;
        drop(slot);
        let result = reply.and_then(|reply| answer(&gate, reply));
        Outcome { result, receipt }
    }

    /// Asks outside of an execution, with nothing granted.
    async fn ask_nobody(
        &self,
        loaded: Arc<Loaded>,
        role: Role,
        plugin: &str,
        limits: Limits,
        question: Question,
    ) -> Result<Reply, Failure> {
        let bounds = Bounds::tighten(&limits, &LimitSettings::default(), &LimitSettings::default());
        let caller = Caller {
            role,
            plugin: plugin.to_owned(),
            execution: ExecutionId(String::new()),
            path: NodePath::root(),
            grant: Arc::new(Grant::default()),
        };
        let slot = self.sandbox.slot(loaded.weight, false).await;
        let around = self.around(Arc::default(), Arc::new(Nobody::new()));
        let gate = Arc::new(Gate::new(caller, bounds, around));
        let (reply, _) = call::run(&self.sandbox, &self.ticker, &loaded, &gate, question).await;
        drop(slot);
        match reply? {
            Reply::Refused(refused) => Err(call::refuse(&gate, refused)),
            reply => Ok(reply),
        }
    }

    fn around(&self, catalog: Arc<Catalog>, scope: Arc<dyn Scope>) -> Surroundings {
        Surroundings {
            ports: Arc::clone(&self.ports),
            catalog,
            scope,
            spending: Arc::clone(&self.spending),
            engine: self.sandbox.engine.clone(),
        }
    }
}

fn caller(call: &Call, callable: &Callable) -> Caller {
    let role = match call.kind {
        CallKind::Tool => Role::Tool,
        CallKind::Agent => Role::Agent,
    };
    Caller {
        role: role(call.name.clone()),
        plugin: callable.plugin.clone(),
        execution: call.execution.clone(),
        path: call.path.clone(),
        grant: Arc::clone(&callable.granted),
    }
}

fn question(call: &Call, scope: &dyn Scope, bounds: &Bounds) -> Question {
    let context = CallContext {
        execution_id: call.execution.0.clone(),
        node_id: call.path.as_str().to_owned(),
        attempt: call.attempt,
        session_id: scope.identity().session.clone(),
        deadline_ms: u64::try_from(bounds.wall.value.as_millis()).unwrap_or(u64::MAX),
    };
    let input = call.input.to_string();
    match call.kind {
        CallKind::Tool => Question::Tool { name: call.name.clone(), input, context },
        CallKind::Agent => Question::Task { input, context },
    }
}

fn answer(gate: &Gate, reply: Reply) -> Result<Value, Failure> {
    if let Reply::Refused(refused) = reply {
        return Err(call::refuse(gate, refused));
    }
    json_of(reply).map_err(|text| {
        let problem = Problem::new(Code::X033, format!("{} {text}", gate.caller.words()));
        Failure::never(problem.subject(gate.caller.subject()))
    })
}

fn json_of(reply: Reply) -> Result<Value, String> {
    match reply {
        Reply::Json(text) => {
            serde_json::from_str(&text).map_err(|error| format!("answered something that is not JSON: {error}"))
        }
        _ => Err("answered another question".to_owned()),
    }
}

fn not_installed(call: &Call) -> Failure {
    let what = match call.kind {
        CallKind::Tool => "tool",
        CallKind::Agent => "agent",
    };
    Failure::never(
        Problem::new(Code::X034, format!("no {what} `{}` is installed", call.name))
            .subject(format!("node `{}`", call.path))
            .help("list what is installed with `ice list`"),
    )
}

fn without_receipt(failure: Failure) -> Outcome {
    Outcome { result: Err(failure), receipt: Receipt::default() }
}

/// A task that ends when nobody waits for it any more.
struct Guard(JoinHandle<Outcome>);

impl Future for Guard {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(context).map(|ended| {
            ended.unwrap_or_else(|error| {
                let problem = Problem::new(Code::X035, format!("the host crashed while it ran a component: {error}"));
                without_receipt(Failure::never(problem.help("this is a mistake of ice: please report it")))
            })
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
