//! What trust costs, as lines for the tables of `tests/bench`: table, row, column and value with tabs between them.
//! `cargo run --release -p ice-registry --example supply -- [ICE]`, where ICE is the program of the same build.
//!
//! Verifying runs in memory; installing goes through a real docker-registry on 127.0.0.1, into a clean home each time,
//! with the components that `make plugins` built. Judges nothing. Refreshing an index is in `index_refresh`.

#[path = "supply/installing.rs"]
mod installing;
#[path = "../../tests/registries/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "tests use more of it, and stop where they cannot go on")]
mod registries;
#[path = "supply/verifying.rs"]
mod verifying;

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use ice_core::problem::Problem;

/// What every measurement may end with.
type Done<T> = Result<T, Box<dyn Error>>;

/// 2026-12-01T00:00:00Z.
const NOW: u64 = 1_796_083_200;

fn main() -> Done<()> {
    verifying::measure()?;
    installing::measure(std::env::args_os().nth(1).as_deref())
}

/// Runs it so often and keeps how long each took; the answers are dropped outside of the time.
fn times<T>(count: usize, mut run: impl FnMut() -> Done<T>) -> Done<Vec<Duration>> {
    (0..count)
        .map(|_| {
            let began = Instant::now();
            let answer = run()?;
            let took = began.elapsed();
            drop(answer);
            Ok(took)
        })
        .collect()
}

/// One row: the median, the best and the worst of what `value` makes of the times.
fn row(name: &str, mut took: Vec<Duration>, value: impl Fn(Duration) -> f64) -> Done<()> {
    took.sort();
    let mut out = std::io::stdout().lock();
    for (column, at) in [("median", (took.len() - 1) / 2), ("best", 0), ("worst", took.len() - 1)] {
        writeln!(out, "supply\t{name}\t{column}\t{}", value(took[at]))?;
    }
    Ok(())
}

/// All of them, as one.
fn told(problems: Vec<Problem>) -> Box<dyn Error> {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").into()
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
