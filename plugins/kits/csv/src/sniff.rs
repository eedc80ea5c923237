//! Finds the delimiter, and whether the first row is a header.

use crate::kinds::{self, Kind};

/// Candidates, the likeliest first: on a tie the earlier one is taken.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Enough rows to see a pattern, few enough to cost nothing.
const LINES: usize = 20;

/// Returns the delimiter that splits the first lines most evenly: the one that most lines have as often as the first
/// line has it, and of those the one it has most often.
pub(crate) fn delimiter(text: &str) -> u8 {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(LINES).collect();
    let score = |&mark: &u8| {
        let first = lines.first().map_or(0, |line| count(line, mark));
        let even = lines.iter().filter(|line| first > 0 && count(line, mark) == first).count();
        (even, first)
    };
    let mut best = DELIMITERS[0];
    for mark in DELIMITERS {
        if score(&mark) > score(&best) {
            best = mark;
        }
    }
    best
}

/// Counts a mark outside quotes.
fn count(line: &str, mark: u8) -> usize {
    let mut quoted = false;
    let mut found = 0;
    for byte in line.bytes() {
        if byte == b'"' {
            quoted = !quoted;
        } else if byte == mark && !quoted {
            found += 1;
        }
    }
    found
}

/// Whether a row reads like names: every cell has text that is no number, date or boolean, and no name comes twice.
pub(crate) fn is_header(cells: &[String]) -> bool {
    let is_name = |cell: &String| kinds::widen(None, cell) == Some(Kind::String);
    cells.iter().all(is_name) && cells.iter().enumerate().all(|(at, cell)| !cells[..at].contains(cell))
}

/// Column names from a header: an empty one is numbered, a repeated one gets a number behind it.
pub(crate) fn names(cells: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(cells.len());
    for (at, cell) in cells.iter().enumerate() {
        let wanted = if cell.is_empty() { format!("column_{}", at + 1) } else { cell.clone() };
        let mut name = wanted.clone();
        let mut copy = 1;
        while names.contains(&name) {
            copy += 1;
            name = format!("{wanted}_{copy}");
        }
        names.push(name);
    }
    names
}

/// `column_1`, `column_2`, …
pub(crate) fn numbers(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("column_{number}")).collect()
}
