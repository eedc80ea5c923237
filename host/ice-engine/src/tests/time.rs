//! Retries, time limits, cancellation, breakers.

use ice_core::catalog::Effects;
use ice_core::ports::Retry;

use super::*;

fn forever() -> Fakes {
    Fakes::new()
        .tool("say", Effects::None, Ok)
        .tool("post", Effects::External, Ok)
        .slow_tool("wait", Effects::External, |_, scope| async move {
            scope.cancelled().await;
            Err(broken())
        })
        .slow_tool("deaf", Effects::External, |_, _| std::future::pending())
        .slow_tool("flaky", Effects::External, |call, _| async move {
            if call.attempt < 3 { Err(broken()) } else { Ok(json!({ "attempt": call.attempt })) }
        })
}

fn delays(ran: &Ran) -> Vec<u64> {
    let delay = |event: &Event| match &event.fact {
        Fact::NodeRetried { delay_ms, .. } => Some(*delay_ms),
        _ => None,
    };
    ran.events.iter().filter_map(delay).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_is_tried_as_often_as_its_policy_says() {
    let world = World::new(forever());
    let blueprint = "
        nodes:
          - id: t
            type: tool
            tool_name: flaky
            retry_policy: {max_attempts: N, backoff_strategy: linear, backoff_seconds: 2, jitter: none}
        ";
    let ran = world.run(&blueprint.replace('N', "3"), json!({})).await;
    assert_eq!(
        (ran.ending.status, ran.ending.outputs.clone()),
        (FinalStatus::Completed, json!({ "t": { "attempt": 3 } }))
    );
    assert_eq!(delays(&ran), [2_000, 4_000]);
    assert_eq!(replay(&ran.events).unwrap().nodes[&NodePath("t".into())].attempts, 3);
    let ran = world.run(&blueprint.replace('N', "2"), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_repeated_keeps_its_receipt() {
    let world = World::new(forever());
    let blueprint = "
        nodes:
          - {id: t, type: tool, tool_name: flaky, retry_policy: {max_attempts: 3, backoff_seconds: 1, jitter: none}}
        ";
    let ran = world.run(blueprint, json!({})).await;
    let receipts = ran.events.iter().filter_map(|event| match &event.fact {
        Fact::NodeRetried { receipt, .. } | Fact::NodeFinished { receipt, .. } => {
            Some((event.attempt, receipt.is_some()))
        }
        _ => None,
    });
    assert_eq!(receipts.collect::<Vec<_>>(), [(1, true), (2, true), (3, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_whether_and_when_to_try_again() {
    let fakes = Fakes::new().tool("never", Effects::External, |_| Err(permanently_broken())).tool(
        "later",
        Effects::External,
        |_| Err(Failure { retry: Retry::AfterMs(9_000), ..broken() }),
    );
    let world = World::new(fakes);
    let blueprint = "
        nodes:
          - {id: t, type: tool, tool_name: NAME, retry_policy: {max_attempts: 2, backoff_seconds: 1, jitter: none}}
        ";
    assert_eq!(delays(&world.run(&blueprint.replace("NAME", "never"), json!({})).await), [0; 0]);
    assert_eq!(delays(&world.run(&blueprint.replace("NAME", "later"), json!({})).await), [9_000]);
}

#[tokio::test(start_paused = true)]
async fn only_the_named_codes_are_tried_again() {
    let world = World::new(forever());
    let blueprint = "
        nodes:
          - id: t
            type: tool
            tool_name: flaky
            retry_policy: {max_attempts: 3, backoff_seconds: 1, retry_on: [CODE]}
        ";
    assert_eq!(world.run(&blueprint.replace("CODE", "X031"), json!({})).await.ending.status, FinalStatus::Completed);
    assert_eq!(world.run(&blueprint.replace("CODE", "X003"), json!({})).await.ending.status, FinalStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_too_long_is_stopped_and_tried_again() {
    let world = World::new(forever());
    for name in ["wait", "deaf"] {
        let blueprint = format!(
            "nodes: [{{id: t, type: tool, tool_name: {name}, timeout_seconds: 5, retries: 1, backoff_seconds: 1}}]"
        );
        let ran = world.run(&blueprint, json!({})).await;
        assert_eq!(ran.problem_code(), Some(Code::X003), "{name}");
        assert_eq!(delays(&ran).len(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_execution_has_a_limit_too() {
    let world = World::new(forever());
    let nodes = "nodes: [{id: t, type: tool, tool_name: wait}, {id: u, type: tool, tool_name: post, finally: true}]";
    let ran = world.run(&format!("{{budget: {{seconds: 3}}, {nodes}}}"), json!({})).await;
    assert_eq!((ran.ending.status, ran.problem_code()), (FinalStatus::Failed, Some(Code::X005)));
    assert_eq!(ran.state("u"), "finished");
}

#[tokio::test(start_paused = true)]
async fn cancelling_stops_guests_and_runs_finally() {
    let world = World::new(forever());
    let blueprint = "
        nodes:
          - {id: soft, type: tool, tool_name: wait}
          - {id: deaf, type: tool, tool_name: deaf}
          - {id: next, type: tool, tool_name: say, dependencies: [soft]}
          - id: inside
            type: loop
            items_source: [1]
            body: [{id: b, type: tool, tool_name: wait}]
          - {id: tidy, type: tool, tool_name: post, finally: true}
        ";
    let handle = world.start(blueprint, json!({})).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let asked = tokio::time::Instant::now();
    assert!(world.engine.cancel(&handle.id, "no longer wanted").await.unwrap());
    let ending = handle.finish().await;
    assert!(asked.elapsed().as_millis() <= 200, "{:?}", asked.elapsed());
    assert_eq!(ending.status, FinalStatus::Cancelled);
    let ran = Ran { ending, events: world.outside.store.events_of(&handle.id), id: handle.id.clone() };
    let states = ["soft", "deaf", "next", "inside[0]/b", "tidy"].map(|path| ran.state(path));
    assert_eq!(states, ["failed X002", "failed X002", "skipped halted", "failed X002", "finished"]);
    assert_eq!(replay(&ran.events).unwrap().cancel_requested.as_deref(), Some("no longer wanted"));
    assert!(!world.engine.cancel(&handle.id, "again").await.unwrap(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn finally_nodes_of_a_cancelled_execution_get_ten_seconds() {
    let world = World::new(forever());
    let blueprint = "
        nodes:
          - {id: t, type: tool, tool_name: wait}
          - {id: stuck, type: tool, tool_name: deaf, finally: true}
        ";
    let handle = world.start(blueprint, json!({})).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    handle.cancel("enough");
    let asked = tokio::time::Instant::now();
    assert_eq!(handle.finish().await.status, FinalStatus::Cancelled);
    assert!((10..11).contains(&asked.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn another_process_can_cancel() {
    let world = World::new(forever());
    let handle = world.start("nodes: [{id: t, type: tool, tool_name: wait}]", json!({})).await;
    let other = World { engine: world.outside.engine(NOW, 64), outside: world.outside };
    assert!(other.engine.cancel(&handle.id, "from afar").await.unwrap());
    assert_eq!(handle.finish().await.status, FinalStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_child_is_cancelled_with_its_parent() {
    let child = json!({ "schema_version": "1.2.0", "nodes": [tool_fields("c", "wait", &[])] });
    let world = World::new(forever().blueprint("kit.child", child));
    let handle = world.start("nodes: [{id: sub, type: workflow, workflow_ref: kit.child}]", json!({})).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    handle.cancel("enough");
    assert_eq!(handle.finish().await.status, FinalStatus::Cancelled);
    for id in world.outside.store.ids() {
        let ending = ice_core::execution::ending(&world.outside.store.events_of(&id)).unwrap();
        assert_eq!(ending.status, FinalStatus::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_keeps_failing_is_left_alone() {
    let world = World::new(Fakes::new().tool("down", Effects::External, |_| Err(broken())));
    let blueprint = "nodes: [{id: t, type: tool, tool_name: down}]";
    for _ in 0..5 {
        assert_eq!(world.run(blueprint, json!({})).await.problem_code(), Some(Code::X031));
    }
    assert_eq!(world.run(blueprint, json!({})).await.problem_code(), Some(Code::X004));
    assert_eq!(world.outside.fakes.count("down"), 5);
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    assert_eq!(world.run(blueprint, json!({})).await.problem_code(), Some(Code::X031), "one call tries again");
}

#[tokio::test(start_paused = true)]
async fn many_nested_leaves_with_one_permit_do_not_wait_for_each_other() {
    let world = World::new(forever());
    let ran = world
        .run(
            "
            max_parallel: 1
            nodes:
              - id: outer
                type: loop
                items_source: [1, 2, 3]
                parallel: true
                body:
                  - id: inner
                    type: parallel
                    branches:
                      - [{id: a, type: tool, tool_name: post}]
                      - [{id: b, type: tool, tool_name: post}]
            ",
            json!({}),
        )
        .await;
    assert_eq!((ran.ending.status, world.outside.fakes.count("post")), (FinalStatus::Completed, 6));
}
