//! Plugin names: `scope/name`, each part `[a-z0-9][a-z0-9_-]*`. ASCII only, so nothing looks like something else.
//!
//! What a name may install is decided by the trust policy, not here.

use crate::problem::{Code, Problem};

/// Bound on each part of a name, so that names fit tags, file names and columns.
pub(super) const PART_BYTES_MAX: usize = 64;

/// The scope that a name without one belongs to.
pub const DEFAULT_SCOPE: &str = "iceos";

/// Refuses everything but `scope/name` (T018).
pub fn check_name(name: &str) -> Result<(), Problem> {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() == 2 && parts.iter().all(|part| is_part(part)) {
        return Ok(());
    }
    let shown = super::text::printable(name);
    // A letter of another script may look like `a`; its number does not.
    let foreign = name.chars().find(|c| !c.is_ascii()).map(|c| format!(", it holds U+{:04X}", u32::from(c)));
    Err(Problem::new(Code::T018, format!("`{shown}` is not a plugin name{}", foreign.unwrap_or_default()))
        .help("write `scope/name`; each part begins with `a-z` or `0-9` and goes on with `a-z`, `0-9`, `_`, `-`"))
}

fn is_part(part: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let rest = |byte: u8| first(byte) || byte == b'_' || byte == b'-';
    part.len() <= PART_BYTES_MAX && part.bytes().next().is_some_and(first) && part.bytes().all(rest)
}

/// Puts `iceos/` before a name without a scope.
pub fn qualified(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("{DEFAULT_SCOPE}/{name}") }
}

/// The part after the `/`.
pub fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Compares a new `name` with those that exist: T027 for one that only differs in `-` and `_`, T028 for one that is a
/// single letter away. The same name is no problem.
pub fn near_names<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for other in known.into_iter().filter(|other| *other != name) {
        if fold(name) == fold(other) {
            let message = format!("`{name}` reads the same as `{other}`, which exists");
            problems
                .push(Problem::new(Code::T027, message).help("choose a name that differs by more than `-` and `_`"));
        } else if distance(&fold(name), &fold(other)) == 1 {
            let message = format!("`{name}` is one letter away from `{other}`, which exists");
            problems.push(Problem::new(Code::T028, message).help("check that this is the one you mean, or rename it"));
        }
    }
    problems
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| *c != '-' && *c != '_').collect()
}

/// The candidate closest to `word`, when it is close enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (candidate, steps) =
        candidates.into_iter().map(|candidate| (candidate, distance(word, candidate))).min_by_key(|(_, n)| *n)?;
    (steps <= 1 + word.len() / 4).then_some(candidate)
}

/// Levenshtein distance with transposition of neighbours counted as one step (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut steps = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                steps = steps.min(rows[i - 2][j - 2] + 1);
            }
            row.push(steps);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
