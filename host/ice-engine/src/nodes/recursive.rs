//! `recursive`: an agent or a blueprint, again and again, until a condition holds or it was often enough.
//!
//! Each round is a graph of its own, `name[0]`, `name[1]`, …, whose one node sees the context under `context_key`:
//! `iteration`, `output` (of the round before), and the fields of every output so far. A round that finished before a
//! crash is not run again.
//!
//! In older documents a recursive node closes a circle: it depends on a node that depends on it. The way back is not
//! walked: a node behind the recursive one runs once, when the rounds are over.

use futures_util::future::BoxFuture;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::Effects;
use ice_core::ports::Failure;
use ice_core::problem::Code;
use ice_core::template::{Template, datum};
use serde_json::{Map, Value, json};

use super::r#loop::is_name;
use super::{Done, Node, NodeKind};
use crate::context::NodeRun;
use crate::estimate::{Asking, Known, ROUNDS_LIKELY, Times};
use crate::plan::{Graph, Origin, PlanContext, Stand};

/// `type: recursive`.
#[derive(Debug)]
pub struct RecursiveKind;

/// Something that is repeated.
#[derive(Debug)]
pub struct Recursive {
    /// One agent or workflow node.
    pub body: Graph,
    /// Whether it was enough, over `output`, `iteration` and `context`.
    pub until: Option<Template>,
    /// Most rounds.
    pub max_iterations: u32,
    /// Whether fields of earlier outputs stay in the context.
    pub preserve_context: bool,
    /// What the context begins with: outputs of the sources that are done before.
    pub seeds: Vec<Origin>,
}

const ITERATIONS_DEFAULT: u32 = 50;

/// Each round is paid, and its output is kept.
const ITERATIONS_MAX: u64 = 10_000;

const CONTEXT_KEY: &str = "recursive_context";

/// What the condition sees besides everything the node sees.
const LOCALS: &[&str] = &["output", "iteration", "context"];

/// Settings that are those of the agent that is repeated.
const AGENT_KEYS: &[&str] = &[
    "system_prompt",
    "tools",
    "memory",
    "llm_config",
    "model",
    "temperature",
    "max_tokens",
    "agent_config",
    "input",
    "task",
];

/// Settings that are those of the workflow node that is repeated.
const WORKFLOW_KEYS: &[&str] = &["inputs", "exposed_outputs", "config_overrides"];

impl NodeKind for RecursiveKind {
    fn name(&self) -> &'static str {
        "recursive"
    }

    fn keys(&self) -> &'static [&'static str] {
        &[
            "agent_package",
            "workflow_ref",
            "recursive_sources",
            "convergence_condition",
            "max_iterations",
            "max_rounds",
            "preserve_context",
            "context_key",
            "system_prompt",
            "tools",
            "memory",
            "llm_config",
            "model",
            "temperature",
            "max_tokens",
            "agent_config",
            "input",
            "task",
            "inputs",
            "exposed_outputs",
            "config_overrides",
        ]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let before = cx.problem_count();
        let mut fields = cx.fields(doc);
        let rounds = ["max_iterations", "max_rounds"].map(|key| fields.whole(key, 1, ITERATIONS_MAX));
        if rounds[0].is_some() && rounds[1].is_some() {
            let message = "`max_rounds` is another word for `max_iterations`";
            fields.problem(Code::B005, "max_rounds", message, "remove one of them");
        }
        let preserve_context = fields.flag("preserve_context", true);
        let context_key = fields.text("context_key").unwrap_or(CONTEXT_KEY).to_owned();
        if !is_name(&context_key) {
            let message = format!("`{context_key}` cannot be the name of the context");
            fields.problem(Code::B005, "context_key", message, "use letters, digits and `_`");
        }
        let until = until(doc, cx);
        let seeds = seeds(doc, cx);
        let body = body(doc, &context_key, cx);
        let rounds = rounds.into_iter().flatten().next().and_then(|count| count.try_into().ok());
        let max_iterations = rounds.unwrap_or(ITERATIONS_DEFAULT);
        if cx.problem_count() > before {
            return None;
        }
        Some(Box::new(Recursive { body: body?, until, max_iterations, preserve_context, seeds }))
    }
}

fn until(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Template> {
    let text = cx.fields(doc).text("convergence_condition").filter(|text| !text.trim().is_empty())?;
    cx.expression_over(text, &format!("{}/convergence_condition", doc.pointer), LOCALS)
}

/// Sources that are done before give the context to begin with; one behind the node gives nothing.
fn seeds(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Vec<Origin> {
    let mut seeds = Vec::new();
    for (index, id) in cx.fields(doc).texts("recursive_sources").iter().enumerate() {
        match cx.stand_of(id) {
            Stand::Before(source) => seeds.push(Origin { source, path: Vec::new() }),
            Stand::Beside(_) | Stand::Behind => {}
            Stand::Unknown => {
                let pointer = format!("{}/recursive_sources/{index}", doc.pointer);
                let message = format!("the source `{id}` does not exist");
                let known = cx.neighbours();
                cx.unknown(Code::B012, &pointer, message, id, known.iter().map(String::as_str));
            }
        }
    }
    seeds
}

/// The node that is repeated, made of the settings that are meant for it.
fn body(doc: &NodeDoc, context_key: &str, cx: &mut PlanContext<'_>) -> Option<Graph> {
    let given = |key: &str| doc.config.get(key).is_some_and(|value| !value.is_null());
    let kinds = ["agent_package", "workflow_ref", "system_prompt"];
    let chosen: Vec<&str> = kinds.into_iter().filter(|key| given(key)).collect();
    let help = "name an agent with `agent_package:`, a blueprint with `workflow_ref:`, or write `system_prompt:`";
    let what = match chosen.as_slice() {
        [one] => *one,
        [] => {
            cx.problem(Code::B006, &doc.pointer, "nothing is said about what is repeated", help);
            return None;
        }
        [_, second, ..] => {
            let pointer = format!("{}/{second}", doc.pointer);
            let message = format!("`{}` and `{second}` cannot both be repeated", chosen[0]);
            cx.problem(Code::B005, &pointer, message, "keep one of them");
            return None;
        }
    };
    let (own, foreign) = match what {
        "workflow_ref" => (WORKFLOW_KEYS, AGENT_KEYS),
        _ => (AGENT_KEYS, WORKFLOW_KEYS),
    };
    for key in foreign.iter().filter(|key| given(key)) {
        let message = format!("`{key}` does not go with `{what}`");
        cx.problem(Code::B005, &format!("{}/{key}", doc.pointer), message, "remove it");
    }
    let mut body = Map::new();
    body.insert("id".into(), "each-round".into());
    body.insert("type".into(), if what == "workflow_ref" { "workflow" } else { "agent" }.into());
    match what {
        "agent_package" => drop(body.insert("package".into(), doc.config[what].clone())),
        "workflow_ref" => drop(body.insert(what.into(), doc.config[what].clone())),
        _ => {}
    }
    own.iter().filter(|key| given(key)).for_each(|key| drop(body.insert((*key).into(), doc.config[*key].clone())));
    cx.made(body.into(), &doc.pointer, &[("package", "agent_package")], context_key)
}

impl Recursive {
    async fn run(&self, cx: &NodeRun<'_>) -> Result<Done, Failure> {
        cx.check_context()?;
        let mut context = Map::new();
        for output in self.seeds.iter().filter_map(|seed| cx.fetch(seed)) {
            if let Value::Object(fields) = output {
                context.extend(fields);
            }
        }
        let mut iterations = 0;
        let mut converged = false;
        while iterations < self.max_iterations && !converged {
            let round = usize::try_from(iterations).expect("32 bits fit");
            iterations += 1;
            context.insert("iteration".into(), iterations.into());
            let item = Value::Object(context.clone());
            let inner = cx.graph(&self.body, &format!("[{round}]"), Some((item, round))).await;
            if let Some(mut failure) = inner.failure {
                failure.problem.message = format!("round {iterations}: {}", failure.problem.message);
                return Err(failure);
            }
            self.carry_on(&mut context, inner.last, iterations);
            converged = self.is_enough(cx, &context, iterations)?;
        }
        Ok(Done::new(json!({
            "converged": converged,
            "reason": if converged { "condition_met" } else { "max_iterations_reached" },
            "iterations": iterations,
            "final_context": context,
        })))
    }

    fn carry_on(&self, context: &mut Map<String, Value>, output: Value, iterations: u32) {
        if !self.preserve_context {
            context.clear();
        }
        if let Value::Object(fields) = &output {
            context.extend(fields.clone());
        }
        context.insert("iteration".into(), iterations.into());
        context.insert("output".into(), output);
    }

    fn is_enough(&self, cx: &NodeRun<'_>, context: &Map<String, Value>, iterations: u32) -> Result<bool, Failure> {
        let Some(until) = &self.until else { return Ok(false) };
        let context = Value::Object(context.clone());
        let locals = |name: &str| match name {
            "output" => Some(datum(&context["output"])),
            "iteration" => Some(datum(&iterations.into())),
            "context" => Some(datum(&context)),
            _ => None,
        };
        cx.truth_over(until, "convergence_condition", &locals)
    }
}

impl Node for Recursive {
    fn asking(&self, _known: &Known<'_>) -> Asking<'_> {
        let times = Times::up_to(self.max_iterations.into(), ROUNDS_LIKELY);
        Asking { graphs: vec![(&self.body, times)], ..Asking::default() }
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(self.run(cx))
    }

    fn graphs(&self) -> Vec<&Graph> {
        vec![&self.body]
    }

    fn effects(&self) -> Effects {
        self.body.effects()
    }

    fn output_schema(&self) -> Option<Value> {
        Some(json!({
            "type": "object",
            "properties": {
                "converged": {"type": "boolean"}, "reason": {"type": "string"}, "iterations": {"type": "integer"},
                "final_context": {"type": "object"},
            },
            "additionalProperties": false,
        }))
    }

    fn summary(&self) -> String {
        let until = self.until.as_ref().map(|until| format!(" until {}", until.source())).unwrap_or_default();
        let forgets = if self.preserve_context { "" } else { ", each round forgets the ones before" };
        format!("at most {} rounds{until}{forgets}", self.max_iterations)
    }
}
