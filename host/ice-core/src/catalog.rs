//! What can be called on this host: the tools, agents and blueprints of verified plugins.
//!
//! Says what exists, not who may call it: that is a [`Grant`](crate::grant::Grant).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::grant::Grant;
use crate::id::Digest;
use crate::manifest::Deprecation;

/// Whether a call leaves traces outside the execution.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Effects {
    /// Proven by the component's imports: it can reach nothing but its log. May be cached and re-run freely.
    None,
    /// It imports a capability. Committed before and after, never run twice once finished.
    External,
}

/// Which export of a component a call goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// `ice:plugin/tools.call`.
    Tool,
    /// `ice:plugin/tasks.run`.
    Agent,
}

/// One tool or agent.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Callable {
    /// Tool or agent.
    pub kind: CallKind,
    /// `[a-z][a-z0-9_]*`, unique among callables of its kind.
    pub name: String,
    /// For a person and a model.
    pub description: String,
    /// JSON Schema of the input.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    /// Free words.
    pub tags: Vec<String>,
    /// The plugin it comes from, `scope/name`.
    pub plugin: String,
    /// That plugin's version.
    pub version: String,
    /// Digest of the component's bytes.
    pub artifact: Digest,
    /// The statement the plugin was verified with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<Digest>,
    /// When it went out of use, and for what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
    /// Derived from the component's imports.
    pub effects: Effects,
    /// What the operator lets it do.
    pub granted: Arc<Grant>,
}

/// One blueprint of an installed bundle.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BundleEntry {
    /// `bundle.blueprint`, for example `chatkit.rag_chat`.
    pub name: String,
    /// For a person.
    pub description: String,
    /// The bundle, `scope/name`.
    pub plugin: String,
    /// Digest of the bundle component's bytes.
    pub artifact: Digest,
    /// Whether the bundle starts here when no entry is named.
    pub entrypoint: bool,
    /// When it went out of use, and for what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
}

/// Everything installed and verified. Immutable; an install makes a new one.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug, Default)]
pub struct Catalog {
    /// Tools by name.
    pub tools: BTreeMap<String, Arc<Callable>>,
    /// Agents by name.
    pub agents: BTreeMap<String, Arc<Callable>>,
    /// Blueprints by `bundle.blueprint`.
    pub blueprints: BTreeMap<String, Arc<BundleEntry>>,
}

impl Catalog {
    /// Looks a callable up by kind and name.
    pub fn find(&self, kind: CallKind, name: &str) -> Option<&Arc<Callable>> {
        match kind {
            CallKind::Tool => self.tools.get(name),
            CallKind::Agent => self.agents.get(name),
        }
    }
}
