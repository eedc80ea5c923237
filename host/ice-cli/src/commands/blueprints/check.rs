//! `ice blueprints check`.

use std::path::PathBuf;

use ice_core::problem::Exit;
use ice_engine::drawing::Drawing;
use serde_json::{Value, json};

use crate::commands::{Outcome, build};
use crate::config::Config;
use crate::deprecation;
use crate::output::Output;
use crate::wire::Host;

/// Check blueprints without running them
///
/// Everything that can be known before a run: form, ids, circles, templates, tools and agents that are not installed,
/// types that do not go together. Every problem of every file is printed, with line, column and a way out.
///
/// Example: ice blueprints check flows/*.yaml
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Blueprints in YAML or JSON; `-` reads standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let host = Host::open(config, output).await?;
    let mut problems = Vec::new();
    let mut good: Vec<Value> = Vec::new();
    for file in &args.files {
        let planned = match build::parse_file(file) {
            Ok(parsed) => host.engine.plan(&parsed).await,
            Err(found) => Err(found),
        };
        match planned {
            Ok(plan) => {
                deprecation::used(&host.catalog, None, &plan).iter().for_each(|problem| output.warn(problem));
                let outputs: Vec<&str> = plan.outputs.iter().map(|output| output.name.as_str()).collect();
                let nodes = Drawing::of(&plan).map(|drawing| drawing.kinds()).unwrap_or_default();
                good.push(json!({
                    "file": file, "name": plan.name, "digest": plan.digest.to_string(), "kinds": nodes,
                    "inputs": plan.input_schema.as_ref().map(|schema| schema.document()), "outputs": outputs,
                    "calls": plan.components.keys().collect::<Vec<_>>(),
                }));
            }
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(host.explain(problems));
    }
    let line = |row: &Value| format!("{}: good", row["file"].as_str().unwrap_or("-"));
    output.either(|| json!(good), || good.iter().map(line).collect());
    Ok(Exit::Done)
}
