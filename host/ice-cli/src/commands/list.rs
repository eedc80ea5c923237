//! `ice list`.

use ice_core::problem::{Code, Exit, Problem};
use serde_json::json;

use crate::commands::Outcome;
use crate::config::Config;
use crate::deprecation;
use crate::output::Output;
use crate::wire::Installed;

/// List installed plugins, and whether the lock lists them
///
/// Example: ice list
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: Args, config: &Config, output: &Output) -> Outcome {
    let installed = Installed::open(config)?;
    let entries = installed.plugins.list().map_err(|problem| vec![problem])?;
    let rows: Vec<Row> = entries
        .iter()
        .map(|entry| Row {
            name: &entry.name,
            version: entry.version.to_string(),
            locked: entry.statement.is_some_and(|statement| installed.lock.covers(&statement)),
            verdict: installed.plugins.verified(entry, &installed.trust),
        })
        .collect();
    output.either(
        || json!(rows.iter().map(Row::value).collect::<Vec<_>>()),
        || rows.iter().flat_map(Row::lines).collect(),
    );
    // What the lock lists and the store lost is no row of the store.
    installed.problems.iter().filter(|problem| problem.code == Code::R001).for_each(|problem| output.warn(problem));
    for verified in rows.iter().filter_map(|row| row.verdict.as_ref().ok()) {
        deprecation::offered(verified.value()).iter().for_each(|problem| output.warn(problem));
    }
    if rows.is_empty() {
        output.note("no plugin is installed; `ice install NAME` fetches one, `ice plugins sign` takes one of your own");
    }
    Ok(Exit::Done)
}

struct Row<'a> {
    name: &'a str,
    version: String,
    locked: bool,
    verdict: Result<ice_registry::Verified<ice_core::manifest::Manifest>, Problem>,
}

impl Row<'_> {
    fn value(&self) -> serde_json::Value {
        let shared = json!({ "name": self.name, "version": self.version, "locked": self.locked });
        let more = match &self.verdict {
            Ok(verified) => json!({
                "kind": verified.value().kind.as_str(),
                "description": verified.value().description,
                "signed_by": verified.signers(),
                "statement": verified.statement(),
                "offers": verified.value().components.iter().map(|part| &part.name).collect::<Vec<_>>(),
                "deprecated": verified
                    .value()
                    .components
                    .iter()
                    .filter_map(|part| Some((part.name.clone(), json!(part.deprecated.as_ref()?))))
                    .collect::<serde_json::Map<_, _>>(),
            }),
            Err(problem) => json!({ "problem": problem }),
        };
        let mut row = shared.as_object().cloned().unwrap_or_default();
        row.extend(more.as_object().cloned().unwrap_or_default());
        row.into()
    }

    fn lines(&self) -> Vec<String> {
        match &self.verdict {
            Ok(verified) => {
                let manifest = verified.value();
                let signers: Vec<String> = verified.signers().iter().map(|signer| signer.short()).collect();
                let offers: Vec<&str> = manifest.components.iter().map(|part| part.name.as_str()).collect();
                vec![
                    format!(
                        "{} {} ({}), signed by {}{}",
                        self.name,
                        self.version,
                        manifest.kind.as_str(),
                        signers.join(", "),
                        if self.locked { "" } else { ", not in the lock" }
                    ),
                    format!("  {}", offers.join(", ")),
                ]
            }
            Err(problem) => {
                vec![format!("{} {} REFUSED [{}] {}", self.name, self.version, problem.code, problem.message)]
            }
        }
    }
}
