//! What both backends know of a document: its digest, whether a stored text still is the document, and the statements
//! that keep it.

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

/// Implements the port for a backend's `Store`. Both backends read these statements the same way.
macro_rules! keeps_documents {
    () => {
        #[async_trait::async_trait]
        impl Documents for Store {
            async fn put(&self, kind: &str, document: &Value) -> Result<Digest, Failure> {
                const PUT: &str = "insert into documents (digest, kind, document) values ($1, $2, $3) \
                    on conflict (digest) do nothing";
                let digest = crate::document::digest(document).map_err(Failure::never)?;
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
                const GET: &str = "select document from documents where digest = $1";
                let digest = *digest;
                self.read(move |connection| {
                    Box::pin(async move {
                        let query = sqlx::query_scalar(GET).bind(digest.as_bytes().as_slice());
                        let text: Option<String> = query.fetch_optional(connection).await?;
                        Ok(text.map(|text| crate::document::read(&digest, &text)).transpose()?)
                    })
                })
                .await
            }

            async fn publish(&self, named: &NamedDocument) -> Result<(), Failure> {
                // No row is returned when the version is there with another digest.
                const PUBLISH: &str = "insert into document_versions (name, version, digest, stored, withdrawn) \
                    values ($1, $2, $3, $4, false) on conflict (name, version) do update set withdrawn = false \
                    where document_versions.digest = excluded.digest returning name";
                let row = named.clone();
                let written: Option<String> = self
                    .write(move |connection| {
                        Box::pin(async move {
                            let published = sqlx::query_scalar(PUBLISH)
                                .bind(row.name)
                                .bind(row.version.to_string())
                                .bind(row.digest.as_bytes().as_slice())
                                .bind(crate::fault::integer(row.stored))
                                .fetch_optional(connection);
                            Ok(published.await?)
                        })
                    })
                    .await?;
                written.map(drop).ok_or_else(|| ice_core::ports::taken(named))
            }

            async fn versions(&self, name: Option<&str>, limit: u32) -> Result<Vec<NamedDocument>, Failure> {
                const VERSIONS: &str = "select name, version, digest, stored from document_versions \
                    where not withdrawn and name = coalesce($1, name) order by name, stored desc limit $2";
                let name = name.map(str::to_owned);
                let rows = self.read(move |connection| {
                    let name = name.clone();
                    Box::pin(async move {
                        Ok(sqlx::query_as(VERSIONS).bind(name).bind(i64::from(limit)).fetch_all(connection).await?)
                    })
                });
                let rows: Vec<crate::document::Row> = rows.await?;
                let versions: Result<Vec<_>, _> = rows.into_iter().map(crate::document::named).collect();
                let mut versions = versions.map_err(Failure::never)?;
                ice_core::ports::sort_versions(&mut versions);
                Ok(versions)
            }

            async fn withdraw(&self, name: &str, version: &Version) -> Result<bool, Failure> {
                const WITHDRAW: &str = "update document_versions set withdrawn = true \
                    where name = $1 and version = $2 and not withdrawn";
                let (name, version) = (name.to_owned(), version.to_string());
                self.write(move |connection| {
                    Box::pin(async move {
                        let done = sqlx::query(WITHDRAW).bind(name).bind(version).execute(connection).await?;
                        Ok(done.rows_affected() > 0)
                    })
                })
                .await
            }
        }
    };
}

pub(crate) use keeps_documents;

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
