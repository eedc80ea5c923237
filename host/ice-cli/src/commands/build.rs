//! `ice build`.

use std::io::Read;
use std::path::{Path, PathBuf};

use ice_core::blueprint::{self, Parsed};
use ice_core::problem::{Code, Exit, Problem};
use ice_runtime::Description;

use super::Outcome;
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::{self, Host};

/// Check a blueprint and write it as JSON
///
/// Takes YAML, JSON, or a bundle component (`.wasm`); of a bundle with several blueprints, `--entry` says which.
/// Tools and agents are checked against the plugins that are installed.
///
/// Example: ice build report.yaml --output report.json
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The blueprint or bundle; `-` reads standard input
    source: PathBuf,
    /// The JSON file to write; standard output by default
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Which blueprint of a bundle [default: its entrypoint]
    #[arg(long)]
    entry: Option<String>,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let parsed = match args.source.extension() {
        Some(extension) if extension == "wasm" => from_component(&args.source, args.entry.as_deref(), config).await?,
        _ => parse_file(&args.source)?,
    };
    let host = Host::open(config, output).await?;
    host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    match &args.output {
        Some(path) => {
            let mut text = serde_json::to_string_pretty(&parsed.blueprint.document).expect("a JSON value prints");
            text.push('\n');
            files::replace(path, text.as_bytes()).map_err(|problem| vec![problem])?;
            output.note(&format!("wrote {}", path.display()));
        }
        None => output.value(&parsed.blueprint.document),
    }
    Ok(Exit::Done)
}

/// Reads a blueprint from a file or, for `-`, from standard input.
pub(crate) fn parse_file(path: &Path) -> Result<Parsed, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    if path == Path::new("-") {
        let mut text = String::new();
        // One byte more than fits tells apart what is too large.
        let mut input = std::io::stdin().lock().take(blueprint::DOCUMENT_BYTES_MAX as u64 + 1);
        input
            .read_to_string(&mut text)
            .map_err(|error| one(Problem::new(Code::C002, format!("standard input cannot be read: {error}"))))?;
        return blueprint::parse(&text, "standard input");
    }
    let text = files::read_text(path).map_err(one)?;
    blueprint::parse(&text, &path.display().to_string())
}

async fn from_component(path: &Path, entry: Option<&str>, config: &Config) -> Result<Parsed, Vec<Problem>> {
    let place = path.display().to_string();
    let one = |problem: Problem| vec![problem.file(place.clone())];
    wire::refuse_dynamic(config).map_err(one)?;
    let bytes = files::read(path).map_err(one)?;
    let Description::Bundle(entries) = wire::describe(&bytes, None).await.map_err(one)? else {
        return Err(one(
            Problem::new(Code::C001, "the component is not a bundle").help("build bundles with `ice bundle build`")
        ));
    };
    let chosen = match entry {
        Some(name) => entries.iter().find(|entry| entry.name == name),
        None => entries.iter().find(|entry| entry.entrypoint),
    };
    let Some(chosen) = chosen else {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        return Err(one(
            Problem::new(Code::C001, "the bundle has no such blueprint").help(format!("it has {}", names.join(", ")))
        ));
    };
    let document = wire::bundled_blueprint(&bytes, &chosen.name).await.map_err(one)?;
    blueprint::parse(&document.to_string(), &place)
}
