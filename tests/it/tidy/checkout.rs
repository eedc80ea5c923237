//! Reading the checkout: its files, their code without comments, the manifests of its crates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file that a person wrote, by its path from the root with `/`. What builds make is left out.
pub(super) fn files() -> BTreeMap<String, PathBuf> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, PathBuf>) {
        const MADE: [&str; 5] = ["target", "node_modules", ".git", "dist", "__pycache__"];
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !MADE.contains(&name.as_str()) {
                walk(&path, root, found);
            } else if path.is_file() {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"), path);
            }
        }
    }
    let root = root();
    let mut found = BTreeMap::new();
    walk(&root, &root, &mut found);
    found
}

/// The files with one of these endings and their text.
pub(super) fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let wanted = files().into_iter().filter(|(name, _)| endings.iter().any(|ending| name.ends_with(ending)));
    wanted.filter_map(|(name, path)| Some((name, fs::read_to_string(path).ok()?))).collect()
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// These tests name what they forbid.
pub(super) fn is_tidy(name: &str) -> bool {
    name.starts_with("tests/it/tidy")
}

/// Tests may do what the house may not.
pub(super) fn is_test(name: &str) -> bool {
    name.starts_with("tests/") || name.contains("/tests/") || name.contains("/examples/") || name.ends_with("/tests.rs")
}

/// Code without its line comments and without modules of tests, with line numbers.
pub(super) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut marked, mut in_tests) = (false, false);
    let lines = text.lines().enumerate().filter(move |(_, line)| {
        in_tests |= marked && line.starts_with("mod ") && line.ends_with('{');
        marked = line.starts_with("#[cfg(") && line.contains("test");
        let kept = !in_tests;
        in_tests &= *line != "}";
        kept
    });
    lines.map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether `word` stands in `line` with no letter, digit or `_` beside it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(inner) && !line[at + word.len()..].starts_with(inner))
}

/// Fails with all findings at once, under one sentence that says what to do.
#[track_caller]
pub(super) fn none(findings: Vec<String>, what_to_do: &str) {
    assert!(findings.is_empty(), "{what_to_do}\n  {}\n", findings.join("\n  "));
}

/// One crate: its folder, its name, and the names of everything it depends on, for tests too.
pub(super) struct Manifest {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) dependencies: BTreeSet<String>,
    pub(super) for_tests: BTreeSet<String>,
}

/// Manifests of host crates; those of guests when `guests`.
pub(super) fn manifests(guests: bool) -> Vec<Manifest> {
    let is_guest =
        |file: &str| file.starts_with("plugins/") || file.starts_with("sdk/rust") || file.starts_with("sdk/macros");
    let all = texts(&["Cargo.toml"]).into_iter().filter(|(file, _)| is_guest(file) == guests);
    all.filter(|(_, text)| text.contains("[package]")).map(|(file, text)| manifest(file, &text)).collect()
}

fn manifest(file: String, text: &str) -> Manifest {
    let (mut name, mut section) = (String::new(), String::new());
    let (mut dependencies, mut for_tests) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            if let Some((kind, dependency)) = section.split_once("dependencies.") {
                let list = if kind.starts_with("dev-") { &mut for_tests } else { &mut dependencies };
                list.insert(dependency.to_owned());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim().split('.').next().unwrap().trim_matches('"').to_owned();
        match section.as_str() {
            "package" if key == "name" => name = value.trim().trim_matches('"').to_owned(),
            "dev-dependencies" => drop(for_tests.insert(key)),
            section if section.ends_with("dependencies") && !section.starts_with("workspace") => {
                dependencies.insert(key);
            }
            _ => {}
        }
    }
    Manifest { file, name, dependencies, for_tests }
}
