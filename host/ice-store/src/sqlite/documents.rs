//! Content-addressed JSON documents.

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::ports::{Documents, Failure};
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use super::Store;

/// The largest whole number up to which a double has every one: 2^53 (RFC 7493 §2.2).
const EXACT_MAX: u64 = 1 << 53;

#[async_trait]
impl Documents for Store {
    async fn put(&self, kind: &str, document: &Value) -> Result<Digest, Failure> {
        const PUT: &str =
            "insert into documents (digest, kind, document) values (?1, ?2, ?3) on conflict (digest) do nothing";
        if let Some(problem) = inexact(document, &mut String::new()) {
            return Err(Failure::never(problem));
        }
        let digest = Digest::of_json(document);
        // Kept as it was written, not in canonical form: the keys of an object keep the order the user gave them.
        let (kind, text) = (kind.to_owned(), document.to_string());
        self.write(move |connection| {
            Box::pin(async move {
                let address = digest.as_bytes().as_slice();
                sqlx::query(PUT).bind(address).bind(kind).bind(text).execute(connection).await?;
                Ok(())
            })
        })
        .await?;
        Ok(digest)
    }

    async fn get(&self, digest: &Digest) -> Result<Option<Value>, Failure> {
        const GET: &str = "select document from documents where digest = ?1";
        let digest = *digest;
        self.read(move |connection| {
            Box::pin(async move {
                let address = digest.as_bytes().as_slice();
                let text: Option<String> = sqlx::query_scalar(GET).bind(address).fetch_optional(connection).await?;
                let Some(text) = text else { return Ok(None) };
                match serde_json::from_str(&text) {
                    Ok(document) if Digest::of_json(&document) == digest => Ok(Some(document)),
                    _ => Err(Problem::new(Code::C043, format!("the document `{digest}` is damaged"))
                        .help("put it in again from its source, or restore a copy of the database")
                        .into()),
                }
            })
        })
        .await
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
