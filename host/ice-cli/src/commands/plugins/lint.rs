//! `ice plugins lint`.

use std::path::PathBuf;

use ice_core::manifest::{Manifest, lint, parse_strict};
use ice_core::problem::{Exit, Problem};
use serde_json::json;

use crate::commands::Outcome;
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::unlisted_before;

/// Say what an author should mend before signing
///
/// Also fails when the last run of this home called plugins that no lock lists: what is signed next to them was tested
/// with something that nobody else has.
///
/// Example: ice plugins lint manifests/kits/csv.json
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The manifests
    #[arg(required = true)]
    manifests: Vec<PathBuf>,
}

pub(crate) fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let mut problems = unlisted_before(config);
    for path in &args.manifests {
        let found = match read(path) {
            Ok(manifest) => lint(&manifest, []),
            Err(more) => more,
        };
        let place = path.display().to_string();
        problems.extend(found.into_iter().map(|problem| problem.file(place.clone())));
    }
    if problems.is_empty() {
        output.either(|| json!({ "problems": [] }), || vec!["nothing to mend".to_owned()]);
        return Ok(Exit::Done);
    }
    Err(problems)
}

/// Reads a manifest as a person keeps it: any JSON layout, no duplicate keys.
pub(super) fn read(path: &std::path::Path) -> Result<Manifest, Vec<Problem>> {
    let bytes = files::read(path).map_err(|problem| vec![problem])?;
    let document = parse_strict(&bytes).map_err(|problem| vec![problem.file(path.display().to_string())])?;
    Manifest::from_value(&document)
}
