//! `ice blueprints`: begin one, check, compare, draw, keep under a name.

mod check;
mod diff;
mod graph;
pub(crate) mod stored;

use clap::Subcommand;

use super::{Outcome, new};
use crate::config::Config;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum BlueprintsCommand {
    New(new::WorkflowArgs),
    Check(check::Args),
    Diff(diff::Args),
    Graph(graph::Args),
    #[command(flatten)]
    Stored(stored::StoredCommand),
}

pub(crate) async fn run(command: BlueprintsCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        BlueprintsCommand::New(args) => new::workflow(args, output),
        BlueprintsCommand::Check(args) => check::run(args, config, output).await,
        BlueprintsCommand::Diff(args) => diff::run(&args, output),
        BlueprintsCommand::Graph(args) => graph::run(args, config, output).await,
        BlueprintsCommand::Stored(command) => stored::run(command, config, output).await,
    }
}
