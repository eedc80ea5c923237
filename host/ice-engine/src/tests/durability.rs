//! Stop after every event, replay, go on: nothing finished runs again, and the end is the same.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use ice_core::budget::Usage;
use ice_core::catalog::Effects;
use ice_core::event::CapabilityUse;
use ice_core::grant::Capability;
use ice_core::id::Digest;
use ice_core::ports::{LlmRequest, Message, Role, Scope, ToolCall};

use super::*;
use crate::testing::check_events;

/// One blueprint with every kind of node in it, most of them effectful.
const EVERYTHING: &str = "
    inputs: {required: [who]}
    nodes:
      - {id: pure, type: tool, tool_name: say, tool_args: {text: 'hi {{ who }}'}}
      - {id: send, type: tool, tool_name: post, dependencies: [pure], tool_args: {text: '{{ pure.text }}'}}
      - id: retried
        type: tool
        tool_name: flaky
        dependencies: [send]
        retry_policy: {max_attempts: 2, backoff_seconds: 1}
      - {id: bad, type: tool, tool_name: fail, fallback: spare}
      - {id: spare, type: tool, tool_name: post, tool_args: {spare: true}}
      - id: each
        type: loop
        items_source: [a, b, c]
        dependencies: [send]
        on_item_error: collect
        body:
          - {id: one, type: tool, tool_name: post, tool_args: {item: '{{ item }}'}}
          - {id: two, type: tool, tool_name: picky, dependencies: [one], tool_args: {item: '{{ one.item }}'}}
      - id: check
        type: condition
        expression: each.results | length == 2
        dependencies: [each]
        true_path: [{id: yes, type: tool, tool_name: post, tool_args: {n: 1}}]
      - id: both
        type: parallel
        dependencies: [bad]
        branches:
          - [{id: left, type: tool, tool_name: post, tool_args: {from: '{{ bad.spare }}'}}]
          - [{id: right, type: tool, tool_name: say, tool_args: {x: 1}}]
      - id: write
        type: llm
        prompt: 'write about {{ pure.text }}'
        llm_config: {provider: test, model: m}
        json_schema: {title: str}
        dependencies: [pure]
      - id: data
        type: agent
        system_prompt: you are an agent
        task: do something
        tools: [post]
        llm_config: {provider: test, model: m}
        dependencies: [write]
      - {id: guest, type: agent, package: worker, dependencies: [write], input: {n: 1}}
      - {id: sub, type: workflow, workflow_ref: kit.child, dependencies: [check], inputs: {n: 4}}
      - id: hook
        type: webhook
        url: 'https://hooks.example.com/{{ inputs.who }}'
        body: {sent: '{{ send.text }}'}
        signing_secret: KEY
        dependencies: [send]
      - {id: sum, type: code, code: result = 1, inputs: {a: '{{ hook.status }}'}, dependencies: [hook]}
      - id: rounds
        type: recursive
        agent_package: worker
        input: {n: '{{ recursive_context.iteration }}'}
        convergence_condition: iteration >= 2 and output.failed
        dependencies: [sum]
      - id: group
        type: swarm
        task: '{{ write.title }}'
        coordination_strategy: hierarchical
        max_rounds: 2
        dependencies: [write]
        agents: [{role: lead, system_prompt: lead}, {package: worker, role: worker, input: {n: 2}}]
        llm_config: {provider: test, model: m}
      - id: look
        type: monitor
        metric_expression: rounds.iterations == 2
        alert_channels: [webhook]
        alert_targets: {webhook: 'https://hooks.example.com/alert'}
        watch: [rounds]
      - {id: tidy, type: tool, tool_name: post, finally: true}
    outputs:
      hook: '{{ hook.body }}'
      sum: '{{ sum }}'
      rounds: '{{ rounds.final_context }}'
      group: '{{ group.transcript }}'
      look: '{{ [look.triggered, look.alerts_sent] }}'

      sent: '{{ send.text }}'
      retried: '{{ retried }}'
      each: '{{ each }}'
      branch: '{{ check.branch }}'
      merged: '{{ both.merged }}'
      title: '{{ write.title }}'
      data: '{{ data.message }}'
      guest: '{{ guest }}'
      sub: '{{ sub }}'
    ";

/// A guest as the runtime runs one: asks for recorded answers first, and records what is new.
async fn work(scope: Arc<dyn Scope>) -> Result<Value, Failure> {
    let mut answers = Vec::new();
    for ordinal in 0..2 {
        let request = Digest::of(format!("question {ordinal}").as_bytes());
        if let Some(answer) = scope.recall(ordinal, &request) {
            answers.push(answer);
            continue;
        }
        let usage = Usage { input_tokens: 5, ..Usage::default() };
        scope.reserve(usage).await?;
        let reply = json!(format!("answer {ordinal}"));
        scope
            .record(CapabilityUse {
                capability: Capability::Llm,
                operation: "complete".into(),
                ordinal,
                request,
                reply: Some(reply.clone()),
                usage,
                ms: 1,
            })
            .await?;
        answers.push(reply);
    }
    let posted = scope.call_tool("post", json!({ "from": "guest" })).await?;
    let failed = scope.call_tool("fail", json!({})).await.is_err();
    Ok(json!({ "answers": answers, "posted": posted, "failed": failed }))
}

/// The model as a function of the question, so that a crash between asking and recording changes nothing.
fn model(request: &LlmRequest) -> Message {
    let say =
        |text: &str| Message { role: Role::Assistant, content: text.into(), tool_calls: Vec::new(), answers: None };
    let answered = request.messages.iter().filter(|message| message.role == Role::Tool).count();
    if request.messages[0].content == "lead" {
        let done = request.messages.iter().any(|message| message.content.contains("worker (round 1)"));
        let (give, decide) = ("{\"delegate\": [{\"to\": \"worker\", \"task\": \"go\"}]}", "{\"decision\": \"good\"}");
        return say(if done { decide } else { give });
    }
    let repaired = request.messages.iter().any(|message| message.content.contains("Answer again"));
    match (request.tools.is_empty(), answered) {
        (false, 0 | 1) => Message {
            tool_calls: vec![ToolCall {
                id: format!("call-{answered}"),
                name: "post".into(),
                arguments: json!({ "round": answered }),
            }],
            ..say("let me post")
        },
        (false, _) => say("done"),
        (true, _) if repaired => say("{\"title\": \"good\"}"),
        (true, _) => say("no JSON at all"),
    }
}

fn outside() -> Outside {
    let child = json!({
        "schema_version": "1.2.0",
        "inputs": { "required": ["n"] },
        "nodes": [
            { "id": "c", "type": "tool", "tool_name": "post", "tool_args": { "n": "{{ n }}" } },
            {
                "id": "l", "type": "llm", "prompt": "child", "dependencies": ["c"], "json_schema": { "title": "str" },
                "llm_config": { "provider": "test", "model": "m" },
            },
        ],
        "outputs": { "n": "{{ c.n }}", "title": "{{ l.title }}" },
    });
    let fakes = Fakes::new()
        .tool("say", Effects::None, Ok)
        .tool("post", Effects::External, Ok)
        .tool("fail", Effects::External, |_| Err(permanently_broken()))
        .tool(
            "picky",
            Effects::External,
            |input| if input["item"] == "b" { Err(permanently_broken()) } else { Ok(input) },
        )
        .slow_tool("flaky", Effects::External, |call, _| async move {
            if call.attempt == 1 { Err(broken()) } else { Ok(json!({ "attempt": call.attempt })) }
        })
        .tool("python_run", Effects::None, |input| Ok(json!({ "result": input["inputs"], "stdout": "" })))
        .agent("worker", |_, scope| work(scope))
        .blueprint("kit.child", child);
    Outside::new(fakes, Answers::by(model))
}

/// One process: everything it had running is gone afterwards.
fn process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(life)
}

/// How often each effect was asked for: by execution, path and attempt.
fn effects(outside: &Outside) -> HashMap<(ExecutionId, NodePath, u32), usize> {
    let mut counts = HashMap::new();
    for call in outside.fakes.calls().into_iter().filter(|call| !["say", "python_run"].contains(&call.name.as_str())) {
        *counts.entry((call.execution, call.path, call.attempt)).or_default() += 1;
    }
    counts
}

/// The steps of every execution that had finished by the cut.
fn finished(outside: &Outside) -> Vec<(ExecutionId, NodePath, u32)> {
    let events = |id: &ExecutionId| outside.store.events_of(id);
    let ends = |event: &Event| matches!(event.fact, Fact::NodeFinished { .. } | Fact::NodeFailed { .. });
    let place = |id: &ExecutionId, event: Event| (id.clone(), event.path, event.attempt);
    let of = |id: ExecutionId| events(&id).into_iter().filter(ends).map(move |event| place(&id, event));
    outside.store.ids().into_iter().flat_map(of).collect()
}

/// Runs everything, cut after `cut` events, and goes on in a second process. The second is `None` when nothing was
/// cut off.
fn disturbed(cut: usize, group: usize) -> (Outside, Ending) {
    let outside = process(async {
        let outside = outside();
        outside.store.cut(crate::testing::Cut::After(cut));
        let engine = outside.engine(NOW, group);
        tokio::select! {
            biased;
            () = outside.store.went_dark() => {}
            _ = async { start(&engine, EVERYTHING, json!({ "who": "bob" })).await.finish().await } => {}
        }
        outside
    });
    let before = (finished(&outside), effects(&outside));
    let ending = process(async {
        let engine = outside.engine(NOW + 60_000, group);
        outside.store.cut(crate::testing::Cut::Never);
        let root = outside
            .store
            .ids()
            .into_iter()
            .find(|id| replay(&outside.store.events_of(id)).is_some_and(|view| view.parent.is_none()));
        let handle = match root {
            Some(id) => engine.resume(&id).await.unwrap(),
            None => start(&engine, EVERYTHING, json!({ "who": "bob" })).await,
        };
        handle.finish().await
    });
    let after = effects(&outside);
    for step in before.0 {
        assert_eq!(after.get(&step), before.1.get(&step), "{step:?} had finished and ran again");
    }
    for id in outside.store.ids() {
        check_events(&outside.store.events_of(&id));
    }
    (outside, ending)
}

fn undisturbed() -> (usize, Ending) {
    process(async {
        let outside = outside();
        let engine = outside.engine(NOW, 1);
        let handle = start(&engine, EVERYTHING, json!({ "who": "bob" })).await;
        let ending = tokio::time::timeout(Duration::from_secs(3_600), handle.finish()).await.unwrap();
        outside.store.ids().iter().for_each(|id| check_events(&outside.store.events_of(id)));
        (outside.store.ids().iter().map(|id| outside.store.events_of(id).len()).sum(), ending)
    })
}

#[test]
fn everything_ends_as_it_should() {
    let (_, ending) = undisturbed();
    let outputs = &ending.outputs;
    assert_eq!(ending.status, FinalStatus::Completed, "{:?}", ending.problem);
    assert_eq!(outputs["guest"]["answers"], json!(["answer 0", "answer 1"]));
    assert_eq!((&outputs["title"], &outputs["data"]), (&json!("good"), &json!("done")));
    assert_eq!(outputs["sub"], json!({ "n": 4, "title": "good" }));
    assert_eq!(outputs["each"]["errors"][0]["index"], 1);
    assert_eq!((&outputs["hook"], &outputs["sum"]), (&json!({ "ok": true }), &json!({ "a": 200 })));
    assert_eq!((&outputs["rounds"]["iteration"], &outputs["look"][0]), (&json!(2), &json!(true)));
    assert_eq!(outputs["group"].as_array().unwrap().len(), 3);
}

#[test]
fn stop_after_every_event_and_go_on() {
    let (events, calm) = undisturbed();
    assert!(events > 80, "every kind of node leaves events: {events}");
    for cut in 0..=events {
        let (outside, ending) = disturbed(cut, 1);
        let resumed = outside
            .store
            .ids()
            .iter()
            .any(|id| outside.store.events_of(id).iter().any(|event| event.fact == Fact::ExecutionResumed));
        assert_eq!(resumed, cut > 0 && cut < events, "cut after {cut} events");
        assert_eq!((ending.status, &ending.outputs), (calm.status, &calm.outputs), "cut after {cut} events");
        let keys: std::collections::BTreeSet<String> = (outside.http.sent().iter())
            .flat_map(|sent| sent.headers.iter().filter(|(name, _)| name == "idempotency-key"))
            .map(|(_, key)| key.clone())
            .collect();
        assert_eq!(keys.len(), 2, "a hook and an alert, however often they are sent");
        assert_eq!(ending.usage, calm.usage, "the ledger after a cut after {cut} events");
    }
}

#[test]
fn groups_may_be_lost_and_nothing_paid_is() {
    let (events, calm) = undisturbed();
    for cut in (0..=events).step_by(3) {
        let (_, ending) = disturbed(cut, 64);
        assert_eq!((ending.status, &ending.outputs), (calm.status, &calm.outputs), "cut after {cut} events");
    }
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_ended_is_returned_as_it_ended() {
    let outside = outside();
    let engine = outside.engine(NOW, 64);
    let handle = start(&engine, "nodes: [{id: a, type: tool, tool_name: post, tool_args: {x: 1}}]", json!({})).await;
    let ending = handle.finish().await;
    let again = outside.engine(NOW, 64).resume(&handle.id).await.unwrap();
    assert_eq!(again.finish().await, ending);
    assert_eq!(outside.fakes.count("post"), 1);
    let unknown = engine.resume(&ExecutionId("nobody".into())).await.err().unwrap();
    assert_eq!(unknown.code, Code::X013);
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_one_goes_on_and_the_other_appends_nothing() {
    let outside = outside();
    let fakes = Fakes::new().slow_tool("slow", Effects::External, |call, scope| async move {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(100)) => Ok(json!({ "by": call.attempt })),
            () = scope.cancelled() => Err(broken()),
        }
    });
    let outside = Outside { fakes: Arc::new(fakes), ..outside };
    let first = outside.engine(NOW, 64);
    let handle = start(&first, "nodes: [{id: t, type: tool, tool_name: slow}]", json!({})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = outside.engine(NOW + 1_000, 64).resume(&handle.id).await.err().unwrap();
    assert_eq!(held.code, Code::X008, "a live process holds it");
    // The first process seems dead to the store: its clock is far behind.
    let second = outside.engine(NOW + 600_000, 64);
    let taken = second.resume(&handle.id).await.unwrap();
    let lost = handle.finish().await;
    assert_eq!((lost.status, lost.problem.unwrap().code), (FinalStatus::Failed, Code::X008));
    assert_eq!(taken.finish().await.status, FinalStatus::Completed);
    let events = outside.store.events_of(&handle.id);
    check_events(&events);
    assert_eq!(events.iter().filter(|event| matches!(event.fact, Fact::NodeFinished { .. })).count(), 1);
}

#[test]
fn a_guest_that_asks_for_something_else_after_a_crash_fails_with_its_own_code() {
    let outside = process(async {
        let fakes = Fakes::new().tool("post", Effects::External, Ok).agent("worker", |_, scope| async move {
            let name = if CHANGED.load(std::sync::atomic::Ordering::Relaxed) { "two" } else { "one" };
            scope.call_tool("post", json!({ "call": name })).await?;
            std::future::pending().await
        });
        let outside = Outside::new(fakes, Answers::echo());
        let engine = outside.engine(NOW, 1);
        let handle = start(&engine, "nodes: [{id: g, type: agent, package: worker}]", json!({})).await;
        // The guest waits for ever; its tool call is on record.
        let _ = tokio::time::timeout(Duration::from_secs(5), handle.finish()).await;
        outside
    });
    static CHANGED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    CHANGED.store(true, std::sync::atomic::Ordering::Relaxed);
    let ending = process(async {
        let engine = outside.engine(NOW + 60_000, 1);
        engine.resume(&outside.store.ids()[0]).await.unwrap().finish().await
    });
    assert_eq!(ending.problem.unwrap().code, Code::X010);
    assert_eq!(outside.fakes.count("post"), 1);
}

#[test]
fn what_is_no_longer_installed_cannot_be_gone_on_with() {
    let outside = process(async {
        let outside = outside();
        outside.store.cut(crate::testing::Cut::After(2));
        let engine = outside.engine(NOW, 1);
        tokio::select! {
            () = outside.store.went_dark() => {}
            _ = async { start(&engine, "nodes: [{id: a, type: tool, tool_name: post}]", json!({})).await.finish().await } => {}
        }
        outside.store.cut(crate::testing::Cut::Never);
        outside
    });
    let bare = Outside { fakes: Arc::new(Fakes::new()), ..outside };
    let problem = process(async {
        let engine = bare.engine(NOW + 60_000, 1);
        engine.resume(&bare.store.ids()[0]).await.err().unwrap()
    });
    assert_eq!(problem.code, Code::X009);
    assert!(problem.message.contains("post"), "{problem}");
}
