//! Two stores on one database, as two processes have them.

use futures_util::future::{join, join_all};
use ice_core::ports::{Events, Lease};
use ice_core::problem::Code;
use ice_store::conformance::{ManualClock, anna, line, lines};
use ice_store::{Options, Store};

use super::{id, server};

/// Two stores that share a clock, on one new database.
pub(super) async fn two() -> (Store, Store, std::sync::Arc<ManualClock>) {
    let clock = ManualClock::at(1_000_000);
    let (first, database) = server::exact(clock.clone()).await;
    let url = server::plain().url("anna", &database);
    let second = ice_store::open_with(&url, clock.clone(), Options::default()).await.unwrap();
    (first, second, clock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_race_for_a_lease_and_only_the_winner_writes() {
    let (first, second, clock) = two().await;
    let mut former = first.create(&id("e"), "n", &anna(), &[], 10).await.unwrap();
    for round in 1..=20 {
        clock.advance(10);
        let event = [line(round, "winner")];
        let run = async |store: &Store| -> Result<Lease, Code> {
            let lease = store.claim(&id("e"), 10).await.map_err(|failure| failure.problem.code)?;
            store.append(&lease, &event).await.map_err(|failure| failure.problem.code)?;
            Ok(lease)
        };
        let outcomes = join(run(&first), run(&second)).await;
        let ((Ok(lease), Err(code)) | (Err(code), Ok(lease))) = outcomes else { panic!("{round}: {outcomes:?}") };
        assert_eq!((code, lease.fence), (Code::X042, round + 1));
        let late = second.append(&former, &[line(round + 1, "loser")]).await.unwrap_err();
        assert_eq!(late.problem.code, Code::X040);
        former = lease;
    }
    let events = Events::read(&second, &id("e"), 0, 100).await.unwrap();
    assert!(events.iter().map(|event| event.seq).eq(1..=20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_slept_longer_than_its_lease_appends_nothing() {
    let (sleeper, other, clock) = two().await;
    let old = sleeper.create(&id("e"), "n", &anna(), &lines(1, 2), 100).await.unwrap();
    clock.advance(100);
    let new = other.claim(&id("e"), 100).await.unwrap();
    other.append(&new, &lines(3, 3)).await.unwrap();
    let failure = sleeper.append(&old, &lines(4, 9)).await.unwrap_err();
    assert_eq!(failure.problem.code, Code::X040);
    assert_eq!(sleeper.renew(&old, 100).await.unwrap_err().problem.code, Code::X040);
    assert_eq!(Events::read(&sleeper, &id("e"), 0, 100).await.unwrap(), lines(1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_appends_of_the_same_numbers_one_is_written() {
    let (first, second, _clock) = two().await;
    let lease = first.create(&id("e"), "n", &anna(), &[], 1000).await.unwrap();
    for round in 0..20 {
        let events = lines(round * 3 + 1, round * 3 + 3);
        let (a, b) = join(first.append(&lease, &events), second.append(&lease, &events)).await;
        let ((Ok(()), Err(late)) | (Err(late), Ok(()))) = (a, b) else { panic!("one of two") };
        assert_eq!(late.problem.code, Code::X043);
    }
    assert_eq!(Events::read(&first, &id("e"), 0, 100).await.unwrap(), lines(1, 60));
}

/// Groups of both stores lock the same rows in every order of asking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_two_stores_never_wait_for_each_other_in_a_circle() {
    const EXECUTIONS: usize = 20;
    let (first, second, clock) = two().await;
    let mut old = Vec::new();
    for number in 0..EXECUTIONS {
        old.push(first.create(&id(&format!("e{number}")), "n", &anna(), &[], 10).await.unwrap());
    }
    clock.advance(10);
    let mut new = Vec::new();
    for lease in &old {
        new.push(second.claim(&lease.execution, 1000).await.unwrap());
    }
    for seq in 1..=10 {
        let event = lines(seq, seq);
        let lost = join_all(old.iter().rev().map(|lease| first.append(lease, &event)));
        let kept = join_all(new.iter().map(|lease| second.append(lease, &event)));
        let (lost, kept) = join(lost, kept).await;
        assert!(lost.iter().all(|outcome| outcome.as_ref().is_err_and(|failure| failure.problem.code == Code::X040)));
        assert!(kept.iter().all(Result::is_ok), "{kept:?}");
    }
}
