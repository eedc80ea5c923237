//! The header of an index: what is signed, and through it every shard.

use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, print_date, printable};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::moment;
use crate::signed::SIGNED_BYTES_MAX;

/// The only `schema` so far.
pub const SCHEMA: &str = "index.v0";
/// A header promises to be fresh for a week at most, so a frozen index is noticed within one.
pub const LIFETIME_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;
/// Small enough to be fetched for one changed row.
pub const SHARD_BYTES_MAX: u64 = 1 << 20;
/// Integers of canonical JSON are exact up to here.
pub const VERSION_MAX: u64 = (1 << 53) - 1;
/// 256 prefixes, split twice over; keeps header and OCI manifest far below their limits.
const SHARDS_MAX: usize = 8192;
/// What a machine gives to one index on disk.
const INDEX_BYTES_MAX: u64 = 128 << 20;
/// And in memory: searching takes 2 KiB a row. A larger market needs a database.
pub const ROWS_MAX: u64 = 100_000;
/// Clocks of good machines differ by less.
const CLOCK_SLACK_SECONDS: u64 = 24 * 60 * 60;
/// Hex digits of a digest.
const PREFIX_DIGITS_MAX: usize = 64;

/// Points at a blob.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BlobRef {
    /// Of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// Points at a shard: the rows of names whose SHA-256 begins with `prefix`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ShardRef {
    /// Two or more lower-case hex digits.
    pub prefix: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Rows in it.
    pub count: u64,
}

/// Vectors made elsewhere. Two models are never mixed; this host makes its own and does not fetch these.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Embeddings {
    /// Who made them.
    pub model: String,
    /// Numbers of one vector.
    pub dims: u32,
    /// Of the blob's bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What is signed. Unknown members are allowed and signed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// Grows with every build under one root.
    pub version: u64,
    /// When it was built.
    #[serde(with = "moment")]
    pub issued: UnixSeconds,
    /// Not to be relied on after this; at most a week after `issued`.
    #[serde(with = "moment")]
    pub expires: UnixSeconds,
    /// The newest root when it was built.
    pub root_version: u64,
    /// By prefix; none is the beginning of another.
    pub shards: Vec<ShardRef>,
    /// The signed list of what was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<BlobRef>,
    /// Vectors of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<Embeddings>,
}

impl Header {
    /// Reads a document whose signature was checked (T049; T029 for more or larger shards than fit).
    pub fn from_value(document: Value) -> Result<Self, Problem> {
        let header: Self = serde_json::from_value(document).map_err(|error| refuse(printable(&error.to_string())))?;
        header.check()?;
        Ok(header)
    }

    /// The document to sign.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a header has only string keys")
    }

    /// The rules of the form (T049, T029).
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.schema != SCHEMA {
            return Err(refuse(format!("its schema is `{}`, this host reads `{SCHEMA}`", printable(&self.schema))));
        }
        if !(1..=VERSION_MAX).contains(&self.version) || self.root_version > VERSION_MAX {
            return Err(refuse("its version is out of range".to_owned()));
        }
        let lifetime = self.expires.checked_sub(self.issued).filter(|lifetime| *lifetime > 0);
        if lifetime.is_none_or(|lifetime| lifetime > LIFETIME_SECONDS_MAX) {
            return Err(refuse(format!("it is to live longer than {LIFETIME_SECONDS_MAX} seconds, or not at all")));
        }
        let too_large = |message: String| Err(Problem::new(Code::T029, message).help(ASK));
        if self.shards.len() > SHARDS_MAX {
            return too_large(format!("the index has {} shards, the limit is {SHARDS_MAX}", self.shards.len()));
        }
        if let Some(shard) = self.shards.iter().find(|shard| shard.size > SHARD_BYTES_MAX) {
            return too_large(format!("a shard has {} bytes, the limit is {SHARD_BYTES_MAX}", shard.size));
        }
        if self.revocations.as_ref().is_some_and(|list| list.size > SIGNED_BYTES_MAX as u64) {
            return too_large(format!("the revocations are larger than {SIGNED_BYTES_MAX} bytes"));
        }
        let total: u64 = self.shards.iter().map(|shard| shard.size).sum();
        if total > INDEX_BYTES_MAX {
            return too_large(format!("the index has {total} bytes, the limit is {INDEX_BYTES_MAX}"));
        }
        let rows = self.shards.iter().fold(0_u64, |rows, shard| rows.saturating_add(shard.count));
        if rows > ROWS_MAX {
            return too_large(format!("the index has {rows} plugins, the limit is {ROWS_MAX}"));
        }
        self.check_prefixes()
    }

    fn check_prefixes(&self) -> Result<(), Problem> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let form =
            |shard: &ShardRef| (2..=PREFIX_DIGITS_MAX).contains(&shard.prefix.len()) && shard.prefix.bytes().all(digit);
        if !self.shards.iter().all(form) {
            return Err(refuse("a shard's prefix is not made of lower-case hex digits".to_owned()));
        }
        // In sorted order a prefix stands right before the first one that begins with it.
        let apart = |pair: &[ShardRef]| pair[0].prefix < pair[1].prefix && !pair[1].prefix.starts_with(&pair[0].prefix);
        if !self.shards.windows(2).all(apart) {
            return Err(refuse("its shards overlap or are not sorted".to_owned()));
        }
        Ok(())
    }

    /// Whether it may be relied on now: T020 past `expires`, T038 when it was issued well after `now`.
    pub fn check_time(&self, now: UnixSeconds) -> Result<(), Problem> {
        if now >= self.expires {
            let message = format!("the index was good until {}", print_date(self.expires));
            return Err(Problem::new(Code::T020, message)
                .help("an old index was sent, or nobody builds it any more: ask who runs the registry"));
        }
        if self.issued > now.saturating_add(CLOCK_SLACK_SECONDS) {
            let message =
                format!("the index was issued {}, the clock says {}", print_date(self.issued), print_date(now));
            return Err(Problem::new(Code::T038, message).help("set the clock"));
        }
        Ok(())
    }
}

/// What to do about an index that was built wrongly: nobody but its owner can mend it.
pub(super) const ASK: &str =
    "ask who runs the index to build it again; plugins can be installed by exact names without it";

fn refuse(why: String) -> Problem {
    Problem::new(Code::T049, format!("the index header cannot be used: {why}")).help(ASK)
}
