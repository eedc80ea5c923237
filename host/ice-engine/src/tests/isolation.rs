//! Many executions at once, the same one twice, and those who follow them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use ice_core::catalog::Effects;

use super::*;
use crate::Live;

const BLUEPRINT: &str = "
    inputs: {required: [who]}
    nodes:
      - {id: a, type: tool, tool_name: slow, tool_args: {who: '{{ who }}', n: '{{ inputs.who }}'}}
      - id: each
        type: loop
        items_source: [1, 2]
        parallel: true
        dependencies: [a]
        body: [{id: b, type: tool, tool_name: slow, tool_args: {said: '{{ a.who }}-{{ item }}-{{ who }}'}}]
      - {id: l, type: llm, prompt: 'say {{ who }}', llm_config: {provider: test, model: m}, dependencies: [each]}
    outputs: {each: '{{ each.results }}', text: '{{ l.text }}'}
    ";

fn fakes() -> Fakes {
    Fakes::new().slow_tool("slow", Effects::External, |call, _| async move {
        let wait = u64::try_from(call.input.to_string().len() % 7).unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        Ok(call.input)
    })
}

#[tokio::test(start_paused = true)]
async fn fifty_executions_at_once_never_see_each_others_inputs() {
    let world = World::new(fakes());
    let run = |n: usize| {
        let world = &world;
        async move { (n, world.run(BLUEPRINT, json!({ "who": format!("person {n}") })).await) }
    };
    for (n, ran) in join_all((0..50).map(run)).await {
        let said = |item: u32| json!({ "said": format!("person {n}-{item}-person {n}") });
        assert_eq!(ran.ending.outputs["each"], json!([said(1), said(2)]));
        assert_eq!(ran.ending.outputs["text"], format!("say person {n}"));
        let own = serde_json::to_string(&ran.events).unwrap();
        for other in (0..50).filter(|other| *other != n) {
            assert!(!own.contains(&format!("person {other}-")), "{n} saw {other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn executions_on_many_threads_come_to_their_ends() {
    let world = World::new(fakes());
    let run = |n: usize| {
        let world = &world;
        async move { world.run(BLUEPRINT, json!({ "who": format!("person {n}") })).await }
    };
    for ran in join_all((0..20).map(run)).await {
        assert_eq!(ran.ending.status, FinalStatus::Completed);
        crate::testing::check_events(&ran.events);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_blueprint_twice_gives_the_same_output_under_different_ids() {
    let world = World::new(fakes());
    let first = world.run(BLUEPRINT, json!({ "who": "bob" })).await;
    let second = world.run(BLUEPRINT, json!({ "who": "bob" })).await;
    assert_eq!(first.ending, second.ending);
    assert_ne!(first.id, second.id);
    assert_eq!(first.states(), second.states());
}

#[tokio::test(start_paused = true)]
async fn a_follower_sees_every_event_in_order_and_streamed_text() {
    let world = World::new(fakes());
    let handle = world.start(BLUEPRINT, json!({ "who": "bob and the others" })).await;
    let mut stream = handle.events();
    let mut seen = Vec::new();
    let mut text = String::new();
    while let Some(live) = stream.next().await.unwrap() {
        match live {
            Live::Event(event) => seen.push((*event).clone()),
            Live::Delta { text: piece, .. } => text.push_str(&piece),
        }
    }
    assert_eq!(seen, world.outside.store.events_of(&handle.id));
    assert_eq!(text, "say bob and the others");
    let mut late = handle.events();
    let mut count = 0;
    while late.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, seen.len(), "one who comes late misses nothing that is stored");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_sleeps_does_not_hold_the_execution_up() {
    let world = World::new(Fakes::new().tool("say", Effects::None, Ok));
    let nodes: Vec<Value> = (0..3_000).map(|n| tool_fields(&format!("n{n}"), "say", &[])).collect();
    let blueprint = json!({ "schema_version": "1.2.0", "nodes": nodes }).to_string();
    let handle = world.start(&blueprint, json!({})).await;
    let mut stream = handle.events();
    handle.finish().await;
    let mut seen = BTreeSet::new();
    while let Some(live) = stream.next().await.unwrap() {
        if let Live::Event(event) = live {
            assert!(seen.insert(event.seq));
        }
    }
    assert_eq!(seen.len(), world.outside.store.events_of(&handle.id).len());
}
