//! Processes that stay up: taking up what others left, and leaving it to others.

use std::time::Duration;

use ice_core::catalog::Effects;
use ice_core::ports::Events;

use super::*;
use crate::testing::{Cord, Pull};

/// How long a dead process keeps its executions.
const LEASE_MS: u64 = 15_000;

fn fakes() -> Fakes {
    Fakes::new().tool("say", Effects::None, Ok).slow_tool("slow", Effects::External, |_, _| async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        Ok(json!({}))
    })
}

fn outside() -> Outside {
    Outside::new(fakes(), Answers::echo())
}

/// A blueprint of one tool.
fn one(tool: &str) -> Value {
    json!({ "nodes": [tool_fields("only", tool, &[])] })
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Looks after executions in another task; what went wrong fails the test.
fn tend(engine: &Engine, most: usize) -> tokio::task::JoinHandle<()> {
    let engine = engine.clone();
    tokio::spawn(async move { match engine.tend(most, |problem| panic!("{problem}")).await {} })
}

/// Executions of a process that dies as soon as they have begun.
async fn left_by_a_dead_process(outside: &Outside, count: usize) -> Vec<ExecutionId> {
    let living = outside.engine(NOW, 1);
    let cord = Cord::new(Arc::clone(&outside.store) as _, Pull::Before(count), || ());
    let ports = Ports { events: Arc::clone(&cord) as _, ..living.shared.ports.clone() };
    let engine = Engine::new(ports, living.shared.options.clone());
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(start(&engine, &one("slow").to_string(), json!({})).await.id);
    }
    cord.went_dark().await;
    ids
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_left_is_taken_up_within_a_lease_of_its_lapse() {
    let outside = outside();
    let ids = left_by_a_dead_process(&outside, 1).await;
    let engine = outside.engine(NOW + 100, 64);
    let tending = tend(&engine, 10);
    pass(LEASE_MS - 1_000).await;
    assert_eq!(engine.present_count(), 0, "it is held");
    pass(LEASE_MS + 2_000).await;
    assert_eq!(engine.present_count(), 1);
    let handle = engine.running(&ids[0]).unwrap();
    assert_eq!(handle.finish().await.status, FinalStatus::Completed);
    tending.abort();
}

#[tokio::test(start_paused = true)]
async fn no_more_are_taken_up_than_a_process_may_run() {
    let outside = outside();
    let ids = left_by_a_dead_process(&outside, 5).await;
    let engine = outside.engine(NOW + 2 * LEASE_MS, 64);
    let tending = tend(&engine, 2);
    let mut most = 0;
    for _ in 0..600 {
        pass(1_000).await;
        most = most.max(engine.present_count());
    }
    assert_eq!(most, 2);
    let standing = outside.store.standing(&ids).await.unwrap();
    assert!(standing.len() == 5 && standing.iter().all(|row| row.status == "completed"), "{standing:?}");
    tending.abort();
}

#[tokio::test(start_paused = true)]
async fn draining_waits_then_leaves_what_runs_to_the_next_process_at_once() {
    let outside = outside();
    let engine = outside.engine(NOW, 64);
    let nodes = json!([
        tool_fields("first", "say", &[]),
        { "id": "each", "type": "loop", "items_source": [1, 2], "on_item_error": "collect", "dependencies": ["first"],
          "body": [tool_fields("inside", "slow", &[])] },
        { "id": "sub", "type": "workflow", "workflow_ref": "slowly", "dependencies": ["first"] },
    ]);
    let document = json!({ "nodes": nodes, "blueprints": { "slowly": one("slow") } });
    let quick = start(&engine, &one("say").to_string(), json!({})).await;
    let slow = start(&engine, &document.to_string(), json!({})).await;
    pass(100).await;
    assert_eq!(engine.drain(10_000).await, 1, "what is inside another one is not counted");
    assert_eq!(engine.present_count(), 0);
    assert_eq!(quick.finish().await.status, FinalStatus::Completed);
    assert_eq!(slow.finish().await.problem.map(|problem| problem.code), Some(Code::X008));
    let ended = |event: &Event| matches!(event.fact, Fact::NodeFailed { .. } | Fact::ExecutionFinished { .. });
    for id in outside.store.ids().iter().filter(|id| **id != quick.id) {
        assert!(!outside.store.events_of(id).iter().any(ended), "{id}: it is only left, nothing of it failed");
    }
    // No time passes: no lease has to run out.
    let next = outside.engine(NOW + 100, 64);
    assert_eq!(outside.store.left(10).await.unwrap().len(), 2);
    let taken = next.take_up_left(10).await.unwrap();
    assert!(taken.iter().all(|(_, taken)| taken.is_ok()));
    let ending = next.resume(&slow.id).await.unwrap().finish().await;
    assert_eq!(ending.status, FinalStatus::Completed, "{ending:?}");
    let events = outside.store.events_of(&slow.id);
    crate::testing::check_events(&events);
}
