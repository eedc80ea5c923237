//! `ice plugins`: one file a verb.

mod add;
mod build;
mod export;
mod grant;
mod lint;
mod precompile;
mod sign;

use clap::Subcommand;

pub(crate) use export::manifest_of;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum PluginsCommand {
    Build(build::Args),
    Export(export::Args),
    Lint(lint::Args),
    Sign(sign::Args),
    Add(add::Args),
    Grants(grant::ShowArgs),
    Grant(grant::Args),
    Precompile(precompile::Args),
}

pub(crate) async fn run(command: PluginsCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        PluginsCommand::Build(args) => build::run(args, config, output).await,
        PluginsCommand::Export(args) => export::run(args, config, output).await,
        PluginsCommand::Lint(args) => lint::run(args, config, output),
        PluginsCommand::Sign(args) => sign::run(args, config, output),
        PluginsCommand::Add(args) => add::run(args, config, output),
        PluginsCommand::Grants(args) => grant::show(args, config, output),
        PluginsCommand::Grant(args) => grant::run(args, config, output),
        PluginsCommand::Precompile(args) => precompile::run(args, config, output).await,
    }
}
