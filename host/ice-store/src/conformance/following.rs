//! Following a list while it grows.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use ice_core::event::{Event, Fact, FinalStatus};
use ice_core::ports::{Events, Failure, Lease};
use ice_core::problem::Code;

use super::{Backend, ManualClock, anna, finished, id, line, lines};

/// Everything after `after`, until the list ends.
pub async fn to_the_end(store: &impl Events, name: &str, mut after: u64) -> Result<Vec<Event>, Failure> {
    let mut seen = Vec::new();
    loop {
        let page = store.follow(&id(name), after, 4).await?;
        assert!((1..=4).contains(&page.len()), "at least one, at most as many as asked for");
        after = page.last().map_or(after, |event| event.seq);
        seen.extend(page);
        if seen.last().is_some_and(|event| matches!(event.fact, Fact::ExecutionFinished { .. })) {
            return Ok(seen);
        }
    }
}

/// Whether the future, asked once, has no answer yet.
async fn waits(future: &mut (impl Future + Unpin)) -> bool {
    std::future::poll_fn(|task| Poll::Ready(Pin::new(&mut *future).poll(task).is_pending())).await
}

/// What is there already is read at once; an execution that does not exist is named.
pub async fn what_is_there_is_not_waited_for<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.create(&id("e"), "n", &anna(), &lines(1, 9), 1000).await.expect("created");
    assert_eq!(store.follow(&id("e"), 0, 4).await.expect("followed"), lines(1, 4));
    assert_eq!(store.follow(&id("e"), 4, 100).await.expect("followed"), lines(5, 9));
    let failure = store.follow(&id("ghost"), 0, 4).await.expect_err("does not exist");
    assert_eq!(failure.problem.code, Code::X041);
}

/// An append wakes those who wait for it, every one of them, and nobody else is given its events.
pub async fn an_append_wakes_those_who_follow<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let (e, o) = (id("e"), id("other"));
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
    let other = store.create(&id("other"), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
    let mut first = store.follow(&e, 1, 100);
    let mut second = store.follow(&e, 1, 100);
    let mut elsewhere = store.follow(&o, 1, 100);
    for waiting in [&mut first, &mut second, &mut elsewhere] {
        assert!(waits(waiting).await, "nothing is there");
    }
    store.append(&lease, &lines(2, 3)).await.expect("appended");
    assert_eq!(first.await.expect("followed"), lines(2, 3));
    assert_eq!(second.await.expect("followed"), lines(2, 3));
    assert!(waits(&mut elsewhere).await, "nothing is there");
    store.append(&other, &[line(2, "other")]).await.expect("appended");
    assert_eq!(elsewhere.await.expect("followed"), [line(2, "other")]);
}

/// Whoever follows sees every event once and in order, also those appended between its reading and its waiting.
pub async fn followers_miss_nothing_while_a_list_grows<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1_000_000).await.expect("created");
    grown_and_followed(&store, &store, &lease).await;
}

/// One handle appends three hundred events one by one, four tasks follow the other.
pub async fn grown_and_followed<S: Backend>(writer: &S, reader: &S, lease: &Lease) {
    const LAST: u64 = 300;
    let follow = |_| {
        let reader = reader.clone();
        tokio::spawn(async move { to_the_end(&reader, "e", 0).await.expect("followed") })
    };
    let followers: Vec<_> = (0..4).map(follow).collect();
    for seq in 2..LAST {
        writer.append(lease, &lines(seq, seq)).await.expect("appended");
    }
    writer.append(lease, &[finished(LAST, FinalStatus::Completed)]).await.expect("ended");
    for follower in followers {
        let seen = follower.await.expect("no panic");
        assert!(seen.iter().map(|event| event.seq).eq(1..=LAST));
    }
}

/// One who goes away while waiting disturbs nobody, and can come back.
pub async fn one_who_leaves_can_come_back<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let e = id("e");
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
    let mut stays = store.follow(&e, 1, 100);
    assert!(waits(&mut stays).await, "nothing is there");
    {
        let mut leaves = store.follow(&e, 1, 100);
        assert!(waits(&mut leaves).await, "nothing is there");
    }
    store.append(&lease, &lines(2, 2)).await.expect("appended");
    assert_eq!(stays.await.expect("followed"), lines(2, 2));
    assert_eq!(store.follow(&id("e"), 1, 100).await.expect("followed"), lines(2, 2));
}
