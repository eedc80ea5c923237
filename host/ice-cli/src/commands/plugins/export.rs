//! `ice plugins export`: a manifest from what the component says and what its author wrote.

use std::path::{Path, PathBuf};

use ice_core::id::Digest;
use ice_core::manifest::{ExportedPart, Manifest, NodeType, PluginSettings, UnixSeconds, from_parts, print_date};
use ice_core::problem::{Code, Exit, Problem};
use ice_runtime::inspect::inspect;
use ice_runtime::{CallableDescription, Description};
use serde_json::Value;

use crate::bundle_source;
use crate::commands::Outcome;
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire;

/// Write the manifest of a built component
///
/// The component is inspected and asked to describe itself, in the sandbox and without any grant; name, version and
/// the bounds of its capabilities come from `plugin.toml` or `bundle.yaml` in its source folder.
///
/// Example: ice plugins export target/components/kits/csv.wasm --source plugins/kits/csv --out csv.json
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The component
    component: PathBuf,
    /// The folder with `plugin.toml` or `bundle.yaml`
    #[arg(long, default_value = ".")]
    source: PathBuf,
    /// The manifest to write; standard output by default
    #[arg(long, short)]
    out: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    wire::refuse_dynamic(config).map_err(|problem| vec![problem])?;
    match &args.out {
        Some(target) => {
            export(&args.component, &args.source, target, None).await?;
            output.note(&format!("wrote {}", target.display()));
        }
        None => output.value(&document(&manifest(&args.component, &args.source, None).await?)),
    }
    Ok(Exit::Done)
}

/// Writes the manifest to `target`, unless the one that is there says the same. Returns whether it was written. The
/// component is asked what it is; its compiled code is kept in `compiled`, when given.
pub(super) async fn export(
    component: &Path,
    source: &Path,
    target: &Path,
    compiled: Option<&Path>,
) -> Result<bool, Vec<Problem>> {
    let mut manifest = manifest(component, source, compiled).await?;
    if let Some(before) = std::fs::read(target).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) {
        // The time of making is no difference: signing the same thing twice must give the same statement.
        if let Some(created) = before["created"].as_str() {
            let now = std::mem::replace(&mut manifest.created, created.to_owned());
            if document(&manifest) == before {
                return Ok(false);
            }
            manifest.created = now;
        }
    }
    let mut text = serde_json::to_string_pretty(&document(&manifest)).expect("a JSON value prints");
    text.push('\n');
    files::replace(target, text.as_bytes()).map_err(|problem| vec![problem])?;
    Ok(true)
}

fn document(manifest: &Manifest) -> Value {
    serde_json::from_slice(&manifest.canonical_bytes()).expect("canonical bytes are JSON")
}

async fn manifest(component: &Path, source: &Path, compiled: Option<&Path>) -> Result<Manifest, Vec<Problem>> {
    let bytes = files::read(component).map_err(|problem| vec![problem])?;
    manifest_of(&bytes, source, component, wire::now(), compiled).await
}

/// The manifest of a component: what its author wrote in `source`, and what the component says of itself. `place` is
/// where it is, for problems; `created` counts where the author names no time; compiled code is kept in `compiled`.
pub(crate) async fn manifest_of(
    bytes: &[u8],
    source: &Path,
    place: &Path,
    created: UnixSeconds,
    compiled: Option<&Path>,
) -> Result<Manifest, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let place = place.display().to_string();
    let settings = settings(source)?;
    let inspection = inspect(bytes).map_err(|problem| one(problem.file(place.clone())))?;
    let description = wire::describe(bytes, compiled).await.map_err(|problem| one(problem.file(place)))?;
    let (artifact, size) = (Digest::of(bytes), bytes.len() as u64);
    let part = |node_type: NodeType, callable: CallableDescription| ExportedPart {
        node_type,
        name: callable.name,
        description: callable.description,
        input_schema: callable.input_schema,
        output_schema: callable.output_schema,
        tags: callable.tags,
        entrypoint: false,
        artifact,
        size,
        imports: inspection.capabilities.clone(),
    };
    let parts: Vec<ExportedPart> = match description {
        Description::Kit(tools) => tools.into_iter().map(|tool| part(NodeType::Tool, tool)).collect(),
        Description::Agent(card) => vec![part(NodeType::Agent, card)],
        Description::Bundle(entries) => entries
            .into_iter()
            .map(|entry| ExportedPart {
                node_type: NodeType::Workflow,
                name: entry.name,
                description: entry.description,
                input_schema: Value::Null,
                output_schema: Value::Null,
                tags: Vec::new(),
                entrypoint: entry.entrypoint,
                artifact,
                size,
                imports: inspection.capabilities.clone(),
            })
            .collect(),
    };
    from_parts(&settings, &parts, Vec::new(), &print_date(created))
}

/// What the author wrote: `plugin.toml`, else `bundle.yaml`.
fn settings(source: &Path) -> Result<PluginSettings, Vec<Problem>> {
    let path = source.join("plugin.toml");
    if path.exists() {
        let text = files::read_text(&path).map_err(|problem| vec![problem])?;
        let place = path.display().to_string();
        return PluginSettings::parse(&text)
            .map_err(|problems| problems.into_iter().map(|problem| problem.file(place.clone())).collect());
    }
    if source.join("bundle.yaml").exists() {
        return bundle_source::settings(source);
    }
    Err(vec![
        Problem::new(Code::C002, "there is neither `plugin.toml` nor `bundle.yaml`")
            .file(source.display().to_string())
            .help("say where they are: `ice plugins export COMPONENT --source FOLDER`"),
    ])
}
