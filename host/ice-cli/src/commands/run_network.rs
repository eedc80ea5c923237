//! `ice run-network`.

use std::path::PathBuf;

use ice_core::problem::Exit;
use serde_json::{Value, json};

use super::cassette::CassetteArgs;
use super::inputs::InputArgs;
use super::{Outcome, schedules};
use crate::config::Config;
use crate::output::Output;
use crate::view::watch::{self, Report, Stay};
use crate::wire::Host;
use crate::{deprecation, networks};

/// Run a network: a system of blueprints in one file
///
/// A network names blueprints (files beside it, bundle entries, stored blueprints), what comes after what, and when it
/// runs. It runs as one execution. Every problem is printed with line, column and a way out before anything starts.
///
/// It is shown as `ice run` shows a blueprint: as a tree on a terminal, elsewhere and with `--json` as JSON lines, every
/// event and at last `{"event": "result", …}`.
///
/// Example: ice run-network news.yaml --input city=Oslo --json
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The network
    file: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// Names the conversation that memory tools see
    #[arg(long)]
    session: Option<String>,
    /// Only check it, and everything it names
    #[arg(long, conflicts_with = "schedule")]
    check: bool,
    /// Do not run it now; write its schedules, replacing those it had
    #[arg(long)]
    schedule: bool,
    /// Stay while it waits for answers
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    cassette: CassetteArgs,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let source = networks::read(&args.file)?;
    let tape = args.cassette.open()?;
    let host = Host::open_taped(config, output, tape.cassette()).await?;
    let parsed = source.blueprint(&[])?;
    let plan = host.engine.plan(&parsed).await;
    let plan = plan.map_err(|problems| host.explain(source.locate(&[], problems)))?;
    deprecation::used(&host.catalog, None, &plan).iter().for_each(|problem| output.warn(problem));
    let network = &source.network;
    if args.check {
        output.either(
            || json!({"network": network.name, "members": network.members.len(), "schedules": network.schedules.len()}),
            || {
                let (members, schedules) = (network.members.len(), network.schedules.len());
                vec![format!("{}: {members} members, {schedules} schedules, no problems", network.name)]
            },
        );
        return Ok(Exit::Done);
    }
    let inputs = args.inputs.read()?;
    if args.schedule {
        return schedules::apply(&source, &args.file, inputs, &host, config, output).await;
    }
    let steps = plan.steps();
    let start = host.start(plan, Value::Object(inputs), args.session);
    host.engine.warnings(&start).await.iter().for_each(|problem| output.warn(problem));
    let handle = host.engine.start(start).await?;
    let outcome = watch::run(handle, steps, Report::Events(Stay::of(args.follow)), &host, output).await;
    tape.finish(outcome, output)
}
