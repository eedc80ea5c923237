//! The one composition root: decides who stands behind every port.

mod network;
mod serving;
mod supply;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use ice_capabilities::llm::{Patient, ProviderOptions};
use ice_capabilities::{Cassette, Egress, EgressOptions, LlmOptions, MemoryOptions, Models, SearchMemory, Secrets};
use ice_capabilities::{SystemClock, SystemResolver};
use ice_core::catalog::{BundleEntry, Catalog};
use ice_core::grant::{Grant, LimitSettings};
use ice_core::id::{Digest, Identity};
use ice_core::lock::Lock;
use ice_core::manifest::UnixSeconds;
use ice_core::ports::{Artifacts, Clock, Components, Documents, Events, Failure, Http, Llm, Memory, MemoryRows};
use ice_core::problem::{Code, Problem};
use ice_engine::plan::Plan;
use ice_engine::{Engine, EngineOptions, Ports, StartExecution};
use ice_registry::store::Store as Plugins;
use ice_registry::trust::Trust;
use ice_runtime::{Description, HostLimits, Runtime, RuntimeOptions, RuntimePorts};
use ice_store::Store;
use serde_json::Value;

use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::project;

pub(crate) use network::{Indexes, Network, credentials, refuse_dynamic};
pub(crate) use supply::{ARCHIVE_ENDING, archive, host_version, inspect, take_revocations, unlisted_before};

/// Where things stand in the home.
pub(crate) struct Layout<'a>(pub(crate) &'a Path);

impl Layout<'_> {
    /// Private keys of the user.
    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }
    /// Keys the operator believes, and for which names.
    pub(crate) fn trust(&self) -> PathBuf {
        self.0.join("trust")
    }
    /// Installed plugins.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.0.join("store")
    }
    /// Compiled code.
    pub(crate) fn cache(&self) -> PathBuf {
        self.0.join("cache/aot")
    }
    /// Executions, documents, memory.
    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("ice.db")
    }
    /// How registries are reached.
    pub(crate) fn registries(&self) -> PathBuf {
        self.trust().join("registries.toml")
    }
    /// What seals the marks between pages of a search. Beside the indexes, whose folders begin with no dot.
    pub(crate) fn cursor_key(&self) -> PathBuf {
        self.0.join("index/.cursor.key")
    }
    /// What a run called although no lock lists it.
    pub(crate) fn unlisted(&self) -> PathBuf {
        self.0.join("unlisted.json")
    }
    /// What `ice run` ran last, by folder.
    pub(crate) fn last_runs(&self) -> PathBuf {
        self.0.join("last-runs.json")
    }
    /// Secrets of the operator, for `{{secret:NAME}}`.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.0.join("secrets.toml")
    }
}

/// Makes the home when it is not there, for this user only.
pub(crate) fn make_home(config: &Config) -> Result<(), Problem> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.home).map_err(|error| {
        Problem::new(Code::C003, format!("the home cannot be made: {error}"))
            .file(config.home.display().to_string())
            .help("set `ICE_HOME` to a folder that you may write to")
    })
}

/// Seconds since 1970.
pub(crate) fn now() -> UnixSeconds {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs())
}

/// The database alone, for commands that only look.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Storage {
    /// Opens the database, making it when it is not there.
    pub(crate) async fn open(config: &Config) -> Result<Self, Problem> {
        make_home(config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = match &config.store_url {
            Some(url) => ice_store::open(url, Arc::clone(&clock)).await?,
            None => {
                let path = Layout(&config.home).database();
                ice_store::open_path(&path, Arc::clone(&clock), ice_store::Options::default()).await?
            }
        };
        Ok(Self { store: Arc::new(store), clock })
    }
}

/// Plugins, trust, lock and the catalog they make, without anything that runs.
pub(crate) struct Installed {
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) trust: Trust,
    pub(crate) lock: Lock,
    pub(crate) catalog: Catalog,
    /// Plugins that were left out, each with why.
    pub(crate) problems: Vec<Problem>,
    /// Plugins that can be called although the lock does not list them.
    pub(crate) unlisted: Vec<Problem>,
}

impl Installed {
    /// Verifies the signature of every installed plugin, and of those in `ICEOS_EXTRA_PLUGINS`. Under `--no-dynamic`
    /// everything has to be as the lock says.
    pub(crate) fn open(config: &Config) -> Result<Self, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        make_home(config).map_err(one)?;
        let layout = Layout(&config.home);
        let plugins = Arc::new(Plugins::open(&layout.plugins()).map_err(one)?);
        let lock = project::lock(config).map_err(one)?;
        let extra = supply::read_extra(config, &plugins).map_err(one)?;
        let trust = Trust::open(&layout.trust()).map_err(one)?.at(now());
        supply::load_extra(&extra, config, &plugins, &trust, &lock)?;
        let selected = supply::select(config, &plugins, &trust, &lock)?;
        let (catalog, problems, unlisted) = (selected.catalog, selected.left_out, selected.unlisted);
        Ok(Self { plugins, trust, lock, catalog, problems, unlisted })
    }
}

/// Everything, ready to run.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) models: Arc<Models>,
    pub(crate) catalog: Arc<Catalog>,
    egress: Arc<Egress>,
    storage: Storage,
    identity: Identity,
    budget: ice_core::budget::Budget,
    /// Plugins that were left out, each with why.
    pub(crate) left_out: Vec<Problem>,
}

impl Host {
    /// Puts the house together. Warns about plugins that are left out because they do not verify.
    pub(crate) async fn open(config: &Config, output: &Output) -> Result<Self, Vec<Problem>> {
        Self::open_taped(config, output, None).await
    }

    /// Like [`Host::open`], with a cassette before the models and the way out.
    pub(crate) async fn open_taped(
        config: &Config,
        output: &Output,
        cassette: Option<&Arc<Cassette>>,
    ) -> Result<Self, Vec<Problem>> {
        let storage = Storage::open(config).await.map_err(|problem| vec![problem])?;
        Self::over(storage, config, output, cassette)
    }

    /// Like [`Host::open_taped`], over a database that is open already.
    pub(crate) fn over(
        storage: Storage,
        config: &Config,
        output: &Output,
        cassette: Option<&Arc<Cassette>>,
    ) -> Result<Self, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        let installed = Installed::open(config)?;
        installed.problems.iter().for_each(|problem| output.warn(problem));
        warn_of_unlisted(&installed, config, output);
        let egress = Arc::new(egress(config)?);
        let models = Arc::new(Models::new(llm_options(config)?, Arc::clone(&egress))?);
        let rows: Arc<dyn MemoryRows> = Arc::clone(&storage.store) as _;
        let taped = |llm: Arc<dyn Llm>| match cassette {
            Some(cassette) => cassette.llm(llm),
            None => llm,
        };
        let llm = taped(Arc::clone(&models) as _);
        // Nodes have retry policies; components have nobody who would ask again for them.
        let patient = taped(Patient::new(Arc::clone(&models) as _, Arc::clone(&storage.clock)));
        let memory = SearchMemory::new(rows, Arc::clone(&storage.clock), MemoryOptions::default());
        let memory: Arc<dyn Memory> = match models.embedder() {
            Some(embedder) => Arc::new(memory.with_embedder(Arc::clone(&llm), embedder)),
            None => Arc::new(memory),
        };
        let http: Arc<dyn Http> = Arc::clone(&egress) as _;
        let http = cassette.map_or_else(|| Arc::clone(&http), |cassette| cassette.http(Arc::clone(&http)));
        let options = RuntimeOptions { cache_dir: Some(Layout(&config.home).cache()), limits: limits(config) };
        let ports = RuntimePorts {
            artifacts: Arc::clone(&installed.plugins) as _,
            llm: patient,
            memory: Arc::clone(&memory),
            http: Arc::clone(&http),
            clock: Arc::clone(&storage.clock),
        };
        let runtime = Arc::new(Runtime::new(options, ports).map_err(one)?);
        let catalog = Arc::new(installed.catalog);
        runtime.set_catalog(Arc::clone(&catalog));
        let ports = Ports {
            components: Arc::clone(&runtime) as Arc<dyn Components>,
            llm,
            memory,
            http,
            events: Arc::clone(&storage.store) as Arc<dyn Events>,
            documents: Arc::clone(&storage.store) as Arc<dyn Documents>,
            clock: Arc::clone(&storage.clock),
        };
        let options = EngineOptions {
            egress: config.node_egress.clone(),
            alert_gateways: config.alert_gateways.clone(),
            replays: cassette.and_then(|cassette| cassette.replays()),
            org_budgets: config.org_budgets.clone(),
            ..EngineOptions::default()
        };
        let engine = Engine::new(ports, options);
        let (identity, budget) = (config.identity.clone(), config.budget);
        Ok(Self { engine, runtime, models, catalog, egress, storage, identity, budget, left_out: installed.problems })
    }

    /// The database under it.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// This process itself listens at `address`: plugins that may use HTTP at all may send there.
    pub(crate) fn listen_at(&mut self, address: SocketAddr) {
        self.egress.allow_private(address);
        let mut catalog = Catalog::clone(&self.catalog);
        for callable in catalog.tools.values_mut().filter(|callable| !callable.granted.http.is_empty()) {
            let grant: &mut Grant = Arc::make_mut(&mut Arc::make_mut(callable).granted);
            grant.http.push(format!("* http://{address}/*"));
        }
        self.catalog = Arc::new(catalog);
        self.runtime.set_catalog(Arc::clone(&self.catalog));
    }

    /// What to start, with the limits of this host.
    pub(crate) fn start(&self, plan: Plan, inputs: Value, session: Option<String>) -> StartExecution {
        let identity = Identity { session, ..self.identity.clone() };
        StartExecution { plan: Arc::new(plan), inputs, identity, parent: None, budget: self.budget }
    }

    /// What one execution may spend on this host.
    pub(crate) fn budget(&self) -> ice_core::budget::Budget {
        self.budget
    }

    /// Adds what was left out to problems that may come from it: a tool is unknown because its plugin is refused.
    pub(crate) fn explain(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        problems.extend(self.left_out.iter().cloned());
        problems
    }
}

/// Says once which plugins the lock does not list, and remembers it for `ice plugins lint`.
fn warn_of_unlisted(installed: &Installed, config: &Config, output: &Output) {
    if let Some(problem) = supply::unlisted_together(&installed.unlisted) {
        output.warn(&problem);
    }
    // A home that cannot be written to must not stop what only reads.
    let _ = supply::remember_unlisted(config, &installed.unlisted);
}

fn egress(config: &Config) -> Result<Egress, Vec<Problem>> {
    // Variables that are not text cannot be secrets: they could not be sent in a header.
    let variables =
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let mut secrets = Secrets::from_variables(variables)?;
    let file = Layout(&config.home).secrets();
    if file.exists() {
        secrets = Secrets::from_file(&file)?.merge(secrets);
    }
    let extra_roots_pem = match &config.extra_roots {
        Some(path) => files::read(path).map_err(|problem| vec![problem])?,
        None => Vec::new(),
    };
    let allow_private = config.allow_private.clone();
    Egress::new(
        EgressOptions { allow_private, extra_roots_pem, ..EgressOptions::default() },
        secrets,
        Arc::new(SystemResolver),
    )
}

/// The operator's prices, TOML. C002 when the file cannot be read.
pub(crate) fn prices(config: &Config) -> Result<Option<String>, Problem> {
    let Some(path) = &config.llm.prices else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Problem::new(Code::C002, format!("the prices cannot be read: {error}"))
            .file(path.display().to_string())
            .help("`prices` of `[llm]` names a TOML file with `[[price]]` tables")
    });
    text.map(Some)
}

fn llm_options(config: &Config) -> Result<LlmOptions, Vec<Problem>> {
    let mut providers: BTreeMap<String, ProviderOptions> = BTreeMap::new();
    for (provider, key) in &config.keys {
        providers.entry((*provider).to_owned()).or_default().key = Some(key.clone());
    }
    for (provider, url) in &config.llm.base_urls {
        providers.entry(provider.clone()).or_default().base_url = Some(url.clone());
    }
    Ok(LlmOptions {
        providers,
        default_model: config.llm.model.clone(),
        embedder: config.llm.embedder.clone(),
        prices_toml: prices(config).map_err(|problem| vec![problem])?,
        ..LlmOptions::default()
    })
}

fn limits(config: &Config) -> HostLimits {
    let default = HostLimits::default();
    let (tool, agent) = (apply(default.tool, &config.limits.tool), apply(default.agent, &config.limits.agent));
    HostLimits { tool, agent, ..default }
}

/// What the operator set replaces the built-in limit, in both directions.
fn apply(mut limits: ice_runtime::Limits, settings: &LimitSettings) -> ice_runtime::Limits {
    use std::time::Duration;
    let seconds = |value: u32| Duration::from_secs(value.into());
    limits.memory_bytes = settings.memory_mb.map_or(limits.memory_bytes, |mb| u64::from(mb) << 20);
    limits.wall = settings.timeout_seconds.map_or(limits.wall, seconds);
    limits.cpu = settings.cpu_seconds.map_or(limits.cpu, seconds);
    limits.log_bytes = settings.log_kb.map_or(limits.log_bytes, |kb| u64::from(kb) << 10);
    limits.host_calls = settings.host_calls.unwrap_or(limits.host_calls);
    limits.egress_bytes = settings.egress_bytes.unwrap_or(limits.egress_bytes);
    limits
}

/// Asks a component that nobody signed yet what it is, in the sandbox and without any grant. Its compiled code is kept
/// in the folder `compiled`, when one is given.
pub(crate) async fn describe(bytes: &[u8], compiled: Option<&Path>) -> Result<Description, Problem> {
    let runtime = workbench(bytes, compiled).await?;
    runtime.describe(bytes).await.map_err(|failure| failure.problem)
}

/// Returns one blueprint of a bundle that nobody signed yet.
pub(crate) async fn bundled_blueprint(bytes: &[u8], name: &str) -> Result<Value, Problem> {
    let runtime = workbench(bytes, None).await?;
    let entry = BundleEntry {
        name: format!("bundle.{name}"),
        description: String::new(),
        plugin: "the bundle".to_owned(),
        artifact: Digest::of(bytes),
        entrypoint: true,
        deprecated: None,
    };
    let blueprints = [(entry.name.clone(), Arc::new(entry))].into();
    runtime.set_catalog(Arc::new(Catalog { blueprints, ..Catalog::default() }));
    runtime.blueprint(&format!("bundle.{name}")).await.map_err(|failure| failure.problem)
}

/// A runtime whose outside is empty: one component, an empty memory that is not kept, no way out.
async fn workbench(bytes: &[u8], compiled: Option<&Path>) -> Result<Runtime, Problem> {
    let first = |problems: Vec<Problem>| problems.into_iter().next().expect("a failure has a problem");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rows = Arc::new(ice_store::open("sqlite::memory:", Arc::clone(&clock)).await?);
    let secrets = Secrets::default();
    let egress = Arc::new(Egress::new(EgressOptions::default(), secrets, Arc::new(SystemResolver)).map_err(first)?);
    let llm: Arc<dyn Llm> = Arc::new(Models::new(LlmOptions::default(), Arc::clone(&egress)).map_err(first)?);
    let memory = SearchMemory::new(rows, Arc::clone(&clock), MemoryOptions::default());
    let artifacts = Arc::new(OneComponent(bytes.to_vec()));
    let ports = RuntimePorts { artifacts, llm, memory: Arc::new(memory), http: egress, clock };
    Runtime::new(RuntimeOptions { cache_dir: compiled.map(Path::to_owned), ..RuntimeOptions::default() }, ports)
}

/// The component on the workbench.
struct OneComponent(Vec<u8>);

#[async_trait]
impl Artifacts for OneComponent {
    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        if *digest == Digest::of(&self.0) {
            return Ok(self.0.clone());
        }
        Err(Failure::never(Problem::new(Code::T001, format!("the component at hand is not {digest}"))))
    }
}
