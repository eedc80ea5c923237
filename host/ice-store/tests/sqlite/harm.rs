//! A full disk, damaged pages, rows that do not belong together, a lock that is not given back.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use ice_core::ports::{Events, MemoryRows, Retry, Schedules};
use ice_core::problem::Code;
use ice_store::Options;
use ice_store::conformance::schedules::row;
use ice_store::conformance::{anna, line, lines};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};

use super::{clock, id, note, open, tamper};

#[tokio::test]
async fn a_full_disk_is_a_problem_with_a_code_and_writing_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let options = Options { bytes_max: Some(1 << 20), ..Options::default() };
    let store = ice_store::open_path(&path, clock(), options).await.unwrap();
    let lease = store.create(&id("e"), "n", &anna(), &lines(1, 1), 10).await.unwrap();
    let big = line(2, &"x".repeat(2 << 20));
    let failure = store.append(&lease, std::slice::from_ref(&big)).await.unwrap_err();
    assert_eq!(failure.problem.code, Code::C041, "{failure}");
    assert!(failure.problem.help.is_some() && failure.problem.at.unwrap().file.unwrap().ends_with("ice.db"));
    let mut row = note("k", "text");
    row.item.text = "y".repeat(2 << 20);
    let failure = MemoryRows::put(&store, &anna(), "notes", row).await.unwrap_err();
    assert_eq!(failure.problem.code, Code::C041);
    store.append(&lease, &lines(2, 2)).await.unwrap();
    assert_eq!(Events::read(&store, &id("e"), 0, 10).await.unwrap(), lines(1, 2));
    assert_eq!(store.check().await, []);
}

#[tokio::test]
async fn an_event_that_does_not_fit_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { bytes_max: Some(1 << 20), ..Options::default() };
    let store = ice_store::open_path(&folder.path().join("ice.db"), clock(), options).await.unwrap();
    let mut leases = Vec::new();
    for name in ["a", "big", "c"] {
        leases.push(store.create(&id(name), "n", &anna(), &[], 10).await.unwrap());
    }
    let big = [line(1, &"x".repeat(2 << 20))];
    let small = lines(1, 1);
    let (a, b, c) = tokio::join!(
        store.append(&leases[0], &small),
        store.append(&leases[1], &big),
        store.append(&leases[2], &small)
    );
    assert_eq!((a.is_ok(), b.unwrap_err().problem.code, c.is_ok()), (true, Code::C041, true));
}

#[tokio::test]
async fn a_damaged_database_is_found_by_reading_and_by_checking() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let store = open(&path).await;
    let lease = store.create(&id("e"), "n", &anna(), &[], 10).await.unwrap();
    for part in 0..10 {
        store.append(&lease, &lines(part * 100 + 1, part * 100 + 100)).await.unwrap();
    }
    store.close().await;
    // Everything behind the schema's pages becomes noise.
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(length / 2)).unwrap();
    file.write_all(&vec![0xA5; usize::try_from(length / 2).unwrap()]).unwrap();
    drop(file);
    let store = open(&path).await;
    let found = store.check().await;
    assert!(!found.is_empty() && found.iter().all(|problem| problem.code == Code::C043), "{found:?}");
    assert_eq!(Events::read(&store, &id("e"), 0, 5000).await.unwrap_err().problem.code, Code::C043);
}

#[tokio::test]
async fn checking_finds_rows_that_do_not_belong_together() {
    const HARM: [(&str, &str); 5] = [
        ("delete from events where seq = 2", "are not 1 to 3"),
        ("pragma foreign_keys = off; delete from executions", "points to nothing"),
        ("delete from memory_words", "word index"),
        ("delete from memory_vectors", "lost its vector"),
        ("pragma foreign_keys = off; delete from memory", "belongs to no text"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (number, (sql, sentence)) in HARM.into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.db"));
        let store = open(&path).await;
        store.create(&id("e"), "n", &anna(), &lines(1, 3), 10).await.unwrap();
        MemoryRows::put(&store, &anna(), "notes", note("k", "text")).await.unwrap();
        assert_eq!(store.check().await, []);
        tamper(&path, sql).await;
        let found = store.check().await;
        assert!(found.iter().any(|problem| problem.message.contains(sentence)), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn a_database_that_another_process_keeps_locked_is_a_problem_that_may_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let options = Options { lock_wait: Duration::from_millis(20), ..Options::default() };
    let store = ice_store::open_path(&path, clock(), options).await.unwrap();
    let lease = store.create(&id("e"), "n", &anna(), &[], 10).await.unwrap();
    let mut other = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    other.execute("begin immediate").await.unwrap();
    let failure = store.append(&lease, &lines(1, 1)).await.unwrap_err();
    assert_eq!(failure.problem.code, Code::X046);
    assert_eq!(failure.retry, Retry::Maybe);
    assert_eq!(Events::read(&store, &id("e"), 0, 1).await.unwrap(), [], "readers are not locked out");
    other.execute("rollback").await.unwrap();
    store.append(&lease, &lines(1, 1)).await.unwrap();
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_is_not_in_the_way_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let store = open(&path).await;
    for (name, next) in [("first", 10), ("second", 20)] {
        store.put_schedule(&row(name, Some(next))).await.unwrap();
    }
    tamper(&path, "update schedules set document = '{\"of\": \"the future\"}' where name = 'first'").await;
    let failure = store.claim_schedule(20, 100).await.unwrap_err();
    assert_eq!(failure.problem.code, Code::X047);
    assert!(failure.problem.message.contains("`first`"), "{failure}");
    assert_eq!(store.claim_schedule(20, 100).await.unwrap().unwrap().row.schedule.name, "second");
    assert_eq!(store.claim_schedule(20, 100).await.unwrap(), None);
    assert!(store.remove_schedule(&anna(), "first").await.unwrap());
    assert_eq!(store.schedules(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_network_is_applied_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let store = open(&path).await;
    for name in ["a", "gone"] {
        store.put_schedule(&row(name, Some(10))).await.unwrap();
    }
    let before = store.schedules(None, 9).await.unwrap();
    const HARM: &str = "create trigger harm before insert on schedules when new.name = 'b' \
        begin select raise(abort, 'no'); end";
    tamper(&path, HARM).await;
    let failure =
        store.apply_schedules(&anna(), Some("news"), &[row("a", Some(70)), row("b", None)]).await.unwrap_err();
    assert!(failure.problem.help.is_some(), "{failure}");
    assert_eq!(store.schedules(None, 9).await.unwrap(), before, "neither written nor removed");
}
