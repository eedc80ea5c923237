//! One node of a blueprint. The kind is fixed by the constructor; the rest are settings.

use serde_json::{Map, Value, json};

/// What a loop does with an item that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnItemError {
    /// The loop fails. The default.
    Fail,
    /// The item goes to `errors`, the others to `results`.
    Collect,
    /// The item is left out.
    Skip,
}

/// When a parallel node is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// When every branch is. The default.
    All,
    /// When one branch is.
    Any,
    /// When this many branches are.
    AtLeast(u32),
}

/// Builds one node.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeBuilder {
    pub(super) id: String,
    kind: &'static str,
    pub(super) dependencies: Vec<String>,
    fields: Map<String, Value>,
    /// Nodes inside this one: the field they stand in, and one list of nodes per branch.
    pub(super) nested: Vec<(&'static str, Vec<Vec<NodeBuilder>>)>,
}

impl NodeBuilder {
    fn new(id: impl Into<String>, kind: &'static str) -> Self {
        Self { id: id.into(), kind, dependencies: Vec::new(), fields: Map::new(), nested: Vec::new() }
    }

    /// One call of a tool. Give its input with [`arg`](Self::arg).
    pub fn tool(id: impl Into<String>, tool: impl Into<String>) -> Self {
        Self::new(id, "tool").field("tool_name", tool.into())
    }

    /// One completion. The empty model is the host's default.
    pub fn llm(id: impl Into<String>, model: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self::new(id, "llm").field("llm_config", json!({ "model": model.into() })).field("prompt", prompt.into())
    }

    /// A component agent. Give its task with [`arg`](Self::arg).
    pub fn agent(id: impl Into<String>, package: impl Into<String>) -> Self {
        Self::new(id, "agent").field("package", package.into())
    }

    /// One of two paths, by an expression such as `inputs.score >= 3`.
    pub fn condition(
        id: impl Into<String>,
        expression: impl Into<String>,
        when_true: impl IntoIterator<Item = NodeBuilder>,
        when_false: impl IntoIterator<Item = NodeBuilder>,
    ) -> Self {
        let mut node = Self::new(id, "condition").field("expression", expression.into());
        node.nested = vec![
            ("true_path", vec![when_true.into_iter().collect()]),
            ("false_path", vec![when_false.into_iter().collect()]),
        ];
        node
    }

    /// The body once for each item of a list: `items_source` is its path, `item_var` names the item inside the body.
    pub fn repeat(
        id: impl Into<String>,
        items_source: impl Into<String>,
        item_var: impl Into<String>,
        body: impl IntoIterator<Item = NodeBuilder>,
    ) -> Self {
        let mut node =
            Self::new(id, "loop").field("items_source", items_source.into()).field("item_var", item_var.into());
        node.nested = vec![("body", vec![body.into_iter().collect()])];
        node
    }

    /// Branches side by side.
    pub fn branches(id: impl Into<String>, branches: impl IntoIterator<Item = Vec<NodeBuilder>>) -> Self {
        let mut node = Self::new(id, "parallel");
        node.nested = vec![("branches", branches.into_iter().collect())];
        node
    }

    /// Another blueprint, by id or bundle entry.
    pub fn workflow(id: impl Into<String>, reference: impl Into<String>) -> Self {
        Self::new(id, "workflow").field("workflow_ref", reference.into())
    }

    /// Sets any field of the node, for what has no method here.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds an argument: of a tool, or a field of an agent's task. Text may be a template.
    #[must_use]
    pub fn arg(mut self, name: &str, value: impl Into<Value>) -> Self {
        let field = if self.kind == "agent" { "input" } else { "tool_args" };
        if let Value::Object(arguments) = self.fields.entry(field).or_insert_with(|| json!({})) {
            arguments.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Runs only when node `id` is done.
    #[must_use]
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.dependencies.push(id.into());
        self
    }

    /// Runs only when this template renders true.
    #[must_use]
    pub fn run_if(self, template: impl Into<String>) -> Self {
        self.field("run_if", template.into())
    }

    /// Seconds until the node is stopped.
    #[must_use]
    pub fn timeout_seconds(self, seconds: u32) -> Self {
        self.field("timeout_seconds", seconds)
    }

    /// Tries again this often after a failure that may pass.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        self.field("retries", retries)
    }

    /// Runs loop items side by side, at most this many at a time; the same for branches.
    #[must_use]
    pub fn parallel(self, max_concurrency: u32) -> Self {
        let node = if self.kind == "loop" { self.field("parallel", true) } else { self };
        node.field("max_concurrency", max_concurrency)
    }

    /// What a loop does with an item that failed.
    #[must_use]
    pub fn on_item_error(self, what: OnItemError) -> Self {
        let what = match what {
            OnItemError::Fail => "fail",
            OnItemError::Collect => "collect",
            OnItemError::Skip => "skip",
        };
        self.field("on_item_error", what)
    }

    /// When a parallel node is done.
    #[must_use]
    pub fn wait(self, wait: Wait) -> Self {
        let wait: Value = match wait {
            Wait::All => "all".into(),
            Wait::Any => "any".into(),
            Wait::AtLeast(branches) => branches.into(),
        };
        self.field("wait", wait)
    }

    /// Gives an output of the child execution of a workflow node a name here.
    #[must_use]
    pub fn expose(mut self, name: &str, path: &str) -> Self {
        if let Value::Object(exposed) = self.fields.entry("exposed_outputs").or_insert_with(|| json!({})) {
            exposed.insert(name.to_owned(), path.into());
        }
        self
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
