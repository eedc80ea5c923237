//! Text remembered between calls. Grant: `memory`, with the scopes that may be read and written.
//!
//! Every row belongs to the organisation and user of the execution; the host adds both.

use std::fmt;

use serde_json::{Map, Value};

#[cfg(not(target_family = "wasm"))]
use crate::testing::memory as host;

/// Bytes a key may have.
pub const KEY_BYTES_MAX: usize = 256;
/// Bytes a text may have.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Bytes metadata may have as JSON text.
pub const METADATA_BYTES_MAX: usize = 16 << 10;
/// Items one search or listing returns at most, whatever was asked for.
pub const LIMIT_MAX: u32 = 100;

/// Why a memory call did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The grant does not cover this scope, or not for writing; the text names what would allow it.
    Denied(String),
    /// The key, text or metadata is over the host's limit; the text says which.
    TooLarge(String),
    /// The metadata is not a JSON object, or the scope or key is empty; the text says which.
    Invalid(String),
    /// The host's storage or embedder failed. Trying again may help.
    Unavailable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "memory denied: {text}"),
            Self::TooLarge(text) => write!(f, "too large for memory: {text}"),
            Self::Invalid(text) => write!(f, "memory refused the item: {text}"),
            Self::Unavailable(text) => write!(f, "memory is unavailable: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// One remembered text.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Item {
    /// Unique within its scope.
    pub key: String,
    /// What is remembered and searched.
    pub text: String,
    /// `category` (string) and `tags` (list of strings) can be filtered on.
    pub metadata: Map<String, Value>,
}

/// One answer of a search.
#[derive(Clone, PartialEq, Debug)]
pub struct Hit {
    /// What was found.
    pub item: Item,
    /// Higher is better; comparable within one answer only.
    pub score: f32,
    /// How it was found: `keyword`, `vector` or `hybrid`.
    pub source: String,
}

/// Narrows a search; the default lets everything pass.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Items whose `category` equals this.
    pub category: Option<String>,
    /// Items that carry every one of these `tags`.
    pub tags: Vec<String>,
    /// Items whose key starts with this.
    pub key_prefix: Option<String>,
}

/// Writes `item`, replacing what was under its key.
/// Fails with [`Error::Denied`], [`Error::TooLarge`], [`Error::Invalid`] or [`Error::Unavailable`].
pub fn write(scope: &str, item: &Item) -> Result<(), Error> {
    host::write(scope, item)
}

/// Returns what is under `key`. Fails with [`Error::Denied`] or [`Error::Unavailable`].
pub fn read(scope: &str, key: &str) -> Result<Option<Item>, Error> {
    host::read(scope, key)
}

/// Returns the items that answer `query` best, best first, at most `limit` and never more than [`LIMIT_MAX`].
/// Fails with [`Error::Denied`] or [`Error::Unavailable`].
pub fn search(scope: &str, query: &str, filter: &Filter, limit: u32) -> Result<Vec<Hit>, Error> {
    host::search(scope, query, filter, limit)
}

/// Returns the newest items whose key starts with `key_prefix` (all for the empty string), newest first, at most
/// `limit` and never more than [`LIMIT_MAX`]. Fails with [`Error::Denied`] or [`Error::Unavailable`].
pub fn recent(scope: &str, key_prefix: &str, limit: u32) -> Result<Vec<Item>, Error> {
    host::recent(scope, key_prefix, limit)
}

/// Removes `key`; no error if it was not there. Fails with [`Error::Denied`] or [`Error::Unavailable`].
pub fn forget(scope: &str, key: &str) -> Result<(), Error> {
    host::forget(scope, key)
}

#[cfg(target_family = "wasm")]
mod host {
    use serde_json::Value;

    use super::{Error, Filter, Hit, Item};
    use crate::bindings::agent::ice::memory::memory as wit;

    impl From<wit::Error> for Error {
        fn from(error: wit::Error) -> Self {
            match error {
                wit::Error::Denied(text) => Self::Denied(text),
                wit::Error::TooLarge(text) => Self::TooLarge(text),
                wit::Error::Invalid(text) => Self::Invalid(text),
                wit::Error::Unavailable(text) => Self::Unavailable(text),
            }
        }
    }

    impl From<wit::Item> for Item {
        fn from(item: wit::Item) -> Self {
            // The host stores metadata as a JSON object only, so nothing is lost by the fallback.
            let metadata = match serde_json::from_str(&item.metadata) {
                Ok(Value::Object(metadata)) => metadata,
                _ => serde_json::Map::new(),
            };
            Self { key: item.key, text: item.text, metadata }
        }
    }

    pub(super) fn write(scope: &str, item: &Item) -> Result<(), Error> {
        let metadata = serde_json::to_string(&item.metadata).map_err(|error| Error::Invalid(error.to_string()))?;
        let item = wit::Item { key: item.key.clone(), text: item.text.clone(), metadata };
        Ok(wit::write(scope, &item)?)
    }

    pub(super) fn read(scope: &str, key: &str) -> Result<Option<Item>, Error> {
        Ok(wit::read(scope, key)?.map(Item::from))
    }

    pub(super) fn search(scope: &str, query: &str, filter: &Filter, limit: u32) -> Result<Vec<Hit>, Error> {
        let filter = wit::Filter {
            category: filter.category.clone(),
            tags: filter.tags.clone(),
            key_prefix: filter.key_prefix.clone(),
        };
        let hits = wit::search(scope, query, &filter, limit)?;
        Ok(hits.into_iter().map(|hit| Hit { item: hit.item.into(), score: hit.score, source: hit.source }).collect())
    }

    pub(super) fn recent(scope: &str, key_prefix: &str, limit: u32) -> Result<Vec<Item>, Error> {
        Ok(wit::recent(scope, key_prefix, limit)?.into_iter().map(Item::from).collect())
    }

    pub(super) fn forget(scope: &str, key: &str) -> Result<(), Error> {
        Ok(wit::forget(scope, key)?)
    }
}
