//! `ice docs`: the reference pages made from code, `cli.md` and `errors.md`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::CommandFactory;
use ice_core::problem::{Code, Exit, Problem};

use super::Outcome;
use crate::output::Output;

/// Write the reference pages that are made from code
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to write to
    #[arg(long, default_value = "host/docs")]
    out: PathBuf,
}

pub(crate) fn run(args: Args, output: &Output) -> Outcome {
    for (name, text) in [("cli.md", cli()), ("errors.md", errors())] {
        let path = args.out.join(name);
        std::fs::write(&path, text).map_err(|error| {
            vec![
                Problem::new(Code::C002, format!("the page cannot be written: {error}"))
                    .file(path.display().to_string()),
            ]
        })?;
        output.note(&format!("wrote {}", path.display()));
    }
    Ok(Exit::Done)
}

fn cli() -> String {
    let mut text =
        String::from("# The command line\n\nMade by `ice docs`; every command also explains itself with `--help`.\n");
    let mut root = crate::Cli::command().term_width(100);
    root.build();
    describe(&mut root, "ice", &mut text);
    text
}

fn describe(command: &mut clap::Command, path: &str, text: &mut String) {
    let help = command.render_long_help().to_string();
    let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    write!(text, "\n## {path}\n\n```text\n{}\n```\n", help.trim_end()).expect("a string takes everything");
    for child in command.get_subcommands_mut().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
        let path = format!("{path} {}", child.get_name());
        describe(child, &path, text);
    }
}

fn errors() -> String {
    let mut text = String::from(
        "# Error codes\n\nMade by `ice docs`. Every problem has a code, a message, a place and a way out; \
         `--json` prints the same as `{\"problems\":[{\"code\",\"message\",\"at\",\"help\"}]}`.\n",
    );
    for code in Code::ALL {
        let exit = match code.exit() {
            Exit::Done => "0",
            Exit::Failed => "1, an execution failed",
            Exit::Usage => "2, wrong usage",
            Exit::Refused => "3, refused by trust or grant",
            Exit::Interrupted => "130, interrupted",
        };
        write!(
            text,
            "\n## {code}\n\n{} (`{}`). Exit code {exit}; HTTP {}.\n",
            code.meaning(),
            code.name(),
            code.http()
        )
        .expect("a string takes everything");
    }
    text
}
