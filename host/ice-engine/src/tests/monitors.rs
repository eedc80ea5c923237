//! Monitors: what they see while others run, and what they do about it.

use std::collections::BTreeMap;
use std::time::Duration;

use ice_core::catalog::Effects;
use ice_core::wait::Answer;

use super::*;
use crate::testing::check_events;
use crate::{Rest, WaitFilter};

fn world() -> World {
    let fakes = Fakes::new()
        .slow_tool("slow", Effects::External, |call, scope| async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(20)) => Ok(call.input),
                () = scope.cancelled() => Err(broken()),
            }
        })
        .tool("post", Effects::External, Ok);
    World::new(fakes)
}

fn blueprint(metric: &str, more: &str) -> String {
    format!(
        "
        max_parallel: 1
        nodes:
          - {{id: m, type: monitor, metric_expression: '{metric}', {more}}}
          - {{id: ask, type: llm, prompt: a b c, llm_config: {{provider: test, model: m}}}}
          - {{id: one, type: tool, tool_name: slow, dependencies: [ask], tool_args: {{n: 1}}}}
          - {{id: two, type: tool, tool_name: slow, dependencies: [one], tool_args: {{n: 2}}}}
          - {{id: tidy, type: tool, tool_name: post, finally: true}}
        outputs: {{m: '{{{{ m }}}}', two: '{{{{ two.n }}}}'}}
        "
    )
}

#[tokio::test(start_paused = true)]
async fn a_monitor_looks_on_while_others_run_and_ends_with_them() {
    let world = world();
    let ran = world.run(&blueprint("cost > 1 or seconds > 100", "check_interval_seconds: 5"), json!({})).await;
    let output = &ran.ending.outputs["m"];
    assert_eq!((&output["triggered"], &output["action_taken"]), (&json!(false), &json!("none")));
    // Every 5 s of 40 s, and whenever a node was done.
    let checks = output["checks_performed"].as_u64().unwrap();
    assert!((8..=12).contains(&checks), "{checks}");
    assert_eq!(ran.ending.outputs["two"], 2, "with one place for running nodes");
}

#[tokio::test(start_paused = true)]
async fn a_monitor_sees_cost_tokens_time_and_outputs() {
    for (metric, after) in [
        ("tokens >= 6", 0),
        ("cost > 0.000005", 0),
        ("seconds >= 15", 15),
        ("one.n == 1", 20),
        ("one.n + two.n > 2", 40),
    ] {
        let world = world();
        let ran = world.run(&blueprint(metric, "check_interval_seconds: 1"), json!({})).await;
        assert_eq!(ran.ending.outputs["m"]["triggered"], true, "{metric}");
        let ended = replay(&ran.events).unwrap().nodes[&NodePath("m".into())].ended.unwrap();
        let seconds = (ended - NOW) / 1_000;
        assert!((after..=after + 1).contains(&seconds), "{metric}: {seconds}");
    }
    let wrong = world().run(&blueprint("one.n.x.y", "check_interval_seconds: 1"), json!({})).await;
    assert_eq!(wrong.state("m"), "failed X011");
}

#[tokio::test(start_paused = true)]
async fn abort_ends_the_execution_and_finally_nodes_run() {
    let world = world();
    let ran = world.run(&blueprint("seconds > 9", "action_on_trigger: abort"), json!({})).await;
    assert_eq!((ran.ending.status, ran.problem_code()), (FinalStatus::Failed, Some(Code::X023)));
    let states = ["m", "one", "two", "tidy"].map(|path| ran.state(path));
    assert_eq!(states, ["finished", "failed X023", "skipped halted", "finished"]);
}

#[tokio::test(start_paused = true)]
async fn pause_holds_nodes_back_until_a_person_agrees() {
    for approved in [true, false] {
        let world = world();
        let handle = world.start(&blueprint("seconds > 9", "action_on_trigger: pause"), json!({})).await;
        assert_eq!(handle.rest().await, Rest::Waiting);
        let at_rest = replay(&world.outside.store.events_of(&handle.id)).unwrap();
        assert!(at_rest.nodes.contains_key(&NodePath("one".into())), "what ran went on to its end");
        assert!(!at_rest.nodes.contains_key(&NodePath("two".into())), "and nothing began");
        // Another process keeps it paused.
        let engine = world.outside.engine(NOW + 600_000, 64);
        let still = engine.resume(&handle.id).await.unwrap();
        assert_eq!(still.rest().await, Rest::Waiting);
        let wait = engine.waits(&WaitFilter::default()).await.unwrap().remove(0);
        assert!(wait.open.question.message.contains("seconds > 9"), "{}", wait.open.question.message);
        let answer = Answer { approved: Some(approved), responder: "ann".into(), ..Answer::default() };
        let ending = engine.answer(&wait.id, answer).await.unwrap().unwrap().finish().await;
        let code = ending.problem.as_ref().map(|problem| problem.code);
        match approved {
            true => assert_eq!((ending.status, &ending.outputs["two"]), (FinalStatus::Completed, &json!(2))),
            false => assert_eq!((ending.status, code), (FinalStatus::Failed, Some(Code::X023))),
        }
        check_events(&world.outside.store.events_of(&handle.id));
    }
}

#[tokio::test(start_paused = true)]
async fn alerts_go_out_once_and_say_what_did_not_go() {
    let mut world = world();
    world.outside.http = Arc::new(Posts::default().then(500, &[], "").then(200, &[], ""));
    let gateways = BTreeMap::from([("email".to_owned(), "https://hooks.example.com/mail".to_owned())]);
    let engine = world.outside.engine(NOW, 64);
    let shared = &engine.shared;
    let options = EngineOptions { alert_gateways: gateways, ..shared.options.clone() };
    world.engine = Engine::new(shared.ports.clone(), options);
    let targets =
        "{webhook: 'https://hooks.example.com/a', slack: 'https://hooks.example.com/b', email: ann@example.com}";
    let more = format!("alert_channels: [webhook, slack, email, sms, dashboard], alert_targets: {targets}");
    let ran = world.run(&blueprint("tokens > 0", &more), json!({})).await;
    let sent = ran.ending.outputs["m"]["alerts_sent"].as_array().unwrap();
    let told: Vec<(&str, bool)> =
        sent.iter().map(|one| (one["channel"].as_str().unwrap(), one["sent"].as_bool().unwrap())).collect();
    let expected = [("webhook", false), ("slack", true), ("email", true), ("sms", false), ("dashboard", true)];
    assert_eq!(told, expected);
    let posts = world.outside.http.sent();
    let body = |index: usize| serde_json::from_slice::<Value>(&posts[index].body).unwrap();
    assert_eq!((posts.len(), &body(0)["metric"], &body(2)["to"]), (3, &json!("tokens > 0"), &json!("ann@example.com")));
    assert!(body(1)["text"].as_str().unwrap().contains("tokens > 0"));
    assert_eq!(ran.ending.status, FinalStatus::Completed, "an alert that fails fails nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_monitor_does_not_keep_what_waits_in_memory() {
    let world = world();
    let blueprint = "
        nodes:
          - {id: m, type: monitor, metric_expression: cost > 1}
          - {id: ask, type: human, prompt_message: well}
        ";
    let handle = world.start(blueprint, json!({})).await;
    assert_eq!(handle.rest().await, Rest::Waiting);
    let wait = world.engine.waits(&WaitFilter::default()).await.unwrap().remove(0);
    let answer = Answer { approved: Some(true), responder: "ann".into(), ..Answer::default() };
    let ending = world.engine.answer(&wait.id, answer).await.unwrap().unwrap().finish().await;
    assert_eq!(ending.status, FinalStatus::Completed);
}
