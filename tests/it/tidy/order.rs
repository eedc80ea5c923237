//! What may lie where, how long a file may be, and what must not stand in it.

use std::fs;

use super::checkout::{code, files, has_word, is_tidy, none, read, root, texts};

/// What may lie at the top of the checkout.
const TOP: &[&str] = &[
    ".ci",
    ".dockerignore",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    ".rustfmt.toml",
    "clippy.toml",
    "deny.toml",
    "docker-compose.yml",
    "host",
    "manifests",
    "plugins",
    "registry",
    "sdk",
    "tests",
    "wit",
];

/// Words that say nothing about a thing, in the pieces in which names are written.
const EMPTY_WORDS: &[&str] = &["manager", "helper", "helpers", "util", "utils", "common", "service", "processor"];

/// A file beyond this is split by responsibility, or says in its first lines why not.
const LINES_MAX: usize = 500;

#[test]
fn nothing_else_lies_at_the_top() {
    let ignored = read(".gitignore");
    let mut findings = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !TOP.contains(&name.as_str()) && !ignored.lines().any(|line| line.trim_matches('/') == name) {
            findings.push(name);
        }
    }
    none(findings, "Move it into a folder of the house, or ignore it in .gitignore when a build makes it.");
}

#[test]
fn long_files_say_why() {
    let mut findings = Vec::new();
    for (name, text) in texts(&[".rs"]) {
        let lines = text.lines().count();
        if lines > LINES_MAX && !text.lines().take(20).any(|line| line.starts_with("// Long because: ")) {
            findings.push(format!("{name}: {lines} lines"));
        }
    }
    none(findings, "Split the file by responsibility, or begin it with `// Long because: …`.");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TODO", "FIXME", "XXX", "todo!", "unimplemented!", "dbg!"];
    let mut findings = Vec::new();
    for (name, text) in texts(&[".rs", ".wit", ".md", ".toml", ".yaml", ".yml", "Makefile", ".sh", ".sql"]) {
        if is_tidy(&name) || name.starts_with("wit/deps/wasi-") || name.ends_with("Cargo.toml") {
            continue;
        }
        let lines = text.lines().enumerate().filter(|(_, line)| marks.iter().any(|mark| has_mark(line, mark)));
        findings.extend(lines.map(|(index, line)| format!("{name}:{}: {}", index + 1, line.trim())));
    }
    none(findings, "Do it now, or leave it out: what is not done has no mark in the sources.");
}

/// A word, or a macro's name with its `!` in front of a bracket.
fn has_mark(line: &str, mark: &str) -> bool {
    match mark.strip_suffix('!') {
        Some(_) => ["(", "[", "{"].iter().any(|bracket| has_start(line, &format!("{mark}{bracket}"))),
        None => has_word(line, mark),
    }
}

fn has_start(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn names_say_something() {
    let mut findings = Vec::new();
    let ours =
        |name: &str| ["host/", "registry/", "sdk/", "plugins/", "tests/"].iter().any(|top| name.starts_with(top));
    for name in files().into_keys().filter(|name| ours(name)) {
        let empty = name.split(['/', '.', '_', '-']).any(|piece| EMPTY_WORDS.contains(&piece));
        findings.extend(empty.then_some(name));
    }
    for (name, text) in texts(&[".rs"]).into_iter().filter(|(name, _)| ours(name)) {
        for (number, line) in code(&text) {
            let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
            let declared = kinds.iter().find_map(|kind| {
                line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix(kind)
            });
            if declared
                .is_some_and(|declared| pieces(declared).iter().any(|piece| EMPTY_WORDS.contains(&piece.as_str())))
            {
                findings.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none(findings, "Name what it is or does; these words fit everything.");
}

/// The words of a name in camel case.
fn pieces(declared: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for c in declared.chars().take_while(|c| c.is_alphanumeric() || *c == '_') {
        match pieces.last_mut() {
            Some(piece) if !c.is_uppercase() => piece.push(c),
            _ => pieces.push(c.to_lowercase().collect()),
        }
    }
    pieces
}

#[test]
fn nothing_listens_to_everybody() {
    let mut findings = Vec::new();
    for (name, text) in texts(&[".rs", ".yml", ".yaml", ".toml", ".md", "Makefile", "Dockerfile", ".sh"]) {
        if is_tidy(&name) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            let address = ["0.0.0.0:", "[::]:"].iter().any(|open| line.contains(open));
            let bound = line.contains("bind") && (line.contains("UNSPECIFIED") || line.contains("\"0.0.0.0\""));
            let published = name.ends_with("docker-compose.yml")
                && line.trim_start().starts_with("ports:")
                && line.split('"').skip(1).step_by(2).any(|port| !port.starts_with("127.0.0.1:"));
            if address || bound || published {
                findings.push(format!("{name}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    none(findings, "Listen on and publish to 127.0.0.1; whoever wants more says so in a setting.");
}

#[test]
fn the_project_stands_on_its_own() {
    let mut findings = Vec::new();
    for (name, path) in files().into_iter().filter(|(name, _)| !is_tidy(name)) {
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        let lines = text.lines().enumerate().filter(|(_, line)| line.contains("../shared") || line.contains("/work/"));
        findings.extend(lines.map(|(index, line)| format!("{name}:{}: {}", index + 1, line.trim())));
    }
    none(findings, "Say it here instead of pointing outside the checkout.");
}
