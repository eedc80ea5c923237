//! Chains and fan-outs of nodes that do nothing: what is left is the engine, or the floor under any engine.

use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ice_capabilities::SystemClock;
use ice_core::blueprint::Parsed;
use ice_core::event::FinalStatus;
use ice_core::ports::{Components, Documents, Events};
use ice_engine::{Engine, EngineOptions, StartExecution};
use ice_store::{Durability, Options};
use serde_json::{Value, json};

use crate::calls::input;
use crate::figures::{Figures, percentile_us};
use crate::ports::{AGGREGATOR_TOOL, InMemory, Noop, aggregator, engine_ports};

/// For each node, the nodes it waits for.
type Graph = Vec<Vec<usize>>;

/// Makes a graph of a size.
type Shape = fn(usize) -> Graph;

const SHAPES: [(&str, Shape); 2] = [("chain", chain), ("fan-out", fan_out)];

const ALL: &[usize] = &[1, 10, 100, 1_000, 10_000];

pub(crate) fn chain(count: usize) -> Graph {
    (0..count).map(|node| node.checked_sub(1).into_iter().collect()).collect()
}

/// The root is the first node, the join the last.
pub(crate) fn fan_out(count: usize) -> Graph {
    let mut graph = vec![Vec::new()];
    graph.extend((0..count).map(|_| vec![0]));
    graph.push((1..=count).collect());
    graph
}

/// How often a graph is run: enough for a median, not longer than a coffee.
fn rounds(count: usize) -> usize {
    match count {
        0..=100 => 51,
        101..=1_000 => 15,
        _ => 5,
    }
}

fn median_ms(took: &mut [Duration]) -> f64 {
    percentile_us(took, 50) / 1e3
}

/// Adds the floor, the engine in memory and on disk, and the engine with a real component.
pub(crate) async fn measure(figures: &mut Figures, folder: &Path) {
    for (table, shape) in SHAPES {
        for &count in ALL {
            let graph = shape(count);
            floor(figures, table, count, &graph).await;
        }
        let noop = Subject { tool: "noop", args: json!({}), components: Arc::new(Noop::new()) };
        noop.measure(figures, table, shape, ALL, &Arc::new(InMemory::default()), "in memory").await;
        for (durability, name) in
            [(Durability::Process, "survives kill -9"), (Durability::Power, "survives a power cut")]
        {
            let path = folder.join(format!("{table}-{durability:?}.db"));
            let options = Options { durability, ..Options::default() };
            let store = ice_store::open_path(&path, Arc::new(SystemClock), options).await;
            let store = Arc::new(store.expect("the folder of the run can be written"));
            noop.measure(figures, table, shape, &[1, 10, 100, 1_000], &store, &format!("SQLite, {name}")).await;
            store.close().await;
        }
        let real = Subject { tool: AGGREGATOR_TOOL, args: input(), components: aggregator().await };
        let name = "in memory, each node calls a component";
        real.measure(figures, table, shape, &[1, 10, 100, 1_000], &Arc::new(InMemory::default()), name).await;
    }
}

/// What the nodes do.
struct Subject {
    tool: &'static str,
    args: Value,
    components: Arc<dyn Components>,
}

impl Subject {
    async fn measure(
        &self,
        figures: &mut Figures,
        table: &str,
        shape: Shape,
        counts: &[usize],
        store: &Arc<impl Events + Documents + 'static>,
        name: &str,
    ) {
        let ports = engine_ports(Arc::clone(&self.components), Arc::clone(store)).await;
        let engine = Engine::new(ports, EngineOptions::default());
        for &count in counts {
            let document = document(self.tool, &self.args, &shape(count));
            let began = Instant::now();
            let parsed = Parsed::from_value(document).expect("the document is right");
            let plan = Arc::new(engine.plan(&parsed).await.expect("the blueprint is right"));
            let planned = began.elapsed();
            let mut took = Vec::new();
            for _ in 0..rounds(count) {
                let plan = Arc::clone(&plan);
                let began = Instant::now();
                let handle = engine.start(StartExecution::new(plan, json!({}))).await.expect("it starts");
                let ending = handle.finish().await;
                took.push(began.elapsed());
                assert_eq!(ending.status, FinalStatus::Completed, "{:?}", ending.problem);
            }
            figures.add(table, &format!("**ice**, {name}"), &count.to_string(), median_ms(&mut took));
            if name == "in memory" {
                figures.add(
                    table,
                    "ice, check and plan (once, before)",
                    &count.to_string(),
                    planned.as_secs_f64() * 1e3,
                );
            }
        }
    }
}

/// A blueprint of tool nodes.
pub(crate) fn document(tool: &str, args: &Value, graph: &[Vec<usize>]) -> Value {
    let node = |(number, needs): (usize, &Vec<usize>)| {
        let needs: Vec<String> = needs.iter().map(|need| format!("n{need}")).collect();
        json!({ "id": format!("n{number}"), "type": "tool", "tool_name": tool, "tool_args": args, "dependencies": needs })
    };
    let nodes: Vec<Value> = graph.iter().enumerate().map(node).collect();
    json!({ "schema_version": "1.2.0", "nodes": nodes })
}

/// Runs the graph without any engine: first inline, then with one tokio task a node.
async fn floor(figures: &mut Figures, table: &str, count: usize, graph: &Graph) {
    let mut followers = vec![Vec::new(); graph.len()];
    for (node, needs) in graph.iter().enumerate() {
        needs.iter().for_each(|need| followers[*need].push(node));
    }
    let column = count.to_string();
    let mut took: Vec<Duration> = (0..rounds(count)).map(|_| timed(|| inline(graph, &followers))).collect();
    figures.add(table, "floor: ready set in Rust, inline", &column, median_ms(&mut took));
    let mut took = Vec::new();
    for _ in 0..rounds(count) {
        let began = Instant::now();
        tasks(graph, &followers).await;
        took.push(began.elapsed());
    }
    figures.add(table, "floor: ready set in Rust, a tokio task a node", &column, median_ms(&mut took));
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

fn inline(graph: &Graph, followers: &[Vec<usize>]) {
    let mut waits: Vec<usize> = graph.iter().map(Vec::len).collect();
    let mut ready: VecDeque<usize> = (0..graph.len()).filter(|node| waits[*node] == 0).collect();
    let mut results: Vec<Option<Value>> = vec![None; graph.len()];
    while let Some(node) = ready.pop_front() {
        results[node] = Some(black_box(json!({})));
        for &follower in &followers[node] {
            waits[follower] -= 1;
            if waits[follower] == 0 {
                ready.push_back(follower);
            }
        }
    }
    assert!(black_box(results).iter().all(Option::is_some), "every node ran");
}

async fn tasks(graph: &Graph, followers: &[Vec<usize>]) {
    let mut waits: Vec<usize> = graph.iter().map(Vec::len).collect();
    let mut running = tokio::task::JoinSet::new();
    for node in (0..graph.len()).filter(|node| waits[*node] == 0) {
        running.spawn(async move { (node, json!({})) });
    }
    let mut done = 0;
    while let Some(ended) = running.join_next().await {
        let (node, result) = ended.expect("a no-op does not panic");
        black_box(result);
        done += 1;
        for &follower in &followers[node] {
            waits[follower] -= 1;
            if waits[follower] == 0 {
                running.spawn(async move { (follower, json!({})) });
            }
        }
    }
    assert_eq!(done, graph.len(), "every node ran");
}
