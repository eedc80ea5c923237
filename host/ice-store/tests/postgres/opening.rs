//! Opening a database: new, old, foreign, refused, encrypted, by several at once.

use ice_core::ports::{Documents, Events, MemoryFilter, MemoryRows};
use ice_core::problem::{Code, Problem};
use ice_store::conformance::{anna, lines};
use ice_store::{Durability, MIGRATIONS, Options};
use sqlx::Connection;

use super::{clock, id, note, open, server};

async fn refused(url: &str) -> Problem {
    let problem = ice_store::open(url, clock()).await.unwrap_err();
    let said = format!("{problem} {problem:?}");
    assert!(!said.contains(server::PASSWORD) && problem.help.is_some(), "{said}");
    problem
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening_again() {
    let server = server::plain();
    let url = server.url("anna", &server.database("anna").await);
    for durability in [Durability::Process, Durability::Power] {
        let options = Options { durability, ..Options::default() };
        let store = ice_store::open_with(&url, clock(), options).await.unwrap();
        let name = format!("{durability:?}");
        let lease = store.create(&id(&name), &name, &anna(), &lines(1, 3), 10).await.unwrap();
        MemoryRows::put(&store, &anna(), "notes", note(&name, &name, &[1.0, 2.0])).await.unwrap();
        Documents::put(&store, "test", &serde_json::json!(name)).await.unwrap();
        store.close().await;
        let read = Events::read(&store, &id(&name), 0, 1).await.unwrap_err();
        let append = store.append(&lease, &lines(4, 4)).await.unwrap_err();
        let renew = store.renew(&lease, 10).await.unwrap_err();
        assert!([read, append, renew].iter().all(|failure| failure.problem.code == Code::X047));
    }
    let store = open(&url).await;
    assert_eq!(store.schema_version().await.unwrap() as usize, MIGRATIONS.len());
    assert_eq!(store.list(&anna(), 10).await.unwrap().len(), 2);
    assert_eq!(Events::read(&store, &id("Power"), 0, 10).await.unwrap(), lines(1, 3));
    let filter = MemoryFilter::default();
    assert_eq!(store.keyword(&anna(), "notes", "process", &filter, 9).await.unwrap().len(), 1);
    assert_eq!(store.nearest(&anna(), "notes", "toy", &[1.0, 0.0], &filter, 9).await.unwrap().len(), 2);
    assert_eq!(store.check().await, []);
    assert!(store.size().await.unwrap() > 1 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn six_openers_of_a_new_database_all_succeed() {
    let server = server::with_pgvector();
    for _ in 0..3 {
        let url = server.url("ice", &server.database("ice").await);
        let openers: Vec<_> = (0..6)
            .map(|number| {
                let url = url.clone();
                tokio::spawn(async move {
                    let store = open(&url).await;
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
        assert_eq!(stores[5].schema_version().await.unwrap() as usize, MIGRATIONS.len());
    }
}

#[tokio::test]
async fn a_wrong_password_user_database_or_port_is_said_without_the_password() {
    let server = server::plain();
    let database = server.database("anna").await;
    let right = server.url("anna", &database);
    let wrong = right.replace(server::PASSWORD, "another-s3cret");
    let problem = refused(&wrong).await;
    assert_eq!(problem.code, Code::C040);
    assert!(problem.message.contains("let this user in") && !problem.to_string().contains("another-s3cret"));
    assert!(refused(&server.url("nobody", &database)).await.message.contains("let this user in"));
    assert!(refused(&server.url("anna", "no_such_database")).await.message.contains("no such database"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let problem = refused(&format!("postgres://anna:{}@127.0.0.1:{closed}/{database}", server::PASSWORD)).await;
    assert_eq!(problem.code, Code::C040);
    assert!(problem.help.unwrap().contains("host and port"), "{}", problem.message);
    let bounded = Options { bytes_max: Some(1 << 20), ..Options::default() };
    assert_eq!(ice_store::open_with(&right, clock(), bounded).await.unwrap_err().code, Code::C040);
}

#[tokio::test]
async fn the_socket_of_the_server_is_a_way_in() {
    let server = server::plain();
    let database = server.database("anna").await;
    let port = server.url("anna", &database).rsplit_once(':').unwrap().1.split_once('/').unwrap().0.to_owned();
    let url = format!("postgres:///{database}?host={}&port={port}&user=anna", server.folder().display());
    let store = open(&url).await;
    store.create(&id("e"), "n", &anna(), &lines(1, 1), 10).await.unwrap();
    assert_eq!(store.place(), format!("postgres:///{database}?host={}", server.folder().display()));
}

#[tokio::test]
async fn an_encrypted_connection_is_checked_against_its_authority() {
    let server = server::plain();
    let database = server.database("anna").await;
    let url = server.url("anna", &database);
    let checked = format!("{url}?sslmode=verify-full&sslrootcert={}", server.certificate().display());
    let store = open(&checked).await;
    store.list(&anna(), 1).await.unwrap();
    let plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) \
        where datname = current_database() and application_name = 'ice' and not ssl";
    let mut other = server.connect(&database).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(plain).fetch_one(&mut other).await.unwrap(), 0);
    other.close().await.unwrap();
    let problem = refused(&format!("{url}?sslmode=verify-full")).await;
    assert_eq!(problem.code, Code::C040);
    assert!(problem.help.unwrap().contains("sslrootcert"), "{}", problem.message);
}

#[tokio::test]
async fn the_executions_of_the_first_version_go_on_in_this_one() {
    let server = server::plain();
    let database = server.database("anna").await;
    let url = server.url("anna", &database);
    open(&url).await.close().await;
    server
        .tamper(
            &database,
            "alter table executions drop column waits, drop column due, drop column followed, drop column counted; \
             drop index executions_that_run; \
             drop table document_versions, schedules, ledger_spent, ledger_days, ledger_holds; \
             delete from ice_schema where version > 1; \
             insert into executions (id, name, org, usr, status, started, updated, events, fence, lease_until) \
             values ('old', 'n', 'acme', 'anna', 'running', 1, 2, 0, 1, 0)",
        )
        .await;
    let store = open(&url).await;
    assert_eq!(store.schema_version().await.unwrap() as usize, MIGRATIONS.len());
    let rows = store.list(&anna(), 10).await.unwrap();
    assert_eq!((rows[0].status.as_str(), rows[0].waits), ("running", 0));
    assert!(store.waiting(None, 10).await.unwrap().is_empty() && store.due(u64::MAX, 10).await.unwrap().is_empty());
    let lease = store.claim(&id("old"), 10).await.unwrap();
    store.append(&lease, &lines(1, 3)).await.unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let server = server::plain();
    let database = server.database("anna").await;
    open(&server.url("anna", &database)).await.close().await;
    server.tamper(&database, "insert into ice_schema values (999, now())").await;
    let problem = refused(&server.url("anna", &database)).await;
    assert_eq!(problem.code, Code::C044);
    assert!(problem.message.contains("999"), "{problem}");
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_not_touched() {
    let server = server::plain();
    let database = server.database("anna").await;
    server.tamper(&database, "create table cookies (a int); insert into cookies values (1)").await;
    let url = server.url("anna", &database);
    assert_eq!(refused(&url).await.code, Code::C045);
    let tables = "select count(*) from pg_class where relnamespace = 'public'::regnamespace";
    let mut other = server.connect(&database).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&mut other).await.unwrap(), 1);
    // A schema beside its tables is the way out that the help names.
    server.tamper(&database, "create schema house authorization anna").await;
    let store = open(&format!("{url}?options=-c%20search_path%3Dhouse")).await;
    store.create(&id("e"), "n", &anna(), &lines(1, 1), 10).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&mut other).await.unwrap(), 1);
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_character_is_refused() {
    let server = server::plain();
    let make = "create database ascii owner anna encoding 'SQL_ASCII' locale 'C' template template0";
    server.database("anna").await;
    server.tamper("postgres", make).await;
    let problem = refused(&server.url("anna", "ascii")).await;
    assert_eq!(problem.code, Code::C040);
    assert!(problem.help.unwrap().contains("--encoding=UTF8"));
}
