//! A full disk, a standby, rows that do not belong together, a lock that is not given back, values that do not fit.

use std::time::Duration;

use ice_core::ports::{Events, MemoryRows, Retry, Schedules};
use ice_core::problem::Code;
use ice_store::Options;
use ice_store::conformance::schedules::row;
use ice_store::conformance::{anna, line, lines};
use sqlx::{Connection, Executor};

use super::{clock, id, note, open, server};

/// Postgres cannot be made to run out of disk here; its answer can be made.
#[tokio::test]
async fn a_full_disk_fails_the_append_it_meets_and_no_other() {
    const FULL: &str = "create function full_disk() returns trigger language plpgsql as $$ begin \
        raise exception 'could not extend file' using errcode = '53100'; end $$; \
        create trigger full_disk before insert on events for each row when (new.execution = 'big') \
        execute function full_disk()";
    let (store, database) = server::exact(clock()).await;
    let mut leases = Vec::new();
    for name in ["a", "big", "c"] {
        leases.push(store.create(&id(name), "n", &anna(), &[], 10).await.unwrap());
    }
    server::plain().tamper(&database, FULL).await;
    let small = lines(1, 1);
    let (a, b, c) = tokio::join!(
        store.append(&leases[0], &small),
        store.append(&leases[1], &small),
        store.append(&leases[2], &small)
    );
    let failure = b.unwrap_err();
    assert_eq!((a.is_ok(), failure.problem.code, c.is_ok()), (true, Code::C041, true));
    assert!(failure.problem.help.is_some() && failure.problem.at.unwrap().file.unwrap().contains(&database));
    assert_eq!(Events::read(&store, &id("big"), 0, 10).await.unwrap(), []);
    server::plain().tamper(&database, "drop trigger full_disk on events").await;
    store.append(&leases[1], &small).await.unwrap();
}

#[tokio::test]
async fn a_name_that_postgres_cannot_keep_is_refused_alone() {
    let (store, _database) = server::exact(clock()).await;
    let odd = store.create(&id("e"), "a\0b", &anna(), &[], 10).await.unwrap_err();
    assert_eq!((odd.problem.code, odd.retry), (Code::X048, Retry::Never));
    let long = "k".repeat(20_000);
    let unique: String = (0..20_000).map(|n| char::from_u32(0x4E00 + n * 7919 % 20_000).unwrap()).collect();
    let failure = MemoryRows::put(&store, &anna(), "notes", note(&unique, "text", &[1.0])).await.unwrap_err();
    assert_eq!(failure.problem.code, Code::X048, "{failure}");
    MemoryRows::put(&store, &anna(), "notes", note("k", &format!("{long} {unique}"), &[1.0])).await.unwrap();
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_a_problem_with_a_way_out() {
    let server = server::plain();
    let database = server.database("anna").await;
    let url = server.url("anna", &database);
    open(&url).await.create(&id("e"), "n", &anna(), &lines(1, 1), 10).await.unwrap();
    server.tamper("postgres", &format!("alter database {database} set default_transaction_read_only = on")).await;
    let store = open(&url).await;
    assert_eq!(Events::read(&store, &id("e"), 0, 10).await.unwrap(), lines(1, 1));
    let failure = store.create(&id("f"), "n", &anna(), &[], 10).await.unwrap_err();
    assert_eq!((failure.problem.code, failure.retry), (Code::C042, Retry::Never), "{failure}");
    assert!(failure.problem.help.unwrap().contains("primary"));
}

#[tokio::test]
async fn rows_that_another_session_keeps_locked_are_a_problem_that_may_pass() {
    let server = server::plain();
    let database = server.database("anna").await;
    let options = Options { lock_wait: Duration::from_millis(20), ..Options::default() };
    let store = ice_store::open_with(&server.url("anna", &database), clock(), options).await.unwrap();
    let lease = store.create(&id("e"), "n", &anna(), &[], 10).await.unwrap();
    let mut other = server.connect(&database).await;
    let mut locked = other.begin().await.unwrap();
    locked.execute("select 1 from executions for update").await.unwrap();
    let failure = store.append(&lease, &lines(1, 1)).await.unwrap_err();
    assert_eq!((failure.problem.code, failure.retry), (Code::X046, Retry::Maybe), "{failure}");
    assert_eq!(Events::read(&store, &id("e"), 0, 1).await.unwrap(), [], "readers are not locked out");
    locked.rollback().await.unwrap();
    store.append(&lease, &lines(1, 1)).await.unwrap();
}

#[tokio::test]
async fn checking_finds_rows_that_do_not_belong_together() {
    const HARM: [(&str, &str); 4] = [
        ("delete from events where seq = 2", "are not 1 to 3"),
        ("alter table events drop constraint events_execution_fkey; delete from executions", "have lost it"),
        ("update memory_shelves set dimension = 3", "has 2 numbers, its others 3"),
        ("update memory set words = ''", "cannot be found by its words"),
    ];
    for (sql, sentence) in HARM {
        let (store, database) = server::exact(clock()).await;
        store.create(&id("e"), "n", &anna(), &lines(1, 3), 10).await.unwrap();
        MemoryRows::put(&store, &anna(), "notes", note("k\0", "text", &[1.0, 2.0])).await.unwrap();
        assert_eq!(store.check().await, []);
        server::plain().tamper(&database, sql).await;
        let found = store.check().await;
        let said = found.iter().any(|problem| problem.code == Code::C043 && problem.message.contains(sentence));
        assert!(said, "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn a_fact_of_another_version_is_named() {
    let (store, database) = server::exact(clock()).await;
    store.create(&id("e"), "n", &anna(), &[line(1, "a"), line(2, "b")], 10).await.unwrap();
    server::plain().tamper(&database, "update events set fact = '{\"fact\":\"unheard_of\"}' where seq = 2").await;
    let failure = Events::read(&store, &id("e"), 0, 10).await.unwrap_err();
    assert_eq!(failure.problem.code, Code::C043);
    assert!(failure.problem.message.contains("event 2"), "{failure}");
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_is_not_in_the_way_of_the_others() {
    let (store, database) = server::exact(clock()).await;
    for (name, next) in [("first", 10), ("second", 20)] {
        store.put_schedule(&row(name, Some(next))).await.unwrap();
    }
    let harm = "update schedules set document = '{\"of\": \"the future\"}' where name = 'first'";
    server::plain().tamper(&database, harm).await;
    let failure = store.claim_schedule(20, 100).await.unwrap_err();
    assert!(failure.problem.message.contains("`first`"), "{failure}");
    assert_eq!(store.claim_schedule(20, 100).await.unwrap().unwrap().row.schedule.name, "second");
}

#[tokio::test]
async fn a_network_is_applied_whole_or_not_at_all() {
    const HARM: &str = "create function harm() returns trigger language plpgsql as $$ begin \
        raise exception 'no'; end $$; create trigger harm before insert on schedules for each row \
        when (new.name = 'b') execute function harm()";
    let (store, database) = server::exact(clock()).await;
    for name in ["a", "gone"] {
        store.put_schedule(&row(name, Some(10))).await.unwrap();
    }
    let before = store.schedules(None, 9).await.unwrap();
    server::plain().tamper(&database, HARM).await;
    let failure =
        store.apply_schedules(&anna(), Some("news"), &[row("a", Some(70)), row("b", None)]).await.unwrap_err();
    assert!(failure.problem.help.is_some(), "{failure}");
    assert_eq!(store.schedules(None, 9).await.unwrap(), before, "neither written nor removed");
}
