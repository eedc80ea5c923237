//! Blueprints by code: the same documents people write as YAML, built and checked in Rust.
//!
//! ```
//! use ice_sdk::blueprint::{BlueprintBuilder, NodeBuilder};
//! use serde_json::json;
//!
//! let blueprint = BlueprintBuilder::new("notes.digest")
//!     .description("Shortens notes and puts them together.")
//!     .input("notes", json!({ "type": "array", "items": { "type": "string" } }), None)
//!     .node(
//!         NodeBuilder::repeat("shorten", "inputs.notes", "note", [
//!             NodeBuilder::tool("one", "writer_tool").arg("notes", "{{ note }}"),
//!         ])
//!         .parallel(4),
//!     )
//!     .node(
//!         NodeBuilder::tool("together", "aggregator_concat")
//!             .after("shorten")
//!             .arg("inputs", "{{ shorten.results }}")
//!             .arg("key", "summary"),
//!     )
//!     .output("text", "{{ together.text }}");
//! assert!(blueprint.validate_resolvable().is_empty());
//! assert_eq!(blueprint.build()["nodes"][1]["dependencies"], json!(["shorten"]));
//! ```
//!
//! What nodes refer to is checked against a [`Catalog`], where one is given. Not here: whether types fit and templates
//! name what is there. The host checks that, with what is installed on it.

mod calls;
mod catalog;
mod check;
mod control;
mod node;

use serde_json::{Map, Value, json};

pub use self::calls::{Language, Member, Method, Strategy};
pub use self::catalog::Catalog;
pub use self::control::{Ask, Channel, OnItemError, OnTrigger, Round, Silence, Wait};
pub use self::node::NodeBuilder;

/// The blueprint format this builder writes.
pub const SCHEMA_VERSION: &str = "1.2.0";

/// What happens to the rest of an execution when a node fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailurePolicy {
    /// Nothing new starts.
    Halt,
    /// What does not need the failed node goes on. The default.
    ContinuePossible,
    /// As before, and the execution counts as completed with errors.
    Always,
}

/// Builds one blueprint document.
#[derive(Clone, PartialEq, Debug)]
pub struct BlueprintBuilder {
    id: String,
    metadata: Map<String, Value>,
    inputs: Map<String, Value>,
    required: Vec<String>,
    nodes: Vec<NodeBuilder>,
    outputs: Map<String, Value>,
    settings: Map<String, Value>,
    catalog: Catalog,
}

impl BlueprintBuilder {
    /// An empty blueprint. `id` is what others call it by, such as `bundle.name`.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        let name = id.rsplit('.').next().unwrap_or_default().to_owned();
        Self {
            metadata: Map::from_iter([("name".to_owned(), name.into())]),
            id,
            inputs: Map::new(),
            required: Vec::new(),
            nodes: Vec::new(),
            outputs: Map::new(),
            settings: Map::new(),
            catalog: Catalog::new(),
        }
    }

    /// What it is for, in a sentence.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.metadata.insert("description".to_owned(), description.into().into());
        self
    }

    /// Adds an input with its JSON Schema. Without a default it is required.
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, mut schema: Value, default: Option<Value>) -> Self {
        let name = name.into();
        match (default, schema.as_object_mut()) {
            (Some(default), Some(schema)) => {
                schema.insert("default".to_owned(), default);
            }
            (Some(_), None) => {}
            (None, _) => self.required.push(name.clone()),
        }
        self.inputs.insert(name, schema);
        self
    }

    /// Adds a node.
    #[must_use]
    pub fn node(mut self, node: NodeBuilder) -> Self {
        self.nodes.push(node);
        self
    }

    /// Adds an output: a template such as `{{ together.text }}`, or any JSON that holds templates.
    #[must_use]
    pub fn output(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.outputs.insert(name.into(), value.into());
        self
    }

    /// What happens when a node fails.
    #[must_use]
    pub fn failure_policy(self, policy: FailurePolicy) -> Self {
        let policy = match policy {
            FailurePolicy::Halt => "halt",
            FailurePolicy::ContinuePossible => "continue_possible",
            FailurePolicy::Always => "always",
        };
        self.setting("failure_policy", policy)
    }

    /// Most money an execution may spend, in US dollars.
    #[must_use]
    pub fn budget_usd(self, usd: f64) -> Self {
        self.setting("budget", json!({ "usd": usd }))
    }

    /// Most nodes that run at the same time.
    #[must_use]
    pub fn max_parallel(self, nodes: u32) -> Self {
        self.setting("max_parallel", nodes)
    }

    /// What its nodes may refer to, for [`Self::validate_resolvable`]. It is no part of the document.
    #[must_use]
    pub fn catalog(mut self, catalog: Catalog) -> Self {
        self.catalog = catalog;
        self
    }

    fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// The description, empty when none was given.
    pub fn describes(&self) -> &str {
        self.metadata.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Returns every problem that can be seen without a host: no nodes, ids that are empty or used twice, dependencies and
    /// other references to nodes that do not exist, on themselves or in a circle, models that are not named, and tools,
    /// agents and blueprints that are not in the [catalog](Self::catalog), each with the nearest name that is. Empty when
    /// all is well.
    pub fn validate_resolvable(&self) -> Vec<String> {
        check::problems(&self.nodes, &self.catalog)
    }

    /// The same within a bundle, whose other blueprints are known.
    pub(crate) fn problems_within(&self, bundle: &crate::bundle::Bundle) -> Vec<String> {
        check::problems(&self.nodes, &self.catalog.clone().bundle(bundle))
    }

    /// Returns the document. Does not check it: see [`Self::validate_resolvable`].
    pub fn build(&self) -> Value {
        let mut document = Map::from_iter([
            ("id".to_owned(), self.id.clone().into()),
            ("schema_version".to_owned(), SCHEMA_VERSION.into()),
            ("metadata".to_owned(), self.metadata.clone().into()),
        ]);
        if !self.inputs.is_empty() {
            let inputs = json!({ "type": "object", "required": self.required, "properties": self.inputs });
            document.insert("inputs".to_owned(), inputs);
        }
        document.extend(self.settings.clone());
        document.insert("nodes".to_owned(), self.nodes.iter().map(NodeBuilder::build).collect());
        document.insert("outputs".to_owned(), self.outputs.clone().into());
        document.into()
    }
}

#[cfg(test)]
mod tests;
