//! A flipped byte in any of component, manifest, signature, compiled code: refused with its code, nothing runs.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::home::{Home, root};

const BLUEPRINT: &str = "schema_version: '1.2.0'\nnodes: [{ id: w, type: tool, tool_name: aggregator_concat, tool_args: { inputs: [a, b] } }]\noutputs: { s: '{{ w.text }}' }\n";

fn run(home: &Home) -> crate::home::Ran {
    let file = home.path().join("b.yaml");
    std::fs::write(&file, BLUEPRINT).unwrap();
    home.run(&["run-blueprint", file.to_str().unwrap(), "--json"])
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

/// Changes one bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// The path of a stored blob.
fn blob(home: &Home, digest: &str) -> PathBuf {
    home.path().join("store/blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
}

fn manifest(kit: &str) -> Value {
    serde_json::from_slice(&std::fs::read(root().join(format!("manifests/kits/{kit}.json"))).unwrap()).unwrap()
}

#[test]
fn an_untouched_home_runs() {
    assert_eq!(run(&Home::new()).exits(0).json()["outputs"]["s"], "a\nb");
}

#[test]
fn a_changed_component_is_refused() {
    let home = Home::new();
    let digest = manifest("aggregator")["components"][0]["artifact"].as_str().unwrap().to_owned();
    flip(&blob(&home, &digest));
    let ran = run(&home).exits(3);
    assert!(ran.out.contains("ICE-T"), "{}", ran.out);
    assert!(!ran.out.contains("\"s\":\"a"), "nothing ran: {}", ran.out);
}

#[test]
fn a_changed_manifest_or_signature_is_refused() {
    let clean = Home::new();
    let envelopes: Vec<PathBuf> = files(&clean.path().join("store/blobs/sha256"))
        .into_iter()
        .filter(|path| {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
            text.contains("application/vnd.iceos.envelope.v0+json") && text.contains("\"signatures\"")
        })
        .collect();
    assert!(envelopes.len() >= 10, "one envelope a plugin: {}", envelopes.len());
    let names = |path: &PathBuf| path.strip_prefix(clean.path()).unwrap().to_owned();
    for member in ["\"manifest\":\"", "\"sig\":\"", "\"payload\":\""] {
        let home = Home::new();
        for envelope in envelopes.iter().map(names) {
            let path = home.path().join(envelope);
            let text = std::fs::read_to_string(&path).unwrap();
            let at = text.find(member).unwrap() + member.len() + 20;
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            std::fs::write(&path, format!("{}{other}{}", &text[..at], &text[at + 1..])).unwrap();
        }
        let verified = home.run(&["verify", "--json"]).exits(3);
        assert!(verified.out.contains("ICE-T"), "{member} {}", verified.out);
        assert!(!verified.out.contains("\"ok\":true"), "{member} {}", verified.out);
        let ran = run(&home);
        assert!(ran.code == Some(3) || ran.code == Some(2), "{member} {:?} {}", ran.code, ran.out);
        assert!(ran.out.contains("problems"), "nothing ran: {member} {}", ran.out);
    }
}

#[test]
fn changed_compiled_code_is_thrown_away_and_made_again() {
    let home = Home::new();
    let cached = files(&home.path().join("cache/aot"));
    assert!(!cached.is_empty());
    let before: Vec<Vec<u8>> = cached.iter().map(|path| std::fs::read(path).unwrap()).collect();
    cached.iter().filter(|path| path.metadata().unwrap().len() > 1_000).for_each(|path| flip(path));
    let ran = run(&home).exits(0);
    assert!(ran.err.contains("warning[ICE-T037]"), "the refusal is shown: {}", ran.err);
    assert_eq!(ran.json()["outputs"]["s"], "a\nb");
    let restored =
        cached.iter().zip(&before).filter(|(path, bytes)| std::fs::read(path).is_ok_and(|now| &now == *bytes)).count();
    assert!(restored >= 1, "the entry that was used is the right one again");
}

#[test]
fn an_unknown_key_is_refused_with_the_command_that_trusts_it() {
    let home = Home::new();
    let manifest = "manifests/kits/aggregator.json";
    home.run(&["keys", "generate", "stranger"]).exits(0);
    let ran = home.run(&["plugins", "sign", manifest, "--key", "stranger"]).exits(3);
    assert!(ran.err.contains("ICE-T") && ran.err.contains("ice trust add"), "{}", ran.err);
}
