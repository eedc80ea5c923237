//! Schedules: each tick is claimed by one.

use std::sync::Arc;

use ice_core::budget::Budget;
use ice_core::id::{Digest, ExecutionId, Identity, UnixMs};
use ice_core::ports::ScheduleRow;
use ice_core::problem::Code;
use ice_core::schedule::{Schedule, When};
use serde_json::json;

use super::{Backend, ManualClock, anna};

fn row(name: &str, next: Option<UnixMs>) -> ScheduleRow {
    let schedule = Schedule {
        name: name.into(),
        network: Some("news".into()),
        source: "news.yaml".into(),
        blueprint: Digest::of(b"document"),
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
