//! `ice blueprints`: begin one, check, compare, draw.

mod check;
mod diff;
mod graph;

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
}

pub(crate) async fn run(command: BlueprintsCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        BlueprintsCommand::New(args) => new::workflow(args, output),
        BlueprintsCommand::Check(args) => check::run(args, config, output).await,
        BlueprintsCommand::Diff(args) => diff::run(&args, output),
        BlueprintsCommand::Graph(args) => graph::run(args, config, output).await,
    }
}
