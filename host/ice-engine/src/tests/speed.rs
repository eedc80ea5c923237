//! Big graphs come to their end. How fast is printed by a test that is run by hand, in a release build:
//! `cargo test --release -p ice-engine -- --ignored --nocapture overhead`.

use super::*;
use crate::testing::Noop;

fn chain(count: usize) -> Vec<Value> {
    let needs = |n: usize| n.checked_sub(1).map(|before| format!("n{before}"));
    (0..count)
        .map(|n| tool_fields(&format!("n{n}"), "noop", &needs(n).iter().map(String::as_str).collect::<Vec<_>>()))
        .collect()
}

fn fan_out(count: usize) -> Vec<Value> {
    let mut nodes: Vec<Value> = (0..count).map(|n| tool_fields(&format!("n{n}"), "noop", &["root"])).collect();
    let all: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
    nodes.push(tool_fields("root", "noop", &[]));
    nodes.push(tool_fields("join", "noop", &all.iter().map(String::as_str).collect::<Vec<_>>()));
    nodes
}

/// Plans the nodes once and runs them several times; returns how they ended and how long the quickest run took.
async fn timed(nodes: Vec<Value>, times: usize) -> (FinalStatus, std::time::Duration) {
    let outside = Outside::new(Script::new(), Answers::echo());
    let mut ports = outside.engine(NOW, 64).shared.ports.clone();
    ports.components = Arc::new(Noop::new());
    let engine = Engine::new(ports, EngineOptions::default());
    let document = json!({ "schema_version": "1.2.0", "nodes": nodes });
    let parsed = ice_core::blueprint::Parsed::from_value(document).unwrap();
    let plan = Arc::new(engine.plan(&parsed).await.unwrap());
    let mut best = (FinalStatus::Failed, std::time::Duration::MAX);
    for _ in 0..times {
        let began = std::time::Instant::now();
        let handle = engine.start(StartExecution::new(Arc::clone(&plan), json!({}))).await.unwrap();
        let status = handle.finish().await.status;
        best = (status, best.1.min(began.elapsed()));
    }
    best
}

#[tokio::test]
async fn a_chain_and_a_fan_out_of_many_nodes_end() {
    for nodes in [chain(2_000), fan_out(2_000)] {
        assert_eq!(timed(nodes, 1).await.0, FinalStatus::Completed);
    }
}

#[tokio::test]
#[ignore = "prints times; run by hand in a release build"]
#[expect(clippy::print_stderr, reason = "what it is for")]
async fn overhead_per_node() {
    type Shape = fn(usize) -> Vec<Value>;
    let shapes: [(&str, Shape); 2] = [("chain", chain), ("fan-out", fan_out)];
    for (name, shape) in shapes {
        for count in [1, 10, 100, 1_000, 10_000, 100_000] {
            let (_, best) = timed(shape(count), 5).await;
            eprintln!("{name:8} {count:7} nodes: {:8.2} µs a node", best.as_secs_f64() * 1e6 / count as f64);
        }
    }
}
