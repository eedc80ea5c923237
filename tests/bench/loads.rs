//! From the bytes of a component to the answer of its first call, each time in a runtime that has never seen it: with
//! nothing on disk, where it is compiled and kept, and with compiled code on disk, which is authenticated and loaded.
//!
//! Starting the runtime itself does not count; hashing the bytes is measured where they are verified.

use std::path::PathBuf;
use std::time::Duration;

use crate::calls::one;
use crate::figures::{Figures, percentile_us};
use crate::ports::{AGGREGATOR_TOOL, Alone, aggregator_bytes, runtime_of};

/// Compiling takes a good part of a second.
const COLD_RUNS: usize = 5;
const WARM_RUNS: usize = 20;

/// Adds both ways, and what a second call takes in the same runtime.
pub(crate) async fn measure(figures: &mut Figures) {
    let bytes = aggregator_bytes();
    let of = format!("first call of a component of {} KiB", bytes.len() >> 10);
    let mut cold = Vec::new();
    for _ in 0..COLD_RUNS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (first, _, from_disk) = first_and_second(&bytes, folder.path().join("aot")).await;
        assert_eq!(from_disk, 0, "nothing was there");
        cold.push(first);
    }
    add(figures, &format!("**ice** {of}, nothing compiled before, ms"), cold);
    let folder = tempfile::tempdir().expect("a temporary folder");
    first_and_second(&bytes, folder.path().join("aot")).await;
    let (mut warm, mut next) = (Vec::new(), Vec::new());
    for _ in 0..WARM_RUNS {
        let (first, second, from_disk) = first_and_second(&bytes, folder.path().join("aot")).await;
        assert_eq!(from_disk, 1, "compiled code was found");
        warm.push(first);
        next.push(second);
    }
    add(figures, &format!("**ice** {of}, compiled code on disk, ms"), warm);
    add(figures, "**ice** second call of it, ms", next);
}

/// Two calls in a new runtime, and how often compiled code was found on disk.
async fn first_and_second(bytes: &[u8], cache: PathBuf) -> (Duration, Duration, u64) {
    let runtime = runtime_of(AGGREGATOR_TOOL, bytes.to_vec(), Some(cache)).await;
    let scope = Alone::new();
    let (first, second) = (one(&runtime, &scope).await, one(&runtime, &scope).await);
    (first, second, runtime.cache_counts().from_disk)
}

fn add(figures: &mut Figures, row: &str, mut took: Vec<Duration>) {
    for (column, percent) in [("median", 50), ("best", 0), ("worst", 100)] {
        figures.add("supply", row, column, percentile_us(&mut took, percent) / 1e3);
    }
}
