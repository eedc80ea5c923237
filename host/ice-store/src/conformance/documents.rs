//! Documents: one content, one digest; one version, one content.

use std::sync::Arc;

use futures_util::future::join_all;
use ice_core::id::Digest;
use ice_core::ports::{Documents, NamedDocument};
use ice_core::problem::Code;
use serde_json::{Value, json};

use super::{Backend, ManualClock};

/// Key order and spacing are no difference; content is.
pub async fn one_document_has_one_digest<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let first = Documents::put(&store, "blueprint", &parse(r#"{"b": 1, "a": [1, 2]}"#)).await.expect("put");
    let again = Documents::put(&store, "blueprint", &parse(r#"{"a":[1,2],"b":1.0}"#)).await.expect("put");
    let other = Documents::put(&store, "blueprint", &parse(r#"{"a":[2,1],"b":1}"#)).await.expect("put");
    assert_eq!(first, again);
    assert_ne!(first, other);
    // RFC 8785: members sorted, no spaces, shortest numbers.
    assert_eq!(first, Digest::of(br#"{"a":[1,2],"b":1}"#));
}

/// The first writing of a content is the one that is kept, with its key order and its characters.
pub async fn a_document_comes_back_as_it_was_written<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let document = json!({"z": {"ü": "\u{0}☃\n", "b": 0.1}, "a": [null, true, -5, 1e21], "": {}});
    let digest = Documents::put(&store, "blueprint", &document).await.expect("put");
    let found = Documents::get(&store, &digest).await.expect("get").expect("found");
    assert_eq!(found, document);
    assert_eq!(found.to_string(), document.to_string(), "the order of keys is kept");
}

/// Asking for what is not there is no failure.
pub async fn an_unknown_digest_is_none<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    assert_eq!(Documents::get(&store, &Digest::of(b"nothing")).await.expect("get"), None);
}

/// A number that the digest could not tell from its neighbour is refused.
pub async fn inexact_numbers_are_refused<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let failure = Documents::put(&store, "blueprint", &json!({"n": u64::MAX})).await.expect_err("inexact");
    assert_eq!(failure.problem.code, Code::X048);
    assert_eq!(failure.problem.at.and_then(|at| at.pointer).as_deref(), Some("/n"));
}

fn named(name: &str, version: &str, content: &[u8]) -> NamedDocument {
    let version = version.parse().expect("a version");
    NamedDocument { name: name.into(), version, digest: Digest::of(content), stored: 1_000 }
}

/// The same content may come again, other content may not, not even after the version was withdrawn.
pub async fn a_version_never_changes<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let first = named("news", "1.0.0", b"a");
    let other = named("news", "1.0.0", b"b");
    store.publish(&first).await.expect("new");
    store.publish(&NamedDocument { stored: 9_000, ..first.clone() }).await.expect("the same again");
    assert_eq!(store.publish(&other).await.expect_err("other").problem.code, Code::R003);
    assert_eq!(store.versions(Some("news"), 10).await.expect("read"), std::slice::from_ref(&first));

    assert!(store.withdraw("news", &first.version).await.expect("withdrawn"));
    assert!(!store.withdraw("news", &first.version).await.expect("withdrawn already"));
    assert!(!store.withdraw("olds", &first.version).await.expect("never there"));
    assert_eq!(store.versions(None, 10).await.expect("read"), []);
    assert_eq!(store.publish(&other).await.expect_err("still other").problem.code, Code::R003);
    store.publish(&first).await.expect("back again");
    assert_eq!(store.versions(None, 10).await.expect("read"), [first]);
}

/// By the order of versions, not of their text; of one name or of all.
pub async fn versions_are_listed_newest_first<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for (name, version) in
        [("b", "1.9.0"), ("b", "1.10.0"), ("a", "2.0.0"), ("b", "2.0.0-rc.1"), ("B", "3.0.0"), ("b", "1.2.0")]
    {
        store.publish(&named(name, version, version.as_bytes())).await.expect("published");
    }
    let shown = |list: Vec<NamedDocument>| -> Vec<String> {
        list.into_iter().map(|row| format!("{}@{}", row.name, row.version)).collect()
    };
    let of_b = shown(store.versions(Some("b"), 10).await.expect("read"));
    assert_eq!(of_b, ["b@2.0.0-rc.1", "b@1.10.0", "b@1.9.0", "b@1.2.0"]);
    let all = shown(store.versions(None, 10).await.expect("read"));
    assert_eq!(all[..3], ["B@3.0.0", "a@2.0.0", "b@2.0.0-rc.1"]);
    assert_eq!((all.len(), store.versions(None, 2).await.expect("read").len()), (6, 2));
    assert_eq!(shown(store.versions(Some("c"), 10).await.expect("read")), [""; 0]);
}

/// Whoever is first decides, and everybody else is told.
pub async fn one_of_two_contents_becomes_the_version<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let tries: Vec<NamedDocument> = (0_u8..8).map(|content| named("news", "1.0.0", &[content])).collect();
    let outcomes = join_all(tries.iter().map(|row| store.publish(row))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let won = outcomes.iter().position(Result::is_ok).expect("one");
    assert_eq!(store.versions(Some("news"), 10).await.expect("read"), [tries[won].clone()]);
}
