//! `ice plugins verify`.

use ice_core::problem::{Exit, Problem};
use ice_registry::{Store, Trust};
use serde_json::json;

use crate::commands::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::wire::{Layout, make_home};

/// Check every installed plugin again: signatures, and every byte of every component
///
/// Exits with 3 when one of them is not as it was signed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; all of them by default
    names: Vec<String>,
}

pub(crate) fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    make_home(config).map_err(one)?;
    let layout = Layout(&config.home);
    let trust = Trust::open(&layout.trust()).map_err(one)?;
    let plugins = Store::open(&layout.plugins()).map_err(one)?;
    let wanted = |name: &str| {
        args.names.is_empty() || args.names.iter().any(|asked| ice_core::manifest::qualified(asked) == name)
    };
    let mut rows = Vec::new();
    for entry in plugins.list().map_err(one)?.into_iter().filter(|entry| wanted(&entry.name)) {
        let problem = plugins.check(&entry, &trust).err();
        rows.push((entry, problem));
    }
    output.either(
        || {
            json!(
                rows.iter()
                    .map(|(entry, problem)| json!({
                        "name": entry.name, "version": entry.version, "ok": problem.is_none(), "problem": problem,
                    }))
                    .collect::<Vec<_>>()
            )
        },
        || {
            rows.iter()
                .map(|(entry, problem)| match problem {
                    None => format!("ok      {} {}", entry.name, entry.version),
                    Some(problem) => {
                        format!("BROKEN  {} {}  [{}] {}", entry.name, entry.version, problem.code, problem.message)
                    }
                })
                .collect()
        },
    );
    Ok(if rows.iter().all(|(_, problem)| problem.is_none()) { Exit::Done } else { Exit::Refused })
}
