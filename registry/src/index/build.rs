//! From rows to a header, shards and an OCI artifact. The same rows and options give the same bytes.
//!
//! Signing is the caller's: `Signed::new(DocumentKind::Index, &built.header)`.

use std::collections::BTreeMap;

use ice_core::id::Digest;
use ice_core::manifest::UnixSeconds;
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use super::header::{self, BlobRef, Header, SHARD_BYTES_MAX, ShardRef};
use super::ledger::Ledger;
use super::row::Row;
use super::{INDEX_ARTIFACT_TYPE, REVOCATIONS_MEDIA_TYPE, SHARD_MEDIA_TYPE};
use crate::envelope::ENVELOPE_MEDIA_TYPE;
use crate::oci::{Descriptor, MANIFEST_MEDIA_TYPE, OciManifest, to_json};
use crate::signed::Signed;

/// Hex digits of the shards that are not split.
const PREFIX_DIGITS: usize = 2;

/// What a build is told.
#[derive(Clone, Copy, Debug)]
pub struct BuildOptions<'a> {
    /// One more than the last build's, from 1.
    pub version: u64,
    /// The newest root.
    pub root_version: u64,
    /// Seconds since 1970.
    pub now: UnixSeconds,
    /// Seconds until it expires, at most a week.
    pub lifetime: u64,
    /// The signed list of what was taken back.
    pub revocations: Option<&'a [u8]>,
}

/// The rows of names whose SHA-256 begins with `prefix`, a canonical JSON object a line, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shard {
    /// Lower-case hex digits.
    pub prefix: String,
    /// Its lines.
    pub bytes: Vec<u8>,
    /// Their number.
    pub count: u64,
}

/// An index that nobody has signed yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Built {
    /// The document to sign.
    pub header: Value,
    /// By prefix.
    pub shards: Vec<Shard>,
    /// As they were handed in.
    pub revocations: Option<Vec<u8>>,
}

/// An index as OCI blobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Bytes of the image manifest. To be pushed last.
    pub manifest: Vec<u8>,
    /// Config and layers: media type, digest, bytes.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
}

/// Builds the index of a ledger. T049 for a version or lifetime out of range, T029 for too many rows.
pub fn build(ledger: &Ledger, options: &BuildOptions<'_>) -> Result<Built, Problem> {
    build_rows(ledger.rows(), options)
}

/// Builds an index of rows; of two with one name the later counts. Problems as in [`build`].
pub fn build_rows<'a>(rows: impl IntoIterator<Item = &'a Row>, options: &BuildOptions<'_>) -> Result<Built, Problem> {
    let lines: BTreeMap<&str, Line> = rows.into_iter().map(|row| (row.name.as_str(), Line::of(row))).collect();
    let mut shards = Vec::new();
    divide(lines.into_values().collect(), PREFIX_DIGITS, &mut shards);
    shards.sort_by(|a, b| a.prefix.cmp(&b.prefix));
    let header = Header {
        schema: header::SCHEMA.to_owned(),
        version: options.version,
        issued: options.now,
        expires: options.now.saturating_add(options.lifetime),
        root_version: options.root_version,
        shards: shards.iter().map(Shard::reference).collect(),
        revocations: options.revocations.map(|list| BlobRef { digest: Digest::of(list), size: list.len() as u64 }),
        embeddings: None,
    };
    header.check()?;
    Ok(Built { header: header.to_value(), shards, revocations: options.revocations.map(<[u8]>::to_vec) })
}

struct Line {
    hash: String,
    bytes: Vec<u8>,
}

impl Line {
    fn of(row: &Row) -> Self {
        let mut bytes = row.to_line();
        bytes.push(b'\n');
        Self { hash: Digest::of(row.name.as_bytes()).hex(), bytes }
    }
}

impl Shard {
    fn reference(&self) -> ShardRef {
        ShardRef {
            prefix: self.prefix.clone(),
            digest: Digest::of(&self.bytes),
            size: self.bytes.len() as u64,
            count: self.count,
        }
    }
}

/// Puts lines, which are in the order of names, into one shard a prefix; too large a shard is divided by its next
/// digit. A row is far smaller than a shard, so this ends.
fn divide(lines: Vec<Line>, digits: usize, shards: &mut Vec<Shard>) {
    let mut groups: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in lines {
        groups.entry(line.hash[..digits].to_owned()).or_default().push(line);
    }
    for (prefix, lines) in groups {
        let size: usize = lines.iter().map(|line| line.bytes.len()).sum();
        if size as u64 > SHARD_BYTES_MAX && lines.len() > 1 {
            divide(lines, digits + 1, shards);
            continue;
        }
        let count = lines.len() as u64;
        let bytes = lines.into_iter().flat_map(|line| line.bytes).collect();
        shards.push(Shard { prefix, bytes, count });
    }
}

/// Lays out a signed index as one image manifest: config the signed header, layers the shards and the revocations.
/// T049 when `signed` is another header.
pub fn pack(built: &Built, signed: &Signed) -> Result<Packed, Problem> {
    if signed.unchecked()? != built.header {
        return Err(Problem::new(Code::T049, "the signed header is not the one that was built").help("sign it again"));
    }
    let config = signed.to_bytes();
    let mut blobs = vec![(descriptor(ENVELOPE_MEDIA_TYPE, &config), config)];
    for shard in &built.shards {
        blobs.push((descriptor(SHARD_MEDIA_TYPE, &shard.bytes), shard.bytes.clone()));
    }
    if let Some(list) = &built.revocations {
        blobs.push((descriptor(REVOCATIONS_MEDIA_TYPE, list), list.clone()));
    }
    let manifest = OciManifest {
        schema_version: 2,
        media_type: MANIFEST_MEDIA_TYPE.to_owned(),
        artifact_type: INDEX_ARTIFACT_TYPE.to_owned(),
        config: blobs[0].0.clone(),
        layers: blobs[1..].iter().map(|(descriptor, _)| descriptor.clone()).collect(),
        annotations: BTreeMap::new(),
    };
    Ok(Packed { manifest: to_json(&manifest), blobs })
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        artifact_type: None,
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        annotations: BTreeMap::new(),
    }
}
