//! What these tests share: homes of publishers and users, small plugins made on the spot, and programs of others.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::Digest as _;

use crate::home::{Home, Ran, root};

/// The interface that makes a component a kit, and nothing in it.
const KIT: &str = r#"(component (instance $tools) (export "ice:plugin/tools@0.1.0" (instance $tools)))"#;

/// Where plugins are, on every registry.
pub(super) fn prefix(address: &str) -> String {
    format!("{address}/ice")
}

/// Has `home` reach a registry of this machine, and take the names of `scope` from there when `key` signed them.
pub(super) fn believe(home: &Home, key: &Path, scope: &str, address: &str) {
    let (key, prefix) = (key.to_str().unwrap(), prefix(address));
    home.run(&["registry", "add", &prefix, "--plain-http"]).exits(0);
    home.run(&["trust", "add", key, "--scope", scope, "--registry", &prefix, "--yes"]).exits(0);
}

/// The public half of a key that was made in a home.
pub(super) fn public_key(home: &Home, name: &str) -> PathBuf {
    home.path().join(format!("keys/{name}.pub.pem"))
}

/// A home with a key `test`, which publishes chatkit and what it needs to the registry.
pub(super) fn first_party(address: &str) -> Home {
    let home = Home::empty();
    home.run(&["keys", "generate", "test"]).exits(0);
    believe(&home, &public_key(&home, "test"), "iceos/*", address);
    let manifests =
        ["kits/memory", "agents/chat_agent", "bundles/chatkit"].map(|name| format!("manifests/{name}.json"));
    let [memory, agent, bundle] = &manifests;
    assert!(root().join(memory).exists(), "the plugins are not built: run `make plugins`");
    home.run(&["plugins", "sign", memory, agent, bundle, "--key", "test"]).exits(0);
    home
}

/// A home with a key `acme`, which publishes `acme/*` to the registry.
pub(super) fn acme(address: &str) -> Home {
    let home = Home::empty();
    home.run(&["keys", "generate", "acme"]).exits(0);
    believe(&home, &public_key(&home, "acme"), "acme/*", address);
    home
}

/// A new home that takes `acme/*` from the registry when `publisher` signed it.
pub(super) fn user_of(publisher: &Home, address: &str) -> Home {
    let home = Home::empty();
    believe(&home, &public_key(publisher, "acme"), "acme/*", address);
    home
}

/// A new home with the settings and the lock of another one.
pub(super) fn with_project_of(other: &Home) -> Home {
    let home = Home::empty();
    for file in ["ice.toml", "ice.lock"] {
        std::fs::copy(other.path().join(file), home.path().join(file)).unwrap();
    }
    home
}

/// The text of a file in a home; empty when it is not there.
pub(super) fn text(home: &Home, file: &str) -> String {
    std::fs::read_to_string(home.path().join(file)).unwrap_or_default()
}

/// What the lock pins, by name.
pub(super) fn locked(home: &Home) -> BTreeMap<String, toml::Table> {
    let lock: toml::Table = text(home, "ice.lock").parse().unwrap();
    let packages = lock.get("package").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let table = |package: toml::Value| package.as_table().cloned().unwrap();
    packages.into_iter().map(table).map(|package| (package["name"].as_str().unwrap().to_owned(), package)).collect()
}

/// The statement digests that the lock pins, by name.
pub(super) fn pinned(home: &Home) -> BTreeMap<String, String> {
    let statement = |package: &toml::Table| package["statement"].as_str().unwrap().to_owned();
    locked(home).iter().map(|(name, package)| (name.clone(), statement(package))).collect()
}

/// The statement digests of what is installed, by name.
pub(super) fn installed(home: &Home) -> BTreeMap<String, String> {
    let list = home.run(&["list", "--json"]).exits(0).json();
    let row = |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["statement"].as_str().unwrap().to_owned());
    list.as_array().unwrap().iter().map(row).collect()
}

/// The store is as it was signed, and holds what the lock says.
#[track_caller]
pub(super) fn is_whole(home: &Home) {
    home.run(&["verify"]).exits(0);
    home.run(&["install", "--frozen"]).exits(0);
    assert_eq!(installed(home), pinned(home));
}

/// `sha256:…`.
pub(super) fn digest(bytes: &[u8]) -> String {
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Code and exit of a refusal; nothing in it suggests to look away.
#[track_caller]
pub(super) fn refuses(ran: Ran, code: &str) -> Ran {
    assert_ne!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(&format!("error[ICE-{code}]")), "expected {code}:\n{}{}", ran.out, ran.err);
    for way_out in ["skip", "disable", "insecure", "--no-verify", "turn off", "ignore"] {
        assert!(!ran.err.to_lowercase().contains(way_out), "a message suggests switching a check off: {}", ran.err);
    }
    ran
}

/// A plugin made on the spot: valid components that export no tool, under a manifest of their own.
#[derive(Clone)]
pub(super) struct Small {
    pub(super) manifest: Value,
    pub(super) components: Vec<Vec<u8>>,
}

impl Small {
    /// Version 1.0.0 with one component.
    pub(super) fn new(name: &str) -> Self {
        Self::with_components(name, &[1])
    }

    /// Version 1.0.0 with a component of each of these sizes in bytes, or a few more; no two are equal.
    pub(super) fn with_components(name: &str, sizes: &[usize]) -> Self {
        let components: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(at, size)| component(name, at, *size)).collect();
        let row = |(at, bytes): (usize, &Vec<u8>)| {
            let tool = format!("tool_{at:02}");
            json!({
                "node_type": "tool", "name": tool, "import": format!("ice:plugin/tools@0.1.0#{tool}"),
                "version": "1.0.0", "artifact": digest(bytes), "size": bytes.len(), "effects": "none", "tags": [],
                "world": "ice:plugin/kit@0.1.0", "description": "Says nothing.",
                "schema": {"input": {"type": "object"}, "output": {"type": "object"}},
            })
        };
        let manifest = json!({
            "schema_version": "plugins.v0", "kind": "kit", "name": name, "version": "1.0.0", "sequence": 1,
            "created": "2026-11-20T00:00:00Z", "description": "A kit of a test.", "license": "MIT",
            "components": components.iter().enumerate().map(row).collect::<Vec<_>>(),
        });
        Self { manifest, components }
    }

    /// The same as this version, which comes after what has a lower one.
    pub(super) fn version(mut self, version: &str) -> Self {
        let numbers: Vec<u64> = version.split('.').map(|part| part.parse().unwrap()).collect();
        self.manifest["version"] = json!(version);
        self.manifest["sequence"] = json!(numbers[0] * 10_000 + numbers[1] * 100 + numbers[2]);
        self
    }

    /// The same with another text for the model.
    pub(super) fn described(mut self, description: &str) -> Self {
        self.manifest["components"][0]["description"] = json!(description);
        self
    }

    /// The same, asking for something.
    pub(super) fn asking(mut self, capabilities: Value) -> Self {
        for component in self.manifest["components"].as_array_mut().unwrap() {
            component["capabilities"] = capabilities.clone();
            component["effects"] = json!("external");
        }
        self
    }

    pub(super) fn name(&self) -> &str {
        self.manifest["name"].as_str().unwrap()
    }

    /// Writes manifest and components below a folder; returns the manifest.
    pub(super) fn write(&self, folder: &Path) -> PathBuf {
        std::fs::create_dir_all(folder.join("components")).unwrap();
        for (at, bytes) in self.components.iter().enumerate() {
            std::fs::write(folder.join(format!("components/tool_{at:02}.wasm")), bytes).unwrap();
        }
        let path = folder.join("plugins.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&self.manifest).unwrap()).unwrap();
        path
    }

    /// Signs it with a key of `home`, into its store.
    pub(super) fn sign(&self, home: &Home, key: &str) {
        let folder = tempfile::tempdir().unwrap();
        let manifest = self.write(folder.path());
        let components = folder.path().join("components");
        let [manifest, components] = [&manifest, &components].map(|path| path.to_str().unwrap());
        home.run(&["plugins", "sign", manifest, "--key", key, "--component", components]).exits(0);
    }

    /// Signs it with the key `acme` of `home` and publishes it.
    pub(super) fn publish(&self, home: &Home) {
        self.sign(home, "acme");
        let exactly = format!("{}@{}", self.name(), self.manifest["version"].as_str().unwrap());
        home.run(&["publish", &exactly, "--yes"]).exits(0);
    }
}

/// A component that is told from every other one by a section that means nothing.
fn component(name: &str, at: usize, size: usize) -> Vec<u8> {
    let mut section = vec![4];
    section.extend(b"test");
    section.extend(format!("{name} {at} ").bytes());
    section.extend((0..size).map(|byte| (byte % 251) as u8));
    let mut bytes = wat::parse_str(KIT).unwrap();
    bytes.push(0);
    let mut left = section.len();
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.extend(section);
    bytes
}

/// A port of this machine where nobody listens, and nobody can while this lives.
pub(super) fn silent(address: &str) -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address.parse::<SocketAddr>().unwrap()).unwrap();
    socket
}

/// Runs a program of others to its end, which has to be a good one. Returns what it printed.
#[track_caller]
pub(super) fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S]) -> String {
    let mut command = Command::new(&program);
    let output = command.args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}: run `make setup`"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}{err}");
    out.into_owned()
}

/// Runs a script of `tests/interop` with the Python that `make setup` made.
#[track_caller]
pub(super) fn python<S: AsRef<OsStr>>(script: &str, arguments: &[S]) -> String {
    let script = root().join("tests/interop").join(script).into_os_string();
    let arguments: Vec<_> = std::iter::once(script).chain(arguments.iter().map(|a| a.as_ref().to_owned())).collect();
    run(root().join("target/venv/bin/python"), &arguments)
}

/// Copies an artifact byte by byte. `docker://…` is a registry of this machine.
#[track_caller]
pub(super) fn skopeo_copy(from: &str, to: &str) {
    run("skopeo", &["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--quiet", from, to]);
}

/// The digest of the manifest behind a tag, as skopeo sees it.
#[track_caller]
pub(super) fn remote_digest(reference: &str) -> String {
    digest(run("skopeo", &["inspect", "--raw", "--tls-verify=false", reference]).as_bytes())
}
