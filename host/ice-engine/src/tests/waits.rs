//! Waiting for people: parking, answers, silence, and everything around a wait that goes on.

use std::time::Duration;

use ice_core::catalog::Effects;
use ice_core::execution::Status;
use ice_core::ports::{Events, Message, Role, ToolCall};
use ice_core::wait::{Answer, WaitId};

use super::*;
use crate::testing::check_events;
use crate::{Rest, Stopping, Wait, WaitFilter};

mod hard;

const ASK: &str = "nodes: [{id: ask, type: human, prompt_message: 'Ship {{ inputs.what }}?'}]";

fn fakes() -> Fakes {
    Fakes::new().tool("say", Effects::None, Ok).tool("post", Effects::External, Ok).slow_tool(
        "slow",
        Effects::External,
        |_, _| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(json!({ "slow": true }))
        },
    )
}

fn yes() -> Answer {
    Answer { approved: Some(true), responder: "ann".into(), ..Answer::default() }
}

async fn waits(engine: &Engine) -> Vec<Wait> {
    engine.waits(&WaitFilter::default()).await.unwrap()
}

/// Everything that waits, by path.
async fn wait_at(engine: &Engine, path: &str) -> WaitId {
    let open = waits(engine).await;
    open.iter().find(|wait| wait.open.path.as_str() == path).unwrap_or_else(|| panic!("{path} in {open:?}")).id.clone()
}

fn status(world: &World, id: &ExecutionId) -> Status {
    replay(&world.outside.store.events_of(id)).unwrap().status
}

/// Answers everything with a yes until the execution ends.
async fn to_the_end(engine: &Engine, mut handle: Handle) -> Ending {
    loop {
        match handle.rest().await {
            Rest::Ended(ending) => return *ending,
            Rest::Waiting => {
                let first = waits(engine).await.remove(0);
                engine.answer(&first.id, yes()).await.unwrap();
                handle = engine.resume(&handle.id).await.unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_only_waits_is_given_back_and_goes_on_when_answered() {
    let world = World::new(fakes());
    let handle = world.start(ASK, json!({ "what": "it" })).await;
    assert_eq!(handle.rest().await, Rest::Waiting);
    assert_eq!(handle.finish().await.problem.unwrap().code, Code::X018);
    assert_eq!(status(&world, &handle.id), Status::Waiting);
    assert!(world.engine.shared.live.lock().unwrap().is_empty(), "nothing is held in memory");
    let listed = world.outside.store.list(&ice_core::id::Identity::local(), 1).await.unwrap();
    assert_eq!((listed[0].status.as_str(), listed[0].held), ("waiting", false));
    let open = waits(&world.engine).await;
    assert_eq!((open.len(), open[0].open.question.message.as_str()), (1, "Ship it?"));

    // A process that knows nothing of the first one.
    let other = world.outside.engine(NOW + 1_000_000, 64);
    let answer = Answer { comment: Some("go".into()), ..yes() };
    let going = other.answer(&open[0].id, answer).await.unwrap().expect("it goes on here");
    let ending = going.finish().await;
    let output = json!({
        "approved": true, "response": null, "responder": "ann", "comment": "go", "timed_out": false,
    });
    assert_eq!((ending.status, &ending.outputs["ask"]), (FinalStatus::Completed, &output));
    let events = world.outside.store.events_of(&handle.id);
    check_events(&events);
    assert!(replay(&events).unwrap().active_ms < 1_000, "waiting is not running");
    assert!(waits(&other).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn answers_are_checked_and_come_once() {
    let world = World::new(fakes());
    let blueprint = "
        nodes:
          - {id: ask, type: human, prompt_message: fill in, approval_type: input_required, form: {n: int}}
        ";
    let handle = world.start(blueprint, json!({})).await;
    handle.rest().await;
    let wait = wait_at(&world.engine, "ask").await;
    let with = |n: Value| Answer { response: Some(json!({ "n": n })), approved: None, ..yes() };
    let refused = world.engine.answer(&wait, with("x".into())).await.err().unwrap();
    assert_eq!((refused.code, refused.at.unwrap().pointer.as_deref()), (Code::X020, Some("/response/n")));
    assert_eq!(status(&world, &handle.id), Status::Waiting, "a wrong answer changes nothing");
    let going = world.engine.answer(&wait, with(3.into())).await.unwrap().unwrap();
    assert_eq!(going.finish().await.outputs["ask"]["response"], json!({ "n": 3 }));
    let again = world.engine.answer(&wait, with(4.into())).await.err().unwrap();
    assert_eq!(again.code, Code::X019);
    assert!(again.message.contains("ann answered it"), "{again}");
    for text in ["nonsense", "0190.0123456789abcdef"] {
        assert_eq!(world.engine.answer(&WaitId(text.into()), yes()).await.err().unwrap().code, Code::X019);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_left_makes_its_execution_due() {
    let world = World::new(with_child());
    let blueprint = "nodes: [{id: sub, type: workflow, workflow_ref: kit.child}]";
    let handle = world.start(blueprint, json!({})).await;
    assert_eq!(handle.rest().await, Rest::Waiting);
    let wait = wait_at(&world.engine, "inner").await;
    let store: &dyn Events = &*world.outside.store;
    assert_eq!(Wait::find(store, &wait).await.unwrap().open.question.message, "child?");
    let spent = replay(&world.outside.store.events_of(&wait.execution().unwrap())).unwrap().usage;
    assert!(world.engine.due(NOW + 1_000_000).await.unwrap().is_empty(), "nothing runs out");

    // Whoever answers does not go on with it, and may be killed now.
    let other = world.outside.engine(NOW + 1_000_000, 64);
    assert!(other.leave_answer(&wait, yes()).await.unwrap().is_none());
    assert!(world.outside.store.list(&ice_core::id::Identity::local(), 9).await.unwrap().iter().all(|row| !row.held));
    let again = other.leave_answer(&wait, yes()).await.err().unwrap();
    assert_eq!((again.code, Wait::find(store, &wait).await.unwrap_err().code), (Code::X019, Code::X019));
    assert!(waits(&other).await.is_empty());

    let third = world.outside.engine(NOW + 2_000_000, 64);
    let (id, woken) = third.due(NOW + 2_000_000).await.unwrap().remove(0);
    let woken = woken.unwrap();
    assert_eq!((Some(id), &woken.id), (wait.execution(), &handle.id), "the outermost one goes on");
    let ending = woken.finish().await;
    assert_eq!((ending.status, &ending.outputs["sub"]["ok"]), (FinalStatus::Completed, &json!(true)));
    assert_eq!(ending.usage.total_tokens(), spent.total_tokens(), "nothing is paid twice or lost");
    for id in world.outside.store.ids() {
        check_events(&world.outside.store.events_of(&id));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_an_execution_is_known() {
    let world = World::new(fakes());
    let handle = world.start(ASK, json!({ "what": "it" })).await;
    assert_eq!(handle.rest().await, Rest::Waiting);
    let Stopping::Here(stopping) = world.engine.stop(&handle.id, "enough").await.unwrap() else {
        panic!("one that waits is taken up to end")
    };
    assert_eq!(stopping.finish().await.status, FinalStatus::Cancelled);
    assert!(matches!(world.engine.stop(&handle.id, "enough").await.unwrap(), Stopping::HasEnded));
    let running = world.start("nodes: [{id: t, type: tool, tool_name: slow}]", json!({})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = world.outside.engine(NOW, 64);
    assert!(matches!(other.stop(&running.id, "from afar").await.unwrap(), Stopping::Elsewhere));
    assert_eq!(running.finish().await.status, FinalStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_choice_offers_what_its_template_gives() {
    let world = World::new(fakes());
    let blueprint = "
        nodes: [{id: ask, type: human, prompt_message: which, approval_type: choice, choices: '{{ inputs.offers }}'}]
        ";
    let handle = world.start(blueprint, json!({ "offers": ["red", "blue"] })).await;
    handle.rest().await;
    let wait = wait_at(&world.engine, "ask").await;
    let choose = |choice: &str| Answer { choice: Some(choice.into()), approved: None, ..yes() };
    assert_eq!(world.engine.answer(&wait, choose("green")).await.err().unwrap().code, Code::X020);
    let going = world.engine.answer(&wait, choose("blue")).await.unwrap().unwrap();
    assert_eq!(going.finish().await.outputs["ask"]["response"], "blue");
    let ran = world.run(blueprint, json!({ "offers": "none" })).await;
    assert_eq!(ran.problem_code(), Some(Code::X006));
}

#[tokio::test(start_paused = true)]
async fn everything_else_goes_on_while_people_think() {
    let world = World::new(fakes());
    let blueprint = "
        max_parallel: 1
        nodes:
          - {id: one, type: human, prompt_message: one}
          - {id: two, type: human, prompt_message: two}
          - {id: work, type: tool, tool_name: slow}
          - {id: after, type: tool, tool_name: post, dependencies: [one], tool_args: {by: '{{ one.responder }}'}}
        ";
    let handle = world.start(blueprint, json!({})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status(&world, &handle.id), Status::Running, "a tool still runs");
    let one = wait_at(&world.engine, "one").await;
    let same = world.engine.answer(&one, yes()).await.unwrap().unwrap();
    assert_eq!(same.id, handle.id);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(handle.rest().await, Rest::Waiting);
    let events = world.outside.store.events_of(&handle.id);
    let places: Vec<usize> = ["work", "after"]
        .iter()
        .map(|path| {
            let ends = |event: &Event| event.path.as_str() == *path && matches!(event.fact, Fact::NodeFinished { .. });
            events.iter().position(ends).expect("it finished")
        })
        .collect();
    assert!(places[0] < places[1], "with one place for running nodes the next one waits for it");
    let ending = to_the_end(&world.engine, world.engine.resume(&handle.id).await.unwrap()).await;
    assert_eq!(ending.status, FinalStatus::Completed);
    assert_eq!(world.outside.fakes.count("slow"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_waits_inside_other_nodes_leaves_its_place_too() {
    let world = World::new(fakes());
    let blueprint = "
        max_parallel: 1
        nodes:
          - id: each
            type: loop
            items_source: [1, 2]
            parallel: true
            body:
              - id: both
                type: parallel
                branches:
                  - [{id: ask, type: human, prompt_message: 'item {{ item }}'}]
                  - [{id: quick, type: tool, tool_name: say}]
          - id: check
            type: condition
            expression: 1 < 2
            true_path: [{id: sure, type: human, prompt_message: sure?}]
          - {id: work, type: tool, tool_name: slow}
        ";
    let handle = world.start(blueprint, json!({})).await;
    assert_eq!(handle.rest().await, Rest::Waiting);
    let view = replay(&world.outside.store.events_of(&handle.id)).unwrap();
    assert!(view.nodes[&NodePath("work".into())].state.is_final(), "it had a place to run in");
    assert_eq!(view.waits.len(), 3);
    let ending = to_the_end(&world.engine, world.engine.resume(&handle.id).await.unwrap()).await;
    assert_eq!(ending.status, FinalStatus::Completed, "{:?}", ending.problem);
    check_events(&world.outside.store.events_of(&handle.id));
}

fn with_child() -> Fakes {
    let child = json!({
        "schema_version": "1.2.0",
        "nodes": [
            { "id": "l", "type": "llm", "prompt": "a b c", "llm_config": { "provider": "test", "model": "m" } },
            { "id": "inner", "type": "human", "prompt_message": "child?", "dependencies": ["l"] },
        ],
        "outputs": { "ok": "{{ inner.approved }}" },
    });
    fakes().blueprint("kit.child", child)
}

const NESTED: &str = "
    nodes:
      - id: each
        type: loop
        items_source: [1, 2]
        parallel: true
        body:
          - {id: ask, type: human, prompt_message: 'item {{ item }}'}
          - {id: send, type: tool, tool_name: post, dependencies: [ask], tool_args: {n: '{{ item }}'}}
      - id: both
        type: parallel
        branches:
          - [{id: left, type: human, prompt_message: left}]
          - [{id: right, type: tool, tool_name: post}]
      - {id: sub, type: workflow, workflow_ref: kit.child}
      - id: worker
        type: agent
        system_prompt: work
        task: go
        tools: [{name: post, approval: true}, {name: boss, type: human}]
        llm_config: {provider: test, model: m}
    outputs:
      each: '{{ each.results }}'
      sub: '{{ sub.ok }}'
      worker: '{{ worker.message }}'
    ";

/// Calls `post`, then asks the boss, then is done.
fn model(request: &ice_core::ports::LlmRequest) -> Message {
    let told: Vec<&str> =
        request.messages.iter().filter(|told| told.role == Role::Tool).map(|told| told.content.as_str()).collect();
    let call = |name: &str, arguments: Value| ToolCall { id: format!("c{}", told.len()), name: name.into(), arguments };
    let tool_calls = match (request.tools.is_empty(), told.len()) {
        (true, _) => vec![],
        (false, 0) => vec![call("post", json!({ "n": 1 }))],
        (false, 1) => vec![call("boss", json!({ "question": "enough?" }))],
        (false, _) => vec![],
    };
    let content = if tool_calls.is_empty() { format!("done: {}", told.join(" ")) } else { String::new() };
    Message { role: Role::Assistant, content, tool_calls, answers: None }
}

#[tokio::test(start_paused = true)]
async fn any_number_of_waits_are_open_at_once_wherever_they_are() {
    let world = World::with_model(with_child(), Answers::by(model));
    let handle = world.start(NESTED, json!({})).await;
    assert_eq!(handle.rest().await, Rest::Waiting);
    let open = waits(&world.engine).await;
    let mut places: Vec<(&str, bool)> =
        open.iter().map(|wait| (wait.open.path.as_str(), wait.execution == handle.id)).collect();
    places.sort_unstable();
    let expected = [
        ("both[0]/left", true),
        ("each[0]/ask", true),
        ("each[1]/ask", true),
        ("inner", false),
        ("worker/step[0]/post.approval", true),
    ];
    assert_eq!(places, expected);
    let own = WaitFilter { execution: Some(handle.id.clone()), ..WaitFilter::default() };
    assert_eq!(world.engine.waits(&own).await.unwrap().len(), 5, "those inside belong to it");
    let asked = world.outside.llm.asked().len();

    // Answered out of order, each by another process.
    for (turn, path) in ["each[1]/ask", "inner", "both[0]/left", "each[0]/ask"].into_iter().enumerate() {
        let engine = world.outside.engine(NOW + 100_000 * (u64::try_from(turn).unwrap() + 1), 64);
        let wait = wait_at(&engine, path).await;
        let going = engine.answer(&wait, yes()).await.unwrap().expect("it goes on");
        assert_eq!((going.id.clone(), going.rest().await), (handle.id.clone(), Rest::Waiting), "after {path}");
    }
    let engine = world.outside.engine(NOW + 1_000_000, 64);
    let no = Answer { approved: Some(false), comment: Some("not now".into()), ..yes() };
    let wait = wait_at(&engine, "worker/step[0]/post.approval").await;
    assert_eq!(engine.answer(&wait, no).await.unwrap().unwrap().rest().await, Rest::Waiting);
    let wait = wait_at(&engine, "worker/step[1]/boss").await;
    let enough = Answer { response: Some("yes, enough".into()), approved: None, ..yes() };
    let ending = engine.answer(&wait, enough).await.unwrap().unwrap().finish().await;

    assert_eq!(ending.status, FinalStatus::Completed, "{:?}", ending.problem);
    assert_eq!((&ending.outputs["each"], &ending.outputs["sub"]), (&json!([{ "n": 1 }, { "n": 2 }]), &json!(true)));
    let said = ending.outputs["worker"].as_str().unwrap();
    assert!(said.contains("not now") && said.contains("yes, enough"), "{said}");
    assert_eq!(world.outside.fakes.count("post"), 3, "one per item, one branch, and none that was not allowed");
    assert_eq!(world.outside.llm.asked().len(), asked + 2, "nothing is asked twice");
    let asked: u64 =
        world.outside.store.ids().iter().flat_map(|id| world.outside.store.events_of(id)).fold(0, |sum, event| {
            match event.fact {
                Fact::CapabilityUsed(used) => sum + used.usage.total_tokens(),
                _ => sum,
            }
        });
    assert_eq!(ending.usage.total_tokens(), asked, "the ledger is the sum of what was used, children included");
    for id in world.outside.store.ids() {
        check_events(&world.outside.store.events_of(&id));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_means_what_the_node_says() {
    for (says, state, approved) in [
        ("on_timeout: approve", "finished", Some(true)),
        ("on_timeout: reject", "finished", Some(false)),
        ("on_timeout: fail", "failed X021", None),
        ("approval_type: approve_reject", "failed X021", None),
    ] {
        let world = World::new(fakes());
        let blueprint =
            format!("nodes: [{{id: ask, type: human, prompt_message: well, timeout_seconds: 3600, {says}}}]");
        let handle = world.start(&blueprint, json!({})).await;
        assert_eq!(handle.rest().await, Rest::Waiting);
        let other = world.outside.engine(NOW + 3_599_000, 64);
        assert_eq!(other.due(NOW + 3_599_000).await.unwrap().len(), 0, "there is still time");
        let late = world.outside.engine(NOW + 3_600_100, 64);
        let (id, woken) = late.due(NOW + 3_600_100).await.unwrap().remove(0);
        assert_eq!(id, handle.id);
        let ending = woken.unwrap().finish().await;
        let ran = Ran { ending, events: world.outside.store.events_of(&id), id };
        assert_eq!(ran.state("ask"), state, "{says}");
        assert_eq!(ran.ending.outputs["ask"]["approved"].as_bool(), approved, "{says}");
        assert!(late.due(NOW + 9_000_000).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_passed_on_until_somebody_answers_or_nobody_is_left() {
    let blueprint = "
        nodes:
          - {id: ask, type: human, prompt_message: well, timeout_seconds: 10, escalation_path: [team lead, director]}
        ";
    for answered in [true, false] {
        let world = World::new(fakes());
        let handle = world.start(blueprint, json!({})).await;
        handle.rest().await;
        let wait = wait_at(&world.engine, "ask").await;
        for (turn, to) in [(1, "team lead"), (2, "director")] {
            let now = NOW + turn * 11_000;
            let engine = world.outside.engine(now, 64);
            let woken = engine.due(now).await.unwrap().remove(0).1.unwrap();
            assert_eq!(woken.rest().await, Rest::Waiting);
            let open = waits(&engine).await.remove(0);
            assert_eq!((open.id, open.open.escalated_to.as_deref()), (wait.clone(), Some(to)));
        }
        let engine = world.outside.engine(NOW + 60_000, 64);
        let ending = match answered {
            true => engine.answer(&wait, yes()).await.unwrap().unwrap().finish().await,
            false => engine.due(NOW + 60_000).await.unwrap().remove(0).1.unwrap().finish().await,
        };
        let code = ending.problem.map(|problem| problem.code);
        assert_eq!(code, if answered { None } else { Some(Code::X021) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_also_runs_while_the_execution_does() {
    let world = World::new(fakes());
    let blueprint = "
        nodes:
          - {id: ask, type: human, prompt_message: well, timeout_seconds: 5, on_timeout: approve}
          - {id: work, type: tool, tool_name: slow}
        ";
    let ran = world.run(blueprint, json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert_eq!(ran.ending.outputs["ask"]["timed_out"], true);
    assert!(!ran.events.iter().any(|event| matches!(event.fact, Fact::ExecutionParked { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_waits_can_be_cancelled_and_what_is_stopped_no_longer_asks() {
    let world = World::new(with_child());
    let blueprint = "
        nodes:
          - {id: sub, type: workflow, workflow_ref: kit.child}
          - {id: tidy, type: tool, tool_name: post, finally: true}
        ";
    let handle = world.start(blueprint, json!({})).await;
    assert_eq!(handle.rest().await, Rest::Waiting);
    let wait = wait_at(&world.engine, "inner").await;
    assert!(world.engine.cancel(&handle.id, "no longer wanted").await.unwrap());
    let going = world.engine.resume(&handle.id).await.unwrap();
    assert_eq!(going.finish().await.status, FinalStatus::Cancelled);
    assert_eq!(world.outside.fakes.count("post"), 1, "finally nodes run");
    assert!(waits(&world.engine).await.is_empty());
    let late = world.engine.answer(&wait, yes()).await.err().unwrap();
    assert_eq!(late.code, Code::X019);
    for id in world.outside.store.ids() {
        assert_eq!(status(&world, &id), Status::Cancelled);
    }
    // The first branch that finishes is enough: the question of the other one is withdrawn.
    let any = "
        nodes:
          - id: race
            type: parallel
            wait: any
            branches:
              - [{id: ask, type: human, prompt_message: well}]
              - [{id: go, type: tool, tool_name: post}]
        ";
    let ran = world.run(any, json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert!(ran.events.iter().any(|event| matches!(event.fact, Fact::WaitWithdrawn { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_tried_again_is_another_wait() {
    let world = World::new(fakes());
    let blueprint = "
        nodes:
          - id: ask
            type: human
            prompt_message: well
            timeout_seconds: 10
            retry_policy: {max_attempts: 2, backoff_seconds: 1, jitter: none}
        ";
    let handle = world.start(blueprint, json!({})).await;
    handle.rest().await;
    let first = wait_at(&world.engine, "ask").await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    let woken = world.engine.due(NOW + 11_000).await.unwrap().remove(0).1.unwrap();
    assert_eq!(woken.rest().await, Rest::Waiting);
    let second = wait_at(&world.engine, "ask").await;
    assert_ne!(first, second);
    assert_eq!(world.engine.answer(&first, yes()).await.err().unwrap().code, Code::X019);
    let going = world.engine.answer(&second, yes()).await.unwrap().unwrap();
    assert_eq!(going.finish().await.status, FinalStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn of_two_answers_at_the_same_time_one_counts() {
    let world = World::new(fakes());
    let handle = world.start(ASK, json!({ "what": "it" })).await;
    handle.rest().await;
    let wait = wait_at(&world.engine, "ask").await;
    let no = Answer { approved: Some(false), responder: "bob".into(), ..Answer::default() };
    let (one, two) = tokio::join!(world.engine.answer(&wait, yes()), world.engine.answer(&wait, no));
    assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|good| **good).count(), 1);
    let events = world.outside.store.events_of(&handle.id);
    let resolved = events.iter().filter(|event| matches!(event.fact, Fact::WaitResolved { .. })).count();
    assert_eq!(resolved, 1);
}
