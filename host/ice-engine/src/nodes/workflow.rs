//! `workflow`: another blueprint, as an execution of its own that is linked to this one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ice_core::blueprint::{NodeDoc, Parsed, did_you_mean};
use ice_core::budget::Usage;
use ice_core::catalog::Effects;
use ice_core::event::{Fact, FinalStatus};
use ice_core::execution::Ending;
use ice_core::id::ExecutionId;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use serde_json::{Map, Value, json};

use super::{Done, Node, NodeKind};
use crate::children::{self, Found};
use crate::context::{NodeRun, child};
use crate::estimate::{Asking, Known};
use crate::keys;
use crate::live::Rest;
use crate::plan::{Arguments, Callee, Plan, PlanContext};

/// `type: workflow`.
#[derive(Debug)]
pub struct WorkflowKind;

/// A child execution.
#[derive(Debug)]
pub struct Workflow {
    /// As written under `workflow_ref`.
    pub reference: String,
    /// What runs. Its document already holds the overrides, so its digest is what the child execution pins.
    pub child: Arc<Plan>,
    /// The child's inputs.
    pub arguments: Arguments,
    /// Whether the child is given this execution's inputs: the node names none and the child declares none.
    pub passes_inputs: bool,
    /// Name and path into the child's outputs; empty for all outputs as they are.
    pub exposed: Vec<(String, Vec<String>)>,
}

impl NodeKind for WorkflowKind {
    fn name(&self) -> &'static str {
        "workflow"
    }

    fn keys(&self) -> &'static [&'static str] {
        &["workflow_ref", "inputs", "exposed_outputs", "config_overrides"]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let mut fields = cx.fields(doc);
        let overrides = fields.mapping("config_overrides").cloned().unwrap_or_default();
        let exposed = exposed(doc, cx);
        let reference = cx.fields(doc).required_text("workflow_ref")?.to_owned();
        let pointer = format!("{}/workflow_ref", doc.pointer);
        let parsed = cx.referred(&reference, &pointer)?;
        let (document, exposed) = derive(doc, &parsed, &overrides, exposed, cx)?;
        let child = cx.child(&reference, &parsed, document, &pointer)?;
        let what = format!("blueprint `{reference}`");
        let schema = asked(&child);
        let arguments = cx.arguments(doc, "inputs", Callee { what: &what, schema: &schema });
        let passes_inputs = child.input_schema.is_none() && doc.config.get("inputs").is_none();
        Some(Box::new(Workflow { reference, child, arguments, passes_inputs, exposed }))
    }
}

/// What the child asks for: an input with a default need not be given.
fn asked(child: &Plan) -> Value {
    let Some(schema) = &child.input_schema else { return json!({}) };
    let mut schema = schema.document().clone();
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name.as_str().is_none_or(|name| !child.defaults.contains_key(name)));
    }
    schema
}

fn exposed(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Vec<(String, Vec<String>)> {
    let mut fields = cx.fields(doc);
    let Some(map) = fields.mapping("exposed_outputs") else { return Vec::new() };
    let mut exposed = Vec::with_capacity(map.len());
    for (name, path) in map {
        let path = path.as_str().map(|path| path.split('.').map(str::to_owned).collect::<Vec<_>>());
        match path.filter(|path| path.iter().all(|part| !part.is_empty())) {
            Some(path) => exposed.push((name.clone(), path)),
            None => {
                let key = format!("exposed_outputs/{}", name.replace('~', "~0").replace('/', "~1"));
                fields.problem(
                    Code::B004,
                    &key,
                    format!("`{name}` is not a dot path"),
                    "write `output` or `node.field`",
                );
            }
        }
    }
    exposed
}

/// The exposed paths, resolved against the child's outputs, with the child's document.
type Derived = (Value, Vec<(String, Vec<String>)>);

/// Puts overrides into the child's nodes (RFC 7396), and adds an output for each exposed path that starts at a node.
fn derive(
    doc: &NodeDoc,
    parsed: &Parsed,
    overrides: &Map<String, Value>,
    mut exposed: Vec<(String, Vec<String>)>,
    cx: &mut PlanContext<'_>,
) -> Option<Derived> {
    let blueprint = &parsed.blueprint;
    let mut document = blueprint.document.clone();
    let before = cx.problem_count();
    let ids = || blueprint.nodes.iter().map(|node| node.id.as_str());
    for (id, patch) in overrides {
        let Some(index) = ids().position(|known| known == id) else {
            let pointer = format!("{}/config_overrides/{id}", doc.pointer);
            cx.unknown(Code::B012, &pointer, format!("the blueprint has no node `{id}`"), id, ids());
            continue;
        };
        merge(&mut document["nodes"][index], patch);
    }
    for (name, path) in &mut exposed {
        let declared = |root: &str| blueprint.outputs.iter().any(|(output, _)| output == root);
        if declared(&path[0]) {
            continue;
        }
        if !ids().any(|id| id == path[0]) {
            let known = blueprint.outputs.iter().map(|(output, _)| output.as_str()).chain(ids());
            let help = did_you_mean(&path[0], known).unwrap_or_default();
            let pointer = format!("{}/exposed_outputs/{name}", doc.pointer);
            cx.problem(Code::B012, &pointer, format!("the blueprint has no output or node `{}`", path[0]), help);
            continue;
        }
        // A name of its own: the child may declare an output of that name that means something else.
        let output = format!("exposed.{name}");
        document["outputs"][&output] = format!("{{{{ {} }}}}", path.join(".")).into();
        *path = vec![output];
    }
    (cx.problem_count() == before).then_some((document, exposed))
}

/// RFC 7396: mappings merge, null removes, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

impl Workflow {
    /// Runs the child to its end. While it waits for an answer this node rests.
    async fn child_ending(&self, cx: &NodeRun<'_>, inputs: Value) -> Result<(ExecutionId, Ending), Failure> {
        let run = cx.run();
        // Listens before it looks, so that nothing that happens in between is missed.
        let bell = run.shared.bell(&keys::child_execution_id(&run.id, &cx.path, cx.attempt));
        loop {
            let child = Arc::clone(&self.child);
            match children::start(run, &cx.path, cx.attempt, cx.stop, child, inputs.clone()).await? {
                Found::Runs(handle) => {
                    if let Rest::Ended(ending) = handle.rest().await {
                        return Ok((handle.id, *ending));
                    }
                }
                Found::Waits { due, .. } => {
                    // An answer may also come from another process, which has no bell to ring.
                    let look_ms = run.shared.options.lease_ms;
                    let pause_ms = due.map_or(look_ms, |due| look_ms.min(due.saturating_sub(run.now())));
                    let _resting = cx.rest();
                    tokio::select! {
                        biased;
                        _ = cx.stop.tripped() => {}
                        () = bell.rung() => {}
                        () = run.clock().sleep(pause_ms) => {}
                    }
                }
            }
        }
    }

    async fn run(&self, cx: &NodeRun<'_>) -> Result<Done, Failure> {
        let run = cx.run();
        let inputs = if self.passes_inputs { Value::clone(&run.inputs) } else { cx.arguments(&self.arguments)? };
        let (id, ending) = self.child_ending(cx, inputs).await?;
        run.meter.attach(id.0.as_str(), &ending.usage);
        cx.spend(&ending.usage);
        if ending.usage != Usage::default() {
            // The ledger has it already: the child's hangs under this one's. The event is for the record.
            run.push(&cx.path, cx.attempt, Fact::BudgetSettled { used: ending.usage });
        }
        // What went wrong inside is not hidden here: a child with errors is a failed node.
        if ending.status != FinalStatus::Completed {
            let mut problem = ending.problem.unwrap_or_else(|| Problem::new(Code::X001, "it did not complete"));
            problem.message = format!("execution `{id}` of `{}`: {}", self.reference, problem.message);
            let cancelled = ending.status == FinalStatus::Cancelled;
            return Err(if cancelled { Failure::never(problem) } else { Failure::maybe(problem) });
        }
        Ok(Done::new(self.expose(ending.outputs)))
    }

    fn expose(&self, outputs: Value) -> Value {
        if self.exposed.is_empty() {
            return outputs;
        }
        let part = |path: &Vec<String>| {
            let mut at = Some(&outputs);
            for segment in path {
                at = at.and_then(|value| child(value, segment));
            }
            at.cloned().unwrap_or_default()
        };
        self.exposed.iter().map(|(name, path)| (name.clone(), part(path))).collect::<Map<_, _>>().into()
    }
}

impl Node for Workflow {
    fn asking(&self, known: &Known<'_>) -> Asking<'_> {
        if self.passes_inputs {
            return Asking { child: Some((&self.child, known.inputs.clone())), ..Asking::default() };
        }
        // An input that is written or bound and not known yet is none; a default would be another value.
        let mut inputs = self.child.defaults.clone();
        self.arguments.bindings.iter().for_each(|binding| drop(inputs.remove(&binding.param)));
        known.mapped().for_each(|name| drop(inputs.remove(name)));
        for (name, template) in &self.arguments.given {
            match known.render(template) {
                Some(value) => drop(inputs.insert(name.clone(), value)),
                None => drop(inputs.remove(name)),
            }
        }
        Asking { child: Some((&self.child, Value::Object(inputs))), ..Asking::default() }
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(self.run(cx))
    }

    /// A child execution is recorded, so starting it twice would be seen.
    fn effects(&self) -> Effects {
        Effects::External
    }

    fn output_schema(&self) -> Option<Value> {
        let own = self.child.outputs.iter().map(|output| output.name.as_str());
        let names: Vec<&str> = match self.exposed.as_slice() {
            [] => own.collect(),
            exposed => exposed.iter().map(|(name, _)| name.as_str()).collect(),
        };
        let properties: Map<String, Value> = names.into_iter().map(|name| (name.to_owned(), json!({}))).collect();
        Some(json!({"type": "object", "properties": properties, "additionalProperties": false}))
    }

    fn arguments(&self) -> Option<&Arguments> {
        Some(&self.arguments)
    }

    fn takes_all_inputs(&self) -> bool {
        self.passes_inputs
    }

    fn summary(&self) -> String {
        self.reference.clone()
    }
}
