//! `ice schemas`: JSON Schemas of what users write and of what is installed.

mod import;

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::problem::{Code, Exit, Problem};
use ice_core::{bundle, lock, manifest};
use serde_json::{Value, json};

use super::Outcome;
use crate::config::{self, Config};
use crate::files;
use crate::output::Output;
use crate::wire::Installed;

#[derive(Subcommand)]
pub(crate) enum SchemasCommand {
    Export(ExportArgs),
    Import(import::Args),
    Check(CheckArgs),
}

/// Write the JSON Schemas of everything that is written by hand
///
/// Blueprints, networks, bundles, manifests, `ice.toml` and `ice.lock`. Editors check and complete with them: begin a
/// blueprint with `# yaml-language-server: $schema=…/blueprint.schema.json`, and `ice.toml` with
/// `#:schema …/ice.toml.schema.json`. With `--installed` the input and output of every tool and agent of this home are
/// written too, under `tools/` and `agents/`.
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
        ("network.v1.schema.json".to_owned(), text(ice_engine::schemas::network())),
        ("bundle.schema.json".to_owned(), text(bundle::schema())),
        ("plugins.v0.schema.json".to_owned(), manifest::SCHEMA.to_owned()),
        ("ice.toml.schema.json".to_owned(), text(config::schema())),
        ("ice.lock.schema.json".to_owned(), text(lock::schema())),
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use ice_core::blueprint::read_document;
    use ice_core::schema::{Direction, Schema};

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn schema(file: &str) -> Schema {
        let (_, text) = formats().into_iter().find(|(name, _)| name == file).expect("the format is in the table");
        Schema::compile(&serde_json::from_str(&text).expect("JSON"), Direction::Input).expect("compiles")
    }

    #[test]
    fn every_bundle_of_the_repository_fits() {
        let schema = schema("bundle.schema.json");
        let folders = std::fs::read_dir(root().join("plugins/bundles")).expect("the bundles are there");
        let mut files: Vec<PathBuf> = folders.map(|entry| entry.expect("entry").path().join("bundle.yaml")).collect();
        files.retain(|file| file.exists());
        assert!(files.len() >= 5, "{files:?}");
        files.push(root().join("sdk/templates/bundle/bundle.yaml"));
        for file in files {
            let text = std::fs::read_to_string(&file).expect("readable");
            let text = text.replace("__scope__", "acme").replace("__name__", "pair").replace("__description__", "x");
            let (document, _) = read_document(&text, "bundle.yaml").expect("YAML");
            assert_eq!(schema.check(&document), [], "{}", file.display());
        }
    }

    /// The page for people shows every section of `ice.toml`, and what it shows fits.
    #[test]
    fn the_settings_of_the_page_fit() {
        let schema = schema("ice.toml.schema.json");
        let page = std::fs::read_to_string(root().join("host/docs/concepts.md")).expect("the page");
        let (_, example) = page.split_once("```toml\n[llm]").expect("the example");
        let example = format!("[llm]{}", example.split("```").next().unwrap_or_default());
        let document: Value = toml::from_str(&example).expect("TOML");
        assert_eq!(schema.check(&document), []);
        for section in schema.properties().filter(|section| !["store", "plugins"].contains(section)) {
            assert!(document.get(section).is_some(), "the page does not show `[{section}]`");
        }
    }
}
