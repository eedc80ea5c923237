//! `ice new`: everything it begins is checked and run as it is, plugins after they were built.

use std::path::Path;

use serde_json::{Value, json};

use crate::home::{Home, Ran};
use crate::servers::Server;

/// Kinds that write one blueprint which ends by itself in a fresh home.
const BLUEPRINTS: &[&str] = &["workflow", "llm", "condition", "loop", "parallel", "recursive", "monitor", "swarm"];

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

#[test]
fn plugins_build_check_and_run_outside_the_checkout() {
    let home = Home::new();
    let plugins = home.file("plugins");
    let kinds = [
        ("tool", "count_it"),
        ("kit", "texts"),
        ("llm-node-tool", "retell"),
        ("agent", "helper"),
        ("agent-tool", "caller"),
        ("bundle", "pair"),
    ];
    for (kind, name) in kinds {
        home.run(&["new", kind, name, "--out", &plugins, "--scope", "acme"]).exits(0);
    }
    let manifests = home.file("manifests");
    home.run(&["plugins", "build", "--plugins", &plugins, "--manifests", &manifests]).exits(0);
    home.run(&["keys", "generate", "acme"]).exits(0);
    home.run(&["trust", "add", "acme", "--scope", "acme/*", "--yes"]).exits(0);
    let rows = [
        ("kits", "count_it"),
        ("kits", "texts"),
        ("kits", "retell"),
        ("agents", "helper"),
        ("agents", "caller"),
        ("bundles", "pair"),
    ];
    for (kind, name) in rows {
        let manifest = format!("{manifests}/{kind}/{name}.json");
        home.run(&["plugins", "lint", &manifest]).exits(0);
        let component = format!("{plugins}/target/components/{kind}/{name}.wasm");
        home.run(&["plugins", "sign", &manifest, "--key", "acme", "--component", &component]).exits(0);
    }
    home.run(&["plugins", "grant", "--all", "--requested"]).exits(0);
    let outputs = |kind: &str, name: &str| {
        let file = format!("{plugins}/{kind}/{name}/example.yaml");
        home.run(&["blueprints", "check", &file]).exits(0);
        run(&home, &file, &[])["outputs"].clone()
    };
    assert_eq!(outputs("kits", "count_it"), json!({ "words": 3, "longest": "lighthouse" }));
    assert_eq!(outputs("kits", "texts"), json!({ "text": "a-b-c" }));
    assert!(outputs("kits", "retell")["text"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(outputs("agents", "helper")["message"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(outputs("agents", "caller")["results"][1], json!({ "summary": "[concise] two" }));
    let ran: Ran = home.run(&["bundle", "run", "pair", "--json"]);
    assert!(ran.exits(0).json()["outputs"]["title"].is_string());
}
