//! Money and tokens: before the start, before each call, inside loops and children.

use std::future::Future;

use ice_core::catalog::Effects;
use ice_core::event::CapabilityUse;

use super::*;
use crate::testing::Cut;

fn asks(budget: &str, model: &str) -> String {
    format!(
        "
        budget: {budget}
        nodes:
          - {{id: a, type: llm, prompt: one two three, llm_config: {{provider: test, model: {model}, max_tokens: 100}}}}
          - id: b
            type: llm
            prompt: '{{{{ a.text }}}} again'
            dependencies: [a]
            llm_config: {{provider: test, model: {model}, max_tokens: 100}}
        "
    )
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_cannot_suffice_starts_nothing() {
    let world = World::new(Fakes::new());
    // One call could take 103: it would never be made.
    let problems = try_start(&world.engine, &asks("{tokens: 102}", "m"), json!({})).await.err().unwrap();
    assert_eq!((problems[0].code, problems[0].code.http()), (Code::X005, 402));
    assert!(world.outside.store.ids().is_empty());
    assert!(world.outside.llm.asked().is_empty());
    // Answers are shorter than they may be: this suffices, although two calls could take more.
    let ran = world.run(&asks("{tokens: 150}", "m"), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_is_certain_is_refused_before_the_start_wherever_it_is() {
    let world = World::new(Fakes::new());
    let looped = |tokens: u32| {
        format!(
            "
            budget: {{tokens: {tokens}}}
            nodes:
              - id: each
                type: loop
                items_source: [1, 2, 3, 4, 5]
                body:
                  - {{id: l, type: llm, prompt: a b c, llm_config: {{provider: test, model: m, max_tokens: 5}}}}
            "
        )
    };
    // Five questions of three tokens, and five answers that have one at least.
    let problems = try_start(&world.engine, &looped(19), json!({})).await.err().unwrap();
    assert_eq!(problems[0].code, Code::X005);
    assert!(problems[0].message.contains("5 certain model calls"), "{}", problems[0].message);
    assert!(try_start(&world.engine, &looped(20), json!({})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_ledger_equals_the_sum_of_usage() {
    let world = World::new(Fakes::new());
    let ran = world.run(&asks("{tokens: 1000}", "m"), json!({})).await;
    let view = replay(&ran.events).unwrap();
    // Three words in, three out; four in, four out; a token costs a micro-dollar.
    assert_eq!((view.usage.total_tokens(), view.usage.cost_micro_usd), (14, 14));
    assert_eq!(ran.ending.usage, view.usage);
    assert!(view.reserved.is_empty());
    let answers = |event: &&Event| matches!(&event.fact, Fact::CapabilityUsed(CapabilityUse { reply: Some(_), .. }));
    assert_eq!(ran.events.iter().filter(answers).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_stopped_before_the_call_that_would_break_the_limit() {
    let world = World::new(Fakes::new());
    let ran = world
        .run(
            "
            budget: {usd: 0.00012}
            nodes:
              - id: each
                type: loop
                items_source: [1, 2, 3, 4, 5, 6, 7, 8, 9]
                body:
                  - {id: l, type: llm, prompt: a b c d e f g h i j, llm_config: {provider: test, model: m, max_tokens: 60}}
            ",
            json!({}),
        )
        .await;
    assert_eq!((ran.ending.status, ran.problem_code()), (FinalStatus::Failed, Some(Code::X005)));
    // Each call costs 20 and could cost 70: the fourth would begin at 60 and could end at 130.
    assert_eq!(world.outside.llm.asked().len(), 3);
    assert!(ran.ending.usage.cost_micro_usd <= 120);
}

#[tokio::test(start_paused = true)]
async fn a_child_spends_from_its_parents_budget() {
    let child = json!({
        "schema_version": "1.2.0",
        "nodes": [{
            "id": "l", "type": "llm", "prompt": "a b c d e",
            "llm_config": { "provider": "test", "model": "m", "max_tokens": 50 },
        }],
    });
    let world = World::new(Fakes::new().blueprint("kit.child", child));
    let blueprint = |tokens: u32| {
        format!(
            "
            budget: {{tokens: {tokens}}}
            nodes:
              - {{id: first, type: workflow, workflow_ref: kit.child}}
              - {{id: second, type: workflow, workflow_ref: kit.child, dependencies: [first]}}
            "
        )
    };
    let ran = world.run(&blueprint(65), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert_eq!(ran.ending.usage.total_tokens(), 20);
    assert_eq!(replay(&ran.events).unwrap().usage, ran.ending.usage, "the parent's events say it too");
    let ran = world.run(&blueprint(60), json!({})).await;
    assert_eq!(ran.problem_code(), Some(Code::X005));
    assert_eq!(ran.state("first"), "finished");
}

#[tokio::test(start_paused = true)]
async fn a_caller_can_tighten_the_budget() {
    let world = World::new(Fakes::new());
    let parsed = parse(&asks("{tokens: 1000}", "m"), "x").unwrap();
    let plan = Arc::new(world.engine.plan(&parsed).await.unwrap());
    let mut start = StartExecution::new(plan, json!({}));
    start.budget.tokens = Some(50);
    assert_eq!(world.engine.start(start).await.err().unwrap()[0].code, Code::X005);
}

#[tokio::test(start_paused = true)]
async fn a_tightened_budget_is_on_record_for_whoever_goes_on() {
    let world = World::new(Fakes::new());
    let plan = world.engine.plan(&parse(&asks("{tokens: 1000}", "m"), "x").unwrap()).await.unwrap();
    let mut start = StartExecution::new(Arc::new(plan), json!({}));
    start.budget.tokens = Some(500);
    let handle = world.engine.start(start).await.unwrap();
    handle.finish().await;
    let view = replay(&world.outside.store.events_of(&handle.id)).unwrap();
    assert_eq!(view.budget.tokens, Some(500));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_failed_is_not_charged_and_frees_its_reservation() {
    let llm = Answers::echo().then_fail(broken());
    let world = World::with_model(Fakes::new().tool("say", Effects::None, Ok), llm);
    let ran = world
        .run(
            "
            budget: {tokens: 150}
            nodes:
              - id: a
                type: llm
                prompt: one
                retries: 1
                llm_config: {provider: test, model: m, max_tokens: 100}
            ",
            json!({}),
        )
        .await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert_eq!(ran.ending.usage.total_tokens(), 2);
}

/// Nine paid calls, of which a budget allows three.
const PAID: &str = "
    budget: {usd: 0.00012}
    nodes:
      - id: each
        type: loop
        items_source: [1, 2, 3, 4, 5, 6, 7, 8, 9]
        body:
          - {id: l, type: llm, prompt: a b c d e f g h i j, llm_config: {provider: test, model: m, max_tokens: 60}}
    ";

/// One process: everything it had running is gone afterwards.
fn process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(life)
}

#[test]
fn a_loop_of_paid_calls_stops_at_the_same_total_wherever_it_was_cut_off() {
    let (events, calm) = process(async {
        let ran = World::new(Fakes::new()).run(PAID, json!({})).await;
        (ran.events.len(), ran.ending)
    });
    assert_eq!((calm.status, calm.usage.cost_micro_usd), (FinalStatus::Failed, 60));
    for cut in 1..events {
        let outside = process(async {
            let outside = Outside::new(Fakes::new(), Answers::echo());
            outside.store.cut(Cut::After(cut));
            let engine = outside.engine(NOW, 1);
            tokio::select! {
                biased;
                () = outside.store.went_dark() => {}
                _ = async { start(&engine, PAID, json!({})).await.finish().await } => {}
            }
            outside
        });
        let ending = process(async {
            outside.store.cut(Cut::Never);
            let id = outside.store.ids().pop().expect("it began");
            outside.engine(NOW + 60_000, 1).resume(&id).await.unwrap().finish().await
        });
        let problem = |ending: &Ending| ending.problem.as_ref().map(|problem| problem.code);
        assert_eq!((problem(&ending), ending.usage), (Some(Code::X005), calm.usage), "cut after {cut} events");
        let asked = outside.llm.asked().len();
        assert!(asked <= 4, "only an answer that never arrived is asked for again: {asked} after {cut} events");
    }
}
