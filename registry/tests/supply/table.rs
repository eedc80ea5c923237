//! The threat model as one table: every attack of every world, what it ends with, and no row without one.
//!
//! Printed by `cargo test -p ice-registry --test supply the_threat_model -- --nocapture`: row, attack, code. Attacks are
//! written where their world is; each checks there that what it attacked is as before. What only another crate can show
//! is named with the test that shows it. Nothing here compiles a component: this crate cannot (`tests/it/tidy`).

mod messages;
mod page;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ice_core::problem::Problem;

use crate::{archive, attacks, index, install, network, publish, real};
use page::{ELSEWHERE, PAGE};

/// What an attack ends with that has to go through, because it is none.
pub(crate) const ACCEPTED: &str = "ok";

/// How a row is run: in a fresh world of its own.
type Run = Box<dyn Fn() -> Result<(), Problem> + Send + Sync>;

/// One attack.
pub(crate) struct Row {
    /// Its number on the page; 0 when it is not on it.
    pub(crate) row: u8,
    /// One per number.
    pub(crate) attack: &'static str,
    /// Name of the code, or [`ACCEPTED`].
    pub(crate) expected: &'static str,
    run: Run,
}

impl Row {
    /// An attack that must end with a problem of this name.
    pub(crate) fn refused(
        (row, attack, expected): (u8, &'static str, &'static str),
        run: impl Fn() -> Problem + Send + Sync + 'static,
    ) -> Self {
        Self { row, attack, expected, run: Box::new(move || Err(run())) }
    }

    /// Something that looks like an attack and must go through; panics when it does not.
    pub(crate) fn accepted(row: u8, attack: &'static str, run: impl Fn() + Send + Sync + 'static) -> Self {
        let run = Box::new(move || {
            run();
            Ok(())
        });
        Self { row, attack, expected: ACCEPTED, run }
    }
}

/// Words of a message that shows somebody how to live without a check.
const WAYS_OUT: [&str; 8] =
    ["skip", "disable", "insecure", "--no-verify", "turn off", "switch off", "ignore", "bypass"];

/// Everything that must not go through, in one list sorted by row.
fn rows() -> Vec<Row> {
    let worlds = [attacks::rows(), archive::rows(), install::rows(), publish::rows(), index::rows(), network::rows()];
    let mut rows: Vec<Row> = worlds.into_iter().flatten().chain(real::rows()).collect();
    rows.sort_by_key(|row| row.row);
    rows
}

/// A row that was run.
struct Done {
    row: Row,
    /// `Err` when an assertion of the attack itself failed.
    end: Result<Result<(), Problem>, ()>,
}

/// The whole table, run once for all tests that look at it. In a few threads, because some attacks wait for a deadline.
static TABLE: LazyLock<Vec<Done>> = LazyLock::new(|| {
    let (rows, next) = (rows(), AtomicUsize::new(0));
    let work = || {
        let mut ends = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::SeqCst);
            let Some(row) = rows.get(place) else { return ends };
            ends.push((place, catch_unwind(AssertUnwindSafe(|| (row.run)())).map_err(drop)));
        }
    };
    let mut ends: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    ends.sort_by_key(|(place, _)| *place);
    rows.into_iter().zip(ends).map(|(row, (_, end))| Done { row, end }).collect()
});

fn name(row: u8) -> String {
    if row == 0 { "-".to_owned() } else { row.to_string() }
}

/// The line of the table, and what is wrong with it.
fn judged(Done { row, end }: &Done) -> (String, Option<String>) {
    let place = format!("row {}, {}", name(row.row), row.attack);
    let (got, code) = match end {
        Err(()) => ("panicked", String::new()),
        Ok(Ok(())) => (ACCEPTED, String::new()),
        Ok(Err(problem)) => (problem.code.name(), problem.code.to_string()),
    };
    let line = format!("{:>3}  {:<76} {got:<15} {code}", name(row.row), row.attack);
    let text = end.as_ref().map(|end| end.as_ref().err().map_or_else(String::new, ToString::to_string));
    let text = text.unwrap_or_else(|()| "its own assertion failed, see above".to_owned());
    let way_out = WAYS_OUT.iter().find(|words| text.to_lowercase().contains(**words));
    let wrong = match way_out {
        Some(words) => Some(format!("{place}: a message suggests `{words}`: {text}")),
        None => (got != row.expected).then(|| format!("{place}: expected {}, got {got}: {text}", row.expected)),
    };
    (line, wrong)
}

/// What another crate shows: the test is there, under this name.
fn shown_elsewhere(row: u8, attack: &str, code: &str, file: &str, test: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.contains(&format!("fn {test}(")), "row {row}, {attack}: {file} has no test `{test}`");
    format!("{row:>3}  {attack:<76} {code:<15} {file}: {test}")
}

#[test]
fn the_threat_model_is_refused_row_by_row() {
    let mut lines: Vec<(u8, String)> = Vec::new();
    let mut wrong = Vec::new();
    for done in TABLE.iter() {
        let (line, failed) = judged(done);
        lines.push((done.row.row, line));
        wrong.extend(failed);
    }
    lines.extend(
        ELSEWHERE.iter().map(|(row, attack, code, file, test)| (*row, shown_elsewhere(*row, attack, code, file, test))),
    );
    lines.sort_by_key(|(row, _)| *row);
    let mut text = format!("row  {:<76} {:<15} number\n", "attack", "code");
    for (_, line) in &lines {
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    std::io::stdout().lock().write_all(text.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_threat_model_has_every_row_of_the_page_with_every_attack_it_lists() {
    let rows: Vec<u8> = PAGE.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, (1..=42).collect::<Vec<u8>>(), "the page has 42 rows");
    let all = rows_of_all();
    let mut seen = BTreeSet::new();
    for row in &all {
        assert!(seen.insert((row.0, row.1)), "row {}, {}: twice", row.0, row.1);
        assert!(row.0 <= 42, "{}", row.1);
    }
    let elsewhere = ELSEWHERE.iter().map(|(row, attack, code, ..)| (*row, *attack, *code));
    let all: BTreeSet<_> = all.into_iter().chain(elsewhere).collect();
    let listed = PAGE.iter().flat_map(|(row, attacks)| attacks.iter().map(|(attack, code)| (*row, *attack, *code)));
    let missing: Vec<String> = listed.filter(|listed| !all.contains(listed)).map(|l| format!("{l:?}")).collect();
    assert!(missing.is_empty(), "the page lists, and nobody tries:\n{}", missing.join("\n"));
}

/// Row, attack, what is expected; nothing is run.
fn rows_of_all() -> Vec<(u8, &'static str, &'static str)> {
    rows().iter().map(|row| (row.row, row.attack, row.expected)).collect()
}
