//! Waits: which executions have open ones, and which are due.

use std::sync::Arc;

use futures_util::future::join_all;
use ice_core::event::{Event, Fact, FinalStatus};
use ice_core::id::{Identity, NodePath, UnixMs};
use ice_core::ports::Lease;
use ice_core::wait::{Question, WaitId};

use super::{Backend, ManualClock, anna, finished, id, line, lines};

fn fact(seq: u64, fact: Fact) -> Event {
    Event { seq, at: 1_000_000 + seq, path: NodePath("ask".into()), attempt: 1, fact }
}

fn wait(name: &str) -> WaitId {
    WaitId(format!("e.{name}"))
}

fn opened(seq: u64, name: &str) -> Event {
    let question = Box::new(Question { message: "ok?".into(), ..Question::default() });
    fact(seq, Fact::WaitOpened { wait: wait(name), question, due: None })
}

fn resolved(seq: u64, name: &str) -> Event {
    let resolution = Box::new(Question::default().unanswered());
    fact(seq, Fact::WaitResolved { wait: wait(name), resolution })
}

fn withdrawn(seq: u64, name: &str) -> Event {
    fact(seq, Fact::WaitWithdrawn { wait: wait(name) })
}

fn parked(seq: u64, due: Option<UnixMs>) -> Event {
    let parked = Fact::ExecutionParked { due, usage: Default::default() };
    Event { path: NodePath::root(), attempt: 0, ..fact(seq, parked) }
}

fn resumed(seq: u64) -> Event {
    Event { path: NodePath::root(), attempt: 0, ..fact(seq, Fact::ExecutionResumed) }
}

/// Status and number of open waits, as a listing shows them.
async fn row<S: Backend>(store: &S, name: &str) -> (String, u64) {
    let rows = store.list(&anna(), 100).await.expect("list");
    let row = rows.into_iter().find(|row| row.id == id(name)).expect("listed");
    (row.status, row.waits)
}

/// Names of the executions that wait, those of everybody.
async fn waiting<S: Backend>(store: &S) -> Vec<String> {
    store.waiting(None, 100).await.expect("waiting").into_iter().map(|id| id.0).collect()
}

/// Names of the executions that are due.
async fn due<S: Backend>(store: &S, now: UnixMs) -> Vec<String> {
    store.due(now, 100).await.expect("due").into_iter().map(|id| id.0).collect()
}

/// Creates an execution and appends each group of events by itself.
async fn told<S: Backend>(store: &S, name: &str, groups: &[&[Event]]) -> Lease {
    let lease = store.create(&id(name), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
    for group in groups {
        store.append(&lease, group).await.expect("appended");
    }
    lease
}

/// Parked is a status; whatever comes next ends it, with or without an event in between.
pub async fn a_parked_execution_waits_until_anything_happens<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = told(&store, "e", &[&[opened(2, "a"), parked(3, Some(5_000))]]).await;
    assert_eq!(row(&store, "e").await, ("waiting".into(), 1));
    assert_eq!(due(&store, 5_000).await, ["e"]);
    store.append(&lease, &[]).await.expect("no event");
    assert_eq!(row(&store, "e").await, ("waiting".into(), 1), "nothing happened");
    store.append(&lease, &[line(4, "anything")]).await.expect("appended");
    assert_eq!(row(&store, "e").await, ("running".into(), 1));
    assert_eq!(due(&store, u64::MAX).await, [""; 0]);
    assert_eq!(waiting(&store).await, ["e"], "the wait is still open");
    store.append(&lease, &[parked(5, Some(6_000)), resumed(6), line(7, "on")]).await.expect("appended");
    assert_eq!((row(&store, "e").await.0.as_str(), due(&store, u64::MAX).await.len()), ("running", 0));
    store.append(&lease, &[parked(8, None)]).await.expect("appended");
    assert_eq!((row(&store, "e").await.0.as_str(), due(&store, u64::MAX).await.len()), ("waiting", 0), "no timer");
    store.append(&lease, &[resumed(9), finished(10, FinalStatus::Completed)]).await.expect("appended");
    assert_eq!(row(&store, "e").await, ("completed".into(), 0));
    assert_eq!(waiting(&store).await, [""; 0], "an end closes every wait");

    let first = [line(1, "start"), opened(2, "a"), parked(3, Some(7_000))];
    store.create(&id("whole"), "n", &anna(), &first, 1000).await.expect("a list that begins with all of it");
    assert_eq!(row(&store, "whole").await, ("waiting".into(), 1));
    assert_eq!((waiting(&store).await, due(&store, 7_000).await), (vec!["whole".into()], vec!["whole".into()]));
}

/// Every open wait counts until it is resolved or withdrawn, however the events are grouped.
pub async fn open_waits_are_counted_as_they_come_and_go<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = told(&store, "e", &[&[opened(2, "a"), opened(3, "b")], &[opened(4, "c")]]).await;
    assert_eq!(row(&store, "e").await, ("running".into(), 3));
    store.append(&lease, &[resolved(5, "b"), opened(6, "d"), withdrawn(7, "a")]).await.expect("appended");
    assert_eq!(row(&store, "e").await.1, 2);
    assert_eq!(waiting(&store).await, ["e"]);
    store.append(&lease, &[resolved(8, "c")]).await.expect("appended");
    store.append(&lease, &[withdrawn(9, "d")]).await.expect("appended");
    assert_eq!(row(&store, "e").await, ("running".into(), 0));
    assert_eq!(waiting(&store).await, [""; 0]);
    let refused = [line(10, "a"), opened(12, "e")];
    store.append(&lease, &refused).await.expect_err("a hole");
    assert_eq!(row(&store, "e").await.1, 0, "what is refused counts nothing");
}

/// Newest first, of one user or of everybody, at most as many as asked for.
pub async fn those_who_wait_are_listed_for_their_owner<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let bob = Identity { org: "acme".into(), user: "bob".into(), session: None };
    for (number, who) in [(1, anna()), (2, bob.clone()), (3, anna()), (4, anna())] {
        let first = [Event { at: number, ..line(1, "start") }, opened(2, "a")];
        store.create(&id(&format!("e{number}")), "n", &who, &first, 1000).await.expect("created");
    }
    store.create(&id("busy"), "n", &anna(), &lines(1, 2), 1000).await.expect("created");
    let of = |who: Option<Identity>, limit| {
        let store = store.clone();
        async move {
            let ids = store.waiting(who.as_ref(), limit).await.expect("waiting");
            ids.into_iter().map(|id| id.0).collect::<Vec<_>>()
        }
    };
    assert_eq!(of(None, 10).await, ["e4", "e3", "e2", "e1"]);
    assert_eq!(of(Some(anna()), 10).await, ["e4", "e3", "e1"]);
    assert_eq!(of(Some(anna()), 2).await, ["e4", "e3"]);
    assert_eq!(of(Some(Identity { session: Some("s".into()), ..bob }), 10).await, ["e2"]);
    assert_eq!(of(Some(Identity { org: "other".into(), ..anna() }), 10).await, [""; 0]);
}

/// Only what has its time behind it; not what has no timer, runs again or has ended.
pub async fn what_is_due_comes_longest_overdue_first<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for (name, at) in [("late", Some(3_000)), ("later", Some(2_000)), ("soon", Some(9_000)), ("never", None)] {
        told(&store, name, &[&[opened(2, "a"), parked(3, at)]]).await;
    }
    told(&store, "again", &[&[opened(2, "a"), parked(3, Some(1_000))], &[resumed(4)]]).await;
    told(&store, "over", &[&[parked(2, Some(1_000))], &[finished(3, FinalStatus::Failed)]]).await;
    assert_eq!(due(&store, 1_999).await, [""; 0]);
    assert_eq!(due(&store, 2_000).await, ["later"]);
    assert_eq!(due(&store, 8_999).await, ["later", "late"]);
    assert_eq!(store.due(u64::MAX, 1).await.expect("due"), [id("later")]);
}

/// A request to cancel reaches an execution that nobody runs, and the listing still says that it waits.
pub async fn one_that_waits_can_be_asked_to_stop<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = told(&store, "e", &[&[opened(2, "a"), parked(3, None)]]).await;
    store.release(&lease).await.expect("given back");
    assert!(store.request_cancel(&id("e"), "no longer wanted").await.expect("asked"));
    assert_eq!(store.cancel_requested(&id("e")).await.expect("read").as_deref(), Some("no longer wanted"));
    assert_eq!(row(&store, "e").await.0, "waiting");
}

/// Appends that share a transaction do not lose each other's waits.
pub async fn many_appends_at_once_count_every_wait<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    const EXECUTIONS: u64 = 30;
    let run = |number: u64| {
        let store = store.clone();
        async move {
            let name = format!("e{number:02}");
            let lease = told(&store, &name, &[]).await;
            // Sent without waiting for each other's answers, so that they can be written together.
            let opened: Vec<[Event; 1]> = (0..=number).map(|n| [opened(n + 2, &format!("{n}"))]).collect();
            let outcomes = join_all(opened.iter().map(|event| store.append(&lease, event))).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            let park = [parked(number + 3, Some(number))];
            store.append(&lease, &park).await.expect("parked");
            (name, number + 1)
        }
    };
    let expected = join_all((0..EXECUTIONS).map(run)).await;
    for (name, waits) in &expected {
        assert_eq!(row(&store, name).await, ("waiting".into(), *waits), "{name}");
    }
    let names: Vec<String> = expected.into_iter().map(|(name, _)| name).collect();
    assert_eq!(due(&store, u64::MAX).await, names);
}
