//! One host for all hostile guests at once: if one of them could disturb another, these tests would see it.
//!
//! The ports are scripted and count what reaches them; guests are the components that `make plugins` built.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ice_core::budget::Usage;
use ice_core::catalog::{CallKind, Callable, Catalog, Effects};
use ice_core::event::CapabilityUse;
use ice_core::execution::Ending;
use ice_core::grant::{Grant, LimitSettings};
use ice_core::id::{Digest, ExecutionId, Identity, NodePath, UnixMs};
use ice_core::ports::{
    Artifacts, Call, Clock, Components, DeltaSink, Embeddings, Failure, Http, HttpRequest, HttpResponse, Llm, LlmReply,
    LlmRequest, Memory, MemoryFilter, MemoryHit, MemoryItem, ModelInfo, Outcome, Scope,
};
use ice_core::problem::{Code, Problem};
use ice_runtime::{HostLimits, Limits, Runtime, RuntimeOptions, RuntimePorts};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Small, so that a guest that goes to its limit gets there soon. Processor time is the only clock that a spinning guest
/// can reach, however busy this machine is: its wall clock is far away.
const LIMITS: Limits = Limits {
    memory_bytes: 32 << 20,
    wall: Duration::from_secs(120),
    cpu: Duration::from_millis(200),
    log_bytes: 16 << 10,
    host_calls: 2_000,
    egress_bytes: 64 << 10,
};

/// What the secret `API_KEY` is worth. Only the scripted http port knows it.
pub(crate) const SECRET: &str = "hunter2-5f1c";

/// The hosts that `API_KEY` is bound to.
pub(crate) const BOUND_HOST: &str = "good.example";

/// A well-behaved kit that answers with its input: it must work whatever its neighbours do.
const NEIGHBOUR: &str = r#"(module
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (i32.and (i32.add (local.get $bytes) (i32.const 15)) (i32.const -16)))))
  (func (export "ice:plugin/tools@0.1.0#describe") (result i32) (i32.const 16))
  (func (export "ice:plugin/tools@0.1.0#call") (param i32 i32) (param $input i32) (param $length i32)
    (param i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    (i32.store (i32.const 36) (local.get $input))
    (i32.store (i32.const 40) (local.get $length))
    (i32.const 32)))"#;

/// The folder of the guests' sources, and of their components.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/hostile")
}

/// Returns the component of a guest, or says how to make it.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let file = format!("plugins/target/components/hostile/{name}.wasm");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&file);
    std::fs::read(path).unwrap_or_else(|error| panic!("cannot read `{file}` ({error}); run `make plugins`"))
}

/// The runtime under test with everything around it.
pub(crate) struct Host {
    tokio: tokio::runtime::Runtime,
    neighbour: Vec<u8>,
    pub(crate) runtime: Runtime,
    pub(crate) outside: Arc<Outside>,
}

/// The one host of this test binary.
pub(crate) static HOST: LazyLock<Host> = LazyLock::new(|| {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outside = Arc::new(Outside::default());
    let runtime = {
        let _inside = tokio.enter();
        let limits = HostLimits { tool: LIMITS, agent: LIMITS, describe: LIMITS };
        let options = RuntimeOptions { cache_dir: None, limits };
        let ports = RuntimePorts {
            artifacts: outside.clone(),
            llm: outside.clone(),
            memory: outside.clone(),
            http: outside.clone(),
            clock: outside.clone(),
        };
        Runtime::new(options, ports).unwrap()
    };
    let neighbour = ice_runtime::contract::componentize(&wat::parse_str(NEIGHBOUR).unwrap(), "kit").unwrap();
    Host { tokio, neighbour, runtime, outside }
});

/// What came of an attack.
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) scope: Arc<Execution>,
}

impl Seen {
    /// The failure; panics when the guest got its way.
    pub(crate) fn problem(&self) -> &Problem {
        match &self.outcome.result {
            Err(failure) => &failure.problem,
            Ok(answer) => panic!("the guest answered {answer}"),
        }
    }

    /// The answer; panics with the failure.
    pub(crate) fn answer(&self) -> &Value {
        match &self.outcome.result {
            Ok(answer) => answer,
            Err(failure) => panic!("{}", failure.problem),
        }
    }
}

/// One call of a hostile guest. The default has no grant and the host's limits.
#[derive(Default)]
pub(crate) struct Attack {
    pub(crate) input: Value,
    pub(crate) grant: Grant,
    pub(crate) limits: LimitSettings,
}

impl Host {
    /// Calls a guest while its neighbour is called beside it, and its neighbour again afterwards.
    pub(crate) fn attack(&self, guest: &str, attack: Attack) -> Seen {
        self.attack_in(guest, attack, Arc::default())
    }

    /// The same, in an execution of the caller's making.
    pub(crate) fn attack_in(&self, guest: &str, attack: Attack, scope: Arc<Execution>) -> Seen {
        self.tokio.block_on(async {
            let bytes = component(guest);
            let hostile = self.call(guest, &bytes, attack, scope.clone());
            let beside = async {
                for round in 0..3 {
                    self.neighbour_works(round).await;
                }
            };
            let (outcome, ()) = tokio::join!(hostile, beside);
            self.neighbour_works(3).await;
            Seen { outcome, scope }
        })
    }

    /// Asks a guest what it is, while its neighbour works.
    pub(crate) fn describe(&self, guest: &str) -> Failure {
        self.tokio.block_on(async {
            let bytes = component(guest);
            let (described, ()) = tokio::join!(self.runtime.describe(&bytes), self.neighbour_works(0));
            described.expect_err("the guest described itself")
        })
    }

    async fn neighbour_works(&self, round: u32) {
        let input = json!({"round": round, "text": "neighbour"});
        let attack = Attack { input: input.clone(), ..Attack::default() };
        let outcome = self.call("neighbour", &self.neighbour, attack, Arc::default()).await;
        assert_eq!(outcome.result, Ok(input), "the neighbour of a hostile guest");
    }

    async fn call(&self, guest: &str, bytes: &[u8], attack: Attack, scope: Arc<Execution>) -> Outcome {
        let artifact = self.outside.publish(bytes);
        // Every call brings a name of its own, so that tests side by side keep their grants apart.
        let name = self.outside.install(guest, artifact, attack.grant, &self.runtime);
        let call = Call {
            kind: CallKind::Tool,
            name,
            artifact: Some(artifact),
            input: attack.input,
            execution: ExecutionId("execution".into()),
            path: NodePath::root().join("node"),
            attempt: 1,
            limits: attack.limits,
        };
        self.runtime.call(call, scope).await
    }
}

/// The ports: they hold components and a secret, and count who gets as far as them.
#[derive(Default)]
pub(crate) struct Outside {
    components: Mutex<HashMap<Digest, Vec<u8>>>,
    tools: Mutex<BTreeMap<String, Arc<Callable>>>,
    /// Requests that reached the http port, by host.
    pub(crate) requests: Mutex<Vec<HttpRequest>>,
    /// Calls that reached the ports of models and memory.
    pub(crate) asked: AtomicU32,
}

impl Outside {
    fn publish(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.components.lock().unwrap().insert(digest, bytes.to_vec());
        digest
    }

    fn install(&self, guest: &str, artifact: Digest, grant: Grant, runtime: &Runtime) -> String {
        let mut tools = self.tools.lock().unwrap();
        let name = format!("{guest}_{}", tools.len());
        let callable = Callable {
            kind: CallKind::Tool,
            name: name.clone(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            output_schema: json!({}),
            tags: vec![],
            plugin: format!("hostile/{guest}"),
            version: "0.1.0".into(),
            artifact,
            statement: None,
            deprecated: None,
            effects: Effects::External,
            granted: Arc::new(grant),
        };
        tools.insert(name.clone(), Arc::new(callable));
        runtime.set_catalog(Arc::new(Catalog { tools: tools.clone(), ..Catalog::default() }));
        name
    }

    fn ask<T>(&self) -> Result<T, Failure> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Err(Failure::never(Problem::new(Code::X035, "nothing stands behind this port")))
    }
}

#[async_trait]
impl Artifacts for Outside {
    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        Ok(self.components.lock().unwrap()[digest].clone())
    }
}

#[async_trait]
impl Http for Outside {
    /// Like the real one: fills a secret in for the hosts it is bound to and refuses it to all others; what a host sends
    /// back is scrubbed.
    async fn send(&self, request: HttpRequest, grant: &Grant) -> Result<HttpResponse, Failure> {
        self.requests.lock().unwrap().push(request.clone());
        let host = request.url.trim_start_matches("https://").split(['/', ':']).next().unwrap_or_default();
        let bound = grant.secrets.get("API_KEY").is_some_and(|hosts| hosts.iter().any(|bound| bound == host));
        let sent: Vec<String> =
            request.headers.iter().map(|(_, value)| value.replace("{{secret:API_KEY}}", SECRET)).collect();
        if sent.iter().any(|value| value.contains(SECRET)) && !bound {
            return Err(Failure::never(Problem::new(Code::G021, format!("secret `API_KEY` is not bound to `{host}`"))));
        }
        let body = format!("you sent {}", sent.join(" ")).replace(SECRET, "***");
        Ok(HttpResponse { status: 200, headers: vec![], body: body.into_bytes(), url: request.url })
    }

    fn has_secret(&self, name: &str) -> bool {
        name == "API_KEY"
    }
}

#[async_trait]
impl Llm for Outside {
    fn resolve(&self, _: &LlmRequest) -> Result<ModelInfo, Failure> {
        self.ask()
    }
    async fn complete(&self, _: &LlmRequest, _: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        self.ask()
    }
    async fn embed(&self, _: &str, _: &[String]) -> Result<Embeddings, Failure> {
        self.ask()
    }
}

#[async_trait]
impl Memory for Outside {
    async fn write(&self, _: &Identity, _: &str, _: MemoryItem) -> Result<Usage, Failure> {
        self.ask()
    }
    async fn read(&self, _: &Identity, _: &str, _: &str) -> Result<Option<MemoryItem>, Failure> {
        self.ask()
    }
    async fn search(
        &self,
        _: &Identity,
        _: &str,
        _: &str,
        _: &MemoryFilter,
        _: u32,
    ) -> Result<(Vec<MemoryHit>, Usage), Failure> {
        self.ask()
    }
    async fn recent(&self, _: &Identity, _: &str, _: &str, _: u32) -> Result<Vec<MemoryItem>, Failure> {
        self.ask()
    }
    async fn forget(&self, _: &Identity, _: &str, _: &str) -> Result<(), Failure> {
        self.ask()
    }
}

#[async_trait]
impl Clock for Outside {
    fn now_ms(&self) -> UnixMs {
        1_700_000_000_000
    }
    async fn sleep(&self, _: u64) {}
    fn random(&self) -> u64 {
        4
    }
}

/// An execution that remembers what was logged and used, and can be cancelled.
#[derive(Default)]
pub(crate) struct Execution {
    who: Who,
    cancel: Notify,
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) uses: Mutex<Vec<CapabilityUse>>,
}

struct Who(Identity);

impl Default for Who {
    fn default() -> Self {
        Self(Identity::local())
    }
}

impl Execution {
    /// An execution that somebody has cancelled already.
    pub(crate) fn cancelled() -> Arc<Self> {
        let execution = Self::default();
        execution.cancel.notify_one();
        Arc::new(execution)
    }

    /// Everything the call left behind, in one text.
    pub(crate) fn left_behind(&self) -> String {
        format!("{:?} {:?}", self.lines.lock().unwrap(), self.uses.lock().unwrap())
    }
}

fn not_here<T>() -> Result<T, Failure> {
    Err(Failure::never(Problem::new(Code::X035, "a kit may not ask this")))
}

#[async_trait]
impl Scope for Execution {
    fn identity(&self) -> &Identity {
        &self.who.0
    }
    async fn cancelled(&self) {
        self.cancel.notified().await;
    }
    fn recall(&self, _: u32, _: &Digest) -> Option<Value> {
        None
    }
    async fn reserve(&self, _: Usage) -> Result<(), Failure> {
        Ok(())
    }
    async fn record(&self, used: CapabilityUse) -> Result<(), Failure> {
        self.uses.lock().unwrap().push(used);
        Ok(())
    }
    fn log(&self, level: &str, message: String) {
        self.lines.lock().unwrap().push(format!("{level}: {message}"));
    }
    fn delta(&self, _: &str) {}
    async fn call_tool(&self, _: &str, _: Value) -> Result<Value, Failure> {
        not_here()
    }
    async fn start_execution(&self, _: &str, _: Value) -> Result<ExecutionId, Failure> {
        not_here()
    }
    async fn poll_execution(&self, _: &ExecutionId) -> Result<Option<Ending>, Failure> {
        not_here()
    }
    async fn cancel_execution(&self, _: &ExecutionId) -> Result<(), Failure> {
        not_here()
    }
}
