//! `ice plugins sign`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ice_core::id::Digest;
use ice_core::lock::{Lock, LockedPackage, permitted_words};
use ice_core::manifest::Manifest;
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::catalog::permitted;
use ice_registry::install::locked_entry;
use ice_registry::{AddOptions, Added, Envelope, OnExisting, PrivateKey, Trust, Verified};
use serde_json::json;

use super::lint;
use crate::commands::{Outcome, keys};
use crate::config::Config;
use crate::deprecation;
use crate::files;
use crate::output::Output;
use crate::project;
use crate::wire::{Installed, make_home, now, refuse_dynamic};

/// Sign a manifest and put the plugin into the local store
///
/// The plugin is verified as anybody would verify it before it enters the store, so the key has to be trusted for
/// its name: `ice trust add`.
///
/// Example: ice plugins sign manifests/kits/csv.json --key dev
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The manifests
    #[arg(required_unless_present = "all")]
    manifests: Vec<PathBuf>,
    /// Every manifest under `manifests`
    #[arg(long, conflicts_with = "manifests")]
    all: bool,
    /// Name of a key in the home, or a PEM file
    #[arg(long)]
    key: String,
    /// Files or folders with the components [default: plugins/target/components]
    #[arg(long = "component", value_name = "PATH")]
    components: Vec<PathBuf>,
    /// Also write the envelope to this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Put it in the place of the same version with other content, for plugins in development
    #[arg(long)]
    replace: bool,
}

pub(crate) fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    refuse_dynamic(config).map_err(one)?;
    make_home(config).map_err(one)?;
    let _changing = project::begin(config, output).map_err(one)?;
    let installed = Installed::open(config)?;
    let (label, path) = keys::private(&args.key, config);
    let key = PrivateKey::read(&path).map_err(one)?;
    let manifests = if args.all { all_manifests()? } else { args.manifests.clone() };
    let components = components(&args.components).map_err(one)?;
    let options = AddOptions {
        wanted: None,
        on_existing: if args.replace { OnExisting::Replace } else { OnExisting::Refuse },
        now: now(),
    };
    let mut problems = Vec::new();
    let mut signed = Vec::new();
    let mut verdicts = Vec::new();
    for path in &manifests {
        let result =
            sign(path, &key, &label, &components, args.out.as_deref()).and_then(|(manifest, envelope, blobs)| {
                let added = installed.plugins.add(&envelope, &blobs, &installed.trust, &options).map_err(one)?;
                Ok((manifest, added))
            });
        match result {
            Ok((manifest, (added, verified))) => {
                let what = match added {
                    Added::New => "signed",
                    Added::AlreadyThere => "already there",
                    Added::Replaced => "replaced",
                };
                output.note(&format!("  {:<28} {} {what}", manifest.name, manifest.version));
                deprecation::offered(&manifest).iter().for_each(|problem| output.warn(problem));
                verdicts.push(verified.clone());
                signed.push(json!({ "name": manifest.name, "version": manifest.version, "statement": verified.statement(), "result": what }));
            }
            Err(more) => problems.extend(more.into_iter().map(|problem| place(problem, path))),
        }
    }
    project::write_lock(config, &listed(&installed, &verdicts, config)).map_err(one)?;
    if !problems.is_empty() {
        return Err(problems);
    }
    if output.json() {
        output.value(&json!(signed));
    }
    Ok(Exit::Done)
}

/// The file a problem is about, unless it names one.
pub(super) fn place(problem: Problem, path: &Path) -> Problem {
    if problem.at.as_ref().is_some_and(|place| place.file.is_some()) {
        problem
    } else {
        problem.file(path.display().to_string())
    }
}

/// What is signed here is listed here: it has no source but this machine.
pub(super) fn listed(installed: &Installed, signed: &[Verified<Manifest>], config: &Config) -> Lock {
    let mut lock = installed.lock.clone();
    for verified in signed {
        lock.replace(entry(verified, &installed.trust, config));
    }
    // Their dependencies may be among them, whatever their order.
    for verified in signed {
        let manifest = verified.value();
        let Some(package) = lock.find(&manifest.name).cloned() else { continue };
        let needed = manifest.dependencies.iter().filter_map(|needs| lock.find(&needs.name));
        let dependencies = needed.map(|found| format!("{} {}", found.name, found.version)).collect();
        lock.replace(LockedPackage { dependencies, ..package });
    }
    lock
}

fn entry(verified: &Verified<Manifest>, trust: &Trust, config: &Config) -> LockedPackage {
    let manifest = verified.value();
    let operator = permitted(&manifest.name, trust, &config.grants);
    locked_entry(verified, permitted_words(&operator, manifest), Vec::new())
}

type Signed = (Manifest, Envelope, Vec<Vec<u8>>);

fn sign(
    path: &Path,
    key: &PrivateKey,
    label: &str,
    components: &BTreeMap<Digest, PathBuf>,
    out: Option<&Path>,
) -> Result<Signed, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let manifest = lint::read(path)?;
    let blobs = blobs(&manifest, components)?;
    let envelope = Envelope::sign(&manifest, key, label)?;
    if let Some(folder) = out {
        let name = manifest.name.replace('/', "-");
        files::replace(&folder.join(format!("{name}-{}.envelope.json", manifest.version)), &envelope.to_bytes())
            .map_err(one)?;
    }
    Ok((manifest, envelope, blobs))
}

/// The bytes of every component and file that a manifest names.
pub(super) fn blobs(manifest: &Manifest, components: &BTreeMap<Digest, PathBuf>) -> Result<Vec<Vec<u8>>, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let mut blobs = Vec::new();
    let artifacts = manifest.artifacts().into_iter().map(|(artifact, _)| artifact);
    for artifact in artifacts.chain(manifest.files.iter().map(|file| file.artifact)) {
        let file = components.get(&artifact).ok_or_else(|| {
            one(Problem::new(Code::T001, format!("no component at hand has the digest {artifact}"))
                .help("build it (`ice plugins build`), or say where it is (`--component PATH`)"))
        })?;
        blobs.push(files::read(file).map_err(one)?);
    }
    Ok(blobs)
}

/// Every manifest below `manifests/{kits,agents,bundles}`.
fn all_manifests() -> Result<Vec<PathBuf>, Vec<Problem>> {
    let mut found = Vec::new();
    for kind in ["kits", "agents", "bundles"] {
        for entry in std::fs::read_dir(Path::new("manifests").join(kind)).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "json") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(vec![
            Problem::new(Code::C002, "there is no manifest under `manifests`")
                .help("build the plugins: `ice plugins build`"),
        ]);
    }
    Ok(found)
}

/// Components by the digest of their bytes.
pub(super) fn components(paths: &[PathBuf]) -> Result<BTreeMap<Digest, PathBuf>, Problem> {
    let default = [PathBuf::from("plugins/target/components")];
    let mut pending = if paths.is_empty() { default.to_vec() } else { paths.to_vec() };
    let mut found = BTreeMap::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
            pending
                .extend(entries.filter(|entry| entry.is_dir() || entry.extension().is_some_and(|end| end == "wasm")));
        } else if path.exists() {
            found.insert(Digest::of(&files::read(&path)?), path);
        }
    }
    Ok(found)
}
