//! Large graphs, many executions, full windows, and guests that have to be stopped.
//!
//! Where memory counts, a part runs in a process of its own, which is this program with the part's name as argument.

use std::io::{Error, Result};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ice_capabilities::SystemClock;
use ice_core::blueprint::Parsed;
use ice_core::budget::Usage;
use ice_core::event::FinalStatus;
use ice_core::id::Identity;
use ice_core::ports::{DeltaSink, Embeddings, Events, Failure, Llm, LlmReply, LlmRequest, Message, ModelInfo, Role};
use ice_core::problem::{Code, Problem};
use ice_engine::plan::Plan;
use ice_engine::{Engine, EngineOptions, Handle, StartExecution};
use ice_store::Options;
use serde_json::{Value, json};

use crate::figures::{Figures, percentile_us};
use crate::graphs::{chain, document, fan_out};
use crate::ports::{InMemory, Noop, component_bytes, engine_ports, runtime_of};

/// Nodes of a large graph.
const NODES: usize = 100_000;

/// Executions of one process, one after another.
const EXECUTIONS: usize = 10_000;

/// Nodes of the graph whose events are counted.
const DURABLE_NODES: usize = 10_000;

/// Guests that are stopped.
const CANCELS: usize = 100;

/// Model calls side by side, and how long one takes.
const CALLS: usize = 1_000;
const CALL: Duration = Duration::from_millis(50);

/// Parts that need a process of their own.
const PARTS: [&str; 3] = ["chain", "fan-out", "executions"];

/// Adds everything; `folder` takes databases.
pub(crate) async fn measure(figures: &mut Figures, folder: &Path) {
    durable(figures, folder).await;
    windows(figures).await;
    cancels(figures).await;
}

/// Runs every part in its own process and adds what it prints.
pub(crate) fn processes(figures: &mut Figures) -> Result<()> {
    for part in PARTS {
        let output = Command::new(std::env::current_exe()?).arg(part).output()?;
        if !output.status.success() {
            return Err(Error::other(format!("the part `{part}`: {}", String::from_utf8_lossy(&output.stderr))));
        }
        figures.read(&String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

/// One part, in this process.
pub(crate) async fn part(name: &str, figures: &mut Figures, folder: &Path) -> Result<()> {
    match name {
        "chain" => large(figures, name, &chain(NODES)).await,
        "fan-out" => large(figures, name, &fan_out(NODES)).await,
        "executions" => executions(figures, folder).await,
        _ => Err(Error::other(format!("there is no part `{name}`: {}", PARTS.join(", ")))),
    }
}

async fn large(figures: &mut Figures, table: &str, graph: &[Vec<usize>]) -> Result<()> {
    let engine =
        Engine::new(engine_ports(Arc::new(Noop::new()), Arc::new(InMemory::default())).await, EngineOptions::default());
    let plan = plan(&engine, document("noop", &json!({}), graph)).await;
    let mut took = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        finish(start(&engine, &plan).await).await;
        took.push(began.elapsed());
    }
    figures.add(table, "**ice**, in memory", &NODES.to_string(), percentile_us(&mut took, 50) / 1e3);
    figures.add(
        "scale",
        &format!("a {table} of 100,000 nodes, the largest memory of the process, MiB"),
        "figure",
        memory_mib("VmHWM")?,
    );
    Ok(())
}

async fn executions(figures: &mut Figures, folder: &Path) -> Result<()> {
    let store = ice_store::open_path(&folder.join("executions.db"), Arc::new(SystemClock), Options::default()).await;
    let store = Arc::new(store.map_err(|problem| Error::other(problem.to_string()))?);
    let engine = Engine::new(engine_ports(Arc::new(Noop::new()), store).await, EngineOptions::default());
    let plan = plan(&engine, document("noop", &json!({}), &chain(1))).await;
    let mut early = 0.0;
    for count in 1..=EXECUTIONS {
        finish(start(&engine, &plan).await).await;
        if count == EXECUTIONS / 10 {
            early = memory_mib("VmRSS")?;
        }
    }
    let late = memory_mib("VmRSS")?;
    figures.add("scale", "memory after 10,000 executions in one process, SQLite, MiB", "figure", late);
    figures.add("scale", "growth from the 1,000th to the 10,000th of them, MiB", "figure", late - early);
    Ok(())
}

/// Events of nodes without effects, which are committed in groups.
async fn durable(figures: &mut Figures, folder: &Path) {
    let store = ice_store::open_path(&folder.join("durable.db"), Arc::new(SystemClock), Options::default()).await;
    let store = Arc::new(store.expect("the folder of the run can be written"));
    let engine = Engine::new(engine_ports(Arc::new(Noop::new()), Arc::clone(&store)).await, EngineOptions::default());
    let plan = plan(&engine, document("noop", &json!({}), &fan_out(DURABLE_NODES))).await;
    let began = Instant::now();
    finish(start(&engine, &plan).await).await;
    let took = began.elapsed().as_secs_f64();
    let listed = store.list(&Identity::local(), 1).await.expect("the list is read");
    let events = u32::try_from(listed[0].events).expect("not that many");
    figures.add("scale", "durable nodes without effects, SQLite, events/s", "figure", f64::from(events) / took);
    store.close().await;
}

async fn windows(figures: &mut Figures) {
    for window in [16, 100, 1_000] {
        let mut ports = engine_ports(Arc::new(Noop::new()), Arc::new(InMemory::default())).await;
        ports.llm = Arc::new(Slow);
        let engine = Engine::new(ports, EngineOptions::default());
        let node = |number: usize| json!({ "id": format!("n{number}"), "type": "llm", "prompt": "hi", "llm_config": { "model": "slow/m" } });
        let nodes: Vec<Value> = (0..CALLS).map(node).collect();
        let plan = plan(&engine, json!({ "max_parallel": window, "nodes": nodes })).await;
        let began = Instant::now();
        finish(start(&engine, &plan).await).await;
        let took = began.elapsed().as_secs_f64() * 1e3;
        let least = CALLS.div_ceil(window) * 50;
        figures.add(
            "scale",
            &format!("1,000 model calls of 50 ms, {window} at once (at least {least} ms), ms"),
            "figure",
            took,
        );
    }
}

async fn cancels(figures: &mut Figures) {
    let runtime = Arc::new(runtime_of("spin", component_bytes("hostile/spin"), None).await);
    let engine = Engine::new(engine_ports(runtime, Arc::new(InMemory::default())).await, EngineOptions::default());
    let plan = plan(&engine, document("spin", &json!({}), &chain(1))).await;
    let mut took = Vec::new();
    for round in 0..=CANCELS {
        let handle = start(&engine, &plan).await;
        // Long enough that the guest spins; the first time it is compiled.
        tokio::time::sleep(Duration::from_millis(if round == 0 { 2_000 } else { 30 })).await;
        let began = Instant::now();
        engine.cancel(&handle.id, "enough").await.expect("it is asked");
        assert_eq!(handle.finish().await.status, FinalStatus::Cancelled);
        took.push(began.elapsed());
    }
    took.remove(0);
    for percent in [50, 99] {
        let row = format!("cancelling a guest that spins, p{percent}, ms");
        figures.add("scale", &row, "figure", percentile_us(&mut took, percent) / 1e3);
    }
}

async fn plan(engine: &Engine, document: Value) -> Arc<Plan> {
    let parsed = Parsed::from_value(document).expect("the document is right");
    Arc::new(engine.plan(&parsed).await.expect("the blueprint is right"))
}

async fn start(engine: &Engine, plan: &Arc<Plan>) -> Handle {
    engine.start(StartExecution::new(Arc::clone(plan), json!({}))).await.expect("it starts")
}

async fn finish(handle: Handle) {
    let ending = handle.finish().await;
    assert_eq!(ending.status, FinalStatus::Completed, "{:?}", ending.problem);
}

/// A line of `/proc/self/status`, in MiB.
fn memory_mib(name: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| Error::other(format!("the kernel does not say `{name}`")))
}

/// A model that takes its time and costs nothing.
struct Slow;

#[async_trait]
impl Llm for Slow {
    fn resolve(&self, request: &LlmRequest) -> std::result::Result<ModelInfo, Failure> {
        Ok(ModelInfo { provider: "slow".into(), model: request.model.clone(), estimate: Usage::default() })
    }

    async fn complete(&self, request: &LlmRequest, _: Option<DeltaSink<'_>>) -> std::result::Result<LlmReply, Failure> {
        tokio::time::sleep(CALL).await;
        let message = Message { role: Role::Assistant, content: "hi".into(), tool_calls: Vec::new(), answers: None };
        let (model, usage) = (request.model.clone(), Usage::default());
        Ok(LlmReply { message, model, usage, offline: true, finish_reason: "stop".into() })
    }

    async fn embed(&self, _: &str, _: &[String]) -> std::result::Result<Embeddings, Failure> {
        Err(Failure::never(Problem::new(Code::X079, "a measurement does not embed")))
    }
}
