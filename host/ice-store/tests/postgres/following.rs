//! Following a list that another process appends to, also over cut connections.

use ice_core::event::FinalStatus;
use ice_core::ports::Events;
use ice_core::problem::Code;
use ice_store::conformance::following::{grown_and_followed, to_the_end};
use ice_store::conformance::{anna, finished, lines};
use sqlx::postgres::PgListener;

use super::races::two;
use super::{id, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_store_appends_wakes_those_who_follow() {
    let (writer, reader, _clock) = two().await;
    let lease = writer.create(&id("e"), "n", &anna(), &lines(1, 1), 1_000_000).await.unwrap();
    grown_and_followed(&writer, &reader, &lease).await;
}

/// The list grows while the connection that listens is cut again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_connection_is_cut_misses_nothing() {
    const CUT: &str = "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity, pg_sleep(0.01) \
        where datname = current_database() and query like 'LISTEN%' and pid <> pg_backend_pid()";
    let (writer, database) = server::exact(super::clock()).await;
    let reader = super::open(&server::plain().url("anna", &database)).await;
    let lease = writer.create(&id("e"), "n", &anna(), &lines(1, 1), 1_000_000).await.unwrap();
    let follower = tokio::spawn(async move { to_the_end(&reader, "e", 0).await.unwrap() });
    let mut other = server::plain().connect(&database).await;
    for seq in 2..5 {
        while sqlx::query_scalar::<_, i64>(CUT).fetch_one(&mut other).await.unwrap() == 0 {}
        writer.append(&lease, &lines(seq, seq)).await.unwrap();
    }
    writer.append(&lease, &[finished(5, FinalStatus::Completed)]).await.unwrap();
    assert!(follower.await.unwrap().iter().map(|event| event.seq).eq(1..=5));
}

/// What nobody follows is told to nobody: telling would let the commits of the whole server wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_followed_is_told() {
    let (writer, database) = server::exact(super::clock()).await;
    let mut heard = PgListener::connect(&server::plain().url("ice", &database)).await.unwrap();
    heard.listen("ice_events").await.unwrap();
    let quiet = writer.create(&id("quiet"), "n", &anna(), &lines(1, 1), 1_000_000).await.unwrap();
    let lease = writer.create(&id("e"), "n", &anna(), &lines(1, 1), 1_000_000).await.unwrap();
    let follower = tokio::spawn({
        let writer = writer.clone();
        async move { to_the_end(&writer, "e", 0).await.unwrap() }
    });
    let mut other = server::plain().connect(&database).await;
    const MARKED: &str = "select count(followed) from executions, pg_sleep(0.01)";
    while sqlx::query_scalar::<_, i64>(MARKED).fetch_one(&mut other).await.unwrap() == 0 {}
    writer.append(&quiet, &lines(2, 2)).await.unwrap();
    writer.append(&lease, &lines(2, 2)).await.unwrap();
    writer.append(&lease, &[finished(3, FinalStatus::Completed)]).await.unwrap();
    assert_eq!(follower.await.unwrap().len(), 3);
    for _ in 0..2 {
        assert_eq!(heard.recv().await.unwrap().payload(), "e");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_closed_lets_its_followers_go() {
    let (store, _database) = server::exact(super::clock()).await;
    store.create(&id("e"), "n", &anna(), &lines(1, 1), 1_000_000).await.unwrap();
    let follower = tokio::spawn({
        let store = store.clone();
        async move { to_the_end(&store, "e", 0).await }
    });
    store.close().await;
    assert_eq!(follower.await.unwrap().unwrap_err().problem.code, Code::X047);
}
