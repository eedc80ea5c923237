//! What a person reads of an attack: what was checked, what was expected and what came, where, and what to do next.
//! The snapshot has one message for each code; `UPDATE_EXPECT=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ice_core::problem::Problem;

use super::{Done, TABLE};

/// Words that a message of this code has to have: it compares two things, and says both.
const COMPARES: &[(&str, [&str; 2])] = &[
    ("E_DIGEST", ["expected ", "got "]),
    ("E_PAYLOAD", ["expected ", "got "]),
    ("E_STORE", ["expected ", "got "]),
    ("E_LOCK", ["expected ", "got "]),
    ("E_NAME", ["asked for ", "is of "]),
    ("E_ROLLBACK", ["sequence ", "was seen before"]),
    ("E_THRESHOLD", [" of ", " needed keys"]),
    ("E_STALE", ["expired on ", "it is "]),
    ("E_CLOCK", ["was issued ", "the clock says "]),
];

fn problems() -> impl Iterator<Item = (&'static Done, &'static Problem)> {
    TABLE.iter().filter_map(|done| done.end.as_ref().ok()?.as_ref().err().map(|problem| (done, problem)))
}

/// Replaces what stands behind `mark` for as long as it is made of such characters.
fn after(text: &str, mark: &str, is_part: impl Fn(char) -> bool, put: &str) -> String {
    let mut parts = text.split(mark);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |steady, part| format!("{steady}{mark}{put}{}", part.trim_start_matches(&is_part)))
}

/// The message without what differs from run to run: temporary folders, ports, names of files in quarantine.
fn steady(problem: &Problem) -> String {
    let folder = std::env::temp_dir().display().to_string();
    let text = problem.to_string().replace(&format!("{folder}/.tmp"), "/HOME-");
    let text = after(&text, "/HOME-", |c| c.is_ascii_alphanumeric(), "1").replace("/HOME-1", "HOME");
    let text = after(&text, "127.0.0.1:", |c| c.is_ascii_digit(), "PORT");
    after(&text, "/quarantine/", |c| c.is_ascii_hexdigit() || c == '-', "FILE")
}

#[test]
fn every_code_of_the_threat_model_has_a_message_as_in_the_snapshot() {
    let expected = || problems().filter(|(done, problem)| done.row.expected == problem.code.name());
    let mut first: BTreeMap<String, &Problem> = BTreeMap::new();
    // Those of the page before the others.
    for (_, problem) in expected().filter(|(done, _)| done.row.row > 0).chain(expected()) {
        first.entry(problem.code.to_string()).or_insert(problem);
    }
    let snapshot: String = first.values().map(|problem| format!("{}\n\n", steady(problem))).collect();
    std::io::stdout().lock().write_all(snapshot.as_bytes()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/supply/table/messages.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &snapshot).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap_or_default() == snapshot, "{} says otherwise", path.display());
    for (name, words) in COMPARES {
        let found = first.values().find(|problem| problem.code.name() == *name);
        let text = found.unwrap_or_else(|| panic!("no message of {name}")).to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{name} does not say {words:?}: {text}");
    }
}

#[test]
fn every_message_of_the_threat_model_is_one_sentence_with_a_way_on() {
    let mut wrong = Vec::new();
    for (done, problem) in problems() {
        let begins = problem.message.chars().next().is_some_and(|c| !c.is_uppercase());
        let ends = problem.message.ends_with(|c: char| !matches!(c, '.' | '!' | '\n'));
        let help = problem.help.as_deref().is_some_and(|help| help.len() > 8);
        if !(begins && ends && help) {
            wrong.push(format!("row {}, {}: {problem}", done.row.row, done.row.attack));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Commands as the generated page of the command line has them.
fn commands() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/docs/cli.md");
    let text = std::fs::read_to_string(page).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Also those that no attack of the table brings up.
#[test]
fn every_command_that_a_message_names_exists() {
    let (commands, mut files, mut wrong) = (commands(), Vec::new(), Vec::new());
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        for said in text.split("`ice ").skip(1).filter_map(|rest| rest.split('`').next()) {
            let mut command = "ice".to_owned();
            for word in said.split_whitespace() {
                let next = format!("{command} {word}");
                let groups = commands.iter().any(|known| known.starts_with(&format!("{command} ")));
                if !groups || !word.starts_with(|c: char| c.is_ascii_lowercase()) {
                    break;
                }
                if !commands.contains(&next) {
                    wrong.push(format!("{}: `ice {said}`", file.display()));
                    break;
                }
                command = next;
            }
        }
    }
    assert!(wrong.is_empty(), "not in host/docs/cli.md, which `ice docs` writes:\n{}", wrong.join("\n"));
}
