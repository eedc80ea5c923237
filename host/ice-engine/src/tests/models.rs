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

fn busy(retry: Retry) -> Failure {
    Failure { problem: Problem::new(Code::X073, "the provider is busy"), retry }
}

/// A model that is busy so often, then answers.
fn busy_for(times: usize, retry: Retry) -> Answers {
    (0..times).fold(Answers::echo(), |llm, _| llm.then_fail(busy(retry)))
}

/// Requests that were sent, the time that the execution took, and the code it ended with.
async fn sent(node: &str, llm: Answers) -> (usize, u64, Option<Code>) {
    let world = World::with_model(Fakes::new(), llm);
    let ran = world.run(&format!("nodes: [{node}]"), json!({})).await;
    let took = ran.events.last().map_or(0, |last| last.at) - ran.events.first().map_or(0, |first| first.at);
    (world.outside.llm.asked().len(), took, ran.problem_code())
}

/// One question is at most three requests and half a minute of pauses; a node that says how often it is tried says so
/// alone.
#[tokio::test(start_paused = true)]
async fn a_busy_provider_is_asked_a_bounded_number_of_times() {
    let llm = |more: &str| format!("{{id: l, type: llm, prompt: one, llm_config: {{model: m}}{more}}}");
    let quiet = llm("");
    assert_eq!(sent(&quiet, busy_for(2, Retry::Maybe)).await, (3, 1_500, None));
    assert_eq!(sent(&quiet, busy_for(9, Retry::Maybe)).await, (3, 1_500, Some(Code::X073)));
    assert_eq!(sent(&quiet, busy_for(1, Retry::AfterMs(7_000))).await, (2, 7_000, None), "the pause it asks for");
    assert_eq!(
        sent(&quiet, busy_for(1, Retry::AfterMs(60_000))).await,
        (1, 0, Some(Code::X073)),
        "nobody waits so long"
    );
    assert_eq!(sent(&quiet, Answers::echo().then_fail(broken())).await.0, 1, "it is not busy");

    let policy = llm(", retry_policy: {max_attempts: 2, backoff_seconds: 1, jitter: none}");
    assert_eq!(sent(&policy, busy_for(9, Retry::Maybe)).await, (2, 1_000, Some(Code::X073)));
    assert_eq!(sent(&policy, busy_for(1, Retry::AfterMs(60_000))).await, (2, 60_000, None), "its policy can wait");

    let agent = "{id: a, type: agent, system_prompt: x, task: one, retries: 1, backoff_seconds: 0.001, \
        llm_config: {model: m}}";
    assert_eq!(
        sent(agent, busy_for(2, Retry::Maybe)).await.0,
        3,
        "its question is asked again, not the agent begun again"
    );
    assert_eq!(sent(agent, busy_for(99, Retry::Maybe)).await.0, 5, "the breaker opens at five failures");
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
