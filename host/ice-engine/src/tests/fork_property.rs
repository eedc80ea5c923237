//! Forks of random graphs with random failures.

use ice_core::catalog::Effects;
use proptest::prelude::*;

use super::*;

/// What a node of a random graph does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Well,
    Fails,
    FailsOnce,
}

fn graphs() -> impl Strategy<Value = Vec<(Vec<usize>, Does)>> {
    let does = prop_oneof![5 => Just(Does::Well), 1 => Just(Does::Fails), 1 => Just(Does::FailsOnce)];
    let node = (proptest::collection::vec(any::<usize>(), 0..3), does);
    proptest::collection::vec(node, 1..20).prop_map(|raw| {
        let needs = |index: usize, edges: &[usize]| {
            let mut needs: Vec<usize> = edges.iter().filter(|_| index > 0).map(|edge| edge % index.max(1)).collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        };
        raw.iter().enumerate().map(|(index, (edges, does))| (needs(index, edges), *does)).collect()
    })
}

fn blueprint(graph: &[(Vec<usize>, Does)], policy: &str) -> String {
    let node = |(index, (needs, does)): (usize, &(Vec<usize>, Does))| {
        let needs: Vec<String> = needs.iter().map(|needed| format!("n{needed}")).collect();
        let tool = match does {
            Does::Well => "well",
            Does::Fails => "fail",
            Does::FailsOnce => "flaky",
        };
        json!({
            "id": format!("n{index}"), "type": "tool", "tool_name": tool, "dependencies": needs,
            "retry_policy": { "max_attempts": 2, "backoff_seconds": 1 },
        })
    };
    let nodes: Vec<Value> = graph.iter().enumerate().map(node).collect();
    json!({ "schema_version": "1.2.0", "failure_policy": policy, "nodes": nodes }).to_string()
}

fn fakes() -> Fakes {
    Fakes::new()
        .tool("well", Effects::None, Ok)
        .tool("fail", Effects::External, |_| Err(permanently_broken()))
        .slow_tool("flaky", Effects::External, |call, _| async move {
            // No breaker opens: what is wrong is the first attempt, not the tool.
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            if call.attempt == 1 { Err(broken()) } else { Ok(json!({})) }
        })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Runs a graph and forks it at a node; also says what the fork called.
fn forked(graph: &[(Vec<usize>, Does)], from: usize) -> (Ran, Ran, Vec<String>) {
    runtime().block_on(async {
        let world = World::new(fakes());
        let first = world.run(&blueprint(graph, "continue_possible"), json!({})).await;
        let before = world.outside.fakes.calls().len();
        let (_, second) = world.fork(super::forks::ask(&first.id, &format!("n{from}"))).await;
        let called = world.outside.fakes.calls()[before..].iter().map(|call| call.path.to_string()).collect();
        (first, second, called)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fork_runs_what_is_different_and_ends_alike(graph in graphs(), at in any::<usize>()) {
        let few = graph.iter().filter(|(_, does)| matches!(does, Does::FailsOnce)).count() < 3;
        prop_assume!(few);
        let from = at % graph.len();
        let (first, second, called) = forked(&graph, from);
        let mut runs = vec![false; graph.len()];
        for (index, (needs, _)) in graph.iter().enumerate() {
            let failed = first.state(&format!("n{index}")).starts_with("failed");
            runs[index] = index == from || failed || needs.iter().any(|needed| runs[*needed]);
        }
        let view = replay(&second.events).unwrap();
        let kept: Vec<String> = (0..graph.len()).filter(|index| !runs[*index]).map(|index| format!("n{index}")).collect();
        prop_assert_eq!(&view.forked().unwrap().kept, &kept);
        prop_assert!(called.iter().all(|path| !kept.contains(path)), "{:?} of {:?}", called, kept);
        prop_assert_eq!(first.states(), second.states());
        prop_assert_eq!(first.ending.status, second.ending.status);
        prop_assert_eq!(&first.ending.outputs, &second.ending.outputs);
    }
}
