//! `ice bundle`.

mod archive;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use ice_core::blueprint::{self, Parsed};
use ice_core::catalog::{BundleEntry, Catalog};
use ice_core::manifest::{Kind, UnixSeconds, short};
use ice_core::problem::{Code, Exit, Problem};
use serde_json::{Map, Value, json};

use super::cassette::CassetteArgs;
use super::inputs::InputArgs;
use super::install::{self, Answer};
use super::{Outcome, plugins};
use crate::config::Config;
use crate::http_bin::HttpBin;
use crate::output::Output;
use crate::wire::{self, ARCHIVE_ENDING, Host, Installed};
use crate::{bundle_source, deprecation, documents, files, guests, view};

#[derive(Subcommand)]
pub(crate) enum BundleCommand {
    Build(BuildArgs),
    Run(RunArgs),
    Save(archive::SaveArgs),
    Load(archive::LoadArgs),
    /// List the blueprints of installed bundles
    List,
}

/// Compile a folder of blueprints into a bundle
///
/// With `--key` the bundle is signed and written with everything it needs into one file, `NAME-VERSION.ice.tgz`, that
/// `ice bundle load` and `ice bundle run` take; without, the bare component is written. A folder of YAML needs no
/// compiler; a folder with a Rust crate is built with it. The same folder gives the same bytes.
///
/// Example: ice bundle build plugins/bundles/chatkit --key dev
#[derive(clap::Args)]
pub(crate) struct BuildArgs {
    /// The folder with `bundle.yaml`
    folder: PathBuf,
    /// Sign with this key: its name in the home, or a PEM file
    #[arg(long)]
    key: Option<String>,
    /// The file to write [default: dist/bundles/NAME-VERSION.ice.tgz, or .wasm without a key]
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// Run a bundle: an installed one, or one in a file
///
/// A file is loaded first, as `ice bundle load` does it; under `--no-dynamic` what is in it has to be in the lock and in
/// the store already.
///
/// `--file`, `--note`, `--query` and `--session` are short for the inputs `files`, `note`, `query` and `session_id`,
/// which most bundles have; any other input is given with `--input`.
///
/// Example: ice bundle run chatkit --file handbook.md --query "How many days of leave do I have?" --session s1
#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// The bundle, one of its blueprints, or a file: `chatkit`, `chatkit.rag_chat`, `chatkit-1.0.0.ice.tgz`
    name: String,
    #[command(flatten)]
    answer: Answer,
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
    #[command(flatten)]
    cassette: CassetteArgs,
}

pub(crate) async fn run(command: BundleCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        BundleCommand::Build(args) => build(args, config, output).await,
        BundleCommand::Save(args) => archive::save(args, config, output),
        BundleCommand::Load(args) => archive::load(args, config, output).await,
        BundleCommand::Run(args) => start(args, config, output).await,
        BundleCommand::List => list(config, output),
    }
}

async fn build(args: BuildArgs, config: &Config, output: &Output) -> Outcome {
    wire::refuse_dynamic(config).map_err(|problem| vec![problem])?;
    let settings = bundle_source::settings(&args.folder)?;
    let bytes = component(&args.folder, output)?;
    let ending = if args.key.is_some() { ARCHIVE_ENDING } else { ".wasm" };
    let usual = || PathBuf::from(format!("dist/bundles/{}-{}{ending}", short(&settings.name), settings.version));
    let out = args.out.clone().unwrap_or_else(usual);
    if let Some(key) = &args.key {
        let manifest = plugins::manifest_of(&bytes, &args.folder, &out, source_date(), None).await?;
        return archive::build(&manifest, bytes, key, &out, config, output);
    }
    files::replace(&out, &bytes).map_err(|problem| vec![problem])?;
    output.either(
        || json!({ "bundle": settings.name, "version": settings.version, "file": out, "bytes": bytes.len() }),
        || vec![format!("{} ({} bytes)", out.display(), bytes.len())],
    );
    Ok(Exit::Done)
}

/// When a build says it was made: `SOURCE_DATE_EPOCH` (<https://reproducible-builds.org>), else a fixed moment, so that
/// the same folder gives the same bytes whenever it is built. Nothing is decided by it.
fn source_date() -> UnixSeconds {
    const FIXED: UnixSeconds = 315_532_800; // 1980-01-01, as in archives that carry no times.
    std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()).unwrap_or(FIXED)
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
    let installed = Installed::open(config)?;
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
    let name = bundle_named(&args, config, output).await?;
    // Loading a file may have written grants.
    let config = &config.reread().map_err(one)?;
    let tape = args.cassette.open()?;
    let mut host = Host::open_taped(config, output, tape.cassette()).await?;
    let entry = find(&host.catalog, &name).map_err(|problem| host.explain(one(problem)))?;
    let components: &dyn ice_core::ports::Components = &*host.runtime;
    let document = components.blueprint(&entry).await.map_err(|failure| one(failure.problem))?;
    let parsed = blueprint::parse(&document.to_string(), &entry)?;
    name_inputs(&mut inputs, files, &args);

    let bin = local_bin(&parsed, &mut inputs, &mut host, config, output).await?;
    let plan = host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    deprecation::used(&host.catalog, Some(&entry), &plan).iter().for_each(|problem| output.warn(problem));
    let handle = host.engine.start(host.start(plan, Value::Object(inputs), args.session)).await?;
    let outcome = view::follow(handle, &host, output).await;
    if let Some(bin) = bin {
        output.note(&format!("the HTTP bin received {}", bin.count()));
    }
    tape.finish(outcome, output)
}

/// A blueprint may name an input that gets the address of a local HTTP bin when nobody gives one.
pub(super) async fn local_bin(
    parsed: &Parsed,
    inputs: &mut Map<String, Value>,
    host: &mut Host,
    config: &Config,
    output: &Output,
) -> Result<Option<HttpBin>, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let Some(input) = parsed.blueprint.metadata.get("http_bin").and_then(Value::as_str) else { return Ok(None) };
    if inputs.contains_key(input) {
        return Ok(None);
    }
    refuse_own_bin(input, config).map_err(one)?;
    let bin = HttpBin::start(0).await.map_err(one)?;
    host.listen_at(bin.address);
    output.note(&format!("`{input}` is not given: posting to a local HTTP bin at http://{}", bin.address));
    inputs.insert(input.to_owned(), json!(format!("http://{}/listings", bin.address)));
    Ok(Some(bin))
}

/// A bin on this machine may be posted to by whatever may use HTTP at all, and no lock says so.
fn refuse_own_bin(input: &str, config: &Config) -> Result<(), Problem> {
    wire::refuse_dynamic(config).map_err(|problem| {
        let message = format!("`{input}` is not given, and `--no-dynamic` starts no local HTTP bin in its place");
        Problem { message, ..problem }.help(format!("say where to post: `--input {input}=URL`"))
    })
}

/// The bundle to run. One in a file is loaded, if nothing forbids it.
async fn bundle_named(args: &RunArgs, config: &Config, output: &Output) -> Result<String, Vec<Problem>> {
    if !args.name.ends_with(ARCHIVE_ENDING) {
        return Ok(args.name.clone());
    }
    let file = Path::new(&args.name);
    let archive = if config.no_dynamic {
        wire::archive(file, &Installed::open(config)?.plugins).map_err(|problem| vec![problem])?
    } else {
        install::load_to_run(file, args.answer, config, output).await?
    };
    let bundle = archive.entries().iter().find(|entry| entry.kind == Kind::Bundle);
    bundle.map(|entry| entry.name.clone()).ok_or_else(|| {
        let problem = Problem::new(Code::R001, "there is no bundle in this file").file(args.name.clone());
        vec![problem.help("`ice bundle load` installs what is in it")]
    })
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
pub(super) fn find(catalog: &Catalog, name: &str) -> Result<String, Problem> {
    if catalog.blueprints.contains_key(name) {
        return Ok(name.to_owned());
    }
    let of_bundle =
        |entry: &&std::sync::Arc<BundleEntry>| entry.plugin == name || entry.plugin.rsplit('/').next() == Some(name);
    let start = catalog.blueprints.values().filter(of_bundle).find(|entry| entry.entrypoint);
    start.map(|entry| entry.name.clone()).ok_or_else(|| {
        let known = catalog.blueprints.keys().map(String::as_str);
        let problem = Problem::new(Code::R001, format!("no bundle or blueprint `{name}` is installed"));
        let bundles = catalog.blueprints.values().map(|entry| short(&entry.plugin));
        match ice_core::blueprint::nearest(name, known.clone().chain(bundles)) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None if catalog.blueprints.is_empty() => {
                problem.help("install one: `ice install NAME`, or `ice bundle load FILE`")
            }
            None => problem.help(format!("installed are {}", known.collect::<Vec<_>>().join(", "))),
        }
    })
}
