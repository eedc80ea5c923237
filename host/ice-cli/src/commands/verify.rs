//! `ice verify`.

use ice_core::lock::Lock;
use ice_core::manifest::{printable, qualified};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::install::{check_pin, check_signers};
use ice_registry::store::StoreEntry;
use ice_registry::{Store, Trust};
use semver::Version;
use serde_json::json;

use crate::commands::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::project;
use crate::wire::{Layout, make_home, now};

/// Check every installed plugin again: signatures, every byte of every component, and what the lock says of it
///
/// Exits with 3 when one of them is not as it was signed or locked, or the lock lists one that is not there.
///
/// Example: ice verify
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; all of them by default
    names: Vec<String>,
}

struct Row {
    name: String,
    version: Version,
    problem: Option<Problem>,
}

pub(crate) fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    make_home(config).map_err(one)?;
    let layout = Layout(&config.home);
    let trust = Trust::open(&layout.trust()).map_err(one)?.at(now());
    let plugins = Store::open(&layout.plugins()).map_err(one)?;
    let lock = project::lock(config).map_err(one)?;
    let entries = plugins.list().map_err(one)?;
    let mut rows: Vec<Row> = entries.iter().map(|entry| installed(entry, &plugins, &trust, &lock)).collect();
    rows.extend(lost(&entries, &lock));
    let names: Vec<String> = args.names.iter().map(|name| qualified(name)).collect();
    if let Some(unknown) = names.iter().find(|name| !rows.iter().any(|row| row.name == **name)) {
        let problem = Problem::new(Code::R001, format!("`{}` is neither installed nor locked", printable(unknown)));
        return Err(one(problem.help("`ice list` shows what is there")));
    }
    rows.retain(|row| names.is_empty() || names.contains(&row.name));
    let value = |row: &Row| json!({ "name": row.name, "version": row.version, "ok": row.problem.is_none(), "problem": row.problem });
    output.either(|| json!(rows.iter().map(value).collect::<Vec<_>>()), || rows.iter().map(line).collect());
    if rows.is_empty() {
        output.note("nothing is installed");
    }
    Ok(if rows.iter().all(|row| row.problem.is_none()) { Exit::Done } else { Exit::Refused })
}

fn installed(entry: &StoreEntry, plugins: &Store, trust: &Trust, lock: &Lock) -> Row {
    let checked = plugins.check(entry, trust).and_then(|verified| match lock.get(&entry.name, &entry.version) {
        Some(locked) => check_pin(locked, &verified).and_then(|()| check_signers(locked, &verified)),
        None => Ok(()),
    });
    Row { name: entry.name.clone(), version: entry.version.clone(), problem: checked.err() }
}

/// What the lock lists and the store does not have.
fn lost(entries: &[StoreEntry], lock: &Lock) -> Vec<Row> {
    let there = |name: &str, version: &Version| entries.iter().any(|e| e.name == name && e.version == *version);
    let lost = lock.packages().iter().filter(|package| !there(&package.name, &package.version));
    lost.map(|package| {
        let problem = Problem::new(Code::R001, "the lock lists it, and the store does not have it")
            .help("`ice install --locked` fetches it");
        Row { name: package.name.clone(), version: package.version.clone(), problem: Some(problem) }
    })
    .collect()
}

fn line(row: &Row) -> String {
    match &row.problem {
        None => format!("ok      {} {}", row.name, row.version),
        Some(problem) if problem.code == Code::R001 => {
            format!("MISSING {} {}  [{}] {}", row.name, row.version, problem.code, problem.message)
        }
        Some(problem) => format!("BROKEN  {} {}  [{}] {}", row.name, row.version, problem.code, problem.message),
    }
}
