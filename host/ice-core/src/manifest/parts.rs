//! A manifest from its parts: what the author wrote in `plugin.toml`, and what the built component says of itself.
//!
//! Pure: building, hashing and inspecting components is done by the callers.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Component, CostEstimate, Dependency, Deprecation, FileEntry, IoSchema, Kind, Manifest, NodeType, Source};
use super::{SCHEMA_VERSION, names, text};
use crate::catalog::Effects;
use crate::grant::{Capability, Grant};
use crate::id::Digest;
use crate::problem::{Code, Problem};

/// The interface a kit exports.
pub const TOOLS_INTERFACE: &str = "ice:plugin/tools@0.1.0";
/// The interface an agent exports.
pub const TASKS_INTERFACE: &str = "ice:plugin/tasks@0.1.0";
/// The interface a bundle exports.
pub const BLUEPRINTS_INTERFACE: &str = "ice:plugin/blueprints@0.1.0";

/// `plugin.toml`: what only the author knows.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct PluginSettings {
    /// `scope/name`.
    pub name: String,
    /// Of the plugin.
    pub version: Version,
    /// What is installed.
    pub kind: Kind,
    /// For a person.
    #[serde(default)]
    pub description: String,
    /// SPDX expression.
    #[serde(default)]
    pub license: Option<String>,
    /// Grows with every release of this name; [`PluginSettings::usual_sequence`] when absent.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// RFC 3339; the caller's when absent.
    #[serde(default)]
    pub created: Option<String>,
    /// Not to be newly installed after this.
    #[serde(default)]
    pub expires: Option<String>,
    /// Oldest host that can run it.
    #[serde(default)]
    pub iceos_min: Option<Version>,
    /// Bounds of every capability the component imports.
    #[serde(default)]
    pub capabilities: Grant,
    /// Tool, agent or blueprint → what a call is expected to cost.
    #[serde(default)]
    pub cost_estimate: BTreeMap<String, CostEstimate>,
    /// Tool, agent or blueprint → what replaces it.
    #[serde(default)]
    pub deprecated: BTreeMap<String, Deprecation>,
    /// Plugins this one needs.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// Where it was built from.
    #[serde(default)]
    pub source: Option<Source>,
}

impl PluginSettings {
    const KEYS: [&'static str; 14] = [
        "name",
        "version",
        "kind",
        "description",
        "license",
        "sequence",
        "created",
        "expires",
        "iceos_min",
        "capabilities",
        "cost_estimate",
        "deprecated",
        "dependencies",
        "source",
    ];

    /// The sequence of a release whose author names none: it grows with the version, and a pre-release comes before its
    /// release. M002 where versions are too large for that. Several
    /// pre-releases of one version share a number: their author has to name it.
    pub fn usual_sequence(version: &Version) -> Result<u64, Problem> {
        const STEP: u64 = 100_000;
        if [version.major, version.minor, version.patch].into_iter().any(|number| number >= STEP) {
            let problem = Problem::new(Code::M002, format!("version {version} has a number over {}", STEP - 1));
            return Err(problem.help("write `sequence = N` into plugin.toml, one more than that of the last release"));
        }
        let release = (version.major * STEP + version.minor) * STEP + version.patch;
        Ok(release * 2 + u64::from(version.pre.is_empty()))
    }

    /// Reads `plugin.toml` (M002, M003); every unknown top-level key is named with the nearest known one.
    pub fn parse(toml: &str) -> Result<Self, Vec<Problem>> {
        let form = |error: &toml::de::Error| {
            let line = error.span().map(|span| toml[..span.start.min(toml.len())].matches('\n').count() + 1);
            let mut problem = Problem::new(Code::M002, text::printable(error.message()));
            if let Some(line) = line {
                problem.at.get_or_insert_default().line = u32::try_from(line).ok();
            }
            problem
        };
        let table: toml::Table = toml.parse().map_err(|error| vec![form(&error)])?;
        let unknown = table.keys().filter(|key| !Self::KEYS.contains(&key.as_str()));
        let mut problems: Vec<Problem> = unknown.map(|key| unknown_key(key, Self::KEYS)).collect();
        if problems.is_empty() {
            return toml::from_str(toml).map_err(|error| vec![form(&error)]);
        }
        let known: toml::Table = table.into_iter().filter(|(key, _)| Self::KEYS.contains(&key.as_str())).collect();
        problems.extend(known.try_into::<Self>().err().map(|error| Problem::new(Code::M002, error.message())));
        Err(problems)
    }
}

/// A key nobody knows, with the one that was probably meant.
pub(crate) fn unknown_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Problem {
    let shown = text::printable(key);
    let problem = Problem::new(Code::M003, format!("there is no key `{shown}`")).pointer(format!("/{shown}"));
    match names::nearest(key, known.clone()) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None => problem.help(format!("the keys are {}", known.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

/// One tool, agent or blueprint as the built component describes it, with what was found in the component's bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct ExportedPart {
    /// What it is; decides the exported interface.
    pub node_type: NodeType,
    /// Its name.
    pub name: String,
    /// For a person and a model.
    pub description: String,
    /// JSON Schema of the input.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    /// Free words.
    pub tags: Vec<String>,
    /// For a blueprint: whether the bundle starts here.
    pub entrypoint: bool,
    /// Digest of the component's bytes.
    pub artifact: Digest,
    /// Their number.
    pub size: u64,
    /// Capabilities among the component's imports.
    pub imports: BTreeSet<Capability>,
}

/// Puts a manifest together. `created` is used unless the settings say it. Fails with every problem: a capability
/// that is imported and not bounded or bounded and not imported (T015), and all that [`Manifest::check`] finds.
pub fn from_parts(
    settings: &PluginSettings,
    parts: &[ExportedPart],
    files: Vec<FileEntry>,
    created: &str,
) -> Result<Manifest, Vec<Problem>> {
    let mut problems = import_problems(&settings.capabilities, parts);
    let named = |name: &str| parts.iter().any(|part| part.name == name);
    for name in settings.cost_estimate.keys().chain(settings.deprecated.keys()).filter(|name| !named(name)) {
        let problem =
            Problem::new(Code::M002, format!("plugin.toml speaks of `{name}`, which the component does not export"));
        problems.push(match names::nearest(name, parts.iter().map(|part| part.name.as_str())) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None => problem,
        });
    }
    let mut components: Vec<Component> = parts.iter().map(|part| component(settings, part)).collect();
    components.sort_by(|a, b| (a.node_type.as_str(), &a.name).cmp(&(b.node_type.as_str(), &b.name)));
    let sequence = settings.sequence.map_or_else(|| PluginSettings::usual_sequence(&settings.version), Ok);
    let sequence = sequence.unwrap_or_else(|problem| {
        problems.push(problem);
        0
    });
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION.to_owned(),
        kind: settings.kind,
        name: settings.name.clone(),
        version: settings.version.clone(),
        sequence,
        created: settings.created.clone().unwrap_or_else(|| created.to_owned()),
        expires: settings.expires.clone(),
        description: settings.description.clone(),
        license: settings.license.clone(),
        iceos_min: settings.iceos_min.clone(),
        components,
        files,
        dependencies: settings.dependencies.clone(),
        source: settings.source.clone(),
        schemas: BTreeMap::new(),
        extra: Map::new(),
    };
    problems.extend(manifest.check());
    if problems.is_empty() { Ok(manifest) } else { Err(problems) }
}

fn component(settings: &PluginSettings, part: &ExportedPart) -> Component {
    let (interface, world) = match part.node_type {
        NodeType::Tool => (TOOLS_INTERFACE, "ice:plugin/kit@0.1.0"),
        NodeType::Agent => (TASKS_INTERFACE, "ice:plugin/agent@0.1.0"),
        NodeType::Workflow => (BLUEPRINTS_INTERFACE, "ice:plugin/bundle@0.1.0"),
    };
    let pure = part.imports.iter().all(|capability| *capability == Capability::Log);
    let callable = part.node_type != NodeType::Workflow;
    Component {
        node_type: part.node_type,
        name: part.name.clone(),
        import: format!("{interface}#{}", part.name),
        version: settings.version.clone(),
        artifact: part.artifact,
        size: part.size,
        world: Some(world.to_owned()),
        schema: callable.then(|| IoSchema { input: part.input_schema.clone(), output: part.output_schema.clone() }),
        capabilities: (settings.capabilities != Grant::default()).then(|| settings.capabilities.clone()),
        effects: callable.then_some(if pure { Effects::None } else { Effects::External }),
        entrypoint: part.entrypoint,
        cost_estimate: settings.cost_estimate.get(&part.name).copied(),
        tags: part.tags.clone(),
        description: part.description.clone(),
        iceos_min: None,
        deprecated: settings.deprecated.get(&part.name).cloned(),
        extra: Map::new(),
    }
}

/// The bounds must name exactly what is imported: more would be granted for nothing, less would fail at run time.
fn import_problems(declared: &Grant, parts: &[ExportedPart]) -> Vec<Problem> {
    let mut imported: BTreeSet<Capability> = parts.iter().flat_map(|part| part.imports.iter().copied()).collect();
    imported.insert(Capability::Log);
    let declared = declared.capabilities();
    let missing = imported.difference(&declared).map(|capability| {
        Problem::new(Code::T015, format!("the component imports `{capability}`, plugin.toml does not bound it"))
            .help(format!("add a `{capability}` entry to `[capabilities]` in plugin.toml, or stop using it"))
    });
    let idle = declared.difference(&imported).map(|capability| {
        Problem::new(Code::T015, format!("plugin.toml asks for `{capability}`, the component does not import it"))
            .help(format!("remove `{capability}` from `[capabilities]` in plugin.toml"))
    });
    missing.chain(idle).collect()
}
