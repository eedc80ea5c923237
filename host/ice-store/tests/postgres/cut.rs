//! Connections that are cut, and a server that is killed.

use ice_core::ports::{Events, Retry};
use ice_core::problem::Code;
use ice_store::conformance::{anna, lines};
use sqlx::{Connection, Executor, PgConnection};

use super::{clock, id, open, server};

/// Ends every session of a store on this database, as an operator or a fail-over would.
const TERMINATE: &str = "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity \
    where datname = current_database() and application_name = 'ice'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_cut_in_the_middle_is_said_and_leaves_no_half_list() {
    let (store, database) = server::exact(clock()).await;
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1000).await.unwrap();
    let mut other = server::plain().connect(&database).await;
    let mut locked = other.begin().await.unwrap();
    locked.execute("select 1 from executions for update").await.unwrap();
    let append = tokio::spawn({
        let (store, lease) = (store.clone(), lease.clone());
        async move { store.append(&lease, &lines(2, 51)).await }
    });
    let mut third = server::plain().connect(&database).await;
    wait_until_one_waits(&mut third).await;
    third.execute(TERMINATE).await.unwrap();
    let failure = append.await.unwrap().unwrap_err();
    assert_eq!((failure.problem.code, failure.retry), (Code::X047, Retry::Maybe), "{failure}");
    assert!(failure.problem.message.contains("lost") && failure.problem.help.is_some(), "{failure}");
    locked.rollback().await.unwrap();
    assert_eq!(Events::read(&store, &id("e"), 0, 100).await.unwrap(), lines(1, 1));
    store.append(&lease, &lines(2, 3)).await.unwrap();
    assert_eq!(Events::read(&store, &id("e"), 0, 100).await.unwrap(), lines(1, 3));
}

/// Returns when a session of a store waits for a lock. Every question takes the server a moment.
async fn wait_until_one_waits(connection: &mut PgConnection) {
    const WAITING: &str = "select count(*) from pg_stat_activity, pg_sleep(0.01) \
        where datname = current_database() and application_name = 'ice' and wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&mut *connection).await.unwrap() == 0 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_whose_connection_was_cut_is_asked_again() {
    let (store, database) = server::exact(clock()).await;
    store.create(&id("e"), "n", &anna(), &lines(1, 3), 1000).await.unwrap();
    let mut other = server::plain().connect(&database).await;
    for _ in 0..3 {
        assert_eq!(Events::read(&store, &id("e"), 0, 10).await.unwrap(), lines(1, 3));
        let cut: i64 = sqlx::query_scalar(TERMINATE).fetch_one(&mut other).await.unwrap();
        assert!(cut > 0);
        assert_eq!(Events::read(&store, &id("e"), 0, 10).await.unwrap(), lines(1, 3));
    }
}

/// A dropped caller leaves nothing behind that keeps others out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_no_lock() {
    let (store, database) = server::exact(clock()).await;
    let lease = store.create(&id("e"), "n", &anna(), &[], 1000).await.unwrap();
    let mut other = server::plain().connect(&database).await;
    let mut locked = other.begin().await.unwrap();
    locked.execute("select 1 from executions for update").await.unwrap();
    let renewal = tokio::spawn({
        let (store, lease) = (store.clone(), lease.clone());
        async move { store.renew(&lease, 5000).await }
    });
    let mut third = server::plain().connect(&database).await;
    wait_until_one_waits(&mut third).await;
    renewal.abort();
    assert!(renewal.await.unwrap_err().is_cancelled());
    locked.rollback().await.unwrap();
    store.append(&lease, &lines(1, 2)).await.unwrap();
    store.release(&lease).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_the_server_was_killed() {
    let own = server::Server::start(&server::debian());
    let database = own.database("anna").await;
    let store = open(&own.url("anna", &database)).await;
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 3_600_000).await.unwrap();
    let (said, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let writer = tokio::spawn({
        let (store, lease) = (store.clone(), lease.clone());
        async move {
            let mut last = 1;
            loop {
                match store.append(&lease, &lines(last + 1, last + 7)).await {
                    Ok(()) => last += 7,
                    Err(failure) => return (last, failure),
                }
                let _unheard = said.send(last);
            }
        }
    });
    while hear.recv().await.unwrap() < 700 {}
    own.order("kill");
    let (answered, failure) = writer.await.unwrap();
    assert_eq!((failure.problem.code, failure.retry), (Code::X047, Retry::Maybe), "{failure}");
    own.order("start");
    let events = Events::read(&store, &id("e"), 0, u32::MAX).await.unwrap();
    let there = events.len() as u64;
    assert_eq!(events, lines(1, there), "the same events, without a hole");
    assert!(there == answered || there == answered + 7, "{answered} were answered, {there} are there");
    assert_eq!(store.check().await, []);
    store.append(&lease, &lines(there + 1, there + 1)).await.unwrap();
    drop(own);
}
