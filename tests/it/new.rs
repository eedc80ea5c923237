//! `ice new`: everything it begins is checked and run as it is, plugins after they were built without a network.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::home::{Home, Ran, root};
use crate::servers::Server;

/// Kinds that write one blueprint which ends by itself in a fresh home.
const BLUEPRINTS: &[&str] = &["workflow", "llm", "condition", "loop", "parallel", "recursive", "monitor", "swarm"];

/// Kinds that write one blueprint which needs something, or somebody.
const NEEDY: &[&str] = &["code", "human", "webhook"];

/// Kinds that write several blueprints.
const SYSTEMS: &[&str] = &["network"];

/// Kinds that write a plugin, with a name for it and the folder it goes to.
const PLUGINS: &[(&str, &str, &str)] = &[
    ("tool", "count_it", "kits"),
    ("kit", "texts", "kits"),
    ("llm-node-tool", "retell", "kits"),
    ("agent", "helper", "agents"),
    ("agent-tool", "caller", "agents"),
    ("bundle", "pair", "bundles"),
];

/// Makes one in a folder of the home and returns its file.
fn begin(home: &Home, kind: &str) -> String {
    let name = format!("my_{}", kind.replace('-', "_"));
    let out = home.file("flows");
    let made = home.run(&["new", kind, &name, "--out", &out, "--json"]).exits(0).json();
    let file = made["files"][0].as_str().unwrap().to_owned();
    assert!(Path::new(&file).is_file(), "{made}");
    assert!(!made["next"].as_array().unwrap().is_empty(), "{made}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("__"), "{file} has something to be filled in");
    home.run(&["blueprints", "check", &file]).exits(0);
    file
}

fn run(home: &Home, file: &str, more: &[&str]) -> Value {
    home.run(&[&["run-blueprint", file, "--json"], more].concat()).exits(0).json()
}

#[test]
fn every_kind_is_in_one_of_the_tables_here() {
    let ran = Home::empty().run(&["new", "nothing", "x"]).exits(2);
    let (_, list) = ran.err.split_once("[possible values: ").unwrap();
    let offered: BTreeSet<&str> = list.split(']').next().unwrap().split(", ").collect();
    let plugins = PLUGINS.iter().map(|(kind, ..)| kind);
    let tested: BTreeSet<&str> = BLUEPRINTS.iter().chain(NEEDY).chain(SYSTEMS).chain(plugins).copied().collect();
    assert_eq!(offered, tested);
    assert_eq!(offered.len(), 18);
}

#[test]
fn every_blueprint_runs_as_it_is_in_a_fresh_home() {
    let home = Home::empty();
    for kind in BLUEPRINTS {
        let file = begin(&home, kind);
        let ran = run(&home, &file, &[]);
        let outputs = ran["outputs"].as_object().unwrap();
        assert!(outputs.values().all(|value| !value.is_null()) && !outputs.is_empty(), "{kind}: {ran}");
        home.run(&["blueprints", "graph", &file, "--output", &home.file("x.svg")]).exits(0);
    }
}

#[test]
fn the_human_waits_the_code_computes_and_the_webhook_posts() {
    let home = Home::with_interpreters();
    let file = begin(&home, "code");
    assert_eq!(run(&home, &file, &[])["outputs"]["mean"], json!(4));

    let file = begin(&home, "human");
    let ran = home.run(&["run-blueprint", &file]).exits(0);
    assert!(ran.out.contains("Ship release 1.0?"), "{}", ran.out);
    let open = home.run(&["waits", "list", "--json"]).exits(0).json();
    home.run(&["waits", "answer", open[0]["id"].as_str().unwrap(), "--approve"]).exits(0);
    let ended = home.run(&["executions", "list", "--json"]).exits(0).json();
    assert_eq!(ended[0]["status"], "completed", "{ended}");

    let file = begin(&home, "webhook");
    let bin = Server::start(|_, _| (201, "application/json", "{}".into()));
    home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", bin.port));
    home.set("engine", &format!("http = [\"POST {}/*\"]", bin.url()));
    let ran = run(&home, &file, &["--input", &format!("url={}/hook", bin.url())]);
    assert_eq!(ran["outputs"]["status"], json!(201), "{ran}");
    assert_eq!(bin.received().len(), 1);
}

#[test]
fn nothing_is_overwritten_and_nothing_is_half_written() {
    let home = Home::empty();
    let out = home.file("flows");
    let args = ["new", "network", "net", "--out", &out];
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(home.path().join("flows/net_second.yaml"), "mine").unwrap();
    let ran = home.run(&args).exits(2);
    assert!(ran.err.contains("net_second.yaml") && ran.err.contains("--force"), "{}", ran.err);
    assert!(!home.path().join("flows/net.yaml").exists(), "all or nothing");
    home.run(&[&args[..], &["--force"]].concat()).exits(0);
    assert_ne!(std::fs::read_to_string(home.path().join("flows/net_second.yaml")).unwrap(), "mine");

    for name in ["My", "1st", "a-b", "../x", "fn", ""] {
        let ran = home.run(&["new", "tool", name, "--out", &home.file("p")]).exits(2);
        assert!(ran.err.contains("error["), "{name}: {}", ran.err);
    }
    assert!(!home.path().join("p").exists());
}

/// An SDK that came without a workspace leaves the choice of versions to cargo.
#[test]
fn an_sdk_without_a_lock_is_an_sdk_all_the_same() {
    let home = Home::empty();
    std::fs::create_dir(home.path().join("sdk")).unwrap();
    home.write("sdk/Cargo.toml", "[package]\nname = \"ice-sdk\"\n");
    let (out, sdk) = (home.file("plugins"), home.file("sdk"));
    let made = home.run(&["new", "tool", "first", "--out", &out, "--sdk", &sdk, "--json"]).exits(0).json();
    let files: Vec<&str> = made["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert!(files[0].ends_with("plugins/Cargo.toml") && !files.iter().any(|file| file.ends_with(".lock")), "{made}");
    // The second plugin finds the workspace of the first, and leaves it as it is.
    let made = home.run(&["new", "kit", "second", "--out", &out, "--json"]).exits(0).json();
    assert!(!made["files"].to_string().contains("plugins/Cargo"), "{made}");
}

/// A plugin workspace that keeps what the compiler made between two runs of the tests; the rest is new each time.
struct Workspace {
    folder: PathBuf,
    /// Only one process at a time works in it.
    _alone: File,
}

impl Workspace {
    fn empty() -> Self {
        let folder = root().join("target/new");
        std::fs::create_dir_all(&folder).unwrap();
        let alone = File::create(folder.join(".lock")).unwrap();
        alone.lock().unwrap();
        for entry in std::fs::read_dir(folder.join("plugins")).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_name() == "target" {
                // Without the components and their stamp everything is built again, from crates that are compiled.
                true => drop(std::fs::remove_dir_all(path.join("components"))),
                false if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
                false => std::fs::remove_file(path).unwrap(),
            }
        }
        Self { folder: folder.join("plugins"), _alone: alone }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// Begins every kind of plugin.
    fn begin(&self, home: &Home) {
        for (kind, name, _) in PLUGINS {
            home.run(&["new", kind, name, "--out", &self.file(""), "--scope", "acme"]).exits(0);
        }
    }

    /// Signs what was built, and grants what it asks for.
    fn install(&self, home: &Home) {
        home.run(&["keys", "generate", "acme"]).exits(0);
        home.run(&["trust", "add", "acme", "--scope", "acme/*", "--yes"]).exits(0);
        for (_, name, folder) in PLUGINS {
            let manifest = self.file(&format!("manifests/{folder}/{name}.json"));
            home.run(&["plugins", "lint", &manifest]).exits(0);
            let component = self.file(&format!("target/components/{folder}/{name}.wasm"));
            home.run(&["plugins", "sign", &manifest, "--key", "acme", "--component", &component]).exits(0);
        }
        home.run(&["plugins", "grant", "--all", "--requested"]).exits(0);
    }

    /// Runs the example of a plugin.
    fn outputs(&self, home: &Home, folder: &str, name: &str) -> Value {
        let file = self.file(&format!("{folder}/{name}/example.yaml"));
        home.run(&["blueprints", "check", &file]).exits(0);
        run(home, &file, &[])["outputs"].clone()
    }
}

#[test]
fn plugins_build_check_and_run_outside_the_checkout_and_without_a_network() {
    let home = Home::new();
    let plugins = Workspace::empty();
    plugins.begin(&home);
    let (all, manifests) = (plugins.file(""), plugins.file("manifests"));
    home.run_unplugged(&["plugins", "build", "--plugins", &all, "--manifests", &manifests]).exits(0);
    plugins.install(&home);
    assert_eq!(plugins.outputs(&home, "kits", "count_it"), json!({ "words": 3, "longest": "lighthouse" }));
    assert_eq!(plugins.outputs(&home, "kits", "texts"), json!({ "text": "a-b-c" }));
    assert!(plugins.outputs(&home, "kits", "retell")["text"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(plugins.outputs(&home, "agents", "helper")["message"].as_str().is_some_and(|text| !text.is_empty()));
    let called = plugins.outputs(&home, "agents", "caller");
    assert_eq!(called["results"][1], json!({ "summary": "[concise] two" }));
    assert_eq!(called["tools"], json!(["writer_tool"]), "it asks for what it uses, and for nothing else");
    let ran: Ran = home.run(&["bundle", "run", "pair", "--json"]);
    assert!(ran.exits(0).json()["outputs"]["title"].is_string());
    the_lock_is_that_of_the_sdk(&plugins);
    native_tests_pass(&home, &plugins);
}

/// Nothing was chosen anew: what a plugin is built from is what the SDK is built from.
fn the_lock_is_that_of_the_sdk(plugins: &Workspace) {
    let ours = std::fs::read_to_string(root().join("plugins/Cargo.lock")).unwrap();
    let checksums = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|line| line.starts_with("checksum = ")).map(str::to_owned).collect()
    };
    let (written, known) = (checksums(&plugins.read("Cargo.lock")), checksums(&ours));
    assert!(written.len() > 10 && written.is_subset(&known), "{:?}", written.difference(&known));
}

/// Every plugin that is a crate comes with tests, which run without wasm.
fn native_tests_pass(home: &Home, plugins: &Workspace) {
    let crates = PLUGINS.iter().filter(|(kind, ..)| *kind != "bundle");
    let tests: Vec<usize> = crates
        .map(|(_, name, folder)| plugins.read(&format!("{folder}/{name}/src/lib.rs")).matches("#[test]").count())
        .collect();
    assert!(tests.iter().all(|count| *count > 0), "{tests:?}");
    let manifest = plugins.file("Cargo.toml");
    let mut cargo = home.unplugged("cargo");
    let ran =
        Ran::from(cargo.args(["test", "--locked", "--workspace", "--manifest-path", &manifest]).output().unwrap());
    let ran = ran.exits(0);
    let passed = ran.out.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    assert_eq!(passed, tests.iter().sum::<usize>(), "{}", ran.out);
}
