//! Memory rows: replacing, forgetting, order, and the walls between tenants.

use std::sync::Arc;

use ice_core::id::{Digest, Identity};
use ice_core::ports::{MemoryFilter, MemoryItem, MemoryRow, MemoryRows};
use ice_core::problem::Code;
use serde_json::json;

use super::{Backend, ManualClock, anna};

/// A row with the given key, text and vector, written at 1.
pub(crate) fn row(key: &str, text: &str, vector: &[f32]) -> MemoryRow {
    MemoryRow {
        item: MemoryItem { key: key.into(), text: text.into(), metadata: json!({}) },
        content: Digest::of(text.as_bytes()),
        embedding: (!vector.is_empty()).then(|| ("toy".into(), vector.to_vec())),
        written: 1,
    }
}

pub(crate) async fn put<S: Backend>(store: &S, row: MemoryRow) {
    MemoryRows::put(store, &anna(), "notes", row).await.expect("put");
}

/// The keys of an answer.
pub(crate) fn keys(rows: &[(MemoryRow, f32)]) -> Vec<&str> {
    rows.iter().map(|(row, _)| row.item.key.as_str()).collect()
}

pub(crate) async fn by_words<S: Backend>(store: &S, query: &str) -> Vec<(MemoryRow, f32)> {
    store.keyword(&anna(), "notes", query, &MemoryFilter::default(), 10).await.expect("keyword")
}

pub(crate) async fn by_vector<S: Backend>(store: &S, vector: &[f32]) -> Vec<(MemoryRow, f32)> {
    store.nearest(&anna(), "notes", "toy", vector, &MemoryFilter::default(), 10).await.expect("nearest")
}

/// Every way of reading returns the whole row.
pub async fn a_row_comes_back_as_it_was_put<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let mut whole = row("kéy \u{0} ' \" %", "Text with ☃ and \u{0} inside\n", &[0.25, -1.5, 3.0e-8]);
    whole.item.metadata = json!({"z": 1, "a": {"tags": ["x"]}, "n": 0.1});
    whole.written = 1_763_647_200_000;
    put(&store, whole.clone()).await;
    let key = whole.item.key.as_str();
    assert_eq!(MemoryRows::get(&store, &anna(), "notes", key).await.expect("get"), Some(whole.clone()));
    assert_eq!(store.recent(&anna(), "notes", "", 9).await.expect("recent"), [whole.clone()]);
    assert_eq!(by_words(&store, "text").await[0].0, whole);
    assert_eq!(by_vector(&store, &[1.0, 0.0, 0.0]).await[0].0, whole);
    assert_eq!(MemoryRows::get(&store, &anna(), "notes", "no such key").await.expect("get"), None);
}

/// After a replacement nothing finds the old text, its words or its vector.
pub async fn a_put_replaces_text_words_and_vector<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    put(&store, row("k", "an old bicycle", &[1.0, 0.0])).await;
    put(&store, row("k", "a new submarine", &[0.0, 1.0])).await;
    assert_eq!(by_words(&store, "bicycle").await, []);
    assert_eq!(keys(&by_words(&store, "submarine").await), ["k"]);
    let near = by_vector(&store, &[0.0, 1.0]).await;
    assert_eq!((keys(&near), near[0].1), (vec!["k"], 1.0));
    put(&store, row("k", "no vector now", &[])).await;
    assert_eq!(by_vector(&store, &[0.0, 1.0]).await, []);
    assert_eq!(store.recent(&anna(), "notes", "", 9).await.expect("recent").len(), 1);
}

/// Orgs, users and scopes that differ in one of the three, and one pair whose names only run together alike.
fn tenants() -> [(Identity, &'static str); 5] {
    let who = |org: &str, user: &str| Identity { org: org.into(), user: user.into(), session: None };
    [
        (who("acme", "anna"), "notes"),
        (who("acme", "anna"), "diary"),
        (who("acme", "bob"), "notes"),
        (who("other", "anna"), "notes"),
        (who("acm", "eanna"), "notes"),
    ]
}

/// The same key in another org, user or scope is another row for every method.
pub async fn tenants_never_meet<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let tenants = tenants();
    for (number, (who, scope)) in tenants.iter().enumerate() {
        let secret = row("k", &format!("shared words secret{number}"), &[1.0, number as f32]);
        MemoryRows::put(&store, who, scope, secret).await.expect("put");
    }
    let all = MemoryFilter::default();
    for (number, (who, scope)) in tenants.iter().enumerate() {
        let own = format!("shared words secret{number}");
        let text = |rows: Vec<(MemoryRow, f32)>| rows.into_iter().map(|(row, _)| row.item.text).collect::<Vec<_>>();
        let words = store.keyword(who, scope, "shared words", &all, 10).await.expect("keyword");
        assert_eq!(text(words), [own.as_str()]);
        let near = store.nearest(who, scope, "toy", &[1.0, 0.0], &all, 10).await.expect("nearest");
        assert_eq!(text(near), [own.as_str()]);
        let recent = store.recent(who, scope, "", 10).await.expect("recent");
        assert_eq!(recent.len(), 1);
        let found = MemoryRows::get(&store, who, scope, "k").await.expect("get").expect("found");
        assert_eq!(found.item.text, own);
        let stranger = format!("secret{}", (number + 1) % tenants.len());
        assert_eq!(store.keyword(who, scope, &stranger, &all, 10).await.expect("keyword"), []);
    }
}

/// Deleting a row leaves the rows that have its key elsewhere.
pub async fn forgetting_stays_with_its_tenant<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let tenants = tenants();
    for (who, scope) in &tenants {
        MemoryRows::put(&store, who, scope, row("k", "text", &[1.0])).await.expect("put");
    }
    let (first, scope) = &tenants[0];
    store.delete(first, scope, "k").await.expect("delete");
    assert_eq!(MemoryRows::get(&store, first, scope, "k").await.expect("get"), None);
    for (who, scope) in &tenants[1..] {
        assert!(MemoryRows::get(&store, who, scope, "k").await.expect("get").is_some(), "only the one row was removed");
    }
}

/// By time; rows of one millisecond by the order in which they were written, a replaced one counting as new.
pub async fn recent_is_newest_first_then_last_written<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for (key, written) in [("s1/a", 5), ("s1/b", 7), ("s1/c", 7), ("s2/d", 9), ("s1/e", 6)] {
        put(&store, MemoryRow { written, ..row(key, key, &[]) }).await;
    }
    let recent = async |prefix: &str, limit: u32| -> Vec<String> {
        let rows = store.recent(&anna(), "notes", prefix, limit).await.expect("recent");
        rows.into_iter().map(|row| row.item.key).collect()
    };
    assert_eq!(recent("s1/", 9).await, ["s1/c", "s1/b", "s1/e", "s1/a"]);
    assert_eq!(recent("", 2).await, ["s2/d", "s1/c"]);
    put(&store, MemoryRow { written: 7, ..row("s1/b", "again", &[]) }).await;
    assert_eq!(recent("s1/", 2).await, ["s1/b", "s1/c"]);
}

/// What was deleted is found by nothing, and deleting it again is no failure.
pub async fn forgetting_is_complete<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    put(&store, row("k", "forget the submarine", &[1.0, 0.0])).await;
    put(&store, row("stay", "keep the submarine", &[1.0, 0.1])).await;
    for _ in 0..2 {
        store.delete(&anna(), "notes", "k").await.expect("delete");
        assert_eq!(MemoryRows::get(&store, &anna(), "notes", "k").await.expect("get"), None);
        assert_eq!(keys(&by_words(&store, "submarine").await), ["stay"]);
        assert_eq!(keys(&by_vector(&store, &[1.0, 0.0]).await), ["stay"]);
        assert_eq!(store.recent(&anna(), "notes", "", 9).await.expect("recent").len(), 1);
    }
}

/// An embedder has one dimension within a scope; what is empty or not finite is no vector.
pub async fn vectors_of_another_dimension_are_refused<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    put(&store, row("k", "text", &[1.0, 0.0])).await;
    for bad in [vec![1.0], vec![1.0, 0.0, 0.0], vec![f32::NAN, 0.0], vec![f32::INFINITY, 0.0]] {
        let failure = MemoryRows::put(&store, &anna(), "notes", row("l", "text", &bad)).await.expect_err("put");
        assert_eq!(failure.problem.code, Code::X045, "{failure}");
        let failure = store.nearest(&anna(), "notes", "toy", &bad, &MemoryFilter::default(), 9).await;
        assert_eq!(failure.expect_err("nearest").problem.code, Code::X045);
    }
    let empty = MemoryRow { embedding: Some(("fresh".into(), Vec::new())), ..row("l", "text", &[]) };
    let failure = MemoryRows::put(&store, &anna(), "notes", empty).await.expect_err("empty");
    assert_eq!(failure.problem.code, Code::X045);
    MemoryRows::put(&store, &anna(), "other scope", row("k", "text", &[1.0])).await.expect("a scope of its own");
}

/// A put is one transaction: when it is refused, the row that it would have replaced is whole.
pub async fn a_refused_put_keeps_the_old_row<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let old = row("k", "the old submarine", &[1.0, 0.0]);
    put(&store, old.clone()).await;
    MemoryRows::put(&store, &anna(), "notes", row("k", "new", &[1.0])).await.expect_err("refused");
    assert_eq!(MemoryRows::get(&store, &anna(), "notes", "k").await.expect("get"), Some(old));
    assert_eq!(keys(&by_words(&store, "submarine").await), ["k"]);
    assert_eq!(keys(&by_vector(&store, &[1.0, 0.0]).await), ["k"]);
}
