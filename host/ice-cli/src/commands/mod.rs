//! The table of commands. Each file is `Args` (its doc comments are the help) and `run()`.

mod audit;
mod blueprints;
mod budget;
mod build;
mod bundle;
mod cassette;
mod completions;
mod docs;
mod doctor;
mod executions;
mod http_bin;
mod index;
mod inputs;
mod install;
mod keys;
mod list;
mod metering;
mod new;
mod plugins;
mod publish;
mod registry;
mod run;
mod run_blueprint;
mod run_network;
mod schedules;
mod schemas;
mod search;
mod serve;
mod trust;
mod verify;
mod waits;

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
    New(new::Args),
    /// Begin blueprints, check, compare and draw them, keep them under a name
    #[command(subcommand)]
    Blueprints(blueprints::BlueprintsCommand),
    /// JSON Schemas of what users write and of what is installed
    ///
    /// For editors, for a project that keeps them under version control, and for schemas of other projects.
    ///
    /// Example: ice schemas export --out schemas && ice schemas check --out schemas
    #[command(subcommand)]
    Schemas(schemas::SchemasCommand),
    Build(build::Args),
    Install(install::InstallArgs),
    Update(install::UpdateArgs),
    Remove(install::RemoveArgs),
    List(list::Args),
    Info(search::InfoArgs),
    Outdated(search::OutdatedArgs),
    Verify(verify::Args),
    Audit(audit::Args),
    Search(search::SearchArgs),
    Run(run::Args),
    RunBlueprint(run_blueprint::Args),
    RunNetwork(run_network::Args),
    /// Run blueprints and networks at certain times
    #[command(subcommand)]
    Schedules(schedules::SchedulesCommand),
    /// Look at executions, resume, cancel and fork them, move them between hosts
    #[command(subcommand)]
    Executions(executions::ExecutionsCommand),
    /// What executions ask of people, and answering it
    #[command(subcommand)]
    Waits(waits::WaitsCommand),
    /// What was used, for bills: calls, tokens, money, processor time
    #[command(subcommand)]
    Metering(metering::MeteringCommand),
    /// What orgs and executions spent and may spend, what blueprints may cost, prices of models
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// Build, sign and permit plugins
    #[command(subcommand)]
    Plugins(plugins::PluginsCommand),
    Publish(publish::Args),
    /// Signatures beside artifacts that somebody else pushed
    #[command(subcommand)]
    Attest(publish::AttestCommand),
    /// Fetch the indexes of registries, and keep one
    #[command(subcommand)]
    Index(index::IndexCommand),
    /// Make signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Say whom to believe: keys, roots, revocations
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Say how registries are reached
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    Login(registry::LoginArgs),
    Logout(registry::LogoutArgs),
    Doctor(doctor::Args),
    Serve(serve::Args),
    HttpBin(http_bin::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Docs(docs::Args),
}

/// Runs one command.
pub(crate) async fn run(command: Command, config: &Config, output: &Output) -> Outcome {
    match command {
        Command::Bundle(command) => bundle::run(command, config, output).await,
        Command::New(args) => new::run(args, output),
        Command::Schemas(command) => schemas::run(command, config, output),
        Command::Build(args) => build::run(args, config, output).await,
        Command::Install(args) => install::run(args, config, output).await,
        Command::Update(args) => install::update(args, config, output).await,
        Command::Remove(args) => install::remove(args, config, output),
        Command::List(args) => list::run(args, config, output),
        Command::Info(args) => search::info(&args, config, output),
        Command::Outdated(args) => search::outdated(args, config, output).await,
        Command::Verify(args) => verify::run(args, config, output),
        Command::Audit(args) => audit::run(args, config, output),
        Command::Search(args) => search::run(args, config, output).await,
        Command::Run(args) => run::run(args, config, output).await,
        Command::Blueprints(command) => blueprints::run(command, config, output).await,
        Command::RunBlueprint(args) => run_blueprint::run(args, config, output).await,
        Command::RunNetwork(args) => run_network::run(args, config, output).await,
        Command::Schedules(command) => schedules::run(command, config, output).await,
        Command::Executions(command) => executions::run(command, config, output).await,
        Command::Waits(command) => waits::run(command, config, output).await,
        Command::Metering(command) => metering::run(command, config, output).await,
        Command::Budget(command) => budget::run(command, config, output).await,
        Command::Plugins(command) => plugins::run(command, config, output).await,
        Command::Publish(args) => publish::run(args, config, output).await,
        Command::Attest(command) => publish::run_attest(command, config, output).await,
        Command::Index(command) => index::run(command, config, output).await,
        Command::Keys(command) => keys::run(command, config, output),
        Command::Trust(command) => trust::run(command, config, output),
        Command::Registry(command) => registry::run(command, config, output),
        Command::Login(args) => registry::login(args, config, output).await,
        Command::Logout(args) => registry::logout(&args, config, output).await,
        Command::Doctor(args) => doctor::run(args, config, output).await,
        Command::Serve(args) => serve::run(args, config, output).await,
        Command::HttpBin(args) => http_bin::run(args, output).await,
        Command::Completions(args) => completions::run(args, output),
        Command::Docs(args) => docs::run(args, output),
    }
}
