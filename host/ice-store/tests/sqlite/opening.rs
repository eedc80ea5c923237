//! Opening a file: new, old, foreign, in odd places, by several at once.

use std::fs;

use ice_core::ports::{Documents, Events, Lease, MemoryFilter, MemoryRows};
use ice_core::problem::Code;
use ice_store::conformance::{anna, lines};
use ice_store::{Durability, MIGRATIONS, Options, Store};

use super::{clock, id, note, open, tamper};

#[tokio::test]
async fn everything_is_there_after_closing_and_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    for durability in [Durability::Process, Durability::Power] {
        let options = Options { durability, ..Options::default() };
        let store = ice_store::open_path(&path, clock(), options).await.unwrap();
        let name = format!("{durability:?}");
        store.create(&id(&name), &name, &anna(), &lines(1, 3), 10).await.unwrap();
        MemoryRows::put(&store, &anna(), "notes", note(&name, &name)).await.unwrap();
        Documents::put(&store, "test", &serde_json::json!(name)).await.unwrap();
        store.close().await;
        assert_eq!(code_when_closed(&store).await, Code::X047);
    }
    let store = open(&path).await;
    assert_eq!(store.schema_version().await.unwrap() as usize, MIGRATIONS.len());
    assert_eq!(store.list(&anna(), 10).await.unwrap().len(), 2);
    assert_eq!(Events::read(&store, &id("Power"), 0, 10).await.unwrap(), lines(1, 3));
    let filter = MemoryFilter::default();
    assert_eq!(store.keyword(&anna(), "notes", "process", &filter, 9).await.unwrap().len(), 1);
    assert_eq!(store.nearest(&anna(), "notes", "toy", &[1.0, 0.0], &filter, 9).await.unwrap().len(), 2);
    assert_eq!(store.check().await, []);
    assert!(store.size().await.unwrap() >= fs::metadata(&path).unwrap().len());
}

/// The code with which a closed store refuses to read and to write.
async fn code_when_closed(store: &Store) -> Code {
    let lease = Lease { execution: id("Process"), fence: 1, until: 0 };
    let read = Events::read(store, &id("Process"), 0, 1).await.unwrap_err().problem.code;
    let append = store.append(&lease, &lines(4, 4)).await.unwrap_err().problem.code;
    assert_eq!(read, append);
    append
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn six_openers_of_a_new_file_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let path = folder.path().join(format!("{round}.db"));
        let openers: Vec<_> = (0..6)
            .map(|number| {
                let path = path.clone();
                tokio::spawn(async move {
                    let store = open(&path).await;
                    store.create(&id(&format!("e{number}")), "n", &anna(), &lines(1, 2), 10).await.unwrap();
                    store
                })
            })
            .collect();
        let mut stores = Vec::new();
        for opener in openers {
            stores.push(opener.await.unwrap());
        }
        assert_eq!(stores[0].list(&anna(), 10).await.unwrap().len(), 6);
        assert_eq!(stores[5].check().await, []);
        assert_eq!(fs::read_dir(folder.path()).unwrap().filter(leftover).count(), 0);
    }
}

fn leftover(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".ice-new")
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    open(&path).await.close().await;
    let before = fs::read(&path).unwrap();
    open(&path).await.close().await;
    assert!(before == fs::read(&path).unwrap(), "opening a current database wrote to it");
}

#[tokio::test]
async fn the_executions_of_the_first_version_go_on_in_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    tamper(&path, MIGRATIONS[0].1).await;
    tamper(
        &path,
        "insert into executions (id, name, org, usr, status, started, updated, events, fence, lease_until) \
         values ('old', 'n', 'acme', 'anna', 'running', 1, 2, 0, 1, 0)",
    )
    .await;
    let store = open(&path).await;
    let rows = store.list(&anna(), 10).await.unwrap();
    assert_eq!((rows[0].status.as_str(), rows[0].waits), ("running", 0));
    assert!(store.waiting(None, 10).await.unwrap().is_empty() && store.due(u64::MAX, 10).await.unwrap().is_empty());
    let lease = store.claim(&id("old"), 10).await.unwrap();
    store.append(&lease, &lines(1, 3)).await.unwrap();
    assert_eq!(store.check().await, []);
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_database_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let store = open(&path).await;
    store.create(&id("e"), "n", &anna(), &[], 10).await.unwrap();
    store.list(&anna(), 1).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let mode = fs::metadata(format!("{}{suffix}", path.display())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "ice.db{suffix}");
    }
}

#[tokio::test]
async fn what_is_in_the_way_of_a_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no such folder/ice.db");
    let problem = ice_store::open_path(&missing, clock(), Options::default()).await.unwrap_err();
    assert_eq!(problem.code, Code::C002);
    assert!(problem.message.contains("no such folder") && problem.help.unwrap().contains("mkdir"));
    assert!(!missing.parent().unwrap().exists(), "folders are the caller's");
    let problem = ice_store::open_path(folder.path(), clock(), Options::default()).await.unwrap_err();
    assert_eq!(problem.code, Code::C040);
    fs::write(folder.path().join("file"), "").unwrap();
    let problem = ice_store::open_path(&folder.path().join("file/ice.db"), clock(), Options::default()).await;
    assert_eq!(problem.unwrap_err().code, Code::C002);
}

#[cfg(unix)]
#[tokio::test]
async fn a_path_that_is_not_utf_8_is_refused_in_words_and_odd_ones_work() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"not-\xff-utf8.db"));
    let problem = ice_store::open_path(&path, clock(), Options::default()).await.unwrap_err();
    assert_eq!(problem.code, Code::C040);
    assert!(problem.message.contains("UTF-8"), "{problem}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    for name in ["a b?mode=ro#x%20'\".db", "🎉.db", "file:x.db", ":memory:"] {
        let store = open(&folder.path().join(name)).await;
        store.create(&id("e"), "n", &anna(), &[], 10).await.unwrap();
        store.close().await;
        assert!(fs::metadata(folder.path().join(name)).unwrap().len() > 0, "{name} holds the database");
    }
}

#[tokio::test]
async fn a_read_only_file_is_a_problem_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    open(&path).await.close().await;
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    let problem = ice_store::open_path(&path, clock(), Options::default()).await.unwrap_err();
    assert_eq!(problem.code, Code::C042);
    assert!(problem.help.unwrap().contains("chmod u+w"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    let text = "This is a letter and not a database. ".repeat(200);
    fs::write(&path, &text).unwrap();
    let problem = ice_store::open_path(&path, clock(), Options::default()).await.unwrap_err();
    assert_eq!(problem.code, Code::C043, "{problem}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ice.db");
    open(&path).await.close().await;
    tamper(&path, "pragma user_version = 999").await;
    let problem = ice_store::open_path(&path, clock(), Options::default()).await.unwrap_err();
    assert_eq!(problem.code, Code::C044);
    assert!(problem.message.contains("999") && problem.help.is_some(), "{problem}");
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("browser.db");
    tamper(&path, "create table cookies (a); insert into cookies values (1)").await;
    let before = fs::read(&path).unwrap();
    let problem = ice_store::open_path(&path, clock(), Options::default()).await.unwrap_err();
    assert_eq!(problem.code, Code::C045);
    assert!(before == fs::read(&path).unwrap(), "the file changed");
}
