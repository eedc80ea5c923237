//! What both backends know of a document: its digest, and whether a stored text still is the document. Pure.

use ice_core::id::Digest;
use ice_core::ports::NamedDocument;
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use crate::fault::natural;

/// The largest whole number up to which a double has every one: 2^53 (RFC 7493 §2.2).
const EXACT_MAX: u64 = 1 << 53;

/// The digest of the canonical form; X048 for a number that the digest could not tell from its neighbour.
pub(crate) fn digest(document: &Value) -> Result<Digest, Problem> {
    match inexact(document, &mut String::new()) {
        Some(problem) => Err(problem),
        None => Ok(Digest::of_json(document)),
    }
}

/// Reads a stored text; C043 when it is not the document of that digest.
pub(crate) fn read(digest: &Digest, text: &str) -> Result<Value, Problem> {
    match serde_json::from_str(text) {
        Ok(document) if Digest::of_json(&document) == *digest => Ok(document),
        _ => Err(Problem::new(Code::C043, format!("the document `{digest}` is damaged"))
            .help("put it in again from its source, or restore a copy of the database")),
    }
}

/// Name, version, digest and time of a version, as they are stored.
pub(crate) type Row = (String, String, Vec<u8>, i64);

/// Reads a row; C043 when it is none that was written here.
pub(crate) fn named((name, version, digest, stored): Row) -> Result<NamedDocument, Problem> {
    let digest = <[u8; 32]>::try_from(digest.as_slice()).ok().map(Digest::from_bytes);
    match (version.parse(), digest) {
        (Ok(version), Some(digest)) => Ok(NamedDocument { name, version, digest, stored: natural(stored) }),
        _ => Err(Problem::new(Code::C043, format!("the version `{version}` of `{name}` is damaged"))
            .help("restore a copy of the database")),
    }
}

/// A digest counts numbers as doubles: two documents that differ only beyond a double's exact range would have one
/// digest, and the second would silently become the first. So such a number is refused.
fn inexact(value: &Value, pointer: &mut String) -> Option<Problem> {
    let length = pointer.len();
    let mut inside = |segment: &str, value: &Value| {
        pointer.push('/');
        pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
        let found = inexact(value, pointer);
        pointer.truncate(length);
        found
    };
    match value {
        Value::Number(number) => {
            let size = number.as_u64().or(number.as_i64().map(i64::unsigned_abs))?;
            (size > EXACT_MAX).then(|| {
                Problem::new(Code::X048, format!("the number `{number}` is too large to be kept exactly"))
                    .pointer(pointer.clone())
                    .help("write it as a text, in quotes")
            })
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| inside(&index.to_string(), item)),
        Value::Object(members) => members.iter().find_map(|(key, member)| inside(key, member)),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_beyond_a_double_are_refused_with_their_place() {
        let edge = serde_json::json!({"a": [9_007_199_254_740_992_u64, -9_007_199_254_740_992_i64, 1e300, 0.1]});
        assert_eq!(inexact(&edge, &mut String::new()), None);
        let beyond = serde_json::json!({"a": 1, "b/c": [1, 9_007_199_254_740_993_u64]});
        let problem = inexact(&beyond, &mut String::new()).unwrap();
        assert_eq!((problem.code, problem.at.unwrap().pointer.as_deref()), (Code::X048, Some("/b~1c/1")));
    }
}
