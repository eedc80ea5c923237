//! One node of a blueprint. The kind is fixed by the constructor; the rest are settings.
//!
//! Here is what nodes have in common. Constructors and settings of single kinds are in [`calls`](super::calls), which do
//! one thing, and [`control`](super::control), which decide what runs, when and whether.

use serde_json::{Map, Value, json};

/// Builds one node.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeBuilder {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) dependencies: Vec<String>,
    pub(super) fields: Map<String, Value>,
    /// Nodes inside this one: the field they stand in, and one list of nodes per branch.
    pub(super) nested: Vec<(&'static str, Vec<Vec<NodeBuilder>>)>,
    /// The field that [`arg`](Self::arg) fills.
    arguments: &'static str,
}

impl NodeBuilder {
    pub(super) fn new(id: impl Into<String>, kind: &'static str, arguments: &'static str) -> Self {
        let (dependencies, fields, nested) = (Vec::new(), Map::new(), Vec::new());
        Self { id: id.into(), kind, dependencies, fields, nested, arguments }
    }

    /// Sets any field of the node, for what has no method here.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds one member to a field that is a mapping.
    pub(super) fn member(mut self, field: &str, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(members) = self.fields.entry(field).or_insert_with(|| json!({})) {
            members.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Adds an argument: of a tool, an agent's task, a blueprint, code, or a member of the body of an HTTP call. Text may
    /// be a template. Other kinds have no arguments; the host refuses what they do not read.
    #[must_use]
    pub fn arg(self, name: &str, value: impl Into<Value>) -> Self {
        let field = self.arguments;
        self.member(field, name, value)
    }

    /// Runs only when node `id` is done.
    #[must_use]
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.dependencies.push(id.into());
        self
    }

    /// Runs only when this template renders true; `always` runs whatever became of its dependencies.
    #[must_use]
    pub fn run_if(self, template: impl Into<String>) -> Self {
        self.field("run_if", template.into())
    }

    /// Node `id` takes this one's place when it failed.
    #[must_use]
    pub fn fallback(self, id: impl Into<String>) -> Self {
        self.field("fallback", id.into())
    }

    /// Runs at the end, whatever happened, also after a cancel.
    #[must_use]
    pub fn finally(self) -> Self {
        self.field("finally", true)
    }

    /// Seconds until one attempt is stopped; of a person, until silence is the answer.
    #[must_use]
    pub fn timeout_seconds(self, seconds: u32) -> Self {
        self.field("timeout_seconds", seconds)
    }

    /// Tries again this often after a failure that may pass.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        self.field("retries", retries)
    }

    /// What the output must fit: JSON Schema, or type literals such as `{"sum": "int"}`.
    #[must_use]
    pub fn output_schema(self, schema: Value) -> Self {
        self.field("output_schema", schema)
    }

    pub(super) fn build(&self) -> Value {
        let mut document =
            Map::from_iter([("id".to_owned(), self.id.clone().into()), ("type".to_owned(), self.kind.into())]);
        if !self.dependencies.is_empty() {
            document.insert("dependencies".to_owned(), self.dependencies.clone().into());
        }
        document.extend(self.fields.clone());
        for (field, lists) in &self.nested {
            let mut lists = lists.iter().map(|nodes| nodes.iter().map(Self::build).collect::<Value>());
            let value = if *field == "branches" { lists.collect() } else { lists.next().unwrap_or_default() };
            document.insert((*field).to_owned(), value);
        }
        document.into()
    }
}

/// The texts as a JSON list.
pub(super) fn texts(items: impl IntoIterator<Item = impl Into<String>>) -> Value {
    items.into_iter().map(|item| Value::String(item.into())).collect()
}
