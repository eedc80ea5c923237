//! Leases: one holder at a time, and nobody writes with an old one.

use std::sync::Arc;

use futures_util::future::{join, join_all};
use ice_core::ports::Lease;
use ice_core::problem::Code;

use super::{Backend, ManualClock, anna, finished, id, line, lines};

/// After a takeover the former holder writes nothing, renews nothing and gives nothing back.
pub async fn an_old_fence_writes_nothing<S: Backend>(store: S, clock: Arc<ManualClock>) {
    let old = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
    assert_eq!((old.fence, old.until), (1, 1_001_000));
    clock.advance(1000);
    let new = store.claim(&id("e"), 500).await.expect("expired");
    assert_eq!((new.fence, new.until), (2, 1_001_500));
    let failures = [
        store.append(&old, &lines(2, 2)).await.expect_err("append"),
        store.append(&old, &[]).await.expect_err("empty append"),
        store.renew(&old, 1000).await.expect_err("renew"),
        store.release(&old).await.expect_err("release"),
    ];
    assert!(failures.iter().all(|failure| failure.problem.code == Code::X040));
    let invented = Lease { fence: 3, ..new.clone() };
    assert_eq!(store.append(&invented, &lines(2, 2)).await.expect_err("invented").problem.code, Code::X040);
    store.append(&new, &[line(2, "new holder")]).await.expect("the new holder");
    assert_eq!(store.read(&id("e"), 1, 10).await.expect("read"), [line(2, "new holder")]);
}

/// Appends that are written together do not share each other's fate.
pub async fn a_fenced_append_fails_alone<S: Backend>(store: S, clock: Arc<ManualClock>) {
    const EACH: u64 = 30;
    let old = store.create(&id("lost"), "n", &anna(), &[], 10).await.expect("created");
    clock.advance(10);
    store.claim(&id("lost"), 1000).await.expect("taken over");
    let good = store.create(&id("kept"), "n", &anna(), &[], 1000).await.expect("created");
    let (store, old, good) = (&store, &old, &good);
    let lost = join_all((1..=EACH).map(async |seq| store.append(old, &lines(seq, seq)).await));
    let kept = async {
        for seq in 1..=EACH {
            store.append(good, &lines(seq, seq)).await.expect("kept");
        }
    };
    let (lost, ()) = join(lost, kept).await;
    assert!(lost.iter().all(|outcome| { outcome.as_ref().is_err_and(|failure| failure.problem.code == Code::X040) }));
    assert_eq!(store.read(&id("lost"), 0, 100).await.expect("read"), []);
    assert_eq!(store.read(&id("kept"), 0, 100).await.expect("read"), lines(1, EACH));
}

/// A claim of what a live process holds says who holds it and how long.
pub async fn a_held_execution_cannot_be_claimed<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let lease = store.create(&id("e"), "n", &anna(), &[], 30_000).await.expect("created");
    let failure = store.claim(&id("e"), 1000).await.expect_err("held");
    assert_eq!(failure.problem.code, Code::X042);
    assert!(failure.problem.message.contains(&std::process::id().to_string()), "{failure}");
    assert!(failure.problem.help.as_deref().is_some_and(|help| help.contains("30 s")), "{failure}");
    store.append(&lease, &lines(1, 1)).await.expect("the holder goes on");
}

/// At the very millisecond of its end a lease is over.
pub async fn an_expired_lease_can_be_claimed<S: Backend>(store: S, clock: Arc<ManualClock>) {
    store.create(&id("e"), "n", &anna(), &[], 100).await.expect("created");
    clock.advance(99);
    store.claim(&id("e"), 100).await.expect_err("one more millisecond");
    clock.advance(1);
    assert_eq!(store.claim(&id("e"), 100).await.expect("over").fence, 2);
}

/// A holder that was late, and that nobody replaced, is still the only writer: its events count.
pub async fn a_late_append_of_the_newest_holder_counts<S: Backend>(store: S, clock: Arc<ManualClock>) {
    let lease = store.create(&id("e"), "n", &anna(), &[], 100).await.expect("created");
    clock.advance(1_000_000);
    store.append(&lease, &lines(1, 1)).await.expect("nobody else could have written");
    store.renew(&lease, 100).await.expect("nobody else took it");
    store.claim(&id("e"), 100).await.expect_err("held again");
}

/// A lease that is renewed in time is never free.
pub async fn renewing_keeps_others_out<S: Backend>(store: S, clock: Arc<ManualClock>) {
    let mut lease = store.create(&id("e"), "n", &anna(), &[], 100).await.expect("created");
    for _ in 0..5 {
        clock.advance(60);
        lease = store.renew(&lease, 100).await.expect("renewed");
        assert_eq!(lease.fence, 1);
        store.claim(&id("e"), 100).await.expect_err("held");
    }
    clock.advance(100);
    store.claim(&id("e"), 100).await.expect("not renewed any more");
}

/// Whoever gave a lease back writes no more, and the next holder need not wait.
pub async fn a_released_lease_is_free_and_writes_no_more<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let first = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
    store.release(&first).await.expect("released");
    assert!(!store.list(&anna(), 1).await.expect("list")[0].held);
    assert_eq!(store.append(&first, &lines(2, 2)).await.expect_err("given back").problem.code, Code::X040);
    let second = store.claim(&id("e"), 1000).await.expect("free");
    assert_eq!(second.fence, 2);
    store.append(&second, &lines(2, 2)).await.expect("the second holder");
}

/// Of several claims of a free execution, one succeeds.
pub async fn concurrent_claims_let_one_win<S: Backend>(store: S, clock: Arc<ManualClock>) {
    store.create(&id("e"), "n", &anna(), &[], 10).await.expect("created");
    clock.advance(10);
    let claim = |_| {
        let store = store.clone();
        async move { store.claim(&id("e"), 1000).await }
    };
    let outcomes = join_all((0..20).map(claim)).await;
    let won: Vec<&Lease> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(won[0].fence, 2);
}

/// A request to cancel waits for the holder; the first reason stays, and what has ended cannot be cancelled.
pub async fn cancel_requests_reach_the_holder<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    use ice_core::event::FinalStatus;
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1000).await.expect("created");
    assert_eq!(store.cancel_requested(&id("e")).await.expect("asked"), None);
    assert!(store.request_cancel(&id("e"), "too slow").await.expect("running"));
    assert!(store.request_cancel(&id("e"), "again").await.expect("running"));
    assert_eq!(store.cancel_requested(&id("e")).await.expect("asked").as_deref(), Some("too slow"));
    store.append(&lease, &[finished(2, FinalStatus::Cancelled)]).await.expect("finished");
    assert!(!store.request_cancel(&id("e"), "late").await.expect("ended"));
}
