//! `ice plugins sign`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ice_core::id::Digest;
use ice_core::manifest::{Manifest, UnixSeconds};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::{AddOptions, Added, Envelope, OnExisting, PrivateKey};
use serde_json::json;

use super::lint;
use crate::commands::{Outcome, keys};
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::Installed;

/// Sign a manifest and put the plugin into the local store
///
/// The plugin is verified as anybody would verify it before it enters the store, so the key has to be trusted for
/// its name: `ice keys trust`.
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
    let installed = Installed::open(config).map_err(one)?;
    let (label, path) = keys::private(&args.key, config);
    let key = PrivateKey::read(&path).map_err(one)?;
    let manifests = if args.all { all_manifests()? } else { args.manifests.clone() };
    let components = components(&args.components).map_err(one)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let options = AddOptions {
        wanted: None,
        on_existing: if args.replace { OnExisting::Replace } else { OnExisting::Refuse },
        now: UnixSeconds::try_from(now).unwrap_or_default(),
    };
    let mut problems = Vec::new();
    let mut signed = Vec::new();
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
                signed.push(json!({ "name": manifest.name, "version": manifest.version, "statement": verified.statement(), "result": what }));
            }
            Err(more) => problems.extend(more.into_iter().map(|problem| at(problem, path))),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if output.json() {
        output.value(&json!(signed));
    }
    Ok(Exit::Done)
}

fn at(problem: Problem, path: &Path) -> Problem {
    if problem.at.as_ref().is_some_and(|place| place.file.is_some()) {
        problem
    } else {
        problem.file(path.display().to_string())
    }
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
    let mut blobs = Vec::new();
    for (artifact, _) in manifest.artifacts() {
        let file = components.get(&artifact).ok_or_else(|| {
            one(Problem::new(Code::T001, format!("no component at hand has the digest {artifact}"))
                .help("build it (`ice plugins build`), or say where it is (`--component PATH`)"))
        })?;
        blobs.push(files::read(file).map_err(one)?);
    }
    let envelope = Envelope::sign(&manifest, key, label)?;
    if let Some(folder) = out {
        let name = manifest.name.replace('/', "-");
        files::replace(&folder.join(format!("{name}-{}.envelope.json", manifest.version)), &envelope.to_bytes())
            .map_err(one)?;
    }
    Ok((manifest, envelope, blobs))
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
fn components(paths: &[PathBuf]) -> Result<BTreeMap<Digest, PathBuf>, Problem> {
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
