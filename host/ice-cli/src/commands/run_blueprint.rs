//! `ice run-blueprint`.

use std::path::PathBuf;

use serde_json::Value;

use super::Outcome;
use super::cassette::CassetteArgs;
use super::inputs::InputArgs;
use crate::config::Config;
use crate::deprecation;
use crate::output::Output;
use crate::view;
use crate::wire::Host;

/// Run a blueprint from a file
///
/// The blueprint is YAML or JSON. It is checked whole first; every problem is printed with line, column and a way
/// out. Outputs go to standard output, progress to standard error.
///
/// Example: ice run-blueprint report.yaml --input city=Oslo --json
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The blueprint; `-` reads standard input
    file: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// Names the conversation that memory tools see
    #[arg(long)]
    session: Option<String>,
    /// How many nodes run at once; the blueprint's own number by default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: Option<u32>,
    #[command(flatten)]
    cassette: CassetteArgs,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let mut parsed = super::build::parse_file(&args.file)?;
    if let Some(max_parallel) = args.max_parallel {
        parsed.blueprint.max_parallel = max_parallel;
    }
    let inputs = args.inputs.read()?;
    let tape = args.cassette.open()?;
    let host = Host::open_taped(config, output, tape.cassette()).await?;
    let plan = host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    deprecation::used(&host.catalog, None, &plan).iter().for_each(|problem| output.warn(problem));
    let start = host.start(plan, Value::Object(inputs), args.session);
    host.engine.warnings(&start).await.iter().for_each(|problem| output.warn(problem));
    let handle = host.engine.start(start).await?;
    let outcome = view::follow(handle, &host, output).await;
    tape.finish(outcome, output)
}
