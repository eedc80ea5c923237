//! `condition`: an expression decides which of two graphs runs.

use futures_util::future::BoxFuture;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::Effects;
use ice_core::ports::Failure;
use ice_core::problem::Code;
use ice_core::template::Template;
use serde_json::{Value, json};

use super::{Done, Node, NodeKind};
use crate::context::NodeRun;
use crate::estimate::{Asking, Known, Runs, Times};
use crate::plan::{Graph, PlanContext};

/// `type: condition`.
#[derive(Debug)]
pub struct ConditionKind;

/// A choice between two graphs, either of which may be empty.
#[derive(Debug)]
pub struct Condition {
    /// Evaluated with [`Template::truth`].
    pub expression: Template,
    /// Runs when it is true.
    pub true_path: Graph,
    /// Runs when it is not.
    pub false_path: Graph,
}

impl NodeKind for ConditionKind {
    fn name(&self) -> &'static str {
        "condition"
    }

    fn keys(&self) -> &'static [&'static str] {
        &["expression", "true_path", "false_path"]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let expression = expression(doc, cx);
        let true_path = path(doc, "true_path", cx);
        let false_path = path(doc, "false_path", cx);
        Some(Box::new(Condition { expression: expression?, true_path: true_path?, false_path: false_path? }))
    }
}

/// YAML reads `expression: true` as a yes, not as text; both are meant.
fn expression(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Template> {
    let pointer = format!("{}/expression", doc.pointer);
    if let Some(Value::Bool(constant)) = doc.config.get("expression") {
        return cx.expression(&constant.to_string(), &pointer);
    }
    let text = cx.fields(doc).required_text("expression")?;
    if text.contains("{%") {
        let help = "write a comparison such as `a.score > 3 and \"x\" in inputs.tags`";
        cx.problem(Code::B018, &pointer, "a condition is one expression, not statements", help);
        return None;
    }
    cx.expression(text, &pointer)
}

/// A branch that is not written has no nodes.
fn path(doc: &NodeDoc, key: &str, cx: &mut PlanContext<'_>) -> Option<Graph> {
    if cx.fields(doc).get(key).is_none() {
        return Some(Graph::default());
    }
    cx.nested(doc, key, None)
}

impl Node for Condition {
    fn asking(&self, _known: &Known<'_>) -> Asking<'_> {
        let graphs = self.graphs().into_iter().map(|graph| (graph, Times::ONCE)).collect();
        Asking { graphs, runs: Runs::OneOf, ..Asking::default() }
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(async move {
            cx.check_context()?;
            let result = cx.truth(&self.expression, "expression")?;
            let (branch, graph) = if result { ("true", &self.true_path) } else { ("false", &self.false_path) };
            let inner = cx.graph(graph, &format!(".{branch}"), None).await;
            if let Some(failure) = inner.failure {
                return Err(failure);
            }
            let mut output = inner.outputs.clone();
            output.insert("result".into(), result.into());
            output.insert("branch".into(), branch.into());
            output.insert("expression".into(), self.expression.source().clone());
            output.insert("branch_outputs".into(), inner.outputs.into());
            Ok(Done::new(output.into()))
        })
    }

    fn graphs(&self) -> Vec<&Graph> {
        vec![&self.true_path, &self.false_path]
    }

    fn effects(&self) -> Effects {
        match (self.true_path.effects(), self.false_path.effects()) {
            (Effects::None, Effects::None) => Effects::None,
            _ => Effects::External,
        }
    }

    /// The outputs of inner nodes are also there by id: which ones depends on the branch.
    fn output_schema(&self) -> Option<Value> {
        let mut properties = json!({
            "result": {"type": "boolean"}, "branch": {"type": "string"}, "branch_outputs": {"type": "object"},
            "expression": {"type": "string"},
        });
        for node in self.true_path.nodes.iter().chain(&self.false_path.nodes) {
            properties[node.id.as_str()] = json!({});
        }
        Some(json!({"type": "object", "properties": properties, "additionalProperties": false}))
    }

    fn summary(&self) -> String {
        format!("if {}", self.expression.source().as_str().unwrap_or_default())
    }
}
