//! From a signed plugin to a registry: blobs first, the manifest last, then read back and believed like a consumer.
//!
//! Signs nothing and opens no sockets: envelopes come in, and [`Transport`] carries. Registries have no transactions:
//! of two publishers of one version the later one finds out by reading back, see [`publish`].

mod attest;
mod parts;

use std::collections::BTreeMap;

use bytes::Bytes;
use ice_core::id::Digest;
use ice_core::manifest::{Manifest, UnixSeconds, near_names, printable};
use ice_core::problem::{Code, Problem};
use semver::Version;

pub use attest::{Attested, attest, attestations};
pub use parts::{part_manifests, part_path};

use crate::envelope::Envelope;
use crate::oci::{self, MANIFEST_MEDIA_TYPE, OciManifest, Packed, VERSION, read_config, read_ours};
use crate::remote::{Repository, Transport, check_digest};
use crate::source::Progress;
use crate::store::check_blobs;
use crate::trust::Trust;
use crate::verify::{Purpose, Verified, VerifyOptions, Wanted, verify};

/// A signed plugin with its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// The envelope.
    pub envelope: Envelope,
    /// Bytes of its components and files, in any order.
    pub blobs: Vec<Vec<u8>>,
}

/// What happens to `latest` and `MAJOR.MINOR`. They are hints: nothing is installed by them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MovingTags {
    /// They stay.
    Leave,
    /// They move here, unless they name this version or a newer one, or this is a pre-release.
    Forward,
}

/// How to publish.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// Components of a kit as plugins of their own: signed [`part_manifests`].
    pub kit_parts: Vec<Release>,
    /// What happens to moving tags.
    pub moving_tags: MovingTags,
    /// Seconds since 1970, against `expires`.
    pub now: UnixSeconds,
    /// Names that exist already, such as those of the index, to compare a new one with.
    pub known_names: Vec<String>,
    /// Nobody is there to look at warnings (`--yes`), so a name that is close to another one is refused.
    pub unattended: bool,
}

/// What was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Such as `oci://registry.example/ice/acme/csv`.
    pub repository: String,
    /// The version.
    pub tag: String,
    /// Of the OCI manifest.
    pub oci_digest: Digest,
    /// S.
    pub statement: Digest,
    /// Bytes of blobs and manifests that were handed to the registry; it may have had some of them.
    pub uploaded: u64,
    /// The same plugin was there.
    pub already_there: bool,
    /// Moving tags that were moved.
    pub moved: Vec<String>,
    /// Parts of a kit.
    pub parts: Vec<Published>,
    /// What a person should look at: near names (T028).
    pub warnings: Vec<Problem>,
}

/// Publishes a signed plugin below `prefix`, such as `registry.example/ice`, and checks that it can be installed from
/// there under `trust`. The same plugin twice is no change; another one under the same version is R003, also when
/// somebody else put it there meanwhile and it is seen when reading back.
///
/// T-codes when `trust` would refuse it, T001 for other bytes, T008 for a part that is none of this kit, T027 and T028
/// for the name, R005 to R009 of the registry, R014 for a prefix that is no registry.
pub async fn publish(
    transport: &dyn Transport,
    prefix: &str,
    release: &Release,
    trust: &Trust,
    options: &PublishOptions,
    progress: &dyn Progress,
) -> Result<Published, Problem> {
    let ready = Ready::of(release, trust, options.now)?;
    let parts = parts::check(&ready, &options.kit_parts, trust, options.now)?;
    let warnings = near(&ready, options)?;
    let manifest = ready.verified.value();
    let repository = Repository::parse(prefix, &manifest.name)?;
    let desk = Desk { transport, trust, now: options.now, progress };
    let mut uploaded = 0;
    let already_there = desk.is_there(&repository, &ready).await?;
    if !already_there {
        uploaded += desk.put_blobs(&repository, &ready, None).await?;
    }
    let mut published_parts = Vec::new();
    for part in &parts {
        let path = part_path(&manifest.name, part.verified.value());
        published_parts.push(desk.publish_part(&Repository::parse(prefix, &path)?, part, &repository).await?);
    }
    if !already_there {
        uploaded += desk.put_manifest(&repository, &ready).await?;
    }
    desk.read_back(&repository, &ready).await?;
    let moved = match options.moving_tags {
        MovingTags::Leave => Vec::new(),
        MovingTags::Forward => desk.move_tags(&repository, &ready).await?,
    };
    Ok(Published { uploaded, already_there, moved, parts: published_parts, warnings, ..ready.published(&repository) })
}

/// T027, and T028 when nobody looks, for a new name; else the T028 to show.
fn near(ready: &Ready<'_>, options: &PublishOptions) -> Result<Vec<Problem>, Problem> {
    let name = &ready.verified.value().name;
    if options.known_names.contains(name) {
        return Ok(Vec::new());
    }
    let problems = near_names(name, options.known_names.iter().map(String::as_str));
    match problems.iter().find(|problem| problem.code != Code::T028 || options.unattended) {
        Some(problem) => Err(problem.clone()),
        None => Ok(problems),
    }
}

/// A release that a consumer would believe, laid out.
struct Ready<'a> {
    verified: Verified<Manifest>,
    blobs: Vec<&'a [u8]>,
    packed: Packed,
}

impl<'a> Ready<'a> {
    fn of(release: &'a Release, trust: &Trust, now: UnixSeconds) -> Result<Self, Problem> {
        let options = VerifyOptions { purpose: Purpose::Install { now }, ..VerifyOptions::RUN };
        let verified = verify(&release.envelope, trust, &options)?;
        let blobs = check_blobs(&verified, &release.blobs)?;
        let packed = oci::pack(verified.value(), &release.envelope, blobs.first().copied().unwrap_or_default())?;
        Ok(Self { verified, blobs, packed })
    }

    fn tag(&self) -> String {
        self.verified.value().version.to_string()
    }

    fn published(&self, repository: &Repository) -> Published {
        Published {
            repository: repository.uri(),
            tag: self.tag(),
            oci_digest: self.packed.entry.digest,
            statement: self.verified.statement(),
            uploaded: 0,
            already_there: false,
            moved: Vec::new(),
            parts: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

struct Desk<'a> {
    transport: &'a dyn Transport,
    trust: &'a Trust,
    now: UnixSeconds,
    progress: &'a dyn Progress,
}

impl Desk<'_> {
    /// Whether exactly this plugin is there. R003 when the version is something else.
    async fn is_there(&self, repository: &Repository, ready: &Ready<'_>) -> Result<bool, Problem> {
        if !self.transport.head(repository, &ready.tag()).await? {
            return Ok(false);
        }
        let Some(there) = self.manifest(repository, &ready.tag()).await? else {
            return Ok(false);
        };
        let statement = match there {
            Some((manifest, _)) => self.envelope(repository, &manifest).await?.statement().ok(),
            None => None,
        };
        if statement == Some(ready.verified.statement()) {
            return Ok(true);
        }
        let got = statement.map_or("something unsigned".to_owned(), |statement| statement.short());
        Err(exists(repository, ready, &got))
    }

    /// The manifest of a tag: `None` when there is none, `Some(None)` for one of somebody else.
    async fn manifest(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<Option<(OciManifest, Digest)>>, Problem> {
        let Some(found) = self.transport.manifest(repository, tag).await? else {
            return Ok(None);
        };
        check_digest(&found, repository)?;
        Ok(Some(read_ours(&found.bytes)?.map(|manifest| (manifest, found.digest))))
    }

    async fn envelope(&self, repository: &Repository, manifest: &OciManifest) -> Result<Envelope, Problem> {
        let config = &manifest.config;
        let bytes = self.transport.blob(repository, &config.digest, config.size, &()).await?;
        read_config(&config.media_type, &bytes)
    }

    /// Puts every blob and the config there. Those of `from` are mounted where the registry does that. Returns how
    /// many bytes were handed over.
    async fn put_blobs(
        &self,
        repository: &Repository,
        ready: &Ready<'_>,
        from: Option<&Repository>,
    ) -> Result<u64, Problem> {
        let mut uploaded = 0;
        for bytes in &ready.blobs {
            if let Some(from) = from
                && self.transport.mount(from, repository, &Digest::of(bytes)).await?
            {
                continue;
            }
            uploaded += self.put_blob(repository, bytes).await?;
        }
        Ok(uploaded + self.put_blob(repository, &ready.packed.config).await?)
    }

    async fn put_blob(&self, repository: &Repository, bytes: &[u8]) -> Result<u64, Problem> {
        let stored = self.transport.put_blob(repository, Bytes::copy_from_slice(bytes), self.progress).await?;
        same(repository, &Digest::of(bytes), &stored)?;
        Ok(bytes.len() as u64)
    }

    /// The moment of publishing. The version is looked at once more: the blobs before may have taken long.
    async fn put_manifest(&self, repository: &Repository, ready: &Ready<'_>) -> Result<u64, Problem> {
        if self.is_there(repository, ready).await? {
            return Ok(0);
        }
        let bytes = &ready.packed.manifest;
        let stored = self.transport.put_manifest(repository, &ready.tag(), MANIFEST_MEDIA_TYPE, bytes).await?;
        same(repository, &ready.packed.entry.digest, &stored)?;
        Ok(bytes.len() as u64)
    }

    async fn publish_part(
        &self,
        repository: &Repository,
        ready: &Ready<'_>,
        kit: &Repository,
    ) -> Result<Published, Problem> {
        let already_there = self.is_there(repository, ready).await?;
        let mut uploaded = 0;
        if !already_there {
            uploaded += self.put_blobs(repository, ready, Some(kit)).await?;
            uploaded += self.put_manifest(repository, ready).await?;
        }
        self.read_back(repository, ready).await?;
        Ok(Published { uploaded, already_there, ..ready.published(repository) })
    }

    /// Reads everything as a consumer does: the tag, the envelope under the policy, every blob.
    async fn read_back(&self, repository: &Repository, ready: &Ready<'_>) -> Result<(), Problem> {
        let lost = || {
            let message = format!("{} does not give back what was published as {}", repository.uri(), ready.tag());
            Problem::new(Code::R006, message).help("publish again; if it stays, ask whoever runs the registry")
        };
        let (manifest, _) = self.manifest(repository, &ready.tag()).await?.flatten().ok_or_else(lost)?;
        let envelope = self.envelope(repository, &manifest).await?;
        let wanted = Wanted {
            name: ready.verified.value().name.clone(),
            version: Some(ready.verified.value().version.clone()),
            kind: Some(ready.verified.value().kind),
        };
        let purpose = Purpose::Install { now: self.now };
        let options = VerifyOptions { wanted: Some(&wanted), purpose, ..VerifyOptions::RUN };
        let verified = verify(&envelope, self.trust, &options)?;
        if verified.statement() != ready.verified.statement() {
            return Err(exists(repository, ready, &verified.statement().short()));
        }
        for (digest, size) in verified.blobs() {
            verified.check_blob(&digest, &self.transport.blob(repository, &digest, size, &()).await?)?;
        }
        // Once more, as late as possible: who looked before this was pushed may have pushed after it.
        if self.is_there(repository, ready).await? { Ok(()) } else { Err(lost()) }
    }

    async fn move_tags(&self, repository: &Repository, ready: &Ready<'_>) -> Result<Vec<String>, Problem> {
        let version = &ready.verified.value().version;
        if !version.pre.is_empty() {
            return Ok(Vec::new());
        }
        let mut moved = Vec::new();
        for tag in ["latest".to_owned(), format!("{}.{}", version.major, version.minor)] {
            let there = self.manifest(repository, &tag).await?;
            let forward = match there {
                None => true,
                Some(None) => false,
                Some(Some((manifest, _))) => hinted_version(&manifest.annotations).is_some_and(|at| at < *version),
            };
            if forward {
                let bytes = &ready.packed.manifest;
                let stored = self.transport.put_manifest(repository, &tag, MANIFEST_MEDIA_TYPE, bytes).await?;
                same(repository, &ready.packed.entry.digest, &stored)?;
                moved.push(tag);
            }
        }
        Ok(moved)
    }
}

/// What a manifest says of its version. Enough for tags that are hints themselves.
fn hinted_version(annotations: &BTreeMap<String, String>) -> Option<Version> {
    Version::parse(annotations.get(VERSION)?).ok()
}

fn exists(repository: &Repository, ready: &Ready<'_>, got: &str) -> Problem {
    let message = format!(
        "{} has version {} already, and it is another plugin: expected {}, got {}",
        repository.uri(),
        ready.tag(),
        ready.verified.statement().short(),
        printable(got)
    );
    Problem::new(Code::R003, message).help("a released version never changes: publish this as a new version")
}

/// R006 when a registry stored something else than it was given.
fn same(repository: &Repository, expected: &Digest, stored: &Digest) -> Result<(), Problem> {
    if expected == stored {
        return Ok(());
    }
    let message = format!(
        "{} stored something else than it was given: expected {}, got {}",
        repository.uri(),
        expected.short(),
        stored.short()
    );
    Err(Problem::new(Code::R006, message).help("publish again; if it stays, ask whoever runs the registry"))
}
