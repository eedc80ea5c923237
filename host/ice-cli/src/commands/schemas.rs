//! `ice schemas`: JSON Schemas of what users write and of what is installed.

mod import;

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::manifest;
use ice_core::problem::{Code, Exit, Problem};
use serde_json::{Value, json};

use super::Outcome;
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::Installed;

#[derive(Subcommand)]
pub(crate) enum SchemasCommand {
    Export(ExportArgs),
    Import(import::Args),
    Check(CheckArgs),
}

/// Write the JSON Schemas of blueprints and manifests
///
/// Editors check and complete with them: begin a blueprint with
/// `# yaml-language-server: $schema=…/blueprint.schema.json`. With `--installed` the input and output of every tool and
/// agent of this home are written too, under `tools/` and `agents/`.
///
/// Example: ice schemas export --out schemas --installed
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// The folder to write to
    #[arg(long, default_value = "manifests/schemas")]
    out: PathBuf,
    /// Tools and agents that are installed, too
    #[arg(long)]
    installed: bool,
}

/// Say whether exported schemas are those of this program
///
/// For a project that keeps them in version control: exits with 1 when a file is missing or differs.
///
/// Example: ice schemas check --out schemas
#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// The folder they were written to
    #[arg(long, default_value = "manifests/schemas")]
    out: PathBuf,
}

pub(crate) fn run(command: SchemasCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        SchemasCommand::Export(args) => export(&args, config, output),
        SchemasCommand::Import(args) => import::run(&args, output),
        SchemasCommand::Check(args) => check(&args, output),
    }
}

/// The formats, each as the file it is written to.
fn formats() -> Vec<(String, String)> {
    let text = |value: Value| serde_json::to_string_pretty(&value).expect("a JSON value prints") + "\n";
    vec![
        ("blueprint.schema.json".to_owned(), text(ice_engine::schemas::blueprint())),
        ("plugins.v0.schema.json".to_owned(), manifest::SCHEMA.to_owned()),
    ]
}

fn export(args: &ExportArgs, config: &Config, output: &Output) -> Outcome {
    let mut written = formats();
    if args.installed {
        let catalog = Installed::open(config)?.catalog;
        let tools = catalog.tools.values().map(|callable| ("tools", callable));
        for (folder, callable) in tools.chain(catalog.agents.values().map(|callable| ("agents", callable))) {
            for (which, schema) in [("input", &callable.input_schema), ("output", &callable.output_schema)] {
                let text = serde_json::to_string_pretty(schema).expect("a JSON value prints") + "\n";
                written.push((format!("{folder}/{}.{which}.schema.json", callable.name), text));
            }
        }
    }
    for (name, text) in &written {
        files::replace(&args.out.join(name), text.as_bytes()).map_err(|problem| vec![problem])?;
    }
    let names: Vec<&String> = written.iter().map(|(name, _)| name).collect();
    output.either(
        || json!({ "out": args.out, "files": names }),
        || names.iter().map(|name| args.out.join(name).display().to_string()).collect(),
    );
    Ok(Exit::Done)
}

fn check(args: &CheckArgs, output: &Output) -> Outcome {
    let mut problems = Vec::new();
    for (name, text) in formats() {
        let path = args.out.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        problems.push(
            Problem::new(Code::C002, "the schema is missing, or not that of this program")
                .file(path.display().to_string())
                .help(format!("write it again: `ice schemas export --out {}`", args.out.display())),
        );
    }
    if problems.is_empty() {
        output.note("the schemas are those of this program");
        return Ok(Exit::Done);
    }
    output.problems(&problems);
    Ok(Exit::Failed)
}
