//! The `ice` command: parse → run → exit.
//!
//! Nothing is decided here: commands call the engine, the runtime and the registry, which `wire.rs` puts together.

mod bundle_source;
mod commands;
mod config;
mod deprecation;
mod documents;
mod files;
mod guests;
mod http_bin;
mod interrupt;
mod networks;
mod output;
mod project;
mod view;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use ice_core::problem::Exit;

use crate::commands::Command;
use crate::output::Output;

/// Runs signed WebAssembly plugins: tools, agents and bundles of blueprints.
#[derive(Parser)]
#[command(name = "ice", version = version(), propagate_version = true, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: config::GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  ice bundle run chatkit --file handbook.md --query \"How many days of leave do I have?\" --session s1
  ice run-blueprint report.yaml --input city=Oslo --json
  ice list
  ice doctor";

/// The version, and the versions of the contract and the engine, for bug reports.
fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (contract ice:plugin@0.1.0, wasmtime 48)")
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::command().try_get_matches_from(&arguments).and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.global.json, cli.global.quiet);
    let exit = match run(cli, &output) {
        Ok(exit) => exit,
        Err(problems) => {
            let exit = problems.iter().map(|problem| problem.code.exit()).max_by_key(|exit| *exit as u8);
            output.problems(&problems);
            exit.unwrap_or(Exit::Usage)
        }
    };
    ExitCode::from(exit as u8)
}

/// Prints clap's help, version or error on the right stream; help and version are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed terminal cannot be told that it is closed.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Done as u8 })
}

fn run(cli: Cli, output: &Output) -> Result<Exit, Vec<ice_core::problem::Problem>> {
    let config = config::Config::resolve(&cli.global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        vec![ice_core::problem::Problem::new(
            ice_core::problem::Code::C003,
            format!("no worker threads could be started: {error}"),
        )]
    })?;
    let exit = runtime.block_on(commands::run(cli.command, &config, output));
    // A guest that is being stopped must not hold the exit up.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    exit
}
