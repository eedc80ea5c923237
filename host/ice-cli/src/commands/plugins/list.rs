//! `ice plugins list`.

use ice_core::problem::{Exit, Problem};
use serde_json::json;

use crate::commands::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::wire::Installed;

pub(crate) fn run(config: &Config, output: &Output) -> Outcome {
    let installed = Installed::open(config).map_err(|problem| vec![problem])?;
    let entries = installed.plugins.list().map_err(|problem| vec![problem])?;
    let rows: Vec<Row> = entries
        .iter()
        .map(|entry| Row {
            name: &entry.name,
            version: entry.version.to_string(),
            verdict: installed.plugins.verified(entry, &installed.trust),
        })
        .collect();
    output.either(
        || json!(rows.iter().map(Row::value).collect::<Vec<_>>()),
        || rows.iter().flat_map(Row::lines).collect(),
    );
    if rows.is_empty() {
        output.note("no plugin is installed; `ice plugins sign` installs one");
    }
    Ok(Exit::Done)
}

struct Row<'a> {
    name: &'a str,
    version: String,
    verdict: Result<ice_registry::Verified<ice_core::manifest::Manifest>, Problem>,
}

impl Row<'_> {
    fn value(&self) -> serde_json::Value {
        let shared = json!({ "name": self.name, "version": self.version });
        let more = match &self.verdict {
            Ok(verified) => json!({
                "kind": verified.value().kind.as_str(),
                "description": verified.value().description,
                "signed_by": verified.signers(),
                "statement": verified.statement(),
                "offers": verified.value().components.iter().map(|part| &part.name).collect::<Vec<_>>(),
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
                let signers: Vec<String> =
                    verified.signers().iter().map(|signer| signer.hex()[..12].to_owned()).collect();
                let offers: Vec<&str> = manifest.components.iter().map(|part| part.name.as_str()).collect();
                vec![
                    format!(
                        "{} {} ({}), signed by {}",
                        self.name,
                        self.version,
                        manifest.kind.as_str(),
                        signers.join(", ")
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
