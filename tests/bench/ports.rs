//! The outside that the measured parts need: as little as possible, so that it does not count.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ice_capabilities::{
    Egress, EgressOptions, LlmOptions, MemoryOptions, Models, SearchMemory, Secrets, SystemClock, SystemResolver,
};
use ice_core::budget::{Receipt, Usage};
use ice_core::catalog::{CallKind, Callable, Catalog, Effects};
use ice_core::event::{CapabilityUse, Event};
use ice_core::execution::Ending;
use ice_core::grant::Grant;
use ice_core::id::{Digest, ExecutionId, Identity, UnixMs};
use ice_core::ports::{
    Artifacts, Call, Components, Documents, Events, ExecutionRow, Failure, Lease, NamedDocument, Outcome, Scope,
};
use ice_core::problem::{Code, Problem};
use ice_engine::Ports;
use ice_runtime::{Runtime, RuntimeOptions, RuntimePorts};
use serde_json::{Map, Value, json};

fn refused<T>() -> Result<T, Failure> {
    Err(Failure::never(Problem::new(Code::X035, "a measurement does not reach for this")))
}

/// A tool without effects, whose component is `artifact`.
fn tool(name: &str, artifact: Digest) -> Arc<Catalog> {
    let callable = Callable {
        kind: CallKind::Tool,
        name: name.into(),
        description: String::new(),
        input_schema: json!({ "type": "object" }),
        output_schema: json!({ "type": "object" }),
        tags: Vec::new(),
        plugin: "bench/kit".into(),
        version: "1.0.0".into(),
        artifact,
        statement: None,
        deprecated: None,
        effects: Effects::None,
        granted: Arc::new(Grant::default()),
    };
    Arc::new(Catalog { tools: [(name.to_owned(), Arc::new(callable))].into(), ..Catalog::default() })
}

/// One tool, `noop`, that gives an empty object: what is measured with it is the engine alone.
pub(crate) struct Noop(Arc<Catalog>);

impl Noop {
    pub(crate) fn new() -> Self {
        Self(tool("noop", Digest::of(b"noop")))
    }
}

#[async_trait]
impl Components for Noop {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }

    async fn call(&self, _: Call, _: Arc<dyn Scope>) -> Outcome {
        Outcome { result: Ok(Value::Object(Map::new())), receipt: Receipt::default() }
    }

    async fn blueprint(&self, _: &str) -> Result<Value, Failure> {
        refused()
    }
}

/// Lists of events, and nothing that survives.
#[derive(Default)]
pub(crate) struct InMemory(Mutex<HashMap<ExecutionId, Vec<Event>>>);

#[async_trait]
impl Events for InMemory {
    async fn create(&self, id: &ExecutionId, _: &str, _: &Identity, first: &[Event], _: u64) -> Result<Lease, Failure> {
        self.0.lock().expect("nobody panics in here").insert(id.clone(), first.to_vec());
        Ok(Lease { execution: id.clone(), fence: 1, until: u64::MAX })
    }

    async fn append(&self, lease: &Lease, events: &[Event]) -> Result<(), Failure> {
        let mut lists = self.0.lock().expect("nobody panics in here");
        lists.entry(lease.execution.clone()).or_default().extend_from_slice(events);
        Ok(())
    }

    async fn renew(&self, lease: &Lease, _: u64) -> Result<Lease, Failure> {
        Ok(lease.clone())
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        self.0.lock().expect("nobody panics in here").remove(&lease.execution);
        Ok(())
    }

    async fn claim(&self, _: &ExecutionId, _: u64) -> Result<Lease, Failure> {
        refused()
    }

    async fn read(&self, _: &ExecutionId, _: u64, _: u32) -> Result<Vec<Event>, Failure> {
        refused()
    }

    async fn follow(&self, _: &ExecutionId, _: u64, _: u32) -> Result<Vec<Event>, Failure> {
        refused()
    }

    async fn list(&self, _: &Identity, _: u32) -> Result<Vec<ExecutionRow>, Failure> {
        refused()
    }

    async fn older(&self, _: &Identity, _: &ExecutionId, _: u32) -> Result<Vec<ExecutionRow>, Failure> {
        refused()
    }

    async fn left(&self, _: u32) -> Result<Vec<ExecutionId>, Failure> {
        refused()
    }

    async fn request_cancel(&self, _: &ExecutionId, _: &str) -> Result<bool, Failure> {
        refused()
    }

    async fn cancel_requested(&self, _: &ExecutionId) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    async fn waiting(&self, _: Option<&Identity>, _: u32) -> Result<Vec<ExecutionId>, Failure> {
        refused()
    }

    async fn due(&self, _: UnixMs, _: u32) -> Result<Vec<ExecutionId>, Failure> {
        refused()
    }

    async fn standing(&self, _: &[ExecutionId]) -> Result<Vec<ExecutionRow>, Failure> {
        refused()
    }
}

#[async_trait]
impl Documents for InMemory {
    async fn put(&self, _: &str, document: &Value) -> Result<Digest, Failure> {
        Ok(Digest::of_json(document))
    }

    async fn get(&self, _: &Digest) -> Result<Option<Value>, Failure> {
        Ok(None)
    }

    async fn publish(&self, _: &NamedDocument) -> Result<(), Failure> {
        refused()
    }

    async fn versions(&self, _: Option<&str>, _: u32) -> Result<Vec<NamedDocument>, Failure> {
        Ok(Vec::new())
    }

    async fn withdraw(&self, _: &str, _: &semver::Version) -> Result<bool, Failure> {
        refused()
    }
}

/// An execution that nobody follows.
pub(crate) struct Alone(Identity);

impl Alone {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Identity::local()))
    }
}

#[async_trait]
impl Scope for Alone {
    fn identity(&self) -> &Identity {
        &self.0
    }

    async fn cancelled(&self) {
        std::future::pending().await
    }

    fn recall(&self, _: u32, _: &Digest) -> Option<Value> {
        None
    }

    async fn reserve(&self, _: Usage) -> Result<(), Failure> {
        refused()
    }

    async fn record(&self, _: CapabilityUse) -> Result<(), Failure> {
        refused()
    }

    fn log(&self, _: &str, _: String) {}

    fn delta(&self, _: &str) {}

    async fn call_tool(&self, _: &str, _: Value) -> Result<Value, Failure> {
        refused()
    }

    async fn start_execution(&self, _: &str, _: Value) -> Result<ExecutionId, Failure> {
        refused()
    }

    async fn poll_execution(&self, _: &ExecutionId) -> Result<Option<Ending>, Failure> {
        refused()
    }

    async fn cancel_execution(&self, _: &ExecutionId) -> Result<(), Failure> {
        refused()
    }
}

/// The real models, memory and way out; what is measured does not use them.
struct Outside {
    clock: Arc<SystemClock>,
    egress: Arc<Egress>,
    models: Arc<Models>,
    memory: Arc<SearchMemory>,
}

impl Outside {
    async fn new() -> Self {
        let clock = Arc::new(SystemClock);
        let rows = ice_store::open("sqlite::memory:", clock.clone()).await.expect("a database in memory opens");
        let egress = Egress::new(EgressOptions::default(), Secrets::default(), Arc::new(SystemResolver));
        let egress = Arc::new(egress.expect("the defaults fit"));
        let models = Arc::new(Models::new(LlmOptions::default(), Arc::clone(&egress)).expect("the defaults fit"));
        let memory = Arc::new(SearchMemory::new(Arc::new(rows), clock.clone(), MemoryOptions::default()));
        Self { clock, egress, models, memory }
    }
}

/// The ports of an engine.
pub(crate) async fn engine_ports(
    components: Arc<dyn Components>,
    store: Arc<impl Events + Documents + 'static>,
) -> Ports {
    let Outside { clock, egress, models, memory } = Outside::new().await;
    Ports { components, llm: models, memory, http: egress, events: store.clone(), documents: store, clock }
}

/// Bytes of one component.
struct OneComponent(Vec<u8>);

#[async_trait]
impl Artifacts for OneComponent {
    async fn bytes(&self, _: &Digest) -> Result<Vec<u8>, Failure> {
        Ok(self.0.clone())
    }
}

/// The tool of [`aggregator`].
pub(crate) const AGGREGATOR_TOOL: &str = "aggregator_concat";

/// Bytes of a component, by its place under `plugins/`. Panics when `make plugins` did not build it.
pub(crate) fn component_bytes(place: &str) -> Vec<u8> {
    let file = format!("plugins/target/components/{place}.wasm");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&file);
    std::fs::read(path).unwrap_or_else(|error| panic!("cannot read `{file}` ({error}): run `make plugins`"))
}

/// Bytes of the first-party kit `aggregator`.
pub(crate) fn aggregator_bytes() -> Vec<u8> {
    component_bytes("kits/aggregator")
}

/// A runtime that has these bytes for one tool, and has not looked at them. Compiled code is kept in
/// `cache_dir`, where one is given.
pub(crate) async fn runtime_of(name: &str, bytes: Vec<u8>, cache_dir: Option<PathBuf>) -> Runtime {
    let digest = Digest::of(&bytes);
    let Outside { clock, egress, models, memory } = Outside::new().await;
    let artifacts = Arc::new(OneComponent(bytes));
    let ports = RuntimePorts { artifacts, llm: models, memory, http: egress, clock };
    let options = RuntimeOptions { cache_dir, ..RuntimeOptions::default() };
    let runtime = Runtime::new(options, ports).expect("the sandbox starts on this machine");
    runtime.set_catalog(tool(name, digest));
    runtime
}

/// A runtime with that kit, compiled and ready.
pub(crate) async fn aggregator() -> Arc<Runtime> {
    let bytes = aggregator_bytes();
    let digest = Digest::of(&bytes);
    let runtime = runtime_of(AGGREGATOR_TOOL, bytes, None).await;
    runtime.precompile(&digest).await.unwrap_or_else(|failure| panic!("{}", failure.problem));
    Arc::new(runtime)
}
