//! `ice plugins`: one file a verb.

mod build;
mod export;
mod grant;
mod lint;
mod list;
mod precompile;
mod sign;
mod verify;

use clap::Subcommand;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum PluginsCommand {
    Build(build::Args),
    Export(export::Args),
    Lint(lint::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    /// List installed plugins
    List,
    Grants(grant::ShowArgs),
    Grant(grant::Args),
    Precompile(precompile::Args),
}

pub(crate) async fn run(command: PluginsCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        PluginsCommand::Build(args) => build::run(args, output).await,
        PluginsCommand::Export(args) => export::run(args, output).await,
        PluginsCommand::Lint(args) => lint::run(args, output),
        PluginsCommand::Sign(args) => sign::run(args, config, output),
        PluginsCommand::Verify(args) => verify::run(args, config, output),
        PluginsCommand::List => list::run(config, output),
        PluginsCommand::Grants(args) => grant::show(args, config, output),
        PluginsCommand::Grant(args) => grant::run(args, config, output),
        PluginsCommand::Precompile(args) => precompile::run(args, config, output).await,
    }
}
