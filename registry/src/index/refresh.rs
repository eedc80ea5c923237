//! How an index comes to this machine: header first, then only what changed, all of it checked before any of it counts.
//!
//! `<home>/index/<prefix>/header.json` is replaced last and in one step, so a crash leaves the old index whole. Blobs
//! are named by their digests. Whose signatures count is the caller's to say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, printable};
use ice_core::problem::{Code, Problem};

use super::header::{ASK, BlobRef, Header, ShardRef};
use super::row::Row;
use super::{INDEX_ARTIFACT_TYPE, INDEX_REFERENCE, Pull, read_bounded};
use crate::envelope::ENVELOPE_MEDIA_TYPE;
use crate::files;
use crate::oci::{self, CONFIG_BYTES_MAX, Descriptor, MANIFEST_BYTES_MAX};
use crate::signed::{DocumentKind, Signed, Signers};
use crate::trust::{SeenIndex, State};

/// A registry prefix is a host and a path.
const PREFIX_BYTES_MAX: usize = 255;
/// File names end here.
const SLUG_BYTES_MAX: usize = 200;
/// Shards on their way at once: at most 8 MiB in memory.
const PULLS_AT_ONCE: usize = 8;

/// The folder of one index on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    folder: PathBuf,
    prefix: String,
}

/// What a refresh did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refreshed {
    /// Of the index that is believed now.
    pub version: u64,
    /// Seconds since it was issued.
    pub age: UnixSeconds,
    /// When it stops being good for installing.
    pub expires: UnixSeconds,
    /// OCI manifest, header, shards, revocations.
    pub bytes_fetched: u64,
    /// Shards that had changed.
    pub shards_fetched: usize,
    /// Shards that were here.
    pub shards_kept: usize,
}

impl Cache {
    /// The cache of the index below `prefix`, such as `registry.example/ice`. Nothing is made until something is
    /// written. R014 for a prefix that is none.
    pub fn of(home: &Path, prefix: &str) -> Result<Self, Problem> {
        let visible = prefix.bytes().all(|byte| byte.is_ascii_graphic());
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !visible {
            let message = format!("`{}` is not a registry prefix", printable(prefix));
            return Err(Problem::new(Code::R014, message).help("write host and path, such as `registry.example/ice`"));
        }
        Ok(Self { folder: home.join("index").join(slug(prefix)), prefix: prefix.to_owned() })
    }

    /// As it was given.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The signed revocations that came with the index, unchecked; `None` when it has none (T001).
    pub fn revocations(&self, signers: &Signers<'_>) -> Result<Option<Vec<u8>>, Problem> {
        let header = self.header(signers)?;
        header.revocations.map(|list| self.blob(&list)?.ok_or_else(|| self.damaged(&list.digest))).transpose()
    }

    /// Header and rows, verified. Problems as in [`Index::open`](super::Index::open).
    pub(super) fn read(&self, signers: &Signers<'_>) -> Result<(Header, Vec<Row>), Problem> {
        let header = self.header(signers)?;
        let mut rows = Vec::new();
        for shard in &header.shards {
            let place = BlobRef { digest: shard.digest, size: shard.size };
            let bytes = self.blob(&place)?.ok_or_else(|| self.damaged(&shard.digest))?;
            rows.extend(read_shard(shard, &bytes)?);
        }
        Ok((header, rows))
    }

    fn header(&self, signers: &Signers<'_>) -> Result<Header, Problem> {
        let path = self.header_path();
        let bytes = read_bounded(&path, CONFIG_BYTES_MAX)?.ok_or_else(|| {
            Problem::new(Code::R001, format!("there is no index of `{}` on this machine yet", self.prefix))
                .help("fetch it: `ice index refresh`")
        })?;
        let document = Signed::parse(&bytes)?.check(DocumentKind::Index, signers);
        Header::from_value(document.map_err(|problem| problem.file(path.display().to_string()))?)
    }

    /// The bytes of this digest and size; `None` when they are not here or not these.
    fn blob(&self, place: &BlobRef) -> Result<Option<Vec<u8>>, Problem> {
        let bytes = match read_bounded(&self.blob_path(&place.digest), place.size) {
            Err(problem) if problem.code == Code::T029 => return Ok(None),
            bytes => bytes?,
        };
        Ok(bytes.filter(|bytes| bytes.len() as u64 == place.size && Digest::of(bytes) == place.digest))
    }

    fn damaged(&self, digest: &Digest) -> Problem {
        let message = format!("a part of the index of `{}` on disk is not {}", self.prefix, digest.short());
        Problem::new(Code::T001, message)
            .file(self.blob_path(digest).display().to_string())
            .help("fetch it again: `ice index refresh`")
    }

    fn header_path(&self) -> PathBuf {
        self.folder.join("header.json")
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    /// One refresh at a time. The lock ends with the handle.
    async fn lock(&self) -> Result<fs::File, Problem> {
        files::make_folder(&self.folder.join("blobs"))?;
        let path = self.folder.join(".lock");
        let file = files::lock_file(&path)?;
        // Another process may be fetching: waiting must not hold up other tasks of this thread.
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        let failed = |error: std::io::Error| files::io_problem(Code::R004, "lock", &path, &error);
        locked.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)
    }

    /// Removes blobs that the header no longer names. What cannot be removed is tried again the next time.
    fn sweep(&self, header: &Header) {
        let shards = header.shards.iter().map(|shard| shard.digest);
        let named: BTreeSet<String> =
            shards.chain(header.revocations.iter().map(|list| list.digest)).map(|digest| digest.hex()).collect();
        for entry in fs::read_dir(self.folder.join("blobs")).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(|name| named.contains(name)) {
                // Best effort: a leftover costs space and nothing else.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A file name for a prefix. Two prefixes never share one: all but `a-z`, `0-9`, `-` and inner dots is spelled out,
/// and two `_` stand only before a digest.
fn slug(prefix: &str) -> String {
    let mut slug = String::new();
    for (at, byte) in prefix.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => slug.push(char::from(byte)),
            b'.' if at > 0 => slug.push('.'),
            _ => slug.push_str(&format!("_{byte:02x}")),
        }
    }
    if slug.len() > SLUG_BYTES_MAX { format!("__{}", Digest::of(prefix.as_bytes()).hex()) } else { slug }
}

/// Rows of a shard whose digest was checked: as many as the header says, each where its name belongs (T049).
fn read_shard(shard: &ShardRef, bytes: &[u8]) -> Result<Vec<Row>, Problem> {
    let refuse = |why: &str| {
        Problem::new(Code::T049, format!("shard `{}` of the index cannot be used: {why}", shard.prefix)).help(ASK)
    };
    let text = bytes.strip_suffix(b"\n").ok_or_else(|| refuse("its last line has no end"))?;
    let mut rows: Vec<Row> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let row = Row::parse(line)?;
        if !Digest::of(row.name.as_bytes()).hex().starts_with(&shard.prefix) {
            return Err(refuse(&format!("`{}` belongs elsewhere", row.name)));
        }
        if rows.last().is_some_and(|last| last.name >= row.name) {
            return Err(refuse("its rows are not sorted by name"));
        }
        rows.push(row);
    }
    if rows.len() as u64 != shard.count {
        return Err(refuse(&format!("it has {} rows, the header says {}", rows.len(), shard.count)));
    }
    Ok(rows)
}

/// Brings the index below the cache's prefix up to date, or changes nothing. `root_version` is that of the root that
/// `signers` come from. T038 for the clock, R001 for no index, T029 for sizes, T001 for digests, T003 to T006 and T017
/// for signatures, T020 for an expired index, T021 for an older one, T049 for forms, R004 for the disk, and what `pull`
/// fails with.
pub async fn refresh(
    pull: &dyn Pull,
    cache: &Cache,
    signers: &Signers<'_>,
    state: &State,
    root_version: u64,
    now: UnixSeconds,
) -> Result<Refreshed, Problem> {
    state.check_clock(now)?;
    let _lock = cache.lock().await?;
    let pull = Counting { pull, bytes: 0.into() };
    let config = find_header(&pull, cache).await?;
    let bytes = fetch_header(&pull, cache, &config).await?;
    let header = Header::from_value(Signed::parse(&bytes)?.check(DocumentKind::Index, signers)?)?;
    header.check_time(now)?;
    check_version(&header, cache, signers, state, root_version)?;
    let missing = missing(cache, signers, &header)?;
    let fetched = missing.len();
    let put = |shard: ShardRef| put_shard(&pull, cache, shard);
    stream::iter(missing).map(put).buffer_unordered(PULLS_AT_ONCE).try_collect::<()>().await?;
    if let Some(list) = &header.revocations
        && cache.blob(list)?.is_none()
    {
        let bytes = pull.checked(list).await?;
        files::replace(&cache.blob_path(&list.digest), &bytes)?;
    }
    // First what may never be forgotten, then what shows it.
    state.saw_index(&cache.prefix, &SeenIndex { version: header.version, root_version, refreshed: now })?;
    files::replace(&cache.header_path(), &bytes)?;
    cache.sweep(&header);
    Ok(Refreshed {
        version: header.version,
        age: now.saturating_sub(header.issued),
        expires: header.expires,
        bytes_fetched: pull.bytes.into_inner(),
        shards_fetched: fetched,
        shards_kept: header.shards.len() - fetched,
    })
}

/// Counts what came, and believes none of it before its digest is right.
struct Counting<'a> {
    pull: &'a dyn Pull,
    bytes: std::sync::atomic::AtomicU64,
}

impl Counting<'_> {
    fn count(&self, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
    }

    async fn checked(&self, place: &BlobRef) -> Result<Vec<u8>, Problem> {
        let bytes = self.pull.blob(&place.digest, place.size).await?;
        self.count(&bytes);
        let got = Digest::of(&bytes);
        if got == place.digest && bytes.len() as u64 == place.size {
            return Ok(bytes);
        }
        let message = format!(
            "a part of the index is not what its header names: expected {} ({} bytes), got {} ({} bytes)",
            place.digest.short(),
            place.size,
            got.short(),
            bytes.len()
        );
        Err(Problem::new(Code::T001, message).help("try again; if it stays, ask who runs the registry"))
    }
}

async fn find_header(pull: &Counting<'_>, cache: &Cache) -> Result<Descriptor, Problem> {
    let reference = format!("{}/{INDEX_REFERENCE}", cache.prefix);
    let bytes = pull.pull.manifest(&reference).await?.ok_or_else(|| {
        Problem::new(Code::R001, format!("there is no index at `{}`", printable(&reference)))
            .help("plugins can be installed by their exact names without one")
    })?;
    pull.count(&bytes);
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        let message = format!("the index manifest has {} bytes, the limit is {MANIFEST_BYTES_MAX}", bytes.len());
        return Err(Problem::new(Code::T029, message).help(ASK));
    }
    let manifest = oci::read_manifest(&bytes)?;
    if manifest.artifact_type != INDEX_ARTIFACT_TYPE || manifest.config.media_type != ENVELOPE_MEDIA_TYPE {
        let message =
            format!("`{}` is not an index but `{}`", printable(&reference), printable(&manifest.artifact_type));
        return Err(Problem::new(Code::R006, message).help("check the registry and prefix in registries.toml"));
    }
    if manifest.config.size > CONFIG_BYTES_MAX {
        let message = format!("the index header has {} bytes, the limit is {CONFIG_BYTES_MAX}", manifest.config.size);
        return Err(Problem::new(Code::T029, message).help(ASK));
    }
    Ok(manifest.config)
}

/// The bytes on disk when they are the ones named, else those of the registry. Signatures are checked either way.
async fn fetch_header(pull: &Counting<'_>, cache: &Cache, config: &Descriptor) -> Result<Vec<u8>, Problem> {
    let here = read_bounded(&cache.header_path(), CONFIG_BYTES_MAX)?;
    if let Some(bytes) = here.filter(|bytes| Digest::of(bytes) == config.digest) {
        return Ok(bytes);
    }
    pull.checked(&BlobRef { digest: config.digest, size: config.size }).await
}

/// Refuses what is older than anything believed before (T021). A new root makes versions void, because the key that
/// gave them out may have been the reason for it; but then the index must have been built under that root.
fn check_version(
    header: &Header,
    cache: &Cache,
    signers: &Signers<'_>,
    state: &State,
    root_version: u64,
) -> Result<(), Problem> {
    let refuse = |message: String| {
        let help = "an older index was sent: try again later; if it stays, ask who runs the registry";
        Err(Problem::new(Code::T021, message).help(help))
    };
    if header.root_version < root_version {
        let built = header.root_version;
        return refuse(format!("the index was built under root {built}, this machine knows root {root_version}"));
    }
    let Some(seen) = state.index(&cache.prefix)? else {
        return Ok(());
    };
    if seen.root_version > root_version {
        return refuse(format!("root {} was believed before, now it is {root_version}", seen.root_version));
    }
    if seen.root_version < root_version {
        return Ok(());
    }
    if header.version < seen.version {
        return refuse(format!("the index has version {}, {} was seen before", header.version, seen.version));
    }
    let here = cache.header(signers).ok().filter(|here| here.version == header.version);
    if here.is_some_and(|here| here != *header) {
        return refuse(format!("version {} of the index was seen with other content", header.version));
    }
    Ok(())
}

/// Shards that are not on disk as the header has them. One that is there under another prefix or count is read again.
fn missing(cache: &Cache, signers: &Signers<'_>, header: &Header) -> Result<Vec<ShardRef>, Problem> {
    let before = cache.header(signers).map(|before| before.shards).unwrap_or_default();
    let mut missing = Vec::new();
    for shard in &header.shards {
        match cache.blob(&BlobRef { digest: shard.digest, size: shard.size })? {
            None => missing.push(shard.clone()),
            Some(bytes)
                if before.binary_search_by(|old| old.prefix.cmp(&shard.prefix)).map(|at| &before[at]) != Ok(shard) =>
            {
                read_shard(shard, &bytes)?;
            }
            Some(_) => {}
        }
    }
    Ok(missing)
}

/// Fetches a shard and reads it once, so that an index that was taken over can be read.
async fn put_shard(pull: &Counting<'_>, cache: &Cache, shard: ShardRef) -> Result<(), Problem> {
    let bytes = pull.checked(&BlobRef { digest: shard.digest, size: shard.size }).await?;
    read_shard(&shard, &bytes)?;
    files::replace(&cache.blob_path(&shard.digest), &bytes)
}
