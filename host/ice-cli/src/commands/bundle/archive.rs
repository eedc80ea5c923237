//! Bundles as files: `ice bundle save` and `load`, and the archive that `ice bundle build --key` writes.

use std::path::{Path, PathBuf};

use ice_core::manifest::{Manifest, qualified, short};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::archive::{Extras, Written, closure, to_file};
use ice_registry::store::StoreEntry;
use ice_registry::{AddOptions, Envelope, OnExisting, PrivateKey, Store, Trust, VerifyOptions, Wanted, verify};
use semver::VersionReq;
use serde_json::json;

use crate::commands::install::{self, Consent};
use crate::commands::{Outcome, keys};
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::{ARCHIVE_ENDING, Installed, now};

/// Write an installed plugin with everything it needs into one file
///
/// The file is a gzipped OCI layout: `skopeo` reads it, and the same plugins give the same bytes.
///
/// Example: ice bundle save chatkit -o chatkit.ice.tgz
#[derive(clap::Args)]
pub(crate) struct SaveArgs {
    /// `NAME` or `NAME@VERSION`; several share one file
    #[arg(required = true)]
    names: Vec<String>,
    /// The file [default: NAME-VERSION.ice.tgz]
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Without what it depends on
    #[arg(long)]
    no_vendor: bool,
}

/// Install what a file holds
///
/// Everything in it is verified as if it came from a registry, shown, and written to the lock. No network is used.
///
/// Example: ice bundle load chatkit.ice.tgz
#[derive(clap::Args)]
pub(crate) struct LoadArgs {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    consent: Consent,
}

pub(super) fn save(args: SaveArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let installed = Installed::open(config)?;
    let mut entries: Vec<StoreEntry> = Vec::new();
    for name in &args.names {
        let entry = locked_or_newest(&installed, name).map_err(one)?;
        let with = if args.no_vendor { vec![entry] } else { closure(&installed.plugins, &installed.trust, &entry)? };
        entries.extend(with.into_iter().filter(|entry| !entries.contains(entry)).collect::<Vec<_>>());
    }
    let out = match (args.out, entries.last()) {
        (Some(out), _) => out,
        (None, Some(last)) => PathBuf::from(format!("{}-{}{ARCHIVE_ENDING}", short(&last.name), last.version)),
        (None, None) => return Err(one(Problem::new(Code::C001, "nothing is named"))),
    };
    let extras = extras(&installed.trust);
    files::make_parent(&out).map_err(one)?;
    let written = to_file(&installed.plugins, &installed.trust, &entries, &extras, &out).map_err(one)?;
    tell(&out, &entries, written, output);
    Ok(Exit::Done)
}

/// What was named; without a version the locked one, else the newest.
fn locked_or_newest(installed: &Installed, text: &str) -> Result<StoreEntry, Problem> {
    let (name, version) = text.split_once('@').unwrap_or((text, ""));
    let locked = installed.lock.find(&qualified(name)).map(|package| package.version.to_string());
    let version = if version.is_empty() { locked.unwrap_or_default() } else { version.to_owned() };
    let req = if version.is_empty() { Ok(VersionReq::STAR) } else { VersionReq::parse(&format!("={version}")) };
    let req = req.map_err(|error| Problem::new(Code::C001, format!("`{version}` is no version: {error}")))?;
    installed.plugins.find(name, Some(&req))
}

/// What was taken back travels with what it may be about.
fn extras(trust: &Trust) -> Extras {
    Extras { revoked: trust.revocations_document().cloned(), index: None }
}

fn tell(out: &Path, entries: &[StoreEntry], written: Written, output: &Output) {
    output.either(
        || {
            json!({ "file": out, "bytes": written.compressed,
                    "plugins": entries.iter().map(|e| json!({ "name": e.name, "version": e.version, "statement": e.statement })).collect::<Vec<_>>() })
        },
        || {
            let mut lines: Vec<String> = entries.iter().map(|entry| format!("{} {}", entry.name, entry.version)).collect();
            lines.push(format!("{} ({} KiB)", out.display(), written.compressed >> 10));
            lines
        },
    );
}

pub(super) async fn load(args: LoadArgs, config: &Config, output: &Output) -> Outcome {
    install::load(&args.file, args.consent, config, output).await
}

/// Signs a bundle that was just built and writes it with everything it needs. What it needs comes from the store; the
/// bundle itself is not installed.
pub(super) fn build(
    manifest: &Manifest,
    component: Vec<u8>,
    key: &str,
    out: &Path,
    config: &Config,
    output: &Output,
) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let installed = Installed::open(config)?;
    let (label, path) = keys::private(key, config);
    let envelope = Envelope::sign(manifest, &PrivateKey::read(&path).map_err(one)?, &label)?;
    let bench = tempfile::tempdir()
        .map_err(|error| one(Problem::new(Code::C003, format!("there is no temporary folder: {error}"))))?;
    let store = Store::open(bench.path()).map_err(one)?;
    let options = AddOptions { wanted: None, on_existing: OnExisting::Refuse, now: now() };
    store.add(&envelope, &[component], &installed.trust, &options).map_err(one)?;
    vendor(manifest, &installed, &store, &options)?;
    let entry = store.find(&manifest.name, None).map_err(one)?;
    let entries = closure(&store, &installed.trust, &entry)?;
    files::make_parent(out).map_err(one)?;
    let written = to_file(&store, &installed.trust, &entries, &extras(&installed.trust), out).map_err(one)?;
    tell(out, &entries, written, output);
    Ok(Exit::Done)
}

/// Brings everything that `manifest` needs from the home's store to the bench.
fn vendor(manifest: &Manifest, installed: &Installed, bench: &Store, options: &AddOptions) -> Result<(), Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    for dependency in &manifest.dependencies {
        let req = VersionReq::parse(&dependency.req).unwrap_or(VersionReq::STAR);
        let entry = installed.plugins.find(&dependency.name, Some(&req)).map_err(one)?;
        for entry in closure(&installed.plugins, &installed.trust, &entry)? {
            let envelope = installed.plugins.envelope(&entry).map_err(one)?;
            let wanted = Wanted::exactly(&entry.name, &entry.version);
            let verify_options = VerifyOptions { wanted: Some(&wanted), ..VerifyOptions::RUN };
            let verified = verify(&envelope, &installed.trust, &verify_options).map_err(one)?;
            let blobs = verified.blobs().into_iter().map(|(digest, _)| installed.plugins.blob(&verified, &digest));
            let blobs = blobs.collect::<Result<Vec<_>, _>>().map_err(one)?;
            bench.add(&envelope, &blobs, &installed.trust, options).map_err(one)?;
        }
    }
    Ok(())
}
