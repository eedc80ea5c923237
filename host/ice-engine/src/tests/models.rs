//! Models that are slow, silent or away: time limits of one request, and the models asked instead.

use ice_core::ports::Retry;

use super::*;
use crate::testing::Cut;

fn ask(config: &str) -> String {
    format!(
        "
        nodes:
          - {{id: l, type: llm, prompt: one two three, retries: 0, llm_config: {{provider: test, model: m, {config}}}}}
        outputs: {{model: '{{{{ l.model }}}}'}}
        "
    )
}

fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::at(NOW))
}

#[tokio::test(start_paused = true)]
async fn a_model_that_does_not_begin_or_stops_in_between_is_left() {
    for (llm, config, expected) in [
        (Answers::echo().slowly(clock(), 5_001), "first_token_timeout: 5", "did not begin to answer within 5 s"),
        (Answers::echo().halting(clock(), 2_001), "idle_timeout: 2", "said nothing more for 2 s"),
        (Answers::echo().slowly(clock(), 9_001), "timeout: 9", "did not answer within 9 s"),
    ] {
        let world = World::with_model(Fakes::new(), llm);
        let ran = world.run(&ask(config), json!({})).await;
        let problem = ran.ending.problem.expect("it failed");
        assert_eq!(problem.code, Code::X003);
        assert!(problem.message.contains(expected), "{}", problem.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_keeps_talking_is_heard_out() {
    let llm = Answers::echo().slowly(clock(), 4_000).halting(clock(), 1_500);
    let world = World::with_model(Fakes::new(), llm);
    let ran = world.run(&ask("first_token_timeout: 5, idle_timeout: 2"), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_leads_to_the_model_named_instead() {
    let mut llm = Answers::echo();
    for _ in 0..5 {
        llm = llm.then_fail(broken());
    }
    let world = World::with_model(Fakes::new(), llm);
    for _ in 0..5 {
        world.run(&ask("max_tokens: 5"), json!({})).await;
    }
    let ran = world.run(&ask("max_tokens: 5"), json!({})).await;
    assert_eq!(ran.problem_code(), Some(Code::X004), "nobody stands in");
    let asked = world.outside.llm.asked().len();
    let ran = world.run(&ask("fallback: [other/big]"), json!({})).await;
    assert_eq!(ran.ending.outputs["model"], json!("other/big"));
    let asked_now = world.outside.llm.asked();
    assert_eq!(
        (asked_now.len(), asked_now[asked].model.as_str()),
        (asked + 1, "other/big"),
        "the first was left alone"
    );
    let warned =
        |event: &Event| matches!(&event.fact, Fact::Logged { message, .. } if message.contains("`m` is passed over"));
    assert!(ran.events.iter().any(warned));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_wrong_everywhere_goes_to_nobody_else() {
    let llm = Answers::echo().then_fail(Failure { retry: Retry::Never, ..broken() });
    let world = World::with_model(Fakes::new(), llm);
    let ran = world.run(&ask("fallback: [other/big]"), json!({})).await;
    assert_eq!((ran.ending.status, world.outside.llm.asked().len()), (FinalStatus::Failed, 1));
}

#[tokio::test(start_paused = true)]
async fn what_another_model_answered_before_a_crash_is_not_paid_again() {
    let blueprint = ask("fallback: [other/big]");
    let outside = || Outside::new(Fakes::new(), Answers::echo().then_fail(broken()));
    let undisturbed = outside();
    let handle = start(&undisturbed.engine(NOW, 1), &blueprint, json!({})).await;
    let id = handle.id.clone();
    handle.finish().await;
    let paid = |event: &Event| matches!(event.fact, Fact::BudgetSettled { used } if used.cost_micro_usd > 0);
    let until = undisturbed.store.events_of(&id).iter().position(paid).expect("it was paid") + 1;

    let outside = outside();
    outside.store.cut(Cut::After(until));
    let id = start(&outside.engine(NOW, 1), &blueprint, json!({})).await.id;
    outside.store.went_dark().await;
    outside.store.cut(Cut::Never);
    let ending = outside.engine(NOW + 60_000, 1).resume(&id).await.unwrap().finish().await;
    assert_eq!(ending.outputs["model"], json!("other/big"));
    assert_eq!(outside.llm.asked().len(), 2, "the first that was away, the other once");
}
