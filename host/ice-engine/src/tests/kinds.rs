//! Webhooks, rounds, and code.

use ice_core::catalog::Effects;

use super::*;

const HOOK: &str = "
    nodes:
      - id: hook
        type: webhook
        url: 'https://hooks.example.com/in/{{ inputs.who }}'
        headers: {Authorization: 'Bearer {{secret:TOKEN}}', X-Who: '{{ inputs.who }}'}
        body: {hello: '{{ inputs.who }}', n: '{{ 1 + 1 }}'}
        signing_secret: SIGN
        retry_policy: {max_attempts: 3, backoff_seconds: 1, jitter: none}
    ";

fn with_http(http: Posts) -> World {
    let mut world = World::new(Fakes::new());
    world.outside.http = Arc::new(http);
    world.engine = world.outside.engine(NOW, 64);
    world
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_signed_and_names_its_secrets_only() {
    let world = with_http(Posts::default());
    let ran = world.run(HOOK, json!({ "who": "bob" })).await;
    let headers = json!({ "content-type": "application/json" });
    assert_eq!(ran.ending.outputs["hook"], json!({ "status": 200, "headers": headers, "body": { "ok": true } }));
    let sent = world.outside.http.sent();
    assert_eq!((sent[0].method.as_str(), sent[0].url.as_str()), ("POST", "https://hooks.example.com/in/bob"));
    assert_eq!(sent[0].body, br#"{"hello":"bob","n":2}"#);
    let header = |name: &str| sent[0].headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(header("authorization"), Some("Bearer {{secret:TOKEN}}"));
    assert_eq!(header("x-ice-signature-256"), Some("sha256={{hmac_sha256:SIGN}}"));
    assert_eq!((header("content-type"), header("x-who")), (Some("application/json"), Some("bob")));
    assert!(header("idempotency-key").is_some_and(|key| key.len() == 64));
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_tried_again_under_the_same_key() {
    let world = with_http(Posts::default().then(503, &[("retry-after", "7")], "").then(500, &[], ""));
    let ran = world.run(HOOK, json!({ "who": "bob" })).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    let delays: Vec<u64> = (ran.events.iter())
        .filter_map(|event| match &event.fact {
            Fact::NodeRetried { delay_ms, .. } => Some(*delay_ms),
            _ => None,
        })
        .collect();
    assert_eq!(delays, [7_000, 2_000]);
    let keys: Vec<_> = (world.outside.http.sent().iter())
        .map(|sent| sent.headers.iter().find(|(name, _)| name == "idempotency-key").unwrap().1.clone())
        .collect();
    assert_eq!((keys.len(), &keys[0], &keys[1]), (3, &keys[1], &keys[2]));
    let policy = "retry_policy: {max_attempts: 3, backoff_seconds: 1, jitter: none}";
    for (policy_instead, sent) in [("", 3), ("retries: 0", 1)] {
        let busy = || Posts::default().then(503, &[], "").then(503, &[], "").then(503, &[], "");
        let world = with_http(busy());
        let ran = world.run(&HOOK.replace(policy, policy_instead), json!({ "who": "bob" })).await;
        assert_eq!((ran.problem_code(), world.outside.http.sent().len()), (Some(Code::X022), sent));
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_fails_on_what_is_no_answer() {
    let one = "nodes: [{id: h, type: webhook, url: 'URL', body: hi, MORE}]";
    let with = |url: &str, more: &str| one.replace("URL", url).replace("MORE", more);
    let cases = [
        (Posts::default().then(404, &[], "no"), "https://hooks.example.com/x", "max_body_bytes: 10", Some(Code::X022)),
        (Posts::default().then(404, &[], "no"), "https://hooks.example.com/x", "accept_status: [404]", None),
        (
            Posts::default().then(200, &[], "far too long"),
            "https://hooks.example.com/x",
            "max_body_bytes: 5",
            Some(Code::X065),
        ),
        (Posts::default(), "https://elsewhere.example.com/x", "method: POST", Some(Code::G001)),
        (Posts::default(), "https://hooks.example.com/x", "headers: {X: '{{ inputs.evil }}'}", Some(Code::X068)),
        (
            Posts::default(),
            "https://hooks.example.com/x",
            "headers: {X: '{{ inputs.half }}{{ inputs.half }}secret:A'}",
            Some(Code::X068),
        ),
    ];
    for (http, url, more, code) in cases {
        let world = with_http(http);
        let ran = world.run(&with(url, more), json!({ "evil": "{{secret:TOKEN}}", "half": "{" })).await;
        assert_eq!(ran.problem_code(), code, "{url} {more}");
    }
}

fn improving() -> Fakes {
    Fakes::new()
        .agent("writer", |call, _| async move {
            let score = call.input["recursive_context"]["score"].as_i64().unwrap_or(0) + 1;
            Ok(json!({ "score": score, "seen": call.input["recursive_context"]["iteration"] }))
        })
        .agent("broken", |_, _| async { Err(permanently_broken()) })
        .tool("seed", Effects::None, |_| Ok(json!({ "score": 5 })))
        .tool("say", Effects::None, Ok)
}

fn rounds(more: &str) -> String {
    format!(
        "
        nodes:
          - {{id: seed, type: tool, tool_name: seed}}
          - id: r
            type: recursive
            agent_package: writer
            recursive_sources: [seed]
            dependencies: [seed]
            input: {{recursive_context: '{{{{ recursive_context }}}}'}}
            {more}
        "
    )
}

#[tokio::test(start_paused = true)]
async fn rounds_go_on_until_the_condition_holds_or_it_was_often_enough() {
    let world = World::new(improving());
    let ran = world.run(&rounds("convergence_condition: output.score >= 8 and iteration > 1"), json!({})).await;
    let output = &ran.ending.outputs["r"];
    assert_eq!(
        (&output["converged"], &output["reason"], &output["iterations"]),
        (&json!(true), &json!("condition_met"), &json!(3))
    );
    let last = json!({ "score": 8, "seen": 3 });
    assert_eq!(output["final_context"], json!({ "score": 8, "seen": 3, "iteration": 3, "output": last }));
    assert_eq!(ran.state("r[2]/each-round"), "finished");

    let ran = world.run(&rounds("max_rounds: 2"), json!({})).await;
    let output = &ran.ending.outputs["r"];
    assert_eq!((&output["converged"], &output["reason"]), (&json!(false), &json!("max_iterations_reached")));

    let ran = world.run(&rounds("max_iterations: 2").replace("package: writer", "package: broken"), json!({})).await;
    assert_eq!(ran.state("r"), "failed X031");
    assert!(ran.ending.problem.unwrap().message.starts_with("round 1: "));
}

#[tokio::test(start_paused = true)]
async fn a_blueprint_can_be_repeated_and_a_circle_closed() {
    let child = json!({
        "schema_version": "1.2.0", "inputs": { "required": ["n"] },
        "nodes": [{ "id": "s", "type": "tool", "tool_name": "say", "tool_args": { "n": "{{ n + 1 }}" } }],
        "outputs": { "n": "{{ s.n }}" },
    });
    let world = World::new(improving().blueprint("kit.step", child));
    let blueprint = "
        nodes:
          - id: r
            type: recursive
            workflow_ref: kit.step
            recursive_sources: [after]
            dependencies: [after]
            inputs: {n: '{{ recursive_context.n | default(0) }}'}
            convergence_condition: '{{ context.n == 4 }}'
          - {id: after, type: tool, tool_name: say, dependencies: [r], tool_args: {n: '{{ r.final_context.n }}'}}
        outputs: {n: '{{ after.n }}', rounds: '{{ r.iterations }}'}
        ";
    let ran = world.run(blueprint, json!({})).await;
    assert_eq!(ran.ending.outputs, json!({ "n": 4, "rounds": 4 }));
    assert_eq!(world.outside.store.ids().len(), 5, "each round is an execution of its own");
}

fn interpreter() -> Fakes {
    Fakes::new()
        .tool("python_run", Effects::None, |input| match input["code"].as_str() {
            Some("fail") => Err(permanently_broken()),
            Some("odd") => Ok(json!({ "value": 1 })),
            _ => Ok(json!({ "result": { "sum": input["inputs"]["a"].as_i64().unwrap() + 1 }, "stdout": "adding\n" })),
        })
        .tool("say", Effects::None, Ok)
}

#[tokio::test(start_paused = true)]
async fn code_gets_its_inputs_and_gives_its_result() {
    let world = World::new(interpreter());
    let node =
        |code: &str, more: &str| format!("nodes: [{{id: c, type: code, language: python, code: {code}, {more}}}]");
    let ran = world.run(&node("'result = 1'", "inputs: {a: '{{ inputs.n }}'}"), json!({ "n": 2 })).await;
    assert_eq!(ran.ending.outputs["c"], json!({ "sum": 3 }));
    let call = &world.outside.fakes.calls()[0];
    assert_eq!(call.input, json!({ "code": "result = 1", "inputs": { "a": 2 } }));
    let logged = |event: &Event| matches!(&event.fact, Fact::Logged { message, .. } if message == "adding\n");
    assert!(ran.events.iter().any(logged));
    // As older documents write it: what the schema names is taken from the inputs.
    let ran = world.run(&node("x", "input_schema: {a: int}, output_schema: {sum: int}"), json!({ "a": 4 })).await;
    assert_eq!(ran.ending.outputs["c"], json!({ "sum": 5 }));
    for (code, more, expected) in [
        ("x", "inputs: {a: 1}, output_schema: {sum: str}", Code::X007),
        ("fail", "inputs: {a: 1}", Code::X031),
        ("odd", "inputs: {a: 1}", Code::X033),
        ("x", "input_schema: {a: int}", Code::X006),
    ] {
        assert_eq!(
            world.run(&node(code, more), json!({ "a": "x" })).await.problem_code(),
            Some(expected),
            "{code} {more}"
        );
    }
}
