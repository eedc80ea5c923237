//! Tables and files say the same: codes, hostile guests, blueprints, node kinds, test modules, links.

use std::collections::BTreeSet;
use std::fs;

use super::checkout::{files, none, read, root, texts};

/// The codes of the table in problem.rs, as `B001`.
fn codes() -> BTreeSet<String> {
    let text = read("host/ice-core/src/problem.rs");
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (code, name) = (words.next()?, words.next()?);
        let formed = code.len() == 4
            && code.starts_with(|c: char| c.is_ascii_uppercase())
            && (name.starts_with("E_") || name.starts_with("W_"));
        formed.then(|| code.to_owned())
    };
    let codes: Vec<String> = text.lines().filter_map(row).collect();
    let different: BTreeSet<String> = codes.iter().cloned().collect();
    assert!(different.len() > 20 && different.len() == codes.len(), "the table of codes was not understood");
    different
}

#[test]
fn every_error_code_has_a_section() {
    let text = read("host/docs/errors.md");
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let described: BTreeSet<String> = headings
        .filter_map(|line| line.split("ICE-").nth(1))
        .map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect())
        .collect();
    let codes = codes();
    let missing = codes.difference(&described).map(|code| format!("ICE-{code} has no section"));
    let stale = described.difference(&codes).map(|code| format!("ICE-{code} is no code"));
    none(
        missing.chain(stale).collect(),
        "Write a heading with the code in host/docs/errors.md, or remove the stale one.",
    );
}

#[test]
fn every_hostile_guest_has_a_test() {
    let tests = texts(&[".rs"]).into_iter().filter(|(name, _)| name.starts_with("host/ice-runtime/tests/hostile"));
    let tests: String = tests.map(|(_, text)| text).collect();
    let guests = fs::read_dir(root().join("plugins/hostile")).unwrap().map(|entry| entry.unwrap());
    let names = guests.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    let untested = names.filter(|name| !tests.contains(&format!("fn {name}(")));
    none(untested.collect(), "Write a test of the guest's name under host/ice-runtime/tests/hostile.");
}

#[test]
fn every_blueprint_has_its_expectation() {
    let files = files();
    let mut findings = Vec::new();
    for (folder, expectation) in [("ok", ".plan"), ("bad", ".err")] {
        let folder = format!("tests/blueprints/{folder}/");
        let inside: Vec<&String> = files.keys().filter(|name| name.starts_with(&folder)).collect();
        assert!(!inside.is_empty(), "{folder} is empty");
        for name in inside {
            let (stem, ending) = name.rsplit_once('.').unwrap();
            let partners: &[&str] = if name.ends_with(expectation) { &[".yaml", ".json"] } else { &[expectation] };
            if !partners.iter().any(|partner| files.contains_key(&format!("{stem}{partner}"))) {
                findings.push(format!("{name}: no {} beside .{ending}", partners.join(" or ")));
            }
        }
    }
    none(findings, "Run the tests of ice-engine with UPDATE_EXPECT=1 and read what they wrote.");
}

#[test]
fn every_node_kind_has_a_file_and_a_good_example() {
    let table = read("host/ice-engine/src/nodes/mod.rs");
    let rows = table.split("pub const NODES").nth(1).and_then(|rest| rest.split("];").next()).expect("the table NODES");
    let kinds: Vec<String> = rows
        .lines()
        .filter_map(|line| line.trim().strip_prefix('&')?.split_once("::"))
        .map(|(module, _)| module.trim_start_matches("r#").to_owned())
        .collect();
    assert!(kinds.len() > 5, "the table NODES was not understood: {kinds:?}");
    let files = files();
    let examples = texts(&[".yaml", ".json"]).into_iter().filter(|(name, _)| name.starts_with("tests/blueprints/ok/"));
    let examples: String = examples.map(|(_, text)| text.replace('"', "")).collect();
    let mut findings = Vec::new();
    for kind in kinds {
        if !files.contains_key(&format!("host/ice-engine/src/nodes/{kind}.rs")) {
            findings.push(format!("{kind}: no host/ice-engine/src/nodes/{kind}.rs"));
        }
        if !examples.lines().any(|line| {
            line.trim().trim_start_matches(['-', '{', ' ']).trim_end_matches(',') == format!("type: {kind}")
        }) {
            findings.push(format!("{kind}: no blueprint under tests/blueprints/ok has a node of this type"));
        }
    }
    none(findings, "A kind is one file and one line, and is shown once in a blueprint that works.");
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for (name, text) in texts(&[".md"]) {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            let path = target.split('#').next().unwrap();
            let outside = target.contains("://") || target.starts_with("mailto:") || path.is_empty();
            if !outside && !folder.join(path).exists() {
                findings.push(format!("{name}: {target}"));
            }
        }
    }
    none(findings, "Correct the link or write the file.");
}

#[test]
fn no_test_file_is_forgotten() {
    let files = files();
    let mut findings = Vec::new();
    for name in files.keys() {
        let inside = name.strip_prefix("tests/it/").and_then(|name| name.strip_suffix(".rs"));
        let Some(path) = inside.filter(|path| *path != "main") else {
            continue;
        };
        let (parent, module) = path.rsplit_once('/').unwrap_or(("main", path));
        let text = files.get(&format!("tests/it/{parent}.rs")).map(|path| fs::read_to_string(path).unwrap());
        let declared = format!("mod {module};");
        if !text.is_some_and(|text| text.lines().any(|line| line.ends_with(&declared))) {
            findings.push(format!("{name}: no `{declared}` in tests/it/{parent}.rs"));
        }
    }
    none(findings, "Declare it, or it never runs.");
}
