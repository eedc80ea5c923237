//! Measures this house in one run beside the floor and the peers, and prints Markdown. Run by `make bench`.
//!
//! Reading order: this file; `figures.rs` collects and renders, `goals.rs` compares; `graphs.rs` and `scale.rs` measure
//! the engine, `calls.rs` calls of a component, `loads.rs` the way to the first one, `starts.rs` whole processes;
//! `ports.rs` is the outside they need.
//! What is measured by other programs (bare wasmtime, the store, the supply chain, peers) comes as files from
//! `tests/bench/run`. Judges nothing and fails on no number.

mod calls;
mod figures;
mod goals;
mod graphs;
mod loads;
mod ports;
mod scale;
mod starts;

use std::io::{Error, Write};
use std::path::{Path, PathBuf};

use figures::Figures;

fn main() -> Result<(), Error> {
    let Some(folder) = std::env::var_os("ICE_BENCH_DIR").map(PathBuf::from) else {
        return Err(Error::other("`ICE_BENCH_DIR` is not set: run `make bench`, which prepares it"));
    };
    let mut figures = Figures::default();
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Cargo adds flags of its own.
    if let Some(part) = std::env::args().skip(1).find(|word| !word.starts_with('-')) {
        tokio.block_on(scale::part(&part, &mut figures, &folder))?;
        return write!(std::io::stdout().lock(), "{}", figures.lines());
    }
    scale::processes(&mut figures)?;
    tokio.block_on(async {
        graphs::measure(&mut figures, &folder).await;
        scale::measure(&mut figures, &folder).await;
        calls::measure(&mut figures).await;
        loads::measure(&mut figures).await;
    });
    // Guests' threads must not run beside the processes that are timed next.
    drop(tokio);
    starts::measure(&mut figures, &folder)?;
    for name in ["floor.tsv", "supply.tsv", "api.tsv", "peers.tsv"] {
        figures.read(&text(&folder, name)?);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text(&folder, "about.md")?)?;
    writeln!(out, "{}", goals::render(&figures))?;
    writeln!(out, "{}", figures.render())?;
    writeln!(out, "{}", figures::store(&text(&folder, "store.txt")?))
}

fn text(folder: &Path, name: &str) -> Result<String, Error> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).map_err(|error| Error::other(format!("cannot read `{}`: {error}", path.display())))
}
