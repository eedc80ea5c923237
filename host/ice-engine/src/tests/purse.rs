//! Money of an org, over executions and processes: the store's ledger is a view of the events, and no call is made that
//! the org cannot pay.

use std::collections::BTreeMap;
use std::future::Future;

use async_trait::async_trait;
use ice_core::budget::{OrgBudgets, Usage, Window};
use ice_core::id::Identity;
use ice_core::ports::{
    Clock, DaySpent, Events, Ledger, Memory, MemoryFilter, MemoryHit, MemoryItem, Standing, own_spending,
};

use super::*;
use crate::testing::Cut;

/// Nine paid calls; each costs 20 and could cost 70.
const PAID: &str = "
    nodes:
      - id: each
        type: loop
        items_source: [1, 2, 3, 4, 5, 6, 7, 8, 9]
        body:
          - {id: l, type: llm, prompt: a b c d e f g h i j, llm_config: {provider: test, model: m, max_tokens: 60}}
    ";

const DAY_MS: u64 = 86_400_000;

/// An engine whose orgs may spend so much a day.
fn limited(outside: &Outside, now: u64, each: u64) -> Engine {
    let engine = outside.engine(now, 1);
    let org_budgets = OrgBudgets { each: Some(each), window: Window::Day, ..OrgBudgets::default() };
    with(&engine, |options| options.org_budgets = org_budgets)
}

/// The same engine with other options.
fn with(engine: &Engine, change: impl FnOnce(&mut EngineOptions)) -> Engine {
    let mut options = engine.shared.options.clone();
    change(&mut options);
    Engine::new(engine.shared.ports.clone(), options)
}

/// One process: everything it had running is gone afterwards.
fn process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(life)
}

async fn standing(store: &MemoryStore) -> Standing {
    let standings = store.standings(0).await.unwrap();
    assert!(standings.len() <= 1, "{standings:?}");
    standings.into_iter().next().unwrap_or_default()
}

/// The ledger says of every execution what its events say, and nothing is set aside any more.
async fn is_balanced(store: &MemoryStore) {
    let mut sum = 0;
    for id in store.ids() {
        let own = own_spending(&store.events_of(&id));
        assert_eq!(store.spent(&id).await.unwrap(), own, "execution {id}");
        sum += own.iter().map(|day| day.micro_usd).sum::<u64>();
    }
    let standing = standing(store).await;
    assert_eq!((standing.spent, standing.reserved), (sum, 0));
}

#[tokio::test(start_paused = true)]
async fn a_loop_stops_before_the_call_that_the_org_cannot_pay() {
    let outside = Outside::new(Fakes::new(), Answers::echo());
    let ending = start(&limited(&outside, NOW, 120), PAID, json!({})).await.finish().await;
    assert_eq!((ending.status, ending.problem.as_ref().unwrap().code), (FinalStatus::Failed, Code::X005));
    // The fourth call would begin at 60 and could end at 130.
    assert_eq!((outside.llm.asked().len(), ending.usage.cost_micro_usd), (3, 60));
    let message = &ending.problem.unwrap().message;
    assert!(message.contains("$0.00006") && message.contains("today") && message.contains("`local`"), "{message}");
    is_balanced(&outside.store).await;
    // What is left, 60, is less than one call could cost: the next execution does not begin.
    let problems = try_start(&limited(&outside, NOW, 120), PAID, json!({})).await.err().unwrap();
    assert_eq!((problems[0].code, problems[0].code.http()), (Code::X005, 402));
    assert_eq!(outside.store.ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_executions_at_once_never_spend_more_than_their_org_has() {
    let clock = Arc::new(SimClock::at(NOW));
    let outside = Outside::new(Fakes::new(), Answers::echo().slowly(clock as _, 50));
    let (one, two) = (limited(&outside, NOW, 300), limited(&outside, NOW + 1, 300));
    let handles = [start(&one, PAID, json!({})).await, start(&two, PAID, json!({})).await];
    let mut spent = 0;
    for handle in handles {
        let ending = handle.finish().await;
        assert_eq!(ending.problem.unwrap().code, Code::X005);
        spent += ending.usage.cost_micro_usd;
    }
    assert!((240..=300).contains(&spent), "{spent}");
    assert_eq!(standing(&outside.store).await.spent, spent);
    is_balanced(&outside.store).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_window_begins_at_midnight() {
    let midnight = (NOW / DAY_MS + 1) * DAY_MS;
    let outside = Outside::new(Fakes::new(), Answers::echo());
    let before = limited(&outside, midnight - 1, 120);
    assert_eq!(start(&before, PAID, json!({})).await.finish().await.usage.cost_micro_usd, 60);
    assert!(try_start(&before, PAID, json!({})).await.is_err());
    let after = limited(&outside, midnight, 120);
    let handle = start(&after, PAID, json!({})).await;
    assert_eq!(handle.finish().await.usage.cost_micro_usd, 60);
    let day = midnight / DAY_MS;
    assert_eq!(outside.store.spent(&handle.id).await.unwrap(), [DaySpent { day, micro_usd: 60 }]);
    let left = after.org_standing("local").await.unwrap().unwrap();
    assert_eq!((left.left(), left.standing.spent), (60, 60));
    is_balanced(&outside.store).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_over_midnight_counts_on_the_day_of_its_event() {
    let midnight = (NOW / DAY_MS + 1) * DAY_MS;
    let clock: Arc<dyn Clock> = Arc::new(SimClock::at(0));
    let outside = Outside::new(Fakes::new(), Answers::echo().slowly(clock, 1_000));
    let engine = limited(&outside, midnight - 2_500, 1_000);
    let handle = start(&engine, PAID, json!({})).await;
    handle.finish().await;
    let day = midnight / DAY_MS;
    let expected = [DaySpent { day: day - 1, micro_usd: 40 }, DaySpent { day, micro_usd: 140 }];
    assert_eq!(outside.store.spent(&handle.id).await.unwrap(), expected);
    is_balanced(&outside.store).await;
}

#[test]
fn cut_off_anywhere_it_stops_at_the_same_total_and_nothing_is_counted_twice() {
    let (events, calm) = process(async {
        let outside = Outside::new(Fakes::new(), Answers::echo());
        let handle = start(&limited(&outside, NOW, 120), PAID, json!({})).await;
        let ending = handle.finish().await;
        (outside.store.events_of(&handle.id).len(), ending)
    });
    for cut in 1..events {
        let outside = process(async {
            let outside = Outside::new(Fakes::new(), Answers::echo());
            outside.store.cut(Cut::After(cut));
            let engine = limited(&outside, NOW, 120);
            tokio::select! {
                biased;
                () = outside.store.went_dark() => {}
                _ = async { start(&engine, PAID, json!({})).await.finish().await } => {}
            }
            outside
        });
        process(async {
            outside.store.cut(Cut::Never);
            let id = outside.store.ids().pop().expect("it began");
            let ending = limited(&outside, NOW + 60_000, 120).resume(&id).await.unwrap().finish().await;
            let code = ending.problem.as_ref().map(|problem| problem.code);
            assert_eq!((code, ending.usage), (Some(Code::X005), calm.usage), "cut after {cut} events");
            is_balanced(&outside.store).await;
        });
    }
}

#[test]
fn what_a_dead_process_had_set_aside_is_free_once_its_lease_ran_out() {
    let outside = process(async {
        let outside = Outside::new(Fakes::new(), Answers::echo());
        // Cut off while it wants to say that its first call was answered.
        outside.store.cut(Cut::After(5));
        let engine = limited(&outside, NOW, 120);
        tokio::select! {
            biased;
            () = outside.store.went_dark() => {}
            _ = async { start(&engine, PAID, json!({})).await.finish().await } => {}
        }
        outside.store.cut(Cut::Never);
        outside
    });
    process(async {
        assert_eq!(standing(&outside.store).await.reserved, 70);
        let refused = try_start(&limited(&outside, NOW + 1_000, 120), PAID, json!({})).await;
        assert_eq!(refused.err().unwrap()[0].code, Code::X005, "the dead process could still be alive");
        let later = limited(&outside, NOW + 60_000, 120);
        assert_eq!(start(&later, PAID, json!({})).await.finish().await.usage.cost_micro_usd, 60);
        is_balanced(&outside.store).await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_child_is_counted_once_and_by_itself() {
    let child = json!({
        "schema_version": "1.2.0",
        "nodes": [{
            "id": "l", "type": "llm", "prompt": "a b c d e",
            "llm_config": { "provider": "test", "model": "m", "max_tokens": 50 },
        }],
    });
    let outside = Outside::new(Fakes::new().blueprint("kit.child", child), Answers::echo());
    let blueprint = "
        nodes:
          - {id: first, type: workflow, workflow_ref: kit.child}
          - {id: second, type: workflow, workflow_ref: kit.child, dependencies: [first]}
          - {id: third, type: workflow, workflow_ref: kit.child, dependencies: [second]}
        ";
    let ending = start(&limited(&outside, NOW, 70), blueprint, json!({})).await.finish().await;
    // Each costs 10 and could cost 55: the third would begin at 20 and could end at 75.
    assert_eq!((ending.problem.unwrap().code, ending.usage.cost_micro_usd), (Code::X005, 20));
    assert_eq!(standing(&outside.store).await.spent, 20);
    is_balanced(&outside.store).await;
}

#[tokio::test(start_paused = true)]
async fn answers_from_a_cassette_cost_nothing() {
    let outside = Outside::new(Fakes::new(), Answers::echo());
    let engine = with(&limited(&outside, NOW, 30), |options| {
        options.replays = Some(ice_core::id::Digest::of(b"cassette"));
    });
    let ending = start(&engine, PAID, json!({})).await.finish().await;
    assert_eq!((ending.status, outside.llm.asked().len()), (FinalStatus::Completed, 9));
    assert_eq!(standing(&outside.store).await, Standing::default());
    is_balanced(&outside.store).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_of_unknown_price_is_refused_where_an_org_has_a_budget() {
    let fakes = Fakes::new().agent("asker", |_, scope| async move {
        scope.reserve(Usage { unpriced_calls: 1, ..Usage::default() }).await?;
        Ok(json!({}))
    });
    let outside = Outside::new(fakes, Answers::echo());
    let blueprint = "nodes: [{id: a, type: agent, package: asker}]";
    let ending = start(&limited(&outside, NOW, 1_000), blueprint, json!({})).await.finish().await;
    let problem = ending.problem.unwrap();
    assert_eq!(problem.code, Code::X005);
    assert!(problem.help.unwrap().contains("[[price]]"));
    let free = start(&outside.engine(NOW + 1, 1), blueprint, json!({})).await.finish().await;
    assert_eq!(free.status, FinalStatus::Completed);
    is_balanced(&outside.store).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_broken_off_leaves_nothing_set_aside() {
    let clock: Arc<dyn Clock> = Arc::new(SimClock::at(0));
    let outside = Outside::new(Fakes::new(), Answers::echo().slowly(clock, 60_000));
    let engine = limited(&outside, NOW, 1_000);
    let blueprint = "
        nodes:
          - {id: a, type: llm, prompt: hi, timeout_seconds: 1, llm_config: {provider: test, model: m, max_tokens: 60}}
        ";
    let handle = start(&engine, blueprint, json!({})).await;
    assert_eq!(handle.finish().await.status, FinalStatus::Failed);
    is_balanced(&outside.store).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_money_is_counted_all_the_same() {
    let outside = Outside::new(Fakes::new(), Answers::echo());
    let ending = start(&outside.engine(NOW, 64), PAID, json!({})).await.finish().await;
    assert_eq!(ending.status, FinalStatus::Completed);
    assert_eq!(standing(&outside.store).await.spent, 180);
    is_balanced(&outside.store).await;
}

#[tokio::test(start_paused = true)]
async fn an_org_of_its_own_limit_does_not_take_the_common_one() {
    let outside = Outside::new(Fakes::new(), Answers::echo());
    let by_org = BTreeMap::from([("local".to_owned(), 100)]);
    let org_budgets = OrgBudgets { each: Some(1), by_org, window: Window::Total };
    let engine = with(&outside.engine(NOW, 1), |options| options.org_budgets = org_budgets);
    let ending = start(&engine, PAID, json!({})).await.finish().await;
    assert_eq!(ending.usage.cost_micro_usd, 40);
    let parsed = parse(PAID, "x").unwrap();
    let plan = Arc::new(engine.plan(&parsed).await.unwrap());
    let mut start = StartExecution::new(plan, json!({}));
    start.identity.org = "acme".into();
    assert_eq!(engine.start(start).await.err().unwrap()[0].code, Code::X005);
}

#[tokio::test(start_paused = true)]
async fn an_imported_execution_is_in_the_ledger_and_one_that_could_be_too_dear_is_warned_of() {
    let outside = Outside::new(Fakes::new(), Answers::echo());
    let engine = outside.engine(NOW, 1);
    let handle = start(&engine, PAID, json!({})).await;
    handle.finish().await;
    let (here, there) = (&*outside.store, MemoryStore::new(Arc::new(SimClock::at(NOW))));
    let text = crate::export(here, here, &handle.id).await.unwrap().join("\n");
    let import = crate::Import::read(&text).unwrap();
    import.write(&*there, &*there, &ice_core::id::Identity::local()).await.unwrap();
    assert_eq!((there.ids().len(), standing(&there).await.spent), (1, 180));
    is_balanced(&there).await;
    assert!(Events::ledger(&*there).is_some());

    // 180 are spent; what is certain takes 99 or more, what could be at most 630.
    let warned = async |each: u64| {
        let engine = limited(&outside, NOW, each);
        let plan = Arc::new(engine.plan(&parse(PAID, "x").unwrap()).await.unwrap());
        engine.warnings(&StartExecution::new(plan, json!({}))).await
    };
    assert_eq!(warned(810).await, []);
    let problems = warned(809).await;
    assert_eq!((problems.len(), problems[0].code), (1, Code::X005));
    assert!(problems[0].message.contains("$0.00063"), "{}", problems[0].message);
}

/// A memory whose every write costs 30.
struct Embeds;

const VECTOR: Usage = Usage { input_tokens: 30, output_tokens: 0, cost_micro_usd: 30, unpriced_calls: 0 };

#[async_trait]
impl Memory for Embeds {
    fn estimate(&self, _bytes: usize) -> Usage {
        VECTOR
    }
    async fn write(&self, _: &Identity, _: &str, _: MemoryItem) -> Result<Usage, Failure> {
        Ok(VECTOR)
    }
    async fn read(&self, _: &Identity, _: &str, _: &str) -> Result<Option<MemoryItem>, Failure> {
        Ok(None)
    }
    async fn search(
        &self,
        _: &Identity,
        _: &str,
        _: &str,
        _: &MemoryFilter,
        _: u32,
    ) -> Result<(Vec<MemoryHit>, Usage), Failure> {
        Ok((Vec::new(), VECTOR))
    }
    async fn recent(&self, _: &Identity, _: &str, _: &str, _: u32) -> Result<Vec<MemoryItem>, Failure> {
        Ok(Vec::new())
    }
    async fn forget(&self, _: &Identity, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn vectors_of_an_agents_memory_are_paid_or_not_made() {
    let agent = "
        nodes:
          - id: a
            type: agent
            system_prompt: one two
            task: three four
            memory: {scope: chat}
            llm_config: {provider: test, model: m, max_tokens: 10}
        ";
    for (limit, spent, remembered) in [(36, 36, true), (35, 6, false)] {
        let outside = Outside::new(Fakes::new(), Answers::echo());
        let limited = limited(&outside, NOW, limit);
        let mut ports = limited.shared.ports.clone();
        ports.memory = Arc::new(Embeds);
        let engine = Engine::new(ports, limited.shared.options.clone());
        let handle = start(&engine, agent, json!({})).await;
        let ending = handle.finish().await;
        assert_eq!((ending.status, ending.usage.cost_micro_usd), (FinalStatus::Completed, spent), "limit {limit}");
        let logged =
            |event: &Event| matches!(&event.fact, Fact::Logged { message, .. } if message.contains("not remembered"));
        assert_eq!(outside.store.events_of(&handle.id).iter().any(logged), !remembered);
        is_balanced(&outside.store).await;
    }
}
