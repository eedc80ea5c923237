//! The signed static index of a marketplace: building, refreshing, reading, searching, and the queue before it.
//!
//! An index gives freshness, first-seen times, yanks and search. It makes nothing installable: installing verifies the
//! publisher's envelope. A stolen index key can hide or freeze, bounded by `expires`; it cannot forge. No network here:
//! bytes come through [`Pull`]. Reading order: [`row`] and [`header`] what it says; [`ledger`] and [`build`] how it is
//! made; [`refresh`] how it comes to a machine; [`search`] how it is asked; [`scan`] and [`queue`] what gets in.

pub mod build;
pub mod header;
pub mod ledger;
pub mod queue;
pub mod refresh;
pub mod row;
pub mod scan;
pub mod search;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, near_names, nearest, print_date, printable};
use ice_core::problem::{Code, Problem};

pub use build::{BuildOptions, Built, Packed, Shard, build, build_rows, pack};
pub use header::{BlobRef, Embeddings, Header, ShardRef};
pub use ledger::Ledger;
pub use queue::{Queue, Submission, SubmissionState};
pub use refresh::{Cache, Refreshed, refresh};
pub use row::{ComponentRow, Row, VersionRow};
pub use scan::{Finding, Findings, ScanPolicy, Severity, scan};
pub use search::{CursorKey, Hit, Page, Query, Why, search};

use crate::files;
use crate::signed::Signers;
use crate::source::Available;

/// Name and tag of the index below a registry prefix.
pub const INDEX_REFERENCE: &str = "ice-index:v0";
/// `artifactType` of the OCI manifest.
pub const INDEX_ARTIFACT_TYPE: &str = "application/vnd.iceos.index.v0+json";
/// Media type of a shard.
pub const SHARD_MEDIA_TYPE: &str = "application/vnd.iceos.index.shard.v0+jsonl";
/// Media type of the layer with signed revocations.
pub const REVOCATIONS_MEDIA_TYPE: &str = "application/vnd.iceos.revocations.v0+json";

/// Where the bytes of an index come from. Nothing that comes is believed.
#[async_trait]
pub trait Pull: Send + Sync {
    /// The OCI manifest under `reference`, such as `registry.example/ice/ice-index:v0`, of at most 4 MiB; `None` when
    /// the registry says that there is none. R005 when nobody can know.
    async fn manifest(&self, reference: &str) -> Result<Option<Vec<u8>>, Problem>;

    /// A blob beside that manifest: never more than `size` bytes in memory (R005, R006, T001).
    async fn blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Problem>;
}

/// A verified index in memory.
#[derive(Debug)]
pub struct Index {
    prefix: String,
    header: Header,
    rows: BTreeMap<String, Row>,
    now: UnixSeconds,
    words: OnceLock<search::Words>,
}

impl Index {
    /// Reads what the last refresh left: signature (T003 to T006, T017), form (T049), digests (T001). R001 when there
    /// is nothing yet. An index past its `expires` opens; see [`Index::stale`].
    pub fn open(cache: &Cache, signers: &Signers<'_>, now: UnixSeconds) -> Result<Self, Problem> {
        let (header, rows) = cache.read(signers)?;
        let rows = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        Ok(Self { prefix: cache.prefix().to_owned(), header, rows, now, words: OnceLock::new() })
    }

    /// What the index says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Seconds since it was issued; 0 for a clock that stands before that.
    pub fn age(&self) -> UnixSeconds {
        self.now.saturating_sub(self.header.issued)
    }

    /// T020 when the index is past its `expires`: fine for looking around, not for installing.
    pub fn stale(&self) -> Option<Problem> {
        (self.now >= self.header.expires).then(|| {
            let expires = print_date(self.header.expires);
            let message = format!("the index of `{}` (version {}) expired {expires}", self.prefix, self.header.version);
            Problem::new(Code::T020, message).help("refresh it: `ice index refresh`")
        })
    }

    /// What is known of `scope/name`, also when the index is stale: to show it.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.get(name)
    }

    /// Every row, by name.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// The versions of `scope/name`, to install one: T020 when the index is stale, R001 when it has no such name.
    pub fn available(&self, name: &str) -> Result<Vec<Available>, Problem> {
        if let Some(stale) = self.stale() {
            return Err(stale);
        }
        let row = self.row(name).ok_or_else(|| {
            let message = format!("the index of `{}` has no plugin `{}`", self.prefix, printable(name));
            let help = nearest(name, self.names()).map(|near| format!("did you mean `{near}`?"));
            Problem::new(Code::R001, message).help(help.unwrap_or_else(|| "look for it: `ice search`".to_owned()))
        })?;
        Ok(row.versions.iter().map(VersionRow::available).collect())
    }

    /// Names of the index that `name` could be mistaken for: T027, T028. Asked before installing.
    pub fn near(&self, name: &str) -> Vec<Problem> {
        near_names(name, self.names())
    }

    pub(crate) fn words(&self) -> &search::Words {
        self.words.get_or_init(|| search::Words::of(self.rows.values()))
    }
}

/// Reads at most `limit` bytes of a regular file, never through a link. `None` when it is not there. Who owns it does
/// not matter: what is read here is signed, or kept by the maintainer of an index as source code is.
fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(no_follow).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(files::io_problem(Code::C002, "open", path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| files::io_problem(Code::C002, "read", path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(Problem::new(Code::T029, format!("`{}` is larger than {limit} bytes", path.display())));
    }
    Ok(Some(bytes))
}

/// A moment as every signed document writes it.
mod moment {
    use ice_core::manifest::{UnixSeconds, parse_date, print_date};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(moment: &UnixSeconds, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&print_date(*moment))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixSeconds, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_date(&text).ok_or_else(|| D::Error::custom("a date is not like `2026-11-20T00:00:00Z`"))
    }
}
