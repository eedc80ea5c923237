//! Twenty plugins from a registry into a clean home: in this process, and as whole processes of `ice install`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ice_core::bundle::Needs;
use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::lock::Lock;
use ice_core::manifest::canonical;
use ice_registry::client::{Client, ClientOptions, Credentials, Registries, RegistrySettings};
use ice_registry::install::{Mode, Request, apply, prepare};
use ice_registry::publish::{MovingTags, PublishOptions, Release, publish};
use ice_registry::remote::Remote;
use ice_registry::trust::{KeyNotes, ScopeEdit, State};
use ice_registry::{Envelope, PrivateKey, Store, Trust};
use serde_json::{Value, json};

use crate::registries::DockerRegistry;
use crate::{Done, NOW, milliseconds, row, times, told};

const PLUGINS: usize = 20;
const RUNS: usize = 10;

/// What `make plugins` builds: a component, and the manifest it goes with.
const BUILT: [&str; 8] = [
    "kits/aggregator",
    "kits/commerce",
    "kits/csv",
    "kits/memory",
    "kits/search",
    "kits/web",
    "agents/chat_agent",
    "bundles/note_digest",
];

/// A registry with the plugins in it, and what a home needs to install them.
struct Market {
    registry: DockerRegistry,
    key: PrivateKey,
    releases: Vec<Release>,
}

impl Market {
    fn prefix(&self) -> String {
        format!("{}/ice", self.registry.address())
    }

    /// A home that believes the publisher, and has nothing else.
    fn home(&self) -> Done<tempfile::TempDir> {
        let home = tempfile::tempdir()?;
        let folder = home.path().join("trust");
        Trust::add_key(&folder, self.key.public(), &KeyNotes::default(), &["bench/*"])?;
        let registry = Some(self.prefix());
        Trust::set_scope(&folder, &ScopeEdit { name: "bench/*".to_owned(), registry, ..ScopeEdit::default() })?;
        let settings = RegistrySettings { plain_http: true, ..RegistrySettings::default() };
        Registries::set(&folder.join("registries.toml"), &self.prefix(), &settings)?;
        Ok(home)
    }

    fn client(&self, home: &Path) -> Done<Client> {
        let registries = Registries::read(&home.join("trust/registries.toml"))?;
        Ok(Client::new(registries, Credentials::none(), ClientOptions::default())?)
    }
}

pub(crate) fn measure(ice: Option<&OsStr>) -> Done<()> {
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let key = PrivateKey::generate()?;
    let releases = (0..PLUGINS).map(|number| release(number, &key)).collect::<Done<Vec<_>>>()?;
    let market = Market { registry: DockerRegistry::start(), key, releases };
    tokio.block_on(fill(&market))?;
    let bytes: usize = market.releases.iter().flat_map(|release| &release.blobs).map(Vec::len).sum();
    let name =
        |what: &str| format!("{what} {PLUGINS} plugins of {:.1} MiB in all, ms", bytes as f64 / f64::from(1 << 20));
    row(
        &name("floor: the components by plain GETs, one after another, of"),
        times(RUNS, || gets(&market))?,
        milliseconds,
    )?;
    // Homes are made before the clock runs.
    let mut homes = (0..RUNS).map(|_| market.home()).collect::<Done<Vec<_>>>()?.into_iter();
    let took = times(RUNS, || install(&tokio, &market, homes.next().ok_or("a home for every run")?))?;
    row(&name("**ice** installs in one process"), took, milliseconds)?;
    let Some(ice) = ice else { return Ok(()) };
    let mut homes = (0..RUNS).map(|_| market.home()).collect::<Done<Vec<_>>>()?.into_iter();
    let took = times(RUNS, || spawn(ice, homes.next().ok_or("a home for every run")?))?;
    row(&name("**ice** install, a process from start to exit,"), took, milliseconds)
}

/// A first-party component under a name of its own, with bytes of its own: a section at the end that nobody reads.
fn release(number: usize, key: &PrivateKey) -> Done<Release> {
    let built = BUILT[number % BUILT.len()];
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: PathBuf| {
        std::fs::read(&path).map_err(|error| format!("`{}`: {error}; run `make plugins`", path.display()))
    };
    let mut bytes = read(checkout.join(format!("plugins/target/components/{built}.wasm")))?;
    bytes.extend([0x00, 3, 1, b'n', u8::try_from(number)?]);
    let mut manifest: Value = serde_json::from_slice(&read(checkout.join(format!("manifests/{built}.json")))?)?;
    manifest["name"] = json!(format!("bench/plugin_{number:02}"));
    manifest["sequence"] = json!(1);
    manifest["dependencies"] = json!([]);
    for component in manifest["components"].as_array_mut().ok_or("a manifest names components")? {
        component["artifact"] = json!(Digest::of(&bytes));
        component["size"] = json!(bytes.len());
    }
    let envelope = Envelope::sign_bytes(&canonical(&manifest), key, "bench").map_err(told)?;
    Ok(Release { envelope, blobs: vec![bytes] })
}

async fn fill(market: &Market) -> Done<()> {
    let home = market.home()?;
    let (client, trust) = (market.client(home.path())?, Trust::open(&home.path().join("trust"))?);
    for release in &market.releases {
        let options = PublishOptions {
            kit_parts: Vec::new(),
            moving_tags: MovingTags::Leave,
            now: NOW,
            known_names: Vec::new(),
            unattended: false,
        };
        publish(&client, &market.prefix(), release, &trust, &options, &()).await?;
    }
    Ok(())
}

/// What nobody can do without: every component once over the wire.
fn gets(market: &Market) -> Done<usize> {
    let (address, mut all) = (market.registry.address(), 0);
    for (number, release) in market.releases.iter().enumerate() {
        let digest = Digest::of(&release.blobs[0]);
        let mut stream = TcpStream::connect(&address)?;
        write!(stream, "GET /v2/ice/bench/plugin_{number:02}/blobs/{digest} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if !answer.ends_with(&release.blobs[0]) {
            return Err("the registry gave something else".into());
        }
        all += answer.len();
    }
    Ok(all)
}

fn install(tokio: &tokio::runtime::Runtime, market: &Market, home: tempfile::TempDir) -> Done<tempfile::TempDir> {
    let trust = Trust::open(&home.path().join("trust"))?;
    let (client, state) = (market.client(home.path())?, State::of(trust.folder()));
    let (store, remote) = (Store::open(&home.path().join("store"))?, Remote::new(&client, &trust));
    let wants = (0..PLUGINS).map(|number| Needs::parse(&format!("bench/plugin_{number:02}")));
    let request = Request {
        wants: wants.collect::<Result<_, _>>()?,
        constraints: Vec::new(),
        mode: Mode::Add,
        now: NOW,
        host: "0.1.0".parse()?,
        no_dynamic: false,
        unattended: false,
        grants: &BTreeMap::<String, Grant>::new(),
        known_names: Vec::new(),
    };
    let installed = tokio.block_on(async {
        let prepared = prepare(&request, &Lock::default(), &store, &trust, &state, &remote).await?;
        apply(&prepared, &store, &state, &remote, &|_, _, _| Ok(()), &()).await
    });
    let installed = installed.map_err(told)?;
    if installed.added.len() == PLUGINS { Ok(home) } else { Err("not every plugin was installed".into()) }
}

fn spawn(ice: &OsStr, home: tempfile::TempDir) -> Done<tempfile::TempDir> {
    let names = (0..PLUGINS).map(|number| format!("bench/plugin_{number:02}"));
    let mut command = Command::new(ice);
    command.arg("--home").arg(home.path()).arg("install").args(names).args(["--yes", "--grant", "--quiet"]);
    let output = command.env_clear().env("HOME", home.path()).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(home);
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Err(format!("`ice install` failed: {said}").into())
}
