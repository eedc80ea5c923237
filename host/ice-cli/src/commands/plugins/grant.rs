//! `ice plugins grants` and `ice plugins grant`: what plugins ask for, what they may do.

use std::collections::BTreeMap;

use ice_core::grant::{Grant, widens};
use ice_core::lock::{Lock, LockedPackage, permitted_words};
use ice_core::manifest::{Manifest, qualified};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::catalog::permitted;
use serde_json::json;

use crate::commands::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::project;
use crate::wire::{Installed, make_home, refuse_dynamic};

/// Show what plugins ask for and what they may do
#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    /// Which; all of them by default
    names: Vec<String>,
}

/// Permit a plugin something
///
/// A plugin may do what it asks for in its manifest and what is permitted here, both; nothing by default. Settings
/// add to what is there; an empty value (`http=`) takes everything of that kind away.
///
/// Example: ice plugins grant iceos/web 'http=GET https://api.example.com/v1/*'
/// Example: ice plugins grant iceos/memory --requested
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The plugin
    #[arg(required_unless_present = "all")]
    name: Option<String>,
    /// `http=METHOD URL`, `llm.models=NAME`, `memory.read=SCOPE`, `memory.write=SCOPE`, `secrets.NAME=HOST`,
    /// `tools=NAME`, `executions=true`, `limits.memory_mb=N`, …
    #[arg(value_name = "KEY=VALUE", required_unless_present = "requested")]
    settings: Vec<String>,
    /// Everything the manifest asks for
    #[arg(long)]
    requested: bool,
    /// Every installed plugin, with `--requested`
    #[arg(long, requires = "requested", conflicts_with_all = ["name", "settings"])]
    all: bool,
}

/// What every installed plugin asks for.
fn requests(installed: &Installed) -> Result<BTreeMap<String, Grant>, Problem> {
    let mut requests = BTreeMap::new();
    for entry in installed.plugins.list()? {
        let Ok(verified) = installed.plugins.verified(&entry, &installed.trust) else { continue };
        requests.insert(entry.name, verified.value().asks());
    }
    Ok(requests)
}

pub(crate) fn show(args: ShowArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let installed = Installed::open(config)?;
    let wanted: Vec<String> = args.names.iter().map(|name| qualified(name)).collect();
    let mut requests = requests(&installed).map_err(one)?;
    requests.retain(|name, _| wanted.is_empty() || wanted.contains(name));
    if let Some(unknown) = wanted.iter().find(|name| !requests.contains_key(*name)) {
        return Err(vec![unknown_plugin(unknown)]);
    }
    let nothing = Grant::default();
    output.either(
        || {
            json!(
                requests
                    .iter()
                    .map(|(name, asked)| {
                        let granted = permitted(name, &installed.trust, &config.grants).intersect(asked);
                        json!({ "name": name, "asks": asked, "may": granted })
                    })
                    .collect::<Vec<_>>()
            )
        },
        || {
            let mut lines = Vec::new();
            for (name, asked) in &requests {
                let granted = permitted(name, &installed.trust, &config.grants).intersect(asked);
                lines.push(name.clone());
                lines.extend(widens(&nothing, &granted).into_iter().map(|line| format!("  may        {line}")));
                lines.extend(widens(&granted, asked).into_iter().map(|line| format!("  asks also  {line}")));
            }
            lines
        },
    );
    Ok(Exit::Done)
}

pub(crate) fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    refuse_dynamic(config).map_err(one)?;
    make_home(config).map_err(one)?;
    let _changing = project::begin(config, output).map_err(one)?;
    let requests = requests(&Installed::open(config)?).map_err(one)?;
    let names: Vec<String> = match &args.name {
        Some(name) => vec![qualified(name)],
        None => requests.keys().cloned().collect(),
    };
    let mut changes = Vec::new();
    let mut problems = Vec::new();
    for name in names {
        let Some(asked) = requests.get(&name) else {
            problems.push(unknown_plugin(&name));
            continue;
        };
        let before = config.grants.get(&name).cloned().unwrap_or_default();
        let mut after = if args.requested { Grant { limits: before.limits, ..asked.clone() } } else { before.clone() };
        problems.extend(args.settings.iter().filter_map(|setting| after.set(setting).err()));
        let idle = widens(asked, &after);
        for line in idle {
            output.note(&format!("note: `{name}` does not ask for this, so it has no effect: {line}"));
        }
        changes.push((name, before, after));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let grants = changes.iter().map(|(name, _, after)| (name.clone(), after.clone())).collect();
    project::write_grants(config, &grants).map_err(one)?;
    let installed = Installed::open(config)?;
    project::write_lock(config, &regranted(&installed, &grants)).map_err(one)?;
    for (name, before, after) in &changes {
        let wider = widens(before, after);
        if !wider.is_empty() {
            output.note(&format!("{name} may now"));
            wider.iter().for_each(|line| output.note(&format!("  {line}")));
        }
    }
    if output.json() {
        output.value(&json!(
            changes.iter().map(|(name, _, after)| json!({ "name": name, "may": after })).collect::<Vec<_>>()
        ));
    }
    Ok(Exit::Done)
}

/// The lock says what may be done, too.
fn regranted(installed: &Installed, grants: &BTreeMap<String, Grant>) -> Lock {
    let mut lock = installed.lock.clone();
    for package in installed.lock.packages() {
        let Some(operator) = grants.get(&package.name) else { continue };
        let granted = locked_manifest(installed, package).map(|manifest| permitted_words(operator, &manifest));
        lock.insert(LockedPackage { granted: granted.unwrap_or_default(), ..package.clone() });
    }
    lock
}

fn locked_manifest(installed: &Installed, package: &LockedPackage) -> Option<Manifest> {
    let entries = installed.plugins.list().unwrap_or_default();
    let entry = entries.iter().find(|entry| entry.name == package.name && entry.version == package.version)?;
    installed.plugins.verified(entry, &installed.trust).ok().map(|verified| verified.value().clone())
}

fn unknown_plugin(name: &str) -> Problem {
    Problem::new(Code::R001, format!("no plugin `{name}` is installed and verified"))
        .help("`ice list` shows those that are")
}
