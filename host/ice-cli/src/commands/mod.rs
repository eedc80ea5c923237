//! The table of commands. Each file is `Args` (its doc comments are the help) and `run()`.

mod build;
mod bundle;
mod completions;
mod docs;
mod doctor;
mod executions;
mod http_bin;
mod inputs;
mod keys;
mod plugins;
mod run_blueprint;

use clap::Subcommand;
use ice_core::problem::{Exit, Problem};

use crate::config::Config;
use crate::output::Output;

/// What a command returns: how to exit, or every problem it found.
pub(crate) type Outcome = Result<Exit, Vec<Problem>>;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build and run bundles: blueprints with the plugins they need
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    Build(build::Args),
    RunBlueprint(run_blueprint::Args),
    /// Look at executions, resume and cancel them
    #[command(subcommand)]
    Executions(executions::ExecutionsCommand),
    /// Build, sign, verify and permit plugins
    #[command(subcommand)]
    Plugins(plugins::PluginsCommand),
    /// Make and trust signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    Doctor(doctor::Args),
    HttpBin(http_bin::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Docs(docs::Args),
}

/// Runs one command.
pub(crate) async fn run(command: Command, config: &Config, output: &Output) -> Outcome {
    match command {
        Command::Bundle(command) => bundle::run(command, config, output).await,
        Command::Build(args) => build::run(args, config, output).await,
        Command::RunBlueprint(args) => run_blueprint::run(args, config, output).await,
        Command::Executions(command) => executions::run(command, config, output).await,
        Command::Plugins(command) => plugins::run(command, config, output).await,
        Command::Keys(command) => keys::run(command, config, output),
        Command::Doctor(args) => doctor::run(args, config, output).await,
        Command::HttpBin(args) => http_bin::run(args, output).await,
        Command::Completions(args) => completions::run(args, output),
        Command::Docs(args) => docs::run(args, output),
    }
}
