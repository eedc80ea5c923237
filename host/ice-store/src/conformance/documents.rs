//! Documents: one content, one digest.

use std::sync::Arc;

use ice_core::id::Digest;
use ice_core::ports::Documents;
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
