//! Event lists: order, completeness, listings.

use std::sync::Arc;

use futures_util::future::join_all;
use ice_core::event::{Event, Fact, FinalStatus};
use ice_core::id::Identity;
use ice_core::problem::Code;
use serde_json::json;

use super::{Backend, ManualClock, anna, finished, id, line, lines};

/// A reader gets every event once, in order, however it cuts the list into pages.
pub async fn lists_are_read_in_order_and_in_pages<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = store.create(&id("e"), "hello", &anna(), &lines(1, 2), 1000).await.expect("created");
    store.append(&lease, &lines(3, 3)).await.expect("one event");
    store.append(&lease, &lines(4, 9)).await.expect("several events");
    store.append(&lease, &[]).await.expect("no event is no mistake");
    let all = store.read(&id("e"), 0, 100).await.expect("read");
    assert_eq!(all, lines(1, 9));
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map_or(0, |event: &Event| event.seq);
        let page = store.read(&id("e"), after, 4).await.expect("page");
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(store.read(&id("e"), u64::MAX, 10).await.expect("beyond the end"), []);
}

/// Nothing of a fact is lost: unusual characters, exact numbers, nested problems.
pub async fn facts_come_back_as_they_were<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let output = json!({
        "text": "quote \" backslash \\ newline \n nul \u{0} snowman ☃ \u{1F600} control \u{1}",
        "numbers": [u64::MAX, i64::MIN, 0.1, 1e300, -0.0, 9_007_199_254_740_993_u64],
        "nested": {"b": 1, "a": [[], {}, null, true]},
    });
    let mut events = vec![line(1, "first\u{0}line"), finished(3, FinalStatus::Failed)];
    let fact = Fact::NodeFinished { output, cached: true, receipt: Some(Box::default()), usage: Default::default() };
    events.insert(1, Event { fact, ..line(2, "") });
    store.create(&id("e"), "na\"me", &anna(), &events, 1000).await.expect("created");
    assert_eq!(store.read(&id("e"), 0, 10).await.expect("read"), events);
}

/// Events that do not continue the list are refused, and the list stays as it was.
pub async fn a_list_has_no_holes<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let late = store.create(&id("late"), "n", &anna(), &lines(2, 3), 1000).await.expect_err("begins with 2");
    assert_eq!(late.problem.code, Code::X043);
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 3), 1000).await.expect("created");
    let torn = [line(4, "a"), line(6, "b")];
    for bad in [&lines(5, 6), &lines(3, 4), &lines(1, 1), &lines(0, 4), &torn.to_vec()] {
        let failure = store.append(&lease, bad).await.expect_err("not the next events");
        assert_eq!(failure.problem.code, Code::X043, "{failure}");
    }
    store.append(&lease, &lines(4, 4)).await.expect("the next event");
    assert_eq!(store.read(&id("e"), 0, 100).await.expect("read"), lines(1, 4));
}

/// When one event of an append is wrong, none of it is written.
pub async fn an_append_is_all_or_nothing<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = store.create(&id("e"), "n", &anna(), &[], 1000).await.expect("an empty list is a list");
    let mut events = lines(1, 50);
    events[49].seq = 60;
    store.append(&lease, &events).await.expect_err("a hole at the end");
    assert_eq!(store.read(&id("e"), 0, 100).await.expect("read"), []);
}

/// The second execution of an id is refused, and the first is not touched.
pub async fn an_id_exists_once<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = store.create(&id("e"), "first", &anna(), &lines(1, 2), 1000).await.expect("created");
    let failure = store.create(&id("e"), "second", &anna(), &lines(1, 1), 1000).await.expect_err("exists");
    assert_eq!(failure.problem.code, Code::X044);
    store.append(&lease, &lines(3, 3)).await.expect("the first lease still counts");
    assert_eq!(store.list(&anna(), 10).await.expect("list")[0].name, "first");
}

/// Everything that needs an execution says which one is missing.
pub async fn an_unknown_id_is_named<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = ice_core::ports::Lease { execution: id("ghost"), fence: 1, until: 0 };
    let failures = [
        store.read(&id("ghost"), 0, 1).await.expect_err("read"),
        store.claim(&id("ghost"), 1).await.expect_err("claim"),
        store.renew(&lease, 1).await.expect_err("renew"),
        store.release(&lease).await.expect_err("release"),
        store.append(&lease, &lines(1, 1)).await.expect_err("append"),
        store.request_cancel(&id("ghost"), "r").await.expect_err("request"),
        store.cancel_requested(&id("ghost")).await.expect_err("requested"),
    ];
    for failure in failures {
        assert_eq!(failure.problem.code, Code::X041);
        assert!(failure.problem.message.contains("`ghost`") && failure.problem.help.is_some(), "{failure}");
    }
}

/// Many executions appending at once do not disturb each other.
pub async fn concurrent_appends_keep_every_list_in_order<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    const EXECUTIONS: usize = 50;
    const EVENTS: u64 = 20;
    let run = |number: usize| {
        let store = store.clone();
        async move {
            let id = id(&format!("e{number}"));
            let lease = store.create(&id, "n", &anna(), &[], 1000).await.expect("created");
            for seq in 1..=EVENTS {
                store.append(&lease, &[line(seq, &format!("{number}"))]).await.expect("appended");
            }
            id
        }
    };
    for (number, id) in join_all((0..EXECUTIONS).map(run)).await.into_iter().enumerate() {
        let events = store.read(&id, 0, 100).await.expect("read");
        let expected: Vec<Event> = (1..=EVENTS).map(|seq| line(seq, &format!("{number}"))).collect();
        assert_eq!(events, expected);
    }
}

/// Of several creations of one id, one succeeds and the others are told so.
pub async fn concurrent_creates_of_one_id_let_one_win<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let create = |number: usize| {
        let store = store.clone();
        async move { store.create(&id("e"), &format!("{number}"), &anna(), &lines(1, 3), 1000).await }
    };
    let outcomes = join_all((0..20).map(create)).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert!(refused.into_iter().all(|failure| failure.problem.code == Code::X044));
    assert_eq!(store.read(&id("e"), 0, 10).await.expect("read"), lines(1, 3));
}

/// Executions that begin, go on and are given back at the same moments do not mix; nothing follows a lease given back.
pub async fn whole_lives_at_once_stay_apart<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let live = |number: u64| {
        let (store, id) = (store.clone(), id(&format!("e{number}")));
        async move {
            let lease = store.create(&id, "n", &anna(), &lines(1, 1 + number % 3), 1000).await.expect("created");
            let next = 2 + number % 3;
            store.append(&lease, &lines(next, next + 1)).await.expect("appended");
            let (released, late) = tokio::join!(store.release(&lease), async {
                tokio::task::yield_now().await;
                store.append(&lease, &lines(next + 2, next + 2)).await
            });
            released.expect("released");
            if let Err(failure) = &late {
                assert_eq!(failure.problem.code, Code::X040);
            }
            assert_eq!(store.release(&lease).await.expect_err("only once").problem.code, Code::X040);
            assert_eq!(store.append(&lease, &lines(9, 9)).await.expect_err("too late").problem.code, Code::X040);
            let last = if late.is_ok() { next + 2 } else { next + 1 };
            assert_eq!(store.read(&id, 0, 20).await.expect("read"), lines(1, last));
        }
    };
    join_all((0..100).map(live)).await;
}

/// An answer of megabytes is an event like any other.
pub async fn big_events_fit<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let big = line(2, &"a\"ß☃".repeat(300_000));
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
    store.append(&lease, std::slice::from_ref(&big)).await.expect("big");
    store.append(&lease, &lines(3, 3)).await.expect("and on");
    let read = store.read(&id("e"), 1, 10).await.expect("read");
    assert!(read[0] == big, "the big event changed");
    assert_eq!(read[1..], lines(3, 3));
}

/// A listing shows how an execution ended, and that it runs until then.
pub async fn the_status_follows_the_last_fact<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let ends = [
        (FinalStatus::Completed, "completed"),
        (FinalStatus::CompletedWithErrors, "completed_with_errors"),
        (FinalStatus::Failed, "failed"),
        (FinalStatus::Cancelled, "cancelled"),
    ];
    for (status, word) in ends {
        let who = Identity { user: word.into(), ..anna() };
        let lease = store.create(&id(word), "n", &who, &lines(1, 1), 1000).await.expect("created");
        assert_eq!(store.list(&who, 1).await.expect("list")[0].status, "running");
        store.append(&lease, &[line(2, "almost"), finished(3, status)]).await.expect("finished");
        let row = &store.list(&who, 1).await.expect("list")[0];
        assert_eq!((row.status.as_str(), row.events, row.updated), (word, 3, 1_000_003));
    }
}

/// Newest first, of one user only, with the lease's state.
pub async fn listings_show_the_newest_of_their_owner<S: Backend>(store: S, clock: Arc<ManualClock>) {
    for number in 1..=5_u64 {
        let first = Event { at: number, ..line(1, "start") };
        store
            .create(&id(&format!("e{number}")), &format!("n{number}"), &anna(), &[first], 1000)
            .await
            .expect("created");
    }
    for (org, user) in [("acme", "bob"), ("other", "anna")] {
        let who = Identity { org: org.into(), user: user.into(), session: None };
        store.create(&id(&format!("{org}-{user}")), "n", &who, &[], 1000).await.expect("created");
        assert_eq!(store.list(&who, 10).await.expect("list").len(), 1);
    }
    let rows = store.list(&anna(), 3).await.expect("list");
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["n5", "n4", "n3"]);
    assert_eq!((rows[0].started, rows[0].updated, rows[0].events, rows[0].held), (5, 5, 1, true));
    clock.advance(1000);
    assert!(!store.list(&anna(), 1).await.expect("list")[0].held, "the lease expired");
    let session = Identity { session: Some("s1".into()), ..anna() };
    assert_eq!(store.list(&session, 10).await.expect("list").len(), 5, "a session does not hide a user's executions");
}

/// Pages of a listing follow each other without gap or repetition, also where executions started together.
pub async fn listings_go_on_where_a_page_ended<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for number in 1..=7_u64 {
        let first = Event { at: number / 2, ..line(1, "start") };
        store.create(&id(&format!("e{number}")), "n", &anna(), &[first], 1000).await.expect("created");
    }
    let bob = Identity { user: "bob".into(), ..anna() };
    store.create(&id("e5b"), "n", &bob, &lines(1, 1), 1000).await.expect("created");
    let mut pages = vec![store.list(&anna(), 2).await.expect("list")];
    while let Some(last) = pages.last().and_then(|page| page.last()).map(|row| row.id.clone()) {
        pages.push(store.older(&anna(), &last, 2).await.expect("older"));
    }
    let ids: Vec<String> = pages.concat().into_iter().map(|row| row.id.0).collect();
    assert_eq!(ids, ["e7", "e6", "e5", "e4", "e3", "e2", "e1"]);
    assert_eq!(store.older(&anna(), &id("ghost"), 2).await.expect("older"), []);
}

/// The lines of a listing, of the executions that are named.
pub async fn some_stand_without_the_others<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for name in ["a", "b", "c"] {
        let lease = store.create(&id(name), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
        if name == "b" {
            store.append(&lease, &[finished(2, FinalStatus::Failed)]).await.expect("ended");
        }
    }
    let mut rows = store.standing(&[id("c"), id("ghost"), id("b")]).await.expect("asked");
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    let listed: Vec<_> = store.list(&anna(), 9).await.expect("list").into_iter().rev().skip(1).collect();
    assert_eq!(rows, listed);
    assert_eq!(rows[0].status, "failed");
    assert_eq!(store.standing(&[]).await.expect("asked"), []);
}

/// What was left is what runs and nobody holds: not what ended, waits, or is held.
pub async fn what_was_left_is_found<S: Backend>(store: S, clock: Arc<ManualClock>) {
    for name in ["a", "b", "c", "d"] {
        let lease = store.create(&id(name), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
        match name {
            "a" => store.release(&lease).await.expect("given back"),
            "b" => store.append(&lease, &[finished(2, FinalStatus::Completed)]).await.expect("ended"),
            "c" => {
                let parked = Fact::ExecutionParked { due: None, usage: Default::default() };
                store.append(&lease, &[Event { fact: parked, ..line(2, "") }]).await.expect("waits");
                store.release(&lease).await.expect("given back");
            }
            _ => {}
        }
    }
    assert_eq!(store.left(10).await.expect("left"), [id("a")]);
    clock.advance(1000);
    assert_eq!(store.left(10).await.expect("left"), [id("a"), id("d")]);
    assert_eq!(store.left(1).await.expect("left"), [id("a")]);
}

/// Executions that begin, go on and are given back at once do not disturb each other, and everybody is told how it
/// went for them: also those whose id was taken, or whose lease was lost.
pub async fn many_short_lives_at_once<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let live = |number: usize| {
        let store = store.clone();
        async move {
            let id = id(&format!("e{}", number / 2));
            let lease = match store.create(&id, "n", &anna(), &lines(1, 1), 1000).await {
                Ok(lease) => lease,
                Err(failure) => return Err(failure.problem.code),
            };
            store.append(&lease, &[line(2, "end"), finished(3, FinalStatus::Completed)]).await.expect("appended");
            store.release(&lease).await.expect("given back");
            let again = store.release(&lease).await.expect_err("it was given back");
            assert_eq!(again.problem.code, Code::X040);
            let late = store.append(&lease, &[line(4, "late")]).await.expect_err("it was given back");
            assert_eq!(late.problem.code, Code::X040);
            Ok(())
        }
    };
    let lives = join_all((0..128).map(live)).await;
    assert_eq!(lives.iter().filter(|life| life.is_ok()).count(), 64);
    assert!(lives.iter().all(|life| !matches!(life, Err(code) if *code != Code::X044)), "{lives:?}");
    for number in 0..64 {
        assert_eq!(store.read(&id(&format!("e{number}")), 0, 10).await.expect("read").len(), 3);
    }
}
