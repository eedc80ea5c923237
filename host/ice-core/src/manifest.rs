//! The manifest, `plugins.v0`: what a plugin is and asks for. Types, and the one way from bytes to a manifest.
//!
//! The form is `manifests/plugins.v0.schema.json`, compiled in; [`check`] adds what a schema cannot say. Making a
//! manifest from a built component is [`parts`]; signatures belong to the registry.

mod canonical;
mod check;
mod date;
mod names;
mod parts;
mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use canonical::{DEPTH_MAX, canonical, parse_canonical, parse_strict};
pub use check::lint;
pub use date::{UnixSeconds, parse_date, print_date};
pub use names::{DEFAULT_SCOPE, check_name, near_names, nearest, qualified, short};
pub(crate) use parts::unknown_key;
pub use parts::{BLUEPRINTS_INTERFACE, ExportedPart, PluginSettings, TASKS_INTERFACE, TOOLS_INTERFACE, from_parts};
pub use text::{check_texts, hidden, printable, printable_lines};

use crate::catalog::Effects;
use crate::grant::{Grant, widens};
use crate::id::Digest;
use crate::problem::{Code, Problem};

/// The form, as published beside the manifests.
pub const SCHEMA: &str = include_str!("../../../manifests/plugins.v0.schema.json");

/// Most bytes of a manifest: it is read whole, before its signature is known.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// Most bytes of one component or file.
pub const ARTIFACT_BYTES_MAX: u64 = 64 << 20;

/// The only `schema_version` so far.
pub const SCHEMA_VERSION: &str = "plugins.v0";

/// What a user installs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One component with one tool or agent.
    Plugin,
    /// Components with tools.
    Kit,
    /// Blueprints, and the plugins they need.
    Bundle,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Plugin, Self::Kit, Self::Bundle];

    /// The word in manifests and media types.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Kit => "kit",
            Self::Bundle => "bundle",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one entry of a manifest is to a blueprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum NodeType {
    /// Works on tasks.
    Agent,
    /// A function.
    Tool,
    /// A blueprint of a bundle.
    Workflow,
}

impl NodeType {
    /// The word in manifests; entries are sorted by it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::Workflow => "workflow",
        }
    }
}

/// One tool, agent or blueprint. Several may live in one artifact.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Component {
    /// What it is.
    pub node_type: NodeType,
    /// Its name in the catalog.
    pub name: String,
    /// `namespace:package/interface@version#export`.
    pub import: String,
    /// Its own version.
    pub version: Version,
    /// Digest of the component's bytes.
    pub artifact: Digest,
    /// Their number.
    pub size: u64,
    /// `namespace:package/world@version` it was built for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<String>,
    /// JSON Schemas of input and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<IoSchema>,
    /// What it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Grant>,
    /// Whether a call leaves traces; `external` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Effects>,
    /// For a blueprint: whether the bundle starts here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entrypoint: bool,
    /// What a call is expected to cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_estimate: Option<CostEstimate>,
    /// Free words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// For a person and a model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Oldest host that can run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iceos_min: Option<Version>,
    /// When it went out of use, and for what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
    /// Members this version does not know; signed all the same.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// JSON Schemas of input and output.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct IoSchema {
    /// Of the input.
    #[serde(default = "any_object")]
    pub input: Value,
    /// Of the output.
    #[serde(default = "any_object")]
    pub output: Value,
}

fn any_object() -> Value {
    json!({})
}

/// An estimate, in US dollars.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug, Default)]
#[serde(default)]
pub struct CostEstimate {
    /// Of every call.
    pub base: f64,
    /// Of every token.
    pub per_token: f64,
}

/// When something went out of use, and for what.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Deprecation {
    /// The version it went out of use with.
    pub since: String,
    /// What to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
}

/// One file beside the components.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct FileEntry {
    /// Relative, `/` between parts, no `.` or `..`.
    pub path: String,
    /// Digest of its bytes.
    pub artifact: Digest,
    /// Their number.
    pub size: u64,
    /// Such as `application/yaml`.
    pub media_type: String,
}

/// Another plugin this one needs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Dependency {
    /// `scope/name`.
    pub name: String,
    /// Which versions, such as `^1.0`.
    pub req: String,
    /// Exactly this plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<Digest>,
}

/// Where it was built from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(default)]
pub struct Source {
    /// URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Commit id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who built it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// Whether the same source gives the same bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reproducible: Option<bool>,
}

/// A whole manifest. [`Manifest::parse`] is the only way from foreign bytes to one.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// What is installed.
    pub kind: Kind,
    /// `scope/name`.
    pub name: String,
    /// Of the plugin; its components have their own.
    pub version: Version,
    /// Grows with every release of this name.
    pub sequence: u64,
    /// RFC 3339, UTC, whole seconds.
    pub created: String,
    /// Not to be newly installed after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// For a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Oldest host that can run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iceos_min: Option<Version>,
    /// Sorted by node type, then name.
    pub components: Vec<Component>,
    /// Files beside the components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
    /// Plugins this one needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// Where it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Schemas that components refer to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schemas: BTreeMap<String, Value>,
    /// Members this version does not know; signed all the same.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// Reads canonical bytes. Every problem at once: form (M001, T012, T018, G003), texts (T016), rules of this
    /// version; T007 alone when the bytes are not canonical, T029 when there are too many.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            let message = format!("the manifest has {} bytes, the limit is {MANIFEST_BYTES_MAX}", bytes.len());
            return Err(vec![Problem::new(Code::T029, message)]);
        }
        Self::from_value(&parse_canonical(bytes).map_err(|problem| vec![problem])?)
    }

    /// Reads a document that need not be canonical, such as one a person wrote. Problems as in [`Manifest::parse`].
    pub fn from_value(document: &Value) -> Result<Self, Vec<Problem>> {
        let mut problems = check::form(document);
        if !problems.is_empty() {
            return Err(problems);
        }
        let manifest: Self = serde_json::from_value(document.clone())
            .map_err(|error| vec![Problem::new(Code::M001, format!("the manifest cannot be read: {error}"))])?;
        problems.extend(check_texts(document));
        problems.extend(check::rules(&manifest));
        if problems.is_empty() { Ok(manifest) } else { Err(problems) }
    }

    /// Returns every problem of this manifest, as [`Manifest::parse`] would find them in its bytes.
    pub fn check(&self) -> Vec<Problem> {
        Self::from_value(&self.to_value()).err().unwrap_or_default()
    }

    /// The bytes that are signed.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        canonical(&self.to_value())
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a manifest has no map with other keys than strings")
    }

    /// Distinct artifacts of the components, in the order they first appear: the A of the signed payload.
    pub fn artifacts(&self) -> Vec<(Digest, u64)> {
        let mut found: Vec<(Digest, u64)> = Vec::new();
        for component in &self.components {
            if !found.iter().any(|(digest, _)| *digest == component.artifact) {
                found.push((component.artifact, component.size));
            }
        }
        found
    }

    /// What this plugin asks for in all: the request of each component, put together.
    pub fn requested(&self) -> Vec<(Digest, &Grant)> {
        let mut found: Vec<(Digest, &Grant)> = Vec::new();
        for component in &self.components {
            if let Some(grant) = &component.capabilities
                && !found.iter().any(|(digest, _)| *digest == component.artifact)
            {
                found.push((component.artifact, grant));
            }
        }
        found
    }

    /// Everything that its components ask for, as one grant.
    pub fn asks(&self) -> Grant {
        let mut requests = self.requested().into_iter().map(|(_, asked)| asked);
        let mut all = requests.next().cloned().unwrap_or_default();
        let nothing = Grant::default();
        for line in requests.flat_map(|asked| widens(&nothing, asked)) {
            // A line of `widens` is a setting, and what a manifest asks for was checked when it was read.
            let _ = all.set(&line);
        }
        all
    }

    /// JSON Schema of a component's input, with a reference into `schemas` followed.
    pub fn input_schema(&self, component: &Component) -> Value {
        component.schema.as_ref().map_or_else(any_object, |schema| self.resolve(&schema.input))
    }

    /// JSON Schema of a component's output, with a reference into `schemas` followed.
    pub fn output_schema(&self, component: &Component) -> Value {
        component.schema.as_ref().map_or_else(any_object, |schema| self.resolve(&schema.output))
    }

    fn resolve(&self, schema: &Value) -> Value {
        let named = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix("#/schemas/"));
        named.and_then(|name| self.schemas.get(name)).unwrap_or(schema).clone()
    }

    /// SHA-256 of what a model reads: the canonical `[{name, description, schema}, …]`. A change of it is what an
    /// upgrade must show.
    pub fn interface(&self) -> Digest {
        let entry = |component: &Component| {
            json!({
                "name": component.name,
                "description": component.description,
                "schema": {"input": self.input_schema(component), "output": self.output_schema(component)},
            })
        };
        Digest::of(&canonical(&Value::Array(self.components.iter().map(entry).collect())))
    }
}

#[cfg(test)]
mod tests;
