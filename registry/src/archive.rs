//! `.ice.tgz`: plugins with everything they need, in one file that travels without a network.
//!
//! A gzipped OCI layout in a closed form: four kinds of names, no links, no owners, nothing an archive could do to a
//! disk. There is no general way to extract an archive here, and nothing in one is believed: each artifact passes the
//! same [`verify`](crate::verify::verify) as one from a registry.

mod closure;
mod form;
mod gzip;
mod load;
mod read;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::manifest::Kind;
use ice_core::problem::{Code, Problem};
use semver::Version;

pub use closure::closure;
pub use read::{read, read_within};
pub use write::{Written, to_file, write};

use crate::envelope::Envelope;
use crate::oci::{self, CONFIG_BYTES_MAX, Descriptor};
use crate::signed::Signed;
use crate::source::{Available, Offer, Progress, Source};

/// What an archive may cost whoever reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the file.
    pub compressed: u64,
    /// Bytes after expanding.
    pub expanded: u64,
    /// How many times larger it may become, once it is large at all.
    pub ratio: u64,
    /// Entries of the tar, folders too.
    pub entries: usize,
}

impl Limits {
    /// For everybody. A bundle of a hundred components of usual size stays below a tenth of it; a machine with little
    /// disk survives it.
    pub const STANDARD: Self = Self { compressed: 512 << 20, expanded: 1 << 30, ratio: 200, entries: 20_000 };
}

/// Signed documents that travel beside the plugins. Nothing in them is believed yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extras {
    /// `iceos/revoked.json`: what was taken back.
    pub revoked: Option<Signed>,
    /// `iceos/index.json`: the header of a marketplace index.
    pub index: Option<Signed>,
}

/// One artifact of an archive, as its index has it. Hints: the truth is in the verified manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveEntry {
    /// `scope/name`.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// What it says it is.
    pub kind: Kind,
    /// Of the OCI manifest.
    pub oci_digest: Digest,
    config: Descriptor,
}

/// An archive that was read to its end and is in form. Its blobs lie in the folder that [`read()`] was given, under
/// names of their own, until this is dropped.
#[derive(Debug)]
pub struct Archive {
    entries: Vec<ArchiveEntry>,
    extras: Extras,
    blobs: Arc<Blobs>,
}

/// Blobs by their digests, with their sizes.
type Blobs = BTreeMap<Digest, Ingested>;

/// A file that goes away with its owner.
#[derive(Debug)]
struct Ingested {
    path: PathBuf,
    size: u64,
}

impl Drop for Ingested {
    fn drop(&mut self) {
        // Best effort: what is left is swept from the store with other leftovers.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The problem of an archive that is not in form (T046).
fn broken(why: &str) -> Problem {
    Problem::new(Code::T046, format!("this archive cannot be used: {why}"))
        .help("get it again from whoever made it with `ice bundle save`")
}

impl Archive {
    /// Every artifact, sorted by name and version.
    pub fn entries(&self) -> &[ArchiveEntry] {
        &self.entries
    }

    /// The envelope of an entry, not believed yet (T003, T026, T029).
    pub fn envelope(&self, entry: &ArchiveEntry) -> Result<Envelope, Problem> {
        let config = read::blob(&self.blobs, &entry.config.digest, CONFIG_BYTES_MAX)?;
        oci::read_config(&entry.config.media_type, &config)
    }

    /// Signed documents beside the plugins, not believed yet.
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    fn find(&self, name: &str, version: &Version) -> Result<&ArchiveEntry, Problem> {
        let found = self.entries.iter().find(|entry| entry.name == name && entry.version == *version);
        found.ok_or_else(|| {
            let versions: Vec<String> =
                self.entries.iter().filter(|entry| entry.name == name).map(|entry| entry.version.to_string()).collect();
            let problem = Problem::new(Code::R001, format!("the archive has no `{name}` {version}"));
            if versions.is_empty() { problem } else { problem.help(format!("it has {}", versions.join(", "))) }
        })
    }
}

#[async_trait]
impl Source for Archive {
    async fn versions(&self, name: &str) -> Result<Vec<Available>, Problem> {
        let named = self.entries.iter().filter(|entry| entry.name == name);
        let versions: Vec<Available> = named.map(|entry| Available::of(entry.version.clone())).collect();
        if versions.is_empty() {
            let names = self.entries.iter().map(|entry| entry.name.as_str());
            let problem = Problem::new(Code::R001, format!("the archive has no plugin `{name}`"));
            return Err(match ice_core::manifest::nearest(name, names) {
                Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                None => {
                    problem.help("save it again with everything that is needed: `ice bundle save NAME -o FILE.ice.tgz`")
                }
            });
        }
        Ok(versions)
    }

    async fn offer(&self, name: &str, version: &Version) -> Result<Offer, Problem> {
        let entry = self.find(name, version)?;
        Ok(Offer { envelope: self.envelope(entry)?, oci_digest: Some(entry.oci_digest), source: None })
    }

    async fn blob(
        &self,
        name: &str,
        version: &Version,
        digest: &Digest,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Problem> {
        self.find(name, version)?;
        progress.bytes(name, 0, size);
        let (blobs, wanted) = (Arc::clone(&self.blobs), *digest);
        let read = tokio::task::spawn_blocking(move || read::blob(&blobs, &wanted, size)).await;
        let bytes = read.map_err(|error| Problem::new(Code::R004, format!("reading stopped: {error}")))??;
        if bytes.len() as u64 != size {
            let message = format!(
                "an artifact of `{name}` is not what was signed: expected {} ({size} bytes), got {} bytes",
                digest.short(),
                bytes.len()
            );
            return Err(Problem::new(Code::T001, message).help("get the archive again from whoever made it"));
        }
        progress.bytes(name, size, size);
        Ok(bytes)
    }
}
