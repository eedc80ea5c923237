//! Many nodes: nothing recurses over them, nothing is quadratic in them, and the window is kept full.

use ice_core::catalog::Effects;

use super::*;

fn chain(count: usize) -> Value {
    let node = |index: usize| {
        let needs: Vec<String> = index.checked_sub(1).map(|before| format!("n{before}")).into_iter().collect();
        json!({ "id": format!("n{index}"), "type": "tool", "tool_name": "say", "dependencies": needs })
    };
    json!({ "nodes": (0..count).map(node).collect::<Vec<_>>(), "outputs": { "last": format!("n{}", count - 1) } })
}

fn fan(count: usize) -> Value {
    let node = |index: usize| json!({ "id": format!("n{index}"), "type": "tool", "tool_name": "say" });
    json!({ "nodes": (0..count).map(node).collect::<Vec<_>>(), "outputs": { "first": "n0" } })
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_and_a_wide_fan_end() {
    const COUNT: usize = 20_000;
    for blueprint in [chain(COUNT), fan(COUNT)] {
        let world = World::new(Fakes::new().tool("say", Effects::None, |_| Ok(json!({}))));
        let ran = world.run(&blueprint.to_string(), json!({})).await;
        assert_eq!((ran.ending.status, world.outside.fakes.count("say")), (FinalStatus::Completed, COUNT));
    }
}

#[tokio::test(start_paused = true)]
async fn parallel_model_calls_take_as_long_as_the_window_says() {
    for (window, batches) in [(16, 63), (100, 10), (1_000, 1)] {
        let node = |index: usize| json!({ "id": format!("n{index}"), "type": "llm", "prompt": "hi", "llm_config": { "model": "m" } });
        let nodes: Vec<Value> = (0..1_000).map(node).collect();
        let blueprint = json!({ "max_parallel": window, "nodes": nodes, "outputs": { "first": "n0.text" } });
        let clock = Arc::new(SimClock::at(NOW));
        let world = World::with_model(Fakes::new(), Answers::echo().slowly(clock, 50));
        let ran = world.run(&blueprint.to_string(), json!({})).await;
        let (first, last) = (ran.events.first().expect("begun"), ran.events.last().expect("ended"));
        assert_eq!(ran.ending.status, FinalStatus::Completed);
        let took = last.at - first.at;
        assert!((batches * 50..batches * 50 + 50).contains(&took), "{took} ms with a window of {window}");
    }
}
