//! `tool`: one tool of a kit, in a fresh instance.

use futures_util::future::BoxFuture;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::{CallKind, Effects};
use ice_core::id::Digest;
use ice_core::ports::Failure;
use ice_core::problem::Code;
use serde_json::Value;

use super::{Done, Node, NodeKind};
use crate::context::NodeRun;
use crate::plan::{Arguments, Callee, PlanContext};

/// `type: tool`.
#[derive(Debug)]
pub struct ToolKind;

/// A call of one tool.
#[derive(Debug)]
pub struct Tool {
    /// Its name in the catalog.
    pub name: String,
    /// The component it is in, when the plan was made.
    pub artifact: Digest,
    /// Whether the component can reach anything.
    pub effects: Effects,
    /// What it is called with.
    pub arguments: Arguments,
    /// JSON Schema of what it returns.
    pub output_schema: Value,
}

impl NodeKind for ToolKind {
    fn name(&self) -> &'static str {
        "tool"
    }

    fn keys(&self) -> &'static [&'static str] {
        &["tool_name", "tool_args"]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let name = cx.fields(doc).required_text("tool_name")?;
        let catalog = cx.catalog();
        let Some(tool) = catalog.find(CallKind::Tool, name) else {
            let pointer = format!("{}/tool_name", doc.pointer);
            let known = catalog.tools.keys().map(String::as_str);
            cx.unknown(Code::B014, &pointer, format!("no installed kit has a tool `{name}`"), name, known);
            return None;
        };
        let what = format!("tool `{name}`");
        let arguments = cx.arguments(doc, "tool_args", Callee { what: &what, schema: &tool.input_schema });
        cx.uses(name, tool.artifact);
        Some(Box::new(Tool {
            name: name.to_owned(),
            artifact: tool.artifact,
            effects: tool.effects,
            arguments,
            output_schema: tool.output_schema.clone(),
        }))
    }
}

impl Node for Tool {
    fn is_leaf(&self) -> bool {
        true
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(async move {
            let catalog = cx.run().shared.ports.components.catalog();
            let input = cx.arguments(&self.arguments)?;
            let cache = cx.node.cache.map(|cache| cache.ttl_ms);
            cx.call(catalog.find(CallKind::Tool, &self.name), &self.name, input, cache).await
        })
    }

    fn effects(&self) -> Effects {
        self.effects
    }

    fn output_schema(&self) -> Option<Value> {
        Some(self.output_schema.clone())
    }

    fn callee(&self) -> Option<(CallKind, &str)> {
        Some((CallKind::Tool, &self.name))
    }

    fn arguments(&self) -> Option<&Arguments> {
        Some(&self.arguments)
    }

    fn summary(&self) -> String {
        self.name.clone()
    }
}
