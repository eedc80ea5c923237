//! `ice blueprints`.

pub(crate) mod stored;

use clap::Subcommand;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum BlueprintsCommand {
    #[command(flatten)]
    Stored(stored::StoredCommand),
}

pub(crate) async fn run(command: BlueprintsCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        BlueprintsCommand::Stored(command) => stored::run(command, config, output).await,
    }
}
