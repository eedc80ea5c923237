//! What an execution may cost, before it starts. A token costs a micro-dollar, and a prompt of two words with room for
//! 100 tokens costs at least 3, likely 72, at most 102.

use super::*;
use crate::Estimate;

async fn estimate(world: &World, blueprint: &str, inputs: Value) -> Estimate {
    let plan = world.engine.plan(&parse(blueprint, "x").unwrap()).await.unwrap();
    world.engine.estimate(&plan, inputs).unwrap()
}

/// Calls, then money: low, likely, high.
fn sums(estimate: &Estimate) -> ([u64; 3], [u64; 3]) {
    let range = &estimate.range;
    (range.calls, [range.low, range.likely, range.high].map(|usage| usage.cost_micro_usd))
}

/// A node that asks, with more fields before its settings.
fn asks(id: &str, more: &str) -> String {
    format!(
        "{{id: {id}, type: llm, prompt: two words{more}, llm_config: {{provider: test, model: m, max_tokens: 100}}}}"
    )
}

#[tokio::test(start_paused = true)]
async fn one_call_has_an_answer_between_one_token_and_its_room() {
    let world = World::new(Fakes::new());
    let found = estimate(&world, &format!("nodes: [{}]", asks("a", "")), json!({})).await;
    assert_eq!(sums(&found), ([1, 1, 1], [3, 72, 102]));
    assert_eq!((found.nodes.len(), found.nodes[0].id.as_str(), found.nodes[0].kind), (1, "a", "llm"));
    assert!(found.assumed.is_empty());
    assert!(world.outside.llm.asked().is_empty(), "nobody was asked");
}

#[tokio::test(start_paused = true)]
async fn items_are_counted_where_they_are_known() {
    let world = World::new(Fakes::new().tool("list", ice_core::catalog::Effects::None, |_| Ok(json!({}))));
    let body = asks("l", "");
    let over = |items: &str, more: &str| {
        format!(
            "
            inputs: {{required: [xs]}}
            nodes:
              - {{id: t, type: tool, tool_name: list}}
              - {{id: each, type: loop, items_source: {items}, dependencies: [t]{more}, body: [{body}]}}
            "
        )
    };
    let known = json!({"xs": [1, 2, 3, 4]});
    assert_eq!(sums(&estimate(&world, &over("[1, 2, 3]", ""), known.clone()).await), ([3; 3], [9, 216, 306]));
    assert_eq!(sums(&estimate(&world, &over("inputs.xs", ""), known.clone()).await).0, [4; 3]);
    assert_eq!(sums(&estimate(&world, &over("xs", ", max_iterations: 2"), known.clone()).await).0, [2; 3]);
    let found = estimate(&world, &over("t.items", ""), known.clone()).await;
    assert_eq!(sums(&found).0, [0, 10, 100]);
    assert!(found.assumed[0].contains("`each`"), "{:?}", found.assumed);
    assert_eq!(sums(&estimate(&world, &over("t.items", ", max_iterations: 6"), known).await).0, [0, 6, 6]);
}

#[tokio::test(start_paused = true)]
async fn one_path_of_a_condition_runs_and_what_is_conditional_is_not_certain() {
    let world = World::new(Fakes::new());
    let (a, b, c) = (asks("a", ""), asks("b", ""), asks("c", ""));
    let both = format!(
        "nodes: [{{id: choice, type: condition, expression: '1 > 0', true_path: [{a}, {b}], false_path: [{c}]}}]"
    );
    assert_eq!(sums(&estimate(&world, &both, json!({})).await), ([1, 2, 2], [3, 108, 204]));
    let one = format!("nodes: [{{id: choice, type: condition, expression: '1 > 0', true_path: [{a}, {b}]}}]");
    assert_eq!(sums(&estimate(&world, &one, json!({})).await).0, [0, 1, 2]);
    let skipped = format!(
        "nodes: [{}, {}, {}]",
        asks("a", ", run_if: '{{ 1 > 0 }}'"),
        asks("b", ", dependencies: [a]"),
        asks("c", ", dependencies: [a], run_if: always"),
    );
    assert_eq!(sums(&estimate(&world, &skipped, json!({})).await).0, [1, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn retries_repairs_and_stand_ins_only_count_at_most() {
    let world = World::new(Fakes::new());
    let found = estimate(&world, &format!("nodes: [{}]", asks("a", ", retries: 2")), json!({})).await;
    assert_eq!(sums(&found), ([1, 1, 3], [3, 72, 306]));
    let shape = "json_schema: {type: object, properties: {x: {type: string}}}, repair_attempts: 2";
    let found = estimate(&world, &format!("nodes: [{}]", asks("a", &format!(", {shape}"))), json!({})).await;
    assert_eq!(sums(&found).0, [1, 1, 3]);
    let fallback = format!("nodes: [{}, {}]", asks("a", ", fallback: b"), asks("b", ""));
    assert_eq!(sums(&estimate(&world, &fallback, json!({})).await), ([1, 1, 2], [3, 72, 204]));
    let other = "
        nodes:
          - id: a
            type: llm
            prompt: two words
            llm_config: {provider: test, model: m, max_tokens: 100, fallback: [test/n]}
        ";
    assert_eq!(sums(&estimate(&world, other, json!({})).await), ([1, 1, 2], [3, 72, 204]));
}

#[tokio::test(start_paused = true)]
async fn rounds_of_agents_and_branches_that_are_not_waited_for() {
    let world = World::new(Fakes::new());
    let agent = "
        nodes:
          - id: a
            type: agent
            system_prompt: two words
            max_iterations: 7
            llm_config: {provider: test, model: m, max_tokens: 100}
        ";
    assert_eq!(sums(&estimate(&world, agent, json!({})).await), ([1, 3, 7], [3, 216, 714]));
    let (a, b, c) = (asks("a", ""), asks("b", ""), asks("c", ""));
    let branches =
        |wait: &str| format!("nodes: [{{id: p, type: parallel, wait: {wait}, branches: [[{a}], [{b}, {c}]]}}]");
    assert_eq!(sums(&estimate(&world, &branches("all"), json!({})).await).0, [3; 3]);
    assert_eq!(sums(&estimate(&world, &branches("any"), json!({})).await).0, [1, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_child_is_estimated_with_what_is_known_of_its_inputs() {
    let child = json!({
        "schema_version": "1.2.0",
        "inputs": { "type": "object", "properties": { "xs": { "type": "array", "default": [1, 2] } } },
        "nodes": [{ "id": "each", "type": "loop", "items_source": "inputs.xs", "body": [{
            "id": "l", "type": "llm", "prompt": "two words",
            "llm_config": { "provider": "test", "model": "m", "max_tokens": 100 },
        }]}],
    });
    let world =
        World::new(Fakes::new().blueprint("kit.child", child).tool("list", ice_core::catalog::Effects::None, Ok));
    let starts = |given: &str| {
        format!(
            "
            nodes:
              - {{id: t, type: tool, tool_name: list}}
              - {{id: w, type: workflow, workflow_ref: kit.child, dependencies: [t]{given}}}
            "
        )
    };
    for (given, calls) in [(", inputs: {xs: [1, 2, 3, 4, 5]}", [5; 3]), (", inputs: {xs: '{{ t.xs }}'}", [0, 10, 100])]
    {
        assert_eq!(sums(&estimate(&world, &starts(given), json!({})).await).0, calls, "{given}");
    }
}
