//! `ice completions`.

use clap::CommandFactory;
use clap_complete::Shell;
use ice_core::problem::Exit;

use super::Outcome;
use crate::output::Output;

/// Print the completion rules for a shell
///
/// Example: ice completions bash > ~/.local/share/bash-completion/completions/ice
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: Args, output: &Output) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "ice", &mut text);
    output.line(String::from_utf8_lossy(&text).trim_end());
    Ok(Exit::Done)
}
