//! pgvector: its index is made and used, and finds what the exact search finds.

use ice_core::ports::{MemoryFilter, MemoryRow, MemoryRows};
use ice_store::conformance::anna;
use sqlx::PgConnection;

use super::{clock, note, server};

/// How often the index of a dimension was used; `None` when there is none.
async fn used(connection: &mut PgConnection, dimension: usize) -> Option<i64> {
    const USED: &str = "select idx_scan from pg_stat_user_indexes where indexrelname = $1";
    let name = format!("memory_by_vector_{dimension}");
    sqlx::query_scalar(USED).bind(name).fetch_optional(connection).await.unwrap()
}

/// Returns when the sessions of closed stores are gone: with its end, each has told what it used.
async fn wait_until_closed(connection: &mut PgConnection) {
    const OPEN: &str = "select count(*) from pg_stat_activity, pg_sleep(0.01) \
        where datname = current_database() and application_name = 'ice'";
    while sqlx::query_scalar::<_, i64>(OPEN).fetch_one(&mut *connection).await.unwrap() > 0 {}
}

fn vector(seed: u32, dimension: u32) -> Vec<f32> {
    (0..dimension).map(|n| ((seed * 31 + n * 17) as f32 * 0.618).sin()).collect()
}

fn texts(rows: &[(MemoryRow, f32)]) -> Vec<&str> {
    rows.iter().map(|(row, _)| row.item.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_is_used_and_finds_what_the_exact_search_finds() {
    const DIMENSION: u32 = 16;
    let (indexed, database) = server::indexed(clock()).await;
    let (exact, _) = server::exact(clock()).await;
    for number in 0..1000 {
        let row = note(&format!("k{number}"), &format!("t{number}"), &vector(number, DIMENSION));
        MemoryRows::put(&indexed, &anna(), "notes", row.clone()).await.unwrap();
        MemoryRows::put(&exact, &anna(), "notes", row).await.unwrap();
    }
    let server = server::with_pgvector();
    server.tamper(&database, "analyze memory").await;
    let mut found = 0;
    let all = MemoryFilter::default();
    for seed in 0..20 {
        let question = vector(seed * 101 + 7, DIMENSION);
        let near = indexed.nearest(&anna(), "notes", "toy", &question, &all, 10).await.unwrap();
        let true_ones = exact.nearest(&anna(), "notes", "toy", &question, &all, 10).await.unwrap();
        assert_eq!((near.len(), true_ones.len()), (10, 10));
        assert!(near.windows(2).all(|pair| pair[0].1 >= pair[1].1), "best first");
        found += texts(&near).iter().filter(|text| texts(&true_ones).contains(text)).count();
    }
    assert!(found >= 190, "of 200 true answers the index found {found}");
    let narrow = MemoryFilter { key_prefix: Some("k99".into()), ..MemoryFilter::default() };
    let near = indexed.nearest(&anna(), "notes", "toy", &vector(5, DIMENSION), &narrow, 50).await.unwrap();
    assert_eq!(near.len(), 11, "k99 and k990 to k999 pass the filter, and all of them are found");
    indexed.close().await;
    let mut connection = server.connect(&database).await;
    wait_until_closed(&mut connection).await;
    assert!(used(&mut connection, 16).await.unwrap() >= 20, "the index was not used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_of_any_length_are_kept_and_found() {
    let (store, database) = server::indexed(clock()).await;
    let mut connection = server::with_pgvector().connect(&database).await;
    for (dimension, has_index) in [(1_u32, true), (2000, true), (3072, true), (5000, false), (20_000, false)] {
        let scope = format!("of {dimension}");
        for number in 0..3 {
            let row = note(&format!("k{number}"), &format!("t{number}"), &vector(number + 1, dimension));
            MemoryRows::put(&store, &anna(), &scope, row).await.unwrap();
        }
        let question = vector(2, dimension);
        let near = store.nearest(&anna(), &scope, "toy", &question, &MemoryFilter::default(), 2).await.unwrap();
        assert_eq!(near.len(), 2, "{dimension}");
        assert!((near[0].1 - 1.0).abs() < 1e-5, "{dimension}: {}", near[0].1);
        assert_eq!(used(&mut connection, dimension as usize).await.is_some(), has_index, "{dimension}");
    }
}

/// Without the extension, and without the right to make it, everything is the same but the speed.
#[tokio::test]
async fn a_user_who_may_not_make_the_extension_searches_exactly() {
    let server = server::with_pgvector();
    let database = server.database("anna").await;
    let store = super::open(&server.url("anna", &database)).await;
    MemoryRows::put(&store, &anna(), "notes", note("k", "t", &[1.0, 0.0])).await.unwrap();
    let near = store.nearest(&anna(), "notes", "toy", &[1.0, 0.0], &MemoryFilter::default(), 1).await.unwrap();
    assert_eq!(near[0].1, 1.0);
    assert_eq!(used(&mut server.connect(&database).await, 2).await, None);
}
