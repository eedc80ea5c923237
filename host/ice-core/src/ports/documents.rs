//! Documents by content, and the names under which versions of them are kept.

use async_trait::async_trait;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Failure;
use crate::id::{Digest, UnixMs};
use crate::problem::{Code, Problem};

/// One version of a named document. What a version holds never changes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct NamedDocument {
    /// The name, see [`check_name`].
    pub name: String,
    /// The version; without build metadata, because two versions that differ in nothing else have no order.
    pub version: Version,
    /// Names the content.
    pub digest: Digest,
    /// When the version was made.
    pub stored: UnixMs,
}

/// Bound on a name, so that listings and messages stay readable.
const NAME_BYTES_MAX: usize = 128;

/// Checks the name of a document: letters, digits, `.`, `_` and `-`, beginning with a letter; at most 128 bytes. C001
/// otherwise. `@`, `:` and `/` are left to references: `name@range`, `sha256:…`, `scope/bundle`.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let good = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if good {
        return Ok(());
    }
    let help = format!("use letters, digits, `.`, `_` and `-`, begin with a letter, at most {NAME_BYTES_MAX} bytes");
    Err(Problem::new(Code::C001, format!("`{name}` cannot be the name of a blueprint")).help(help))
}

/// Content-addressed JSON documents, such as blueprints. Implemented by ice-store.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Keeps a document under the digest of its canonical (RFC 8785) form.
    async fn put(&self, kind: &str, document: &Value) -> Result<Digest, Failure>;
    /// Returns the document of that digest.
    async fn get(&self, digest: &Digest) -> Result<Option<Value>, Failure>;
    /// Gives a kept document a name and a version. Once more changes nothing; with other content it fails with R003,
    /// also after [`Documents::withdraw`].
    async fn publish(&self, named: &NamedDocument) -> Result<(), Failure>;
    /// Returns the versions under `name`, or under every name, at most `limit`: by name, then the newest first.
    async fn versions(&self, name: Option<&str>, limit: u32) -> Result<Vec<NamedDocument>, Failure>;
    /// Takes a version out of [`Documents::versions`]; its content stays, for executions that hold it. False when it
    /// was not there.
    async fn withdraw(&self, name: &str, version: &Version) -> Result<bool, Failure>;
}

/// The refusal of [`Documents::publish`].
pub fn taken(named: &NamedDocument) -> Failure {
    let message = format!("`{}@{}` exists already with other content", named.name, named.version);
    Failure::never(
        Problem::new(Code::R003, message).help("give it another version; what a version holds never changes"),
    )
}

/// Puts versions into the order of [`Documents::versions`].
pub fn sort_versions(versions: &mut [NamedDocument]) {
    versions.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| b.version.cmp(&a.version)));
}
