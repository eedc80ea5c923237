//! Following a list that another process appends to: two stores on one file see of each other what two processes do.

use ice_core::ports::Events;
use ice_core::problem::Code;
use ice_store::conformance::following::{grown_and_followed, to_the_end};
use ice_store::conformance::{anna, finished, lines};

use super::{id, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_store_appends_wakes_those_who_follow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let (writer, reader) = (open(&path).await, open(&path).await);
    let lease = writer.create(&id("e"), "n", &anna(), &lines(1, 1), 1_000_000).await.unwrap();
    grown_and_followed(&writer, &reader, &lease).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_closed_lets_its_followers_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("ice.db")).await;
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 1_000_000).await.unwrap();
    let follower = tokio::spawn({
        let store = store.clone();
        async move { to_the_end(&store, "e", 0).await }
    });
    store.append(&lease, &lines(2, 2)).await.unwrap();
    store.close().await;
    assert_eq!(follower.await.unwrap().unwrap_err().problem.code, Code::X047);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_follower_sees_a_list_grow_by_two_stores_after_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let (first, second, reader) = (open(&path).await, open(&path).await, open(&path).await);
    let lease = first.create(&id("e"), "n", &anna(), &lines(1, 1), 1_000_000).await.unwrap();
    let follower = tokio::spawn(async move { to_the_end(&reader, "e", 0).await.unwrap() });
    first.append(&lease, &lines(2, 2)).await.unwrap();
    first.release(&lease).await.unwrap();
    first.close().await;
    let lease = second.claim(&id("e"), 1_000_000).await.unwrap();
    second.append(&lease, &[finished(3, ice_core::event::FinalStatus::Completed)]).await.unwrap();
    assert_eq!(follower.await.unwrap().len(), 3);
}
