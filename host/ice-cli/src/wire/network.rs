//! Registries and their indexes, as the home configures them: the only way plugins come from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use ice_registry::client::{Client, ClientOptions, Credentials, Registries, Repository};
use ice_registry::index::{Cache, Index, Pull, Refreshed, refresh};
use ice_registry::remote::Remote;
use ice_registry::trust::{State, Trust};
use ice_registry::{DocumentKind, Purpose, Signed};

use super::supply::take_back;
use super::{Layout, now};
use crate::config::Config;

/// The network door, opened.
pub(crate) struct Network {
    pub(crate) client: Arc<Client>,
    registries: Registries,
}

/// The logins of this user: those of ice, then docker's.
pub(crate) fn credentials(config: &Config) -> Credentials {
    Credentials::of_home(&config.home)
}

/// What this machine knows of indexes, by registry prefix.
#[derive(Default)]
pub(crate) struct Indexes {
    pub(crate) all: BTreeMap<String, Index>,
    /// Indexes that cannot be used, each with why.
    pub(crate) warnings: Vec<Problem>,
}

impl Indexes {
    /// Registries that may have an index. Opens no connection.
    pub(crate) fn prefixes(config: &Config, trust: &Trust) -> Result<BTreeSet<String>, Problem> {
        Ok(prefixes(&Registries::read(&Layout(&config.home).registries())?, trust))
    }

    /// Reads what the last refreshes left. Opens no connection.
    pub(crate) fn open(config: &Config, trust: &Trust) -> Result<Self, Problem> {
        let registries = Registries::read(&Layout(&config.home).registries())?;
        let mut indexes = Self::default();
        for prefix in prefixes(&registries, trust) {
            let opened = Cache::of(&config.home, &prefix)
                .and_then(|cache| Index::open(&cache, &trust.signers(DocumentKind::Index, Purpose::Run)?, now()));
            match opened {
                Ok(index) => {
                    indexes.all.insert(prefix, index);
                }
                // Nothing was fetched yet, or nobody is believed to sign one: there is no index then.
                Err(problem) if matches!(problem.code, Code::R001 | Code::T019) => {}
                Err(problem) => indexes.warnings.push(problem),
            }
        }
        Ok(indexes)
    }
}

/// Registries that may have an index: those the policy names, and those with settings.
fn prefixes(registries: &Registries, trust: &Trust) -> BTreeSet<String> {
    let named = trust.scopes().iter().filter_map(|scope| scope.registry.clone());
    named.chain(registries.iter().map(|(prefix, _)| prefix.to_owned())).collect()
}

impl Network {
    /// Reads which registries there are and how to log in. Opens no connection. T044 under `--no-dynamic`.
    pub(crate) fn open(config: &Config) -> Result<Self, Problem> {
        refuse_dynamic(config)?;
        let layout = Layout(&config.home);
        let registries = Registries::read(&layout.registries())?;
        let client = Client::new(registries.clone(), credentials(config), ClientOptions::default())?;
        Ok(Self { client: Arc::new(client), registries })
    }

    /// Registries that may have an index.
    pub(crate) fn prefixes(&self, trust: &Trust) -> BTreeSet<String> {
        prefixes(&self.registries, trust)
    }

    /// Fetches what changed of one index (R001 when the registry has none).
    pub(crate) async fn refresh(&self, prefix: &str, config: &Config, trust: &Trust) -> Result<Refreshed, Problem> {
        let layout = Layout(&config.home);
        let cache = Cache::of(&config.home, prefix)?;
        let moment = now();
        let signers = trust.signers(DocumentKind::Index, Purpose::Install { now: moment })?;
        let state = State::of(&layout.trust());
        let reference = self.registries.get(prefix).and_then(|settings| settings.index.clone());
        let pull = IndexPull::of(Arc::clone(&self.client), prefix, reference.as_deref())?;
        let refreshed = refresh(&pull, &cache, &signers, &state, trust.root_version(), moment).await?;
        if let Some(list) = cache.revocations(&signers)? {
            take_back(&layout.trust(), trust, &Signed::parse(&list)?)?;
        }
        Ok(refreshed)
    }

    /// Every index, as fresh as the registries have it. One that cannot be reached is used as it is here, with a
    /// warning: whether it is too old to install from is the index's to say.
    pub(crate) async fn indexes(&self, config: &Config, trust: &Trust) -> Result<Indexes, Problem> {
        let mut warnings = Vec::new();
        for prefix in self.prefixes(trust) {
            match self.refresh(&prefix, config, trust).await {
                Err(problem) if !matches!(problem.code, Code::R001 | Code::T019) => warnings.push(problem),
                _ => {}
            }
        }
        let mut indexes = Indexes::open(config, trust)?;
        indexes.warnings.splice(0..0, warnings);
        Ok(indexes)
    }

    /// Where plugins come from.
    pub(crate) fn remote<'a>(&'a self, trust: &'a Trust, indexes: &'a Indexes) -> Remote<'a> {
        let remote = Remote::new(&*self.client, trust);
        indexes.all.iter().fold(remote, |remote, (prefix, index)| remote.with_index(prefix, index))
    }
}

/// The index of a registry prefix, over the client.
struct IndexPull {
    client: Arc<Client>,
    repository: Repository,
    tag: String,
}

impl IndexPull {
    /// `reference` is `PATH:TAG` below the prefix, or the usual one.
    fn of(client: Arc<Client>, prefix: &str, reference: Option<&str>) -> Result<Self, Problem> {
        let reference = reference.unwrap_or(ice_registry::index::INDEX_REFERENCE);
        let (path, tag) = reference.rsplit_once(':').unwrap_or((reference, "v0"));
        Ok(Self { client, repository: Repository::parse(prefix, path)?, tag: tag.to_owned() })
    }
}

#[async_trait]
impl Pull for IndexPull {
    async fn manifest(&self, _reference: &str) -> Result<Option<Vec<u8>>, Problem> {
        let pulled = self.client.manifest(&self.repository, &self.tag).await?;
        Ok(pulled.map(|pulled| pulled.bytes))
    }

    async fn blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Problem> {
        self.client.blob(&self.repository, digest, size, &()).await
    }
}

/// Under `--no-dynamic` nothing is installed, changed or fetched (T044).
pub(crate) fn refuse_dynamic(config: &Config) -> Result<(), Problem> {
    if !config.no_dynamic {
        return Ok(());
    }
    Err(Problem::new(Code::T044, "this host runs what its lock lists and changes nothing (`--no-dynamic`)")
        .help("change the lock where it is made, and deploy it with its store"))
}
