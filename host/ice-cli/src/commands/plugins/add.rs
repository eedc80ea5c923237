//! `ice plugins add`.

use std::path::PathBuf;

use ice_core::manifest::{Manifest, parse_strict};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::{AddOptions, Envelope, OnExisting};
use serde_json::json;

use super::sign::{self, place};
use crate::commands::Outcome;
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::project;
use crate::wire::{Installed, make_home, now, refuse_dynamic};

/// Put a plugin that was signed elsewhere into the local store
///
/// FILE is an envelope, as `ice plugins sign --out` and other signers write it, or a manifest with its `signature`
/// inside. It is verified as anybody would verify it; afterwards it can be published.
///
/// Example: ice plugins add acme-csv-1.2.3.envelope.json --component csv.wasm
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The envelope, or the signed manifest
    file: PathBuf,
    /// Files or folders with the components [default: plugins/target/components]
    #[arg(long = "component", value_name = "PATH")]
    components: Vec<PathBuf>,
}

pub(crate) fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    refuse_dynamic(config).map_err(one)?;
    make_home(config).map_err(one)?;
    let _changing = project::begin(config, output).map_err(one)?;
    let installed = Installed::open(config)?;
    let at =
        |problems: Vec<Problem>| problems.into_iter().map(|problem| place(problem, &args.file)).collect::<Vec<_>>();
    let bytes = files::read(&args.file).map_err(one)?;
    let envelope = read(&bytes).map_err(at)?;
    let manifest = envelope.manifest_bytes().map_err(one).and_then(|bytes| Manifest::parse(&bytes)).map_err(at)?;
    let components = sign::components(&args.components).map_err(one)?;
    let blobs = sign::blobs(&manifest, &components)?;
    let options = AddOptions { wanted: None, on_existing: OnExisting::Refuse, now: now() };
    let (_, verified) =
        installed.plugins.add(&envelope, &blobs, &installed.trust, &options).map_err(|problem| at(one(problem)))?;
    project::write_lock(config, &sign::listed(&installed, std::slice::from_ref(&verified), config)).map_err(one)?;
    output.either(
        || json!({ "name": manifest.name, "version": manifest.version, "statement": verified.statement() }),
        || vec![format!("{} {}", manifest.name, manifest.version)],
    );
    Ok(Exit::Done)
}

/// An envelope says so; anything else has to be a manifest with its signature inside.
fn read(bytes: &[u8]) -> Result<Envelope, Vec<Problem>> {
    if bytes.len() > ice_registry::envelope::ENVELOPE_BYTES_MAX {
        return Err(vec![Problem::new(Code::T029, "the file is too large for an envelope")]);
    }
    let document = parse_strict(bytes).map_err(|problem| vec![problem])?;
    match document.get("payloadType") {
        Some(_) => Envelope::parse(bytes).map_err(|problem| vec![problem]),
        None => Envelope::from_inline(bytes),
    }
}
