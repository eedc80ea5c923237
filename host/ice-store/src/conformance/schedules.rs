//! Schedules: each tick is claimed by one.

use std::sync::Arc;

use ice_core::budget::Budget;
use ice_core::id::{Digest, ExecutionId, Identity, UnixMs};
use ice_core::ports::ScheduleRow;
use ice_core::problem::Code;
use ice_core::schedule::{Schedule, Target, When};
use serde_json::json;

use super::{Backend, ManualClock, anna};

/// A schedule of [`anna`] that belongs to the network `news`.
pub fn row(name: &str, next: Option<UnixMs>) -> ScheduleRow {
    let schedule = Schedule {
        name: name.into(),
        network: Some("news".into()),
        source: "news.yaml".into(),
        blueprint: Target::Document(Digest::of(b"document")),
        enabled: true,
        when: When::new("0 7 * * 1-5"),
        inputs: json!({"city": "Oslo \u{1F600}"}).as_object().expect("a mapping").clone(),
        budget: Budget::default(),
    };
    ScheduleRow { who: anna(), schedule, paused: false, last: 5, next, execution: None, planned: None }
}

/// Everything of a schedule is kept; a second one of the name replaces it.
pub async fn a_schedule_comes_back_as_it_was_put<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let mut written = row("a", Some(10));
    written.execution = Some(ExecutionId("e".into()));
    written.planned = Some(4);
    (written.schedule.blueprint, written.schedule.enabled) = (Target::Named("news@^1".into()), false);
    for next in [Some(10), None] {
        written.next = next;
        store.put_schedule(&written).await.expect("put");
        assert_eq!(store.schedule(&anna(), "a").await.expect("read"), Some(written.clone()));
    }
    assert_eq!(store.schedules(None, 9).await.expect("listed"), [written]);
    assert!(store.remove_schedule(&anna(), "a").await.expect("removed"));
    assert!(!store.remove_schedule(&anna(), "a").await.expect("nothing to remove"));
    assert_eq!(store.schedule(&anna(), "a").await.expect("read"), None);
}

/// Two people may use one name.
pub async fn schedules_stay_with_their_owner<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let bob = Identity { user: "bob".into(), ..anna() };
    store.put_schedule(&row("a", None)).await.expect("put");
    store.put_schedule(&ScheduleRow { who: bob.clone(), last: 6, ..row("a", None) }).await.expect("put");
    assert_eq!(store.schedules(None, 9).await.expect("listed").len(), 2);
    assert!(store.remove_schedule(&bob, "a").await.expect("removed"));
    assert_eq!(store.schedules(Some(&anna()), 9).await.expect("listed"), [row("a", None)]);
    assert_eq!(store.schedules(Some(&bob), 9).await.expect("listed"), []);
}

/// The longest overdue comes first, and what is claimed comes back when it was settled or its lease ran out.
pub async fn only_what_is_due_is_claimed<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for (name, next) in [("late", Some(10)), ("soon", Some(20)), ("never", None)] {
        store.put_schedule(&row(name, next)).await.expect("put");
    }
    assert_eq!(store.next_schedule().await.expect("asked"), Some(10));
    assert_eq!(store.claim_schedule(9, 100).await.expect("asked"), None);
    let mut first = store.claim_schedule(20, 100).await.expect("asked").expect("due");
    assert_eq!(first.row, row("late", Some(10)));
    let second = store.claim_schedule(20, 50).await.expect("asked").expect("due");
    assert_eq!(second.row.schedule.name, "soon");
    assert_eq!(store.claim_schedule(20, 100).await.expect("asked"), None);
    assert_eq!(store.next_schedule().await.expect("asked"), Some(70), "the first lease to run out");
    first.row.last = 10;
    first.row.next = Some(500);
    first.row.execution = Some(ExecutionId("run".into()));
    first.row.planned = Some(10);
    store.settle_schedule(&first).await.expect("settled");
    assert_eq!(store.schedule(&anna(), "late").await.expect("read"), Some(first.row));
    let again = store.claim_schedule(70, 50).await.expect("asked").expect("its lease ran out");
    assert_eq!((again.row.schedule.name.as_str(), again.fence > second.fence), ("soon", true));
}

/// However many ask.
pub async fn concurrent_claims_of_one_tick_let_one_win<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.put_schedule(&row("a", Some(10))).await.expect("put");
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.claim_schedule(10, 100).await.expect("asked").is_some() })
        })
        .collect();
    let mut won = 0;
    for asked in asked {
        won += usize::from(asked.await.expect("no panic"));
    }
    assert_eq!(won, 1);
}

/// A claim is lost to a later one and to a change of the schedule.
pub async fn a_lost_claim_settles_nothing<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.put_schedule(&row("a", Some(10))).await.expect("put");
    let old = store.claim_schedule(10, 5).await.expect("asked").expect("due");
    let new = store.claim_schedule(15, 5).await.expect("asked").expect("the lease ran out");
    assert_eq!(store.settle_schedule(&old).await.expect_err("lost").problem.code, Code::X026);
    let changed = ScheduleRow { last: 77, ..row("a", Some(10)) };
    store.put_schedule(&changed).await.expect("put");
    assert_eq!(store.settle_schedule(&new).await.expect_err("lost").problem.code, Code::X026);
    assert_eq!(store.schedule(&anna(), "a").await.expect("read"), Some(changed));
}

/// Nobody claims it, and nobody waits for it.
pub async fn a_paused_schedule_rests<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.put_schedule(&ScheduleRow { paused: true, ..row("a", Some(10)) }).await.expect("put");
    assert_eq!(store.claim_schedule(10, 5).await.expect("asked"), None);
    assert_eq!(store.next_schedule().await.expect("asked"), None);
}

/// Names keep their history and a person's pause, and what the network no longer has goes.
pub async fn applying_replaces_what_a_network_had<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let bob = Identity { user: "bob".into(), ..anna() };
    let named = |name: &str, network: Option<&str>| {
        let mut row = row(name, Some(10));
        row.schedule.network = network.map(str::to_owned);
        row
    };
    let mut ran = named("ran", Some("news"));
    (ran.execution, ran.planned) = (Some(ExecutionId("e".into())), Some(4));
    let paused = ScheduleRow { paused: true, ..named("paused", Some("news")) };
    let others = [named("gone", Some("other")), ScheduleRow { who: bob.clone(), ..named("gone", Some("news")) }];
    for row in [&ran, &paused, &named("free", None), &others[1]] {
        store.put_schedule(row).await.expect("put");
    }
    store.put_schedule(&named("gone", Some("news"))).await.expect("put");
    let fresh = |name| ScheduleRow { last: 77, next: Some(90), ..named(name, Some("news")) };
    let off = ScheduleRow { paused: true, ..fresh("off") };
    let rows = [fresh("ran"), fresh("paused"), off.clone(), fresh("new")];
    let written = store.apply_schedules(&anna(), Some("news"), &rows).await.expect("applied");
    let expected = [ran, ScheduleRow { paused: true, ..fresh("paused") }, off, fresh("new")];
    assert_eq!(written, expected);
    let mut all = store.schedules(Some(&anna()), 9).await.expect("listed");
    assert_eq!(
        all.iter().map(|row| row.schedule.name.as_str()).collect::<Vec<_>>(),
        ["free", "new", "off", "paused", "ran"]
    );
    all.retain(|row| row.schedule.name != "free");
    assert!(expected.iter().all(|row| all.contains(row)));
    assert_eq!(store.schedules(Some(&bob), 9).await.expect("listed").len(), 1, "somebody else's network of the name");
    assert_eq!(store.apply_schedules(&anna(), Some("news"), &[]).await.expect("applied"), []);
    assert_eq!(store.schedules(Some(&anna()), 9).await.expect("listed"), [named("free", None)]);
}

/// A claim on what is replaced settles nothing, and the new one can be claimed at once.
pub async fn applying_takes_claims_away<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.put_schedule(&row("a", Some(10))).await.expect("put");
    let old = store.claim_schedule(10, 100).await.expect("asked").expect("due");
    store.apply_schedules(&anna(), None, &[row("a", Some(10))]).await.expect("applied");
    assert_eq!(store.settle_schedule(&old).await.expect_err("lost").problem.code, Code::X026);
    assert!(store.claim_schedule(10, 100).await.expect("asked").is_some());
}

/// It can be claimed earlier, and never later.
pub async fn a_resting_schedule_is_woken<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.put_schedule(&row("a", Some(50))).await.expect("put");
    assert!(store.wake_schedule(&anna(), "a", 20).await.expect("asked"));
    assert!(!store.wake_schedule(&anna(), "a", 30).await.expect("asked"));
    assert!(!store.wake_schedule(&anna(), "b", 30).await.expect("asked"));
    assert_eq!(store.next_schedule().await.expect("asked"), Some(20));
    for resting in [ScheduleRow { paused: true, ..row("a", Some(50)) }, row("a", None)] {
        store.put_schedule(&resting).await.expect("put");
        assert!(!store.wake_schedule(&anna(), "a", 20).await.expect("asked"));
    }
}
