//! A registry as a [`Source`]: names become repositories through the trust policy, and through nothing else.
//!
//! Opens no sockets itself: that is behind [`Transport`]. What comes back is a hint until the envelope is verified.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use ice_core::id::Digest;
use ice_core::manifest::Manifest;
use ice_core::problem::{Code, Problem};
use semver::Version;

use crate::client::Client;
pub use crate::client::{Pulled, Repository};
use crate::envelope::Envelope;
use crate::oci::{Descriptor, read_config, read_ours};
use crate::publish::attestations;
use crate::source::{Available, Offer, Progress, Source};
use crate::trust::{Origin, Trust};
use crate::verify::{VerifyOptions, Wanted, verify};

/// What is asked of a registry. Every answer is bounded and hashed by whoever implements it. R005 when a registry
/// cannot be reached, R006 when it answers nonsense, R007 to R009 for logins and redirects, T001 for other bytes.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The manifest of a tag or digest; `None` when there is none.
    async fn manifest(&self, repository: &Repository, reference: &str) -> Result<Option<Pulled>, Problem>;

    /// The index behind a tag or digest, which is no manifest; `None` when there is none.
    async fn index(&self, repository: &Repository, reference: &str) -> Result<Option<Vec<u8>>, Problem>;

    /// Whether there is a manifest.
    async fn head(&self, repository: &Repository, reference: &str) -> Result<bool, Problem>;

    /// A blob of exactly this digest and size.
    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Problem>;

    /// Every tag; none when there is no such repository.
    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Problem>;

    /// Puts a blob there, unless it is there.
    async fn put_blob(&self, repository: &Repository, bytes: Bytes, progress: &dyn Progress)
    -> Result<Digest, Problem>;

    /// Makes a blob of `from` one of `to` as well; `false` when the registry wants it uploaded.
    async fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> Result<bool, Problem>;

    /// Puts a manifest there under a tag or its digest.
    async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, Problem>;

    /// Manifests whose subject is `digest`. R005 when that cannot be known.
    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Problem>;
}

#[async_trait]
impl Transport for Client {
    async fn manifest(&self, repository: &Repository, reference: &str) -> Result<Option<Pulled>, Problem> {
        Self::manifest(self, repository, reference).await
    }

    async fn index(&self, repository: &Repository, reference: &str) -> Result<Option<Vec<u8>>, Problem> {
        Self::index(self, repository, reference).await
    }

    async fn head(&self, repository: &Repository, reference: &str) -> Result<bool, Problem> {
        Self::head(self, repository, reference).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Problem> {
        Self::blob(self, repository, digest, size, progress).await
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Problem> {
        Self::tags(self, repository).await
    }

    async fn put_blob(
        &self,
        repository: &Repository,
        bytes: Bytes,
        progress: &dyn Progress,
    ) -> Result<Digest, Problem> {
        Self::put_blob(self, repository, bytes, progress).await
    }

    async fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> Result<bool, Problem> {
        Self::mount(self, from, to, digest).await
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, Problem> {
        Self::put_manifest(self, repository, reference, media_type, bytes).await
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Problem> {
        Self::referrers(self, repository, digest, artifact_type).await
    }
}

/// What a signed index knows. It says what is new and what was yanked; it makes nothing installable.
pub trait Index: Send + Sync {
    /// Every version of a name; `None` when the index does not have the name. T020 when the index is too old to say.
    fn available(&self, name: &str) -> Result<Option<Vec<Available>>, Problem>;

    /// Every name, to compare new ones with.
    fn names(&self) -> Vec<String>;
}

impl Index for crate::index::Index {
    fn available(&self, name: &str) -> Result<Option<Vec<Available>>, Problem> {
        match Self::available(self, name) {
            Err(problem) if problem.code == Code::R001 => Ok(None),
            found => found.map(Some),
        }
    }

    fn names(&self) -> Vec<String> {
        Self::names(self).map(str::to_owned).collect()
    }
}

/// The registries of the trust policy.
pub struct Remote<'a> {
    transport: &'a dyn Transport,
    trust: &'a Trust,
    indexes: BTreeMap<String, &'a dyn Index>,
}

impl<'a> Remote<'a> {
    /// Every registry that a scope of `trust` names.
    pub fn new(transport: &'a dyn Transport, trust: &'a Trust) -> Self {
        Self { transport, trust, indexes: BTreeMap::new() }
    }

    /// Takes versions from the signed index of a registry, such as `registry.example/ice`, instead of its tags.
    #[must_use]
    pub fn with_index(mut self, registry: &str, index: &'a dyn Index) -> Self {
        self.indexes.insert(registry.to_owned(), index);
        self
    }

    /// Every name that the indexes know.
    pub fn known_names(&self) -> Vec<String> {
        self.indexes.values().flat_map(|index| index.names()).collect()
    }

    /// The registry that the policy names for `name`. T019 with the one command to run when it names none, T018.
    fn registry(&self, name: &str) -> Result<&str, Problem> {
        let publisher = name.split('/').next().unwrap_or(name);
        let help = |scope: &str| format!("run `ice trust add KEY.pem --scope '{scope}' --registry HOST/PREFIX` first");
        let scope = self.trust.scope_for(name).map_err(|problem| match problem.code {
            Code::T019 => problem.help(help(&format!("{publisher}/*"))),
            _ => problem,
        })?;
        scope.registry.as_deref().ok_or_else(|| {
            let message = format!("the trust policy names no registry for `{name}`");
            let problem = Problem::new(Code::T019, message);
            match scope.origin {
                Origin::Policy => problem.help(help(&scope.name)),
                Origin::Root => {
                    problem.help(format!("run `ice trust scope '{}' --registry HOST/PREFIX` first", scope.name))
                }
            }
        })
    }

    /// The one repository that `name` comes from (T018, T019, R014).
    pub fn repository(&self, name: &str) -> Result<Repository, Problem> {
        Repository::parse(self.registry(name)?, name)
    }

    /// The envelope that somebody put beside an artifact of others: the first that verifies, else the first that is
    /// about this version, so that the refusal says why.
    async fn attested(&self, repository: &Repository, found: &Pulled, wanted: &Wanted) -> Result<Envelope, Problem> {
        let believed = |envelope: &Envelope| {
            verify(envelope, self.trust, &VerifyOptions { wanted: Some(wanted), ..VerifyOptions::RUN }).is_ok()
        };
        let mut about = None;
        for attested in attestations(self.transport, repository, &found.digest).await? {
            if believed(&attested.envelope) {
                return Ok(attested.envelope);
            }
            if about.is_none() && names(&attested.envelope, wanted) {
                about = Some(attested.envelope);
            }
        }
        about.ok_or_else(|| {
            let message = format!("`{}` in {} carries no signature", wanted.name, repository.uri());
            Problem::new(Code::T003, message).help(
                "ask its publisher for a signed release; who holds a key of the scope can sign it where it is: \
                 `ice attest`",
            )
        })
    }
}

/// Whether the manifest in an envelope says it is what is wanted.
fn names(envelope: &Envelope, wanted: &Wanted) -> bool {
    let manifest = envelope.manifest_bytes().ok().and_then(|bytes| Manifest::parse(&bytes).ok());
    manifest.is_some_and(|manifest| manifest.name == wanted.name && Some(&manifest.version) == wanted.version.as_ref())
}

/// A tag that is exactly a version; `latest`, `1.2` and `sha256-…` are not.
fn version_of(tag: &str) -> Option<Version> {
    Version::parse(tag).ok().filter(|version| version.to_string() == tag && version.build.is_empty())
}

/// R006 when a transport's digest is not that of its bytes: everything after believes it.
pub(crate) fn check_digest(pulled: &Pulled, repository: &Repository) -> Result<(), Problem> {
    if Digest::of(&pulled.bytes) == pulled.digest {
        return Ok(());
    }
    let message = format!("{} gave other bytes than their digest {}", repository.uri(), pulled.digest.short());
    Err(Problem::new(Code::R006, message))
}

#[async_trait]
impl Source for Remote<'_> {
    async fn versions(&self, name: &str) -> Result<Vec<Available>, Problem> {
        let registry = self.registry(name)?;
        let repository = Repository::parse(registry, name)?;
        if let Some(index) = self.indexes.get(registry)
            && let Some(available) = index.available(name)?
        {
            return Ok(available);
        }
        let tags = self.transport.tags(&repository).await?;
        let versions: Vec<Available> = tags.iter().filter_map(|tag| version_of(tag)).map(Available::of).collect();
        if versions.is_empty() {
            return Err(Problem::new(Code::R001, format!("{} has no version of `{name}`", repository.uri()))
                .help("check the name; `ice search` finds others"));
        }
        Ok(versions)
    }

    async fn offer(&self, name: &str, version: &Version) -> Result<Offer, Problem> {
        let repository = self.repository(name)?;
        let Some(found) = self.transport.manifest(&repository, &version.to_string()).await? else {
            return Err(Problem::new(Code::R001, format!("{} has no version {version}", repository.uri())));
        };
        check_digest(&found, &repository)?;
        let at = |problem: Problem| problem.file(repository.uri());
        let envelope = match read_ours(&found.bytes).map_err(at)? {
            Some(manifest) => {
                let config = manifest.config;
                let bytes = self.transport.blob(&repository, &config.digest, config.size, &()).await?;
                read_config(&config.media_type, &bytes).map_err(at)?
            }
            None => {
                let wanted = Wanted { name: name.to_owned(), version: Some(version.clone()), kind: None };
                self.attested(&repository, &found, &wanted).await?
            }
        };
        Ok(Offer { envelope, oci_digest: Some(found.digest), source: Some(repository.uri()) })
    }

    async fn blob(
        &self,
        name: &str,
        _version: &Version,
        digest: &Digest,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Problem> {
        self.transport.blob(&self.repository(name)?, digest, size, progress).await
    }
}
