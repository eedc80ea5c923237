//! The blueprint with every kind of node, killed before and after every event, on the store in memory.

use ice_core::id::Identity;

use super::*;
use crate::testing::everything::{EVERY_KIND, Everything, Family, Outcome, Over, live_with};
use crate::testing::{Cord, Pull, Tally};

/// One process: everything it had running is gone afterwards.
fn process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Simulated time: whatever waits for ever is found out at once.
    let soon = std::time::Duration::from_secs(100_000_000);
    runtime.block_on(async { tokio::time::timeout(soon, life).await }).expect("it goes on")
}

/// Runs everything with the cord pulled, then goes on in a second process. `None` when it ended before that.
fn killed(blueprint: &str, pull: Pull, group: usize) -> Option<Outcome> {
    let who = Identity::local();
    let mut outside = Everything::new(Arc::default());
    outside.options.grouping.events = group;
    let tally = Arc::clone(&outside.tally);
    let (store, over) = process(async {
        let clock = Arc::new(SimClock::at(NOW));
        let store = MemoryStore::new(Arc::clone(&clock) as _);
        let cord = Cord::new(Arc::clone(&store) as _, pull, || {});
        let engine = outside.engine(Arc::clone(&cord) as _, Arc::clone(&store) as _, clock);
        let ended = tokio::select! {
            biased;
            () = cord.went_dark() => false,
            ending = live_with(&engine, &who, blueprint) => ending.is_ok(),
        };
        let over = Over::now(&*store, &who, &tally).await;
        (store, Some(over).filter(|_| !ended))
    });
    let over = over?;
    Some(process(async {
        let clock = Arc::new(SimClock::at(NOW + 3_600_000));
        store.set_clock(Arc::clone(&clock) as _);
        let engine = outside.engine(Arc::clone(&store) as _, Arc::clone(&store) as _, clock);
        let ending = live_with(&engine, &who, blueprint).await.unwrap();
        over.assert_untouched(&tally);
        Outcome::of(ending, &*store, &who, &tally).await
    }))
}

/// What comes of it when nobody disturbs it, and in how many events.
fn calm(blueprint: &str) -> (Outcome, usize) {
    let who = Identity::local();
    let tally = Arc::new(Tally::default());
    let outside = Everything::new(Arc::clone(&tally));
    process(async {
        let clock = Arc::new(SimClock::at(NOW));
        let store = MemoryStore::new(Arc::clone(&clock) as _);
        let engine = outside.engine(Arc::clone(&store) as _, Arc::clone(&store) as _, clock);
        let ending = live_with(&engine, &who, blueprint).await.unwrap();
        let events = Family::read(&*store, &who).await.len();
        (Outcome::of(ending, &*store, &who, &tally).await, events)
    })
}

#[test]
fn it_holds_every_kind_and_ends_as_it_should() {
    fn count(value: &Value) -> usize {
        match value {
            Value::Object(fields) => {
                let own = usize::from(fields.contains_key("id") && fields.contains_key("type"));
                own + fields.values().map(count).sum::<usize>()
            }
            Value::Array(items) => items.iter().map(count).sum(),
            _ => 0,
        }
    }
    let parsed = parse(EVERY_KIND, "every_kind.yaml").unwrap();
    assert!(count(&parsed.blueprint.document["nodes"]) >= 30);
    let kinds = crate::nodes::NODES.iter().filter(|kind| !EVERY_KIND.contains(&format!("type: {}", kind.name())));
    assert_eq!(kinds.map(|kind| kind.name()).collect::<Vec<_>>(), [""; 0]);

    let (outcome, events) = calm(EVERY_KIND);
    let outputs = &outcome.ending.outputs;
    assert_eq!(outcome.ending.status, FinalStatus::Completed, "{:?}", outcome.ending.problem);
    assert!(events > 150, "{events} events");
    assert_eq!((&outputs["title"], &outputs["talk"]), (&json!("good"), &json!("it is sent")));
    assert_eq!((&outputs["asked"], &outputs["look"]), (&json!([true, "ann"]), &json!([true, 1])));
    assert_eq!(outputs["guest"]["message"], json!(["answer 0", "answer 1"]));
    assert_eq!((&outputs["sub"], &outputs["sum"]), (&json!("well said"), &json!({ "a": 200 })));
    assert_eq!(outputs["each"]["errors"][0]["index"], 1);
    assert_eq!(outputs["forms"][1]["body"], "sent to https://bin.example.com/keep");
    assert!(outcome.effects.len() > 40, "{} effects", outcome.effects.len());
    assert!(outcome.ending.usage.cost_micro_usd > 50);
}

/// Kills it at every event, in one way; says at how many.
fn at_every_event(blueprint: &str, pull: fn(usize) -> Pull) {
    let (calm, events) = calm(blueprint);
    let mut cuts = 0;
    while let Some(outcome) = killed(blueprint, pull(cuts), 1) {
        assert_eq!(outcome, calm, "{:?}", pull(cuts));
        cuts += 1;
    }
    // An event or two come or go with the order in which nodes overlap.
    assert!(cuts + 5 > events, "it was killed at {cuts} of {events} events");
}

#[test]
fn killed_before_every_event_it_ends_the_same() {
    at_every_event(EVERY_KIND, Pull::Before);
}

#[test]
fn killed_after_every_event_it_ends_the_same() {
    at_every_event(EVERY_KIND, Pull::After);
}

#[test]
fn with_groups_that_may_be_lost_it_ends_the_same() {
    let (calm, events) = calm(EVERY_KIND);
    for cut in (0..events).step_by(5) {
        if let Some(outcome) = killed(EVERY_KIND, Pull::Before(cut), 64) {
            assert_eq!(outcome, calm, "before {cut}");
        }
    }
}

/// Corners that one node of each kind does not reach: a loop that is tried again, branches nobody waits for any more,
/// people asked by agents, executions in rounds, a pause.
const CORNERS: &str = "
    inputs: {required: [who, url]}
    nodes:
      - id: again
        type: loop
        items_source: [a, b]
        retry_policy: {max_attempts: 3, backoff_seconds: 1}
        body:
          - {id: good, type: tool, tool_name: http_post, tool_args: {url: '{{ url }}/good', body: '{{ item }}'}}
          - {id: bad, type: tool, tool_name: http_post, dependencies: [good], tool_args: {url: '{{ url }}/flaky', body: '{{ item }}'}}
      - id: first
        type: parallel
        wait: any
        branches:
          - [{id: quick, type: tool, tool_name: http_post, tool_args: {url: '{{ url }}/quick', body: 1}}]
          - [{id: asks, type: human, prompt_message: will you}]
      - id: talk
        type: agent
        system_prompt: you send things
        task: send it
        tools: [{name: http_post, approval: {timeout_seconds: 8640000, on_timeout: reject}}]
        llm_config: {provider: openai, model: gpt-4o}
      - id: rounds
        type: recursive
        workflow_ref: summarize
        inputs: {notes: 'round {{ recursive_context.iteration | default(0) }} of {{ who }}'}
        max_rounds: 3
        dependencies: [again]
      - id: hold
        type: monitor
        metric_expression: rounds.iterations == 3
        action_on_trigger: pause
        watch: [rounds]
      - {id: never, type: loop, items_source: [1], body: [{id: no, type: tool, tool_name: http_post, tool_args: {url: '{{ url }}/bad', body: 1}}], fallback: instead}
      - {id: instead, type: condition, expression: 1 == 1, true_path: [{id: yes, type: tool, tool_name: http_post, tool_args: {url: '{{ url }}/instead', body: 1}}]}
      - {id: late, type: tool, tool_name: http_post, dependencies: [hold, talk], tool_args: {url: '{{ url }}/late', body: '{{ hold.action_taken }}'}}
      - {id: tidy, type: tool, tool_name: http_post, finally: true, tool_args: {url: '{{ url }}/bad', body: tidy}}
    outputs: {again: '{{ again.results | length }}', talk: '{{ talk.message }}', rounds: '{{ rounds }}', late: '{{ late.status }}', never: '{{ never }}'}
    ";

#[test]
fn corners_killed_before_every_event_end_the_same() {
    let (calm, _) = calm(CORNERS);
    assert_eq!(calm.ending.status, FinalStatus::CompletedWithErrors, "{:?}", calm.ending.problem);
    assert_eq!((&calm.ending.outputs["again"], &calm.ending.outputs["late"]), (&json!(2), &json!(201)));
    at_every_event(CORNERS, Pull::Before);
}

#[test]
fn corners_killed_after_every_event_end_the_same() {
    at_every_event(CORNERS, Pull::After);
}
