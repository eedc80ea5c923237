//! Who may depend on whom, and who may reach what.

use std::collections::BTreeSet;

use super::checkout::{Manifest, code, has_word, is_test, is_tidy, manifests, none, read, texts};

/// Whom a crate of the house may name; a new arrow is a change of the architecture.
const ARROWS: &[(&str, &[&str])] = &[
    ("ice-core", &[]),
    ("ice-engine", &["ice-core"]),
    ("ice-client", &["ice-core"]),
    ("ice-capabilities", &["ice-core"]),
    ("ice-store", &["ice-core"]),
    ("ice-runtime", &["ice-core"]),
    ("ice-registry", &["ice-core"]),
    ("ice-fuzz", &["ice-core", "ice-registry"]),
    ("ice-api", &["ice-core", "ice-client", "ice-engine"]),
    ("ice-mcp", &["ice-core", "ice-client", "ice-engine"]),
    (
        "ice-cli",
        &[
            "ice-api",
            "ice-capabilities",
            "ice-client",
            "ice-core",
            "ice-engine",
            "ice-mcp",
            "ice-registry",
            "ice-runtime",
            "ice-store",
        ],
    ),
];

/// Everything ice-core is built from: nothing here touches a disk, a network, a clock or a task.
const CORE: &[&str] = &[
    "async-trait",
    "jiff",
    "jsonschema",
    "minijinja",
    "saphyr-parser",
    "schemars",
    "semver",
    "serde",
    "serde_json",
    "serde_json_canonicalizer",
    "sha2",
    "thiserror",
    "toml",
];

/// Dependencies, by the beginning of their names, that one crate keeps to itself.
const KEPT: &[(&str, &str)] = &[
    ("wasmtime", "ice-runtime"),
    ("axum", "ice-api"),
    ("rmcp", "ice-mcp"),
    ("ed25519", "ice-registry"),
    ("oci", "ice-registry"),
    ("reqwest", "ice-registry"),
    ("http-auth", "ice-registry"),
    ("docker_credential", "ice-registry"),
    ("sqlx", "ice-store"),
];

/// Where sockets may be opened. Tests may: they play the other side.
const SOCKET_OWNERS: &[&str] = &[
    "host/ice-capabilities/",
    "registry/src/client.rs",
    "registry/src/client/",
    "host/ice-store/",
    "host/ice-api/",
    "host/ice-mcp/",
    "host/ice-cli/src/http_bin.rs",
];

#[test]
fn crates_depend_downwards_only() {
    let mut findings = Vec::new();
    for manifest in manifests(false) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == manifest.name) else {
            findings.push(format!("{}: crate `{}` has no row in ARROWS", manifest.file, manifest.name));
            continue;
        };
        let all = manifest.dependencies.union(&manifest.for_tests);
        for dependency in all.filter(|name| name.starts_with("ice-") && **name != manifest.name) {
            if !allowed.contains(&dependency.as_str()) {
                findings.push(format!("{}: `{}` may not depend on `{dependency}`", manifest.file, manifest.name));
            }
        }
    }
    none(findings, "Neighbours do not know each other: put what both need behind a trait of ice-core/src/ports.rs.");
}

#[test]
fn folders_are_named_like_their_crates() {
    let named = |manifest: &Manifest| match manifest.file.split('/').collect::<Vec<_>>()[..] {
        ["host", folder, "Cargo.toml"] => folder == manifest.name,
        _ => true,
    };
    let wrong = manifests(false).into_iter().filter(|manifest| !named(manifest));
    none(wrong.map(|manifest| manifest.file).collect(), "Rename the folder to the crate's name.");
}

#[test]
fn ice_core_is_built_from_what_is_spelled_out() {
    let core = manifests(false).into_iter().find(|manifest| manifest.name == "ice-core").unwrap();
    let expected: BTreeSet<String> = CORE.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        core.dependencies, expected,
        "ice-core is pure: leave the dependency out, or add it to CORE and say why"
    );
}

#[test]
fn heavy_dependencies_stay_in_their_crate() {
    let mut findings = Vec::new();
    for (dependency, owner) in KEPT {
        for manifest in manifests(false).into_iter().filter(|manifest| manifest.name != *owner) {
            let all = manifest.dependencies.union(&manifest.for_tests);
            let named = all.filter(|name| name.starts_with(dependency));
            findings.extend(named.map(|name| format!("{}: `{name}` belongs to {owner}", manifest.file)));
        }
    }
    none(findings, "Ask the owner through a port instead of linking the library a second time.");
}

#[test]
fn hosts_and_guests_share_nothing_but_the_contract() {
    let guests: BTreeSet<String> = manifests(true).into_iter().map(|manifest| manifest.name).collect();
    assert!(guests.contains("ice-sdk"), "the guests' manifests were not found");
    let mut findings = Vec::new();
    for manifest in manifests(false) {
        let all = manifest.dependencies.union(&manifest.for_tests);
        findings.extend(all.filter(|name| guests.contains(*name)).map(|name| format!("{}: `{name}`", manifest.file)));
        let text = read(&manifest.file);
        let paths = text.lines().filter(|line| line.contains("path = \"") && line.contains("plugins/"));
        findings.extend(paths.map(|line| format!("{}: {line}", manifest.file)));
    }
    for manifest in manifests(true) {
        let host = |name: &&String| ARROWS.iter().any(|(host, _)| host == name);
        findings.extend(manifest.dependencies.iter().filter(host).map(|name| format!("{}: `{name}`", manifest.file)));
    }
    none(findings, "A host crate names no guest crate, and the other way: what both need stands in wit/.");
}

#[test]
fn the_scheduler_performs_no_io() {
    // `Retry` is plain data that happens to be declared beside the ports.
    let words = [
        "tokio",
        "async",
        "await",
        "Components",
        "Llm",
        "Http",
        "Memory",
        "Events",
        "Documents",
        "Artifacts",
        "Clock",
        "Scope",
        "Instant",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::env",
    ];
    let text = read("host/ice-engine/src/scheduler.rs");
    let lines = code(&text).filter(|(_, line)| words.iter().any(|word| has_word(line, word)));
    none(
        lines.map(|(number, line)| format!("scheduler.rs:{number}: {}", line.trim())).collect(),
        "The scheduler turns events into commands; doing them is the driver's part.",
    );
}

#[test]
fn sockets_are_opened_by_their_owners_only() {
    let mut findings = Vec::new();
    for (name, text) in texts(&[".rs"]) {
        let host = name.starts_with("host/") || name.starts_with("registry/");
        if !host || is_test(&name) || SOCKET_OWNERS.iter().any(|owner| name.starts_with(owner)) {
            continue;
        }
        let words = ["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "reqwest", "hyper"];
        let lines = code(&text).filter(|(_, line)| words.iter().any(|word| has_word(line, word)));
        findings.extend(lines.map(|(number, line)| format!("{name}:{number}: {}", line.trim())));
    }
    none(findings, "Go out through ports::Http, which checks the grant and the address.");
}

#[test]
fn the_contract_is_read_by_the_runtime_and_the_sdk_only() {
    let mut findings = Vec::new();
    for (name, text) in texts(&[".rs"]) {
        // The stamp of a guest's build hashes the contract's bytes to see whether they changed; it reads no word of it.
        let readers = ["host/ice-runtime/", "sdk/", "plugins/", "host/ice-cli/src/guests/stamp.rs"];
        let reader = readers.iter().any(|place| name.starts_with(place));
        if reader || is_tidy(&name) {
            continue;
        }
        let opens = |line: &str| line.contains("\"wit/") || line.contains("/wit\"") || line.contains("/wit/");
        let lines = code(&text).filter(|(_, line)| opens(line));
        findings.extend(lines.map(|(number, line)| format!("{name}:{number}: {}", line.trim())));
    }
    none(findings, "Ask ice-runtime what a component imports and exports; wit/ is its and the SDK's.");
}
