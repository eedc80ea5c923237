//! Order, failure, skip, fallback, finally, conditions, loops, branches, children.

use ice_core::catalog::Effects;
use ice_core::event::CalledComponent;
use ice_core::ports::Components as _;

use super::*;

/// `say` gives its input back; `fail` fails for good; `flaky` fails on its first attempt.
fn fakes() -> Fakes {
    Fakes::new()
        .tool("say", Effects::None, Ok)
        .tool("post", Effects::External, Ok)
        .tool("fail", Effects::External, |_| Err(permanently_broken()))
        .slow_tool("flaky", Effects::External, |call, _| async move {
            if call.attempt == 1 { Err(broken()) } else { Ok(json!({ "attempt": call.attempt })) }
        })
}

#[tokio::test(start_paused = true)]
async fn outputs_are_rendered_from_what_nodes_gave() {
    let world = World::new(fakes());
    let ran = world
        .run(
            "
            inputs: {required: [who]}
            nodes:
              - {id: a, type: tool, tool_name: say, tool_args: {text: 'hello {{ who }}', count: '{{ inputs.n }}'}}
              - {id: b, type: tool, tool_name: say, dependencies: [a], tool_args: {again: '{{ a.text }}!'}}
            outputs: {said: '{{ b.again }}', count: '{{ a.count }}'}
            "
            .replace("required: [who]", "required: [who], optional: [n]")
            .as_str(),
            json!({ "who": "bob", "n": 3 }),
        )
        .await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert_eq!(ran.ending.outputs, json!({ "said": "hello bob!", "count": 3 }));
}

#[tokio::test(start_paused = true)]
async fn without_declared_outputs_the_last_nodes_speak() {
    let world = World::new(fakes());
    let ran = world
        .run(
            "
            nodes:
              - {id: a, type: tool, tool_name: say}
              - {id: b, type: tool, tool_name: say, dependencies: [a], tool_args: {x: 1}}
            ",
            json!({}),
        )
        .await;
    assert_eq!(ran.ending.outputs, json!({ "b": { "x": 1 } }));
}

#[tokio::test(start_paused = true)]
async fn a_failed_node_skips_its_dependents_and_is_named() {
    let world = World::new(fakes());
    let ran = world
        .run(
            "
            nodes:
              - {id: bad, type: tool, tool_name: fail}
              - {id: after, type: tool, tool_name: say, dependencies: [bad]}
              - {id: other, type: tool, tool_name: say, tool_args: {x: 1}}
              - {id: anyway, type: tool, tool_name: say, dependencies: [after], run_if: always}
            outputs: {x: '{{ other.x }}', lost: '{{ after.x }}'}
            ",
            json!({}),
        )
        .await;
    assert_eq!(ran.ending.status, FinalStatus::CompletedWithErrors);
    assert_eq!(ran.ending.outputs, json!({ "x": 1, "lost": null }));
    let problem = ran.ending.problem.clone().unwrap();
    assert_eq!(problem.code, Code::X031);
    assert!(problem.to_string().contains("node `bad`"), "{problem}");
    let states = ["bad", "after", "other", "anyway"].map(|path| ran.state(path));
    assert_eq!(states, ["failed X031", "skipped dependency", "finished", "finished"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_event_of_a_node_names_the_component_it_calls() {
    let world = World::new(fakes().agent("worker", |_, _| async { Ok(json!({})) }));
    let ran = world
        .run(
            "
            nodes:
              - {id: t, type: tool, tool_name: say}
              - {id: a, type: agent, package: worker, dependencies: [t]}
              - {id: l, type: llm, prompt: hi, dependencies: [a], llm_config: {provider: test, model: m}}
            ",
            json!({}),
        )
        .await;
    let named = ran.events.iter().filter_map(|event| match &event.fact {
        Fact::NodeStarted { component, .. } => Some((event.path.as_str(), component.as_deref())),
        _ => None,
    });
    let catalog = world.outside.fakes.catalog();
    let tool = CalledComponent::new(&catalog.tools["say"], catalog.tools["say"].artifact);
    let agent = CalledComponent::new(&catalog.agents["worker"], catalog.agents["worker"].artifact);
    assert_eq!((tool.plugin.as_str(), tool.version.as_deref()), ("test/fakes", Some("1.0.0")));
    assert_eq!(named.collect::<Vec<_>>(), [("t", Some(&tool)), ("a", Some(&agent)), ("l", None)]);
}

#[tokio::test(start_paused = true)]
async fn when_no_output_can_be_made_the_execution_failed() {
    let world = World::new(fakes());
    let blueprint = "nodes: [{id: bad, type: tool, tool_name: fail}], outputs: {x: '{{ bad.x }}'}";
    let ran = world.run(&format!("{{{blueprint}}}"), json!({})).await;
    assert_eq!((ran.ending.status, &ran.ending.outputs), (FinalStatus::Failed, &Value::Null));
    let ran = world.run(&format!("{{failure_policy: always, {blueprint}}}"), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::CompletedWithErrors);
}

#[tokio::test(start_paused = true)]
async fn halt_stops_what_runs_and_what_waits_and_runs_finally() {
    let fakes = fakes().slow_tool("wait", Effects::External, |_, scope| async move {
        scope.cancelled().await;
        Err(broken())
    });
    let world = World::new(fakes);
    let ran = world
        .run(
            "
            failure_policy: halt
            nodes:
              - {id: long, type: tool, tool_name: wait}
              - {id: bad, type: tool, tool_name: fail}
              - {id: later, type: tool, tool_name: say, dependencies: [long]}
              - {id: tidy, type: tool, tool_name: post, finally: true}
            ",
            json!({}),
        )
        .await;
    assert_eq!(ran.ending.status, FinalStatus::Failed);
    assert_eq!(ran.problem_code(), Some(Code::X031), "the failure that explains the others");
    let states = ["long", "bad", "later", "tidy"].map(|path| ran.state(path));
    assert_eq!(states, ["failed X002", "failed X031", "skipped halted", "finished"]);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_takes_the_place_of_a_failed_node() {
    let world = World::new(fakes());
    let ran = world
        .run(
            "
            nodes:
              - {id: first, type: tool, tool_name: fail, fallback: second}
              - {id: second, type: tool, tool_name: say, tool_args: {x: 2}}
              - {id: use, type: tool, tool_name: say, dependencies: [first], tool_args: {got: '{{ first.x }}'}}
            outputs: {got: '{{ use.got }}'}
            ",
            json!({}),
        )
        .await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert_eq!(ran.ending.outputs, json!({ "got": 2 }));
    assert_eq!(ran.state("first"), "failed X031");
}

#[tokio::test(start_paused = true)]
async fn run_if_decides_and_what_it_skips_is_null_not_wrong() {
    let world = World::new(fakes());
    let blueprint = "
        inputs: {required: [wanted]}
        nodes:
          - {id: maybe, type: tool, tool_name: say, run_if: '{{ wanted }}', tool_args: {x: 1}}
        outputs: {x: '{{ maybe.x }}'}
        ";
    let ran = world.run(blueprint, json!({ "wanted": true })).await;
    assert_eq!(ran.ending.outputs, json!({ "x": 1 }));
    let ran = world.run(blueprint, json!({ "wanted": false })).await;
    assert_eq!((ran.ending.status, &ran.ending.outputs), (FinalStatus::Completed, &json!({ "x": null })));
    assert_eq!(ran.state("maybe"), "skipped run_if");
}

#[tokio::test(start_paused = true)]
async fn a_condition_runs_one_branch() {
    let world = World::new(fakes());
    let blueprint = "
        inputs: {required: [n]}
        nodes:
          - id: check
            type: condition
            expression: inputs.n > 3
            true_path: [{id: big, type: tool, tool_name: say, tool_args: {n: '{{ n }}'}}]
            false_path: [{id: small, type: tool, tool_name: say}]
        outputs: {branch: '{{ check.branch }}', all: '{{ check }}'}
        ";
    let ran = world.run(blueprint, json!({ "n": 7 })).await;
    assert_eq!(ran.ending.outputs["branch"], "true");
    assert_eq!(ran.ending.outputs["all"]["big"], json!({ "n": 7 }));
    assert_eq!([ran.state("check.true/big"), ran.state("check.false/small")], ["finished", "never"]);
    let ran = world.run(blueprint, json!({ "n": 1 })).await;
    assert_eq!(ran.state("check.false/small"), "finished");
}

const LOOP: &str = "
    inputs: {required: [items]}
    nodes:
      - id: each
        type: loop
        items_source: inputs.items
        item_var: it
        on_item_error: ON_ERROR
        max_concurrency: 2
        body:
          - {id: look, type: tool, tool_name: pick, tool_args: {it: '{{ it }}', at: '{{ loop_index }}'}}
          - {id: keep, type: tool, tool_name: say, dependencies: [look], tool_args: {v: '{{ look.it }}-{{ look.at }}'}}
    outputs: {results: '{{ each.results }}', errors: '{{ each.errors }}'}
    ";

fn pick() -> Fakes {
    fakes().tool(
        "pick",
        Effects::None,
        |input| if input["it"] == "bad" { Err(permanently_broken()) } else { Ok(input) },
    )
}

#[tokio::test(start_paused = true)]
async fn a_loop_gives_results_in_the_order_of_the_items() {
    let world = World::new(pick());
    let ran = world.run(&LOOP.replace("ON_ERROR", "fail"), json!({ "items": ["x", "y", "z"] })).await;
    assert_eq!(ran.ending.outputs["results"], json!([{ "v": "x-0" }, { "v": "y-1" }, { "v": "z-2" }]));
    assert_eq!(ran.state("each[1]/look"), "finished");
    let ran = world.run(&LOOP.replace("ON_ERROR", "fail"), json!({ "items": [] })).await;
    assert_eq!(ran.ending.outputs["results"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_item_fails_is_collected_or_is_left_out() {
    let world = World::new(pick());
    let inputs = || json!({ "items": ["x", "bad", "z"] });
    let ran = world.run(&LOOP.replace("ON_ERROR", "fail"), inputs()).await;
    assert_eq!((ran.ending.status, ran.problem_code()), (FinalStatus::Failed, Some(Code::X031)));
    assert!(ran.ending.problem.unwrap().message.contains("item 1"));
    let ran = world.run(&LOOP.replace("ON_ERROR", "collect"), inputs()).await;
    assert_eq!(ran.ending.outputs["results"], json!([{ "v": "x-0" }, { "v": "z-2" }]));
    let errors = &ran.ending.outputs["errors"];
    assert_eq!((&errors[0]["index"], &errors[0]["problem"]["code"]), (&json!(1), &json!("ICE-X031")));
    let ran = world.run(&LOOP.replace("ON_ERROR", "skip"), inputs()).await;
    assert_eq!(ran.ending.outputs["errors"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn items_that_are_no_list_are_a_problem() {
    let world = World::new(pick());
    let ran = world.run(&LOOP.replace("ON_ERROR", "skip"), json!({ "items": 7 })).await;
    assert_eq!(ran.problem_code(), Some(Code::X014));
}

const BRANCHES: &str = "
    nodes:
      - id: both
        type: parallel
        wait: WAIT
        branches:
          - [{id: a, type: tool, tool_name: LEFT, tool_args: {x: 1}}]
          - [{id: b, type: tool, tool_name: RIGHT, tool_args: {x: 2}}]
    outputs: {all: '{{ both }}'}
    ";

fn branches(wait: &str, left: &str, right: &str) -> String {
    BRANCHES.replace("WAIT", wait).replace("LEFT", left).replace("RIGHT", right)
}

#[tokio::test(start_paused = true)]
async fn parallel_branches_are_merged() {
    let world = World::new(fakes());
    let ran = world.run(&branches("all", "say", "say"), json!({})).await;
    let all = &ran.ending.outputs["all"];
    assert_eq!(all["completed_branches"], json!([0, 1]));
    assert_eq!(all["merged"], json!({ "a": { "x": 1 }, "b": { "x": 2 } }));
    assert_eq!(ran.state("both[0]/a"), "finished");
    let ran = world.run(&branches("all", "say", "fail"), json!({})).await;
    assert_eq!((ran.ending.status, ran.state("both[0]/a").as_str()), (FinalStatus::Failed, "finished"));
}

#[tokio::test(start_paused = true)]
async fn any_branch_is_enough_and_the_others_are_stopped() {
    let fakes = fakes().slow_tool("wait", Effects::External, |_, scope| async move {
        scope.cancelled().await;
        Err(broken())
    });
    let world = World::new(fakes);
    let ran = world.run(&branches("any", "wait", "say"), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert_eq!(ran.ending.outputs["all"]["completed_branches"], json!([1]));
    assert_eq!(ran.state("both[0]/a"), "failed X002");
    let ran = world.run(&branches("any", "fail", "say"), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    let ran = world.run(&branches("any", "fail", "fail"), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_workflow_node_is_an_execution_of_its_own() {
    let child = json!({
        "schema_version": "1.2.0",
        "inputs": { "required": ["n"] },
        "nodes": [{ "id": "c", "type": "tool", "tool_name": "post", "tool_args": { "n": "{{ n }}" } }],
        "outputs": { "n": "{{ c.n }}" },
    });
    let world = World::new(fakes().blueprint("kit.child", child));
    let ran = world
        .run(
            "
            nodes:
              - {id: sub, type: workflow, workflow_ref: kit.child, inputs: {n: 4}, exposed_outputs: {number: n}}
            outputs: {number: '{{ sub.number }}'}
            ",
            json!({}),
        )
        .await;
    assert_eq!(ran.ending.outputs, json!({ "number": 4 }));
    let ids = world.outside.store.ids();
    let other = ids.iter().find(|id| **id != ran.id).unwrap();
    let view = replay(&world.outside.store.events_of(other)).unwrap();
    assert_eq!(view.parent, Some((ran.id.clone(), NodePath("sub".into()))));
}

#[tokio::test(start_paused = true)]
async fn what_went_wrong_in_a_child_is_not_hidden() {
    let child = json!({
        "schema_version": "1.2.0",
        "nodes": [tool_fields("c", "fail", &[]), tool_fields("d", "say", &[])],
        "outputs": { "d": "{{ d }}" },
    });
    let world = World::new(fakes().blueprint("kit.child", child));
    let ran = world.run("nodes: [{id: sub, type: workflow, workflow_ref: kit.child}]", json!({})).await;
    assert_eq!((ran.ending.status, ran.problem_code()), (FinalStatus::Failed, Some(Code::X031)));
}

#[tokio::test(start_paused = true)]
async fn bad_input_fails_before_and_bad_output_after() {
    let strict = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let fakes = fakes().tool("strict", Effects::External, |_| Ok(json!({ "n": "not a number" }))).schemas(
        "strict",
        strict.clone(),
        strict,
    );
    let world = World::new(fakes);
    let blueprint = "
        inputs: {required: [n]}
        nodes: [{id: t, type: tool, tool_name: strict, tool_args: {n: '{{ n }}'}}]
        ";
    let ran = world.run(blueprint, json!({ "n": "x" })).await;
    assert_eq!((ran.problem_code(), world.outside.fakes.count("strict")), (Some(Code::X006), 0));
    let ran = world.run(blueprint, json!({ "n": 1 })).await;
    assert_eq!((ran.problem_code(), world.outside.fakes.count("strict")), (Some(Code::X007), 1));
}

#[tokio::test(start_paused = true)]
async fn inputs_that_do_not_fit_start_nothing() {
    let world = World::new(fakes());
    let blueprint = "
        inputs: {required: [who]}
        nodes: [{id: a, type: tool, tool_name: say, tool_args: {x: '{{ who }}'}}]
        ";
    let problems = try_start(&world.engine, blueprint, json!({})).await.err().unwrap();
    assert_eq!(problems[0].code, Code::X006);
    assert!(world.outside.store.ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cached_output_is_not_computed_again() {
    let world = World::new(fakes());
    let blueprint = "
        nodes:
          - {id: a, type: tool, tool_name: say, use_cache: true, tool_args: {x: 1}}
          - {id: b, type: tool, tool_name: say, use_cache: true, dependencies: [a], tool_args: {x: 1}}
          - {id: c, type: tool, tool_name: post, use_cache: true, dependencies: [b], tool_args: {x: 1}}
        ";
    let ran = world.run(blueprint, json!({})).await;
    assert_eq!(["a", "b", "c"].map(|path| ran.state(path)), ["finished", "cached", "finished"]);
    let missed = ran.events.iter().filter(|event| event.fact == Fact::CacheMissed);
    assert_eq!(missed.map(|event| event.path.as_str()).collect::<Vec<_>>(), ["a"]);
    world.run(blueprint, json!({})).await;
    let counts = ["say", "post"].map(|name| world.outside.fakes.count(name));
    assert_eq!(counts, [1, 2], "what has effects is never taken from the cache");
}

#[tokio::test(start_paused = true)]
async fn aliases_and_mappings_name_parts_of_outputs() {
    let world = World::new(fakes());
    let ran = world
        .run(
            "
            nodes:
              - {id: a, type: tool, tool_name: say, tool_args: {deep: {x: 5}}, output_mappings: {five: deep.x}}
              - id: b
                type: tool
                tool_name: say
                dependencies: [a]
                input_mappings: {n: {source_node_id: a, source_output_key: deep.x}}
            outputs: {five: '{{ a.five }}', n: '{{ b.n }}'}
            ",
            json!({}),
        )
        .await;
    assert_eq!(ran.ending.outputs, json!({ "five": 5, "n": 5 }));
}

#[tokio::test(start_paused = true)]
async fn a_composite_that_is_tried_again_keeps_what_finished_inside() {
    let world = World::new(fakes());
    let ran = world
        .run(
            "
            nodes:
              - id: each
                type: loop
                items_source: [1, 2]
                retry_policy: {max_attempts: 2, backoff_seconds: 1}
                body:
                  - {id: send, type: tool, tool_name: post}
                  - {id: try, type: tool, tool_name: flaky, dependencies: [send]}
            outputs: {results: '{{ each.results }}'}
            ",
            json!({}),
        )
        .await;
    // Item 0 fails at its first attempt and stops the loop; the second attempt of the loop is item 0's second and
    // item 1's first, which fails it for good.
    assert_eq!(ran.ending.status, FinalStatus::Failed);
    let sent = world.outside.fakes.calls().iter().filter(|call| call.name == "post").count();
    assert_eq!(sent, 2, "one for each item, however often the loop is tried");
    assert_eq!(ran.state("each[0]/try"), "finished");
}
