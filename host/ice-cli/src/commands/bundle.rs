//! `ice bundle`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use ice_core::blueprint;
use ice_core::catalog::{BundleEntry, Catalog};
use ice_core::manifest::short;
use ice_core::problem::{Code, Exit, Problem};
use serde_json::{Map, Value, json};

use super::Outcome;
use super::inputs::InputArgs;
use crate::config::Config;
use crate::http_bin::HttpBin;
use crate::output::Output;
use crate::wire::{Host, Installed};
use crate::{bundle_source, documents, files, guests, view};

#[derive(Subcommand)]
pub(crate) enum BundleCommand {
    Build(BuildArgs),
    Run(RunArgs),
    /// List the blueprints of installed bundles
    List,
}

/// Compile a folder of blueprints into a bundle component
///
/// A folder of YAML needs no compiler; a folder with a Rust crate is built with it. The same folder gives the same
/// bytes.
///
/// Example: ice bundle build plugins/bundles/chatkit --out chatkit.wasm
#[derive(clap::Args)]
pub(crate) struct BuildArgs {
    /// The folder with `bundle.yaml`
    folder: PathBuf,
    /// The component to write [default: dist/bundles/NAME-VERSION.wasm]
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// Run an installed bundle
///
/// `--file`, `--note`, `--query` and `--session` are short for the inputs `files`, `note`, `query` and `session_id`,
/// which most bundles have; any other input is given with `--input`.
///
/// Example: ice bundle run chatkit --file handbook.md --query "How many days of leave do I have?" --session s1
#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// The bundle, or one of its blueprints: `chatkit`, `chatkit.rag_chat`
    name: String,
    /// A document to read first; may be given several times
    #[arg(long = "file", short = 'f', value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A note to keep
    #[arg(long)]
    note: Option<String>,
    /// The question
    #[arg(long)]
    query: Option<String>,
    /// Names the conversation; the same name goes on with it
    #[arg(long)]
    session: Option<String>,
    #[command(flatten)]
    inputs: InputArgs,
}

pub(crate) async fn run(command: BundleCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        BundleCommand::Build(args) => build(args, output),
        BundleCommand::Run(args) => start(args, config, output).await,
        BundleCommand::List => list(config, output),
    }
}

fn build(args: BuildArgs, output: &Output) -> Outcome {
    let settings = bundle_source::settings(&args.folder)?;
    let bytes = component(&args.folder, output)?;
    let out = args
        .out
        .unwrap_or_else(|| PathBuf::from(format!("dist/bundles/{}-{}.wasm", short(&settings.name), settings.version)));
    files::replace(&out, &bytes).map_err(|problem| vec![problem])?;
    output.either(
        || json!({ "bundle": settings.name, "version": settings.version, "file": out, "bytes": bytes.len() }),
        || vec![format!("{} ({} bytes)", out.display(), bytes.len())],
    );
    Ok(Exit::Done)
}

/// The component of a folder: encoded from its YAML, or built from its Rust.
fn component(folder: &Path, output: &Output) -> Result<Vec<u8>, Vec<Problem>> {
    if !folder.join("Cargo.toml").exists() {
        return bundle_source::encode(folder);
    }
    let one = |problem: Problem| vec![problem];
    let folder = std::path::absolute(folder).map_err(|error| {
        one(Problem::new(Code::C002, format!("the folder cannot be found: {error}")).file(folder.display().to_string()))
    })?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A bundle that is code lies with the other plugins of its workspace: `WORKSPACE/bundles/NAME`. The workspace is
    // built whole, because cargo gives a crate other features, and so other bytes, when it is built alone.
    let workspace = folder.ancestors().nth(2).unwrap_or(&folder);
    let bar = output.spinner(&format!("building {name}"));
    let built = guests::build(workspace, &[], &|path| bundle_source::encode(path), &mut |_| {})?;
    bar.finish_and_clear();
    let label = format!("bundles/{name}");
    let component = built.iter().find(|guest| guest.label == label).ok_or_else(|| {
        let message = format!("`{name}` is not in `{}`", workspace.join("bundles").display());
        one(Problem::new(Code::C001, message)
            .help("put the crate of a bundle into the folder `bundles` of its workspace"))
    })?;
    files::read(&component.path).map_err(one)
}

fn list(config: &Config, output: &Output) -> Outcome {
    let installed = Installed::open(config).map_err(|problem| vec![problem])?;
    installed.problems.iter().for_each(|problem| output.warn(problem));
    let entries = &installed.catalog.blueprints;
    output.either(
        || json!(entries.values().collect::<Vec<_>>()),
        || entries.values().map(|entry| format!("{:<36} {}", entry.name, entry.description)).collect(),
    );
    Ok(Exit::Done)
}

async fn start(args: RunArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let files = documents::read(&args.files)?;
    let mut inputs = args.inputs.read()?;
    let host = Host::open(config, output).await?;
    let entry = find(&host.catalog, &args.name).map_err(|problem| host.explain(one(problem)))?;
    let components: &dyn ice_core::ports::Components = &*host.runtime;
    let document = components.blueprint(&entry).await.map_err(|failure| one(failure.problem))?;
    let parsed = blueprint::parse(&document.to_string(), &entry)?;
    name_inputs(&mut inputs, files, &args);

    // A blueprint may name an input that gets the address of a local HTTP bin when nobody gives one.
    let bin = match parsed.blueprint.metadata.get("http_bin").and_then(Value::as_str) {
        Some(input) if !inputs.contains_key(input) => {
            let bin = HttpBin::start(0).await.map_err(one)?;
            output.note(&format!("`{input}` is not given: posting to a local HTTP bin at http://{}", bin.address));
            inputs.insert(input.to_owned(), json!(format!("http://{}/listings", bin.address)));
            Some(bin)
        }
        _ => None,
    };
    let host = match &bin {
        Some(bin) => Host::open_with(config, output, &[bin.address.to_string()]).await?,
        None => host,
    };
    let plan = host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    let handle = host.engine.start(host.start(plan, Value::Object(inputs), args.session)).await?;
    let outcome = view::follow(handle, &host, output).await;
    if let Some(bin) = bin {
        output.note(&format!("the HTTP bin received {}", bin.count()));
    }
    outcome
}

/// The short flags as inputs; what was given with `--input` wins.
fn name_inputs(inputs: &mut Map<String, Value>, files: Vec<Value>, args: &RunArgs) {
    if !files.is_empty() {
        inputs.entry("files").or_insert(Value::Array(files));
    }
    for (key, value) in [("note", &args.note), ("query", &args.query), ("session_id", &args.session)] {
        if let Some(value) = value {
            inputs.entry(key).or_insert_with(|| json!(value));
        }
    }
}

/// The full name of a bundle's entry: of the bundle itself, the one it starts with.
fn find(catalog: &Catalog, name: &str) -> Result<String, Problem> {
    if catalog.blueprints.contains_key(name) {
        return Ok(name.to_owned());
    }
    let of_bundle =
        |entry: &&std::sync::Arc<BundleEntry>| entry.plugin == name || entry.plugin.rsplit('/').next() == Some(name);
    let start = catalog.blueprints.values().filter(of_bundle).find(|entry| entry.entrypoint);
    start.map(|entry| entry.name.clone()).ok_or_else(|| {
        let known = catalog.blueprints.keys().map(String::as_str);
        let problem = Problem::new(Code::R001, format!("no bundle or blueprint `{name}` is installed"));
        match ice_core::blueprint::nearest(name, known.clone()) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None if catalog.blueprints.is_empty() => problem.help("install one: `ice plugins sign MANIFEST --key KEY`"),
            None => problem.help(format!("installed are {}", known.collect::<Vec<_>>().join(", "))),
        }
    })
}
