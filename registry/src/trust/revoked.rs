//! What was taken back: keys, and statements. It never runs again, whatever is locked.
//!
//! ```json
//! {"version":3,"issued":"…Z","expires":"…Z",
//!  "keys":[{"keyid":"sha256:…","reason":"stolen","grandfathered":["sha256:S"]}],
//!  "statements":[{"S":"sha256:S","reason":"malware","advisory":"https://…"}]}
//! ```
//!
//! A revoked key may go on vouching for the statements in its `grandfathered`: a list needs no clock, a date would.
//! Where the list is kept and who may sign it is in [`trust`](crate::trust). Yanked versions are another list.

use std::collections::{BTreeMap, BTreeSet};

use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, print_date, printable};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::root::{VERSION_MAX, check_date, read_date};
use crate::signed::AGAIN;

/// A key that was taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevokedKey {
    /// Why.
    pub reason: String,
    /// Statements that its signature still counts for.
    pub grandfathered: BTreeSet<Digest>,
}

/// A statement that was taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevokedStatement {
    /// Why.
    pub reason: String,
    /// Where more is said about it.
    pub advisory: Option<String>,
}

/// The list. That it is in its form says nothing about who signed it.
// Invariant: a version from 1 to VERSION_MAX, `issued` before `expires`, dates that can be printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revoked {
    version: u64,
    issued: UnixSeconds,
    expires: UnixSeconds,
    keys: BTreeMap<Digest, RevokedKey>,
    statements: BTreeMap<Digest, RevokedStatement>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u64,
    issued: String,
    expires: String,
    #[serde(default)]
    keys: Vec<KeyEntry>,
    #[serde(default)]
    statements: Vec<StatementEntry>,
}

#[derive(Serialize, Deserialize)]
struct KeyEntry {
    keyid: Digest,
    reason: String,
    #[serde(default)]
    grandfathered: BTreeSet<Digest>,
}

#[derive(Serialize, Deserialize)]
struct StatementEntry {
    #[serde(rename = "S")]
    statement: Digest,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    advisory: Option<String>,
}

impl Revoked {
    /// The list that follows `previous`, with what that one holds, or an empty first one. T049 for dates that are not
    /// in order.
    pub fn after(previous: Option<&Self>, issued: UnixSeconds, expires: UnixSeconds) -> Result<Self, Problem> {
        let version = previous.map_or(0, Self::version) + 1;
        let (keys, statements) = previous.map(|list| (list.keys.clone(), list.statements.clone())).unwrap_or_default();
        Self { version, issued, expires, keys, statements }.checked()
    }

    fn checked(self) -> Result<Self, Problem> {
        if !(1..=VERSION_MAX).contains(&self.version) {
            return Err(refuse(format!("a list of revocations cannot have version {}", self.version)));
        }
        check_date(self.expires)?;
        if self.issued >= self.expires {
            return Err(refuse("a list of revocations expires before it is issued"));
        }
        Ok(self)
    }

    /// Takes a key back, but for the statements in `grandfathered`. What the list said about the key before is gone.
    pub fn revoke_key(&mut self, keyid: Digest, reason: &str, grandfathered: impl IntoIterator<Item = Digest>) {
        let grandfathered = grandfathered.into_iter().collect();
        self.keys.insert(keyid, RevokedKey { reason: reason.to_owned(), grandfathered });
    }

    /// Takes a statement back. `advisory` is an address where more is said.
    pub fn revoke_statement(&mut self, statement: Digest, reason: &str, advisory: Option<&str>) {
        let advisory = advisory.map(str::to_owned);
        self.statements.insert(statement, RevokedStatement { reason: reason.to_owned(), advisory });
    }

    /// Counted from 1; never goes down.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When it was made, seconds since 1970.
    pub fn issued(&self) -> UnixSeconds {
        self.issued
    }

    /// From this moment on it is not newly believed, seconds since 1970. What it takes back stays taken back.
    pub fn expires(&self) -> UnixSeconds {
        self.expires
    }

    /// Keys that were taken back.
    pub fn keys(&self) -> &BTreeMap<Digest, RevokedKey> {
        &self.keys
    }

    /// Statements that were taken back.
    pub fn statements(&self) -> &BTreeMap<Digest, RevokedStatement> {
        &self.statements
    }

    /// Why this key's signature does not count for this statement, when it does not.
    pub fn key_reason(&self, keyid: &Digest, statement: &Digest) -> Option<&str> {
        let key = self.keys.get(keyid).filter(|key| !key.grandfathered.contains(statement))?;
        Some(&key.reason)
    }

    /// The document to sign as [`DocumentKind::Revocations`](crate::DocumentKind).
    pub fn to_value(&self) -> Value {
        let keys = self.keys.iter().map(|(keyid, key)| KeyEntry {
            keyid: *keyid,
            reason: key.reason.clone(),
            grandfathered: key.grandfathered.clone(),
        });
        let statements = self.statements.iter().map(|(statement, entry)| StatementEntry {
            statement: *statement,
            reason: entry.reason.clone(),
            advisory: entry.advisory.clone(),
        });
        let document = Document {
            version: self.version,
            issued: print_date(self.issued),
            expires: print_date(self.expires),
            keys: keys.collect(),
            statements: statements.collect(),
        };
        serde_json::to_value(document).expect("a list of revocations has only string keys")
    }

    /// Reads a document (T049).
    pub fn from_value(document: &Value) -> Result<Self, Problem> {
        let document = Document::deserialize(document)
            .map_err(|error| refuse(format!("this is no list of revocations: {}", printable(&error.to_string()))))?;
        let mut list = Self {
            version: document.version,
            issued: read_date("issued", &document.issued)?,
            expires: read_date("expires", &document.expires)?,
            keys: BTreeMap::new(),
            statements: BTreeMap::new(),
        };
        for KeyEntry { keyid, reason, grandfathered } in document.keys {
            if list.keys.insert(keyid, RevokedKey { reason, grandfathered }).is_some() {
                return Err(refuse(format!("key {} is revoked twice, so neither entry decides", keyid.short())));
            }
        }
        for StatementEntry { statement, reason, advisory } in document.statements {
            if list.statements.insert(statement, RevokedStatement { reason, advisory }).is_some() {
                return Err(refuse(format!("statement {} is revoked twice", statement.short())));
            }
        }
        list.checked()
    }
}

fn refuse(message: impl Into<String>) -> Problem {
    Problem::new(Code::T049, message).help(AGAIN)
}
