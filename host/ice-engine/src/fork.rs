//! Forks: a new execution that begins in the middle of another one, with other inputs or outputs put in.
//!
//! The ends of nodes that stay are copied as facts into the new list, without their cost; from there on it is an
//! execution like any other, taken up by the same replay that goes on after a crash. Which nodes stay is decided in
//! `fork/select.rs`. The other execution is only read. What components remember and what was sent out is not undone.

mod copy;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ice_core::blueprint::{Parsed, did_you_mean};
use ice_core::budget::{Budget, Usage};
use ice_core::event::{Event, Fact, Forked, Origin};
use ice_core::execution::{Execution, Status, replay};
use ice_core::id::{ExecutionId, NodePath};
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::calls::fits;
use crate::engine::{Engine, Inside, Launch, Past, checked_inputs, read_all, senseless, tighter};
use crate::history::History;
use crate::keys;
use crate::live::{Control, Handle};
use crate::meter::exceeded;
use crate::plan::Plan;

pub use select::Why;
use select::{Asked, Fate};

/// Forks of forks are followed back this far to find what a kept node cost.
const ANCESTORS_MAX: usize = 16;

/// What to fork, and what is different.
pub struct ForkExecution {
    /// The execution to begin in. It is not changed.
    pub execution: ExecutionId,
    /// The node of the top level to run again, with everything after it.
    pub from: String,
    /// Inputs that replace those of the other execution, by name; nodes that read one that changed run again.
    pub inputs: Map<String, Value>,
    /// Outputs by node: the node does not run, and what comes after it does.
    pub set: BTreeMap<String, Value>,
    /// Nodes that keep the output they had although what is before them runs again.
    pub pin: BTreeSet<String>,
    /// Runs instead of the blueprint of the other execution.
    pub blueprint: Option<Parsed>,
    /// Tightens the blueprint's budget; the smaller of each limit holds.
    pub budget: Budget,
}

/// What a fork would do and cost.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct ForkPreview {
    /// The execution it begins in.
    pub execution: ExecutionId,
    /// That execution's blueprint, for people.
    pub name: String,
    /// The node it begins at.
    pub from: String,
    /// Nodes that do not run, because their end is kept.
    pub kept: Vec<String>,
    /// Nodes that do not run, because their output is given.
    pub set: Vec<String>,
    /// Nodes that run, in the order of the blueprint.
    pub runs: Vec<ForkRun>,
    /// Names of inputs that have another value.
    pub changed_inputs: Vec<String>,
    /// What the nodes that run cost the last time, as far as they ran.
    pub before: Usage,
    /// The most that model calls that are certain may cost.
    pub estimate: Usage,
}

/// One node that a fork runs.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct ForkRun {
    /// The node.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// Why it runs.
    #[serde(flatten)]
    pub why: Why,
    /// What it and everything inside it cost the last time; `None` when it never ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Usage>,
    /// The most its model call may cost; `None` when it makes none that is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Usage>,
}

/// A fork that was checked and can be started.
pub struct Fork {
    /// What it does and costs.
    pub preview: ForkPreview,
    plan: Arc<Plan>,
    inputs: Value,
    budget: Budget,
    view: Execution,
    fates: Vec<Fate>,
    set: BTreeMap<String, Value>,
}

impl Engine {
    /// Checks a fork and says what it would do; nothing is written. Fails with every problem of what is asked (X050,
    /// X006), with X013 when there is no such execution, when a live process holds it, and when it needs what is gone
    /// (X009).
    pub async fn plan_fork(&self, asked: ForkExecution) -> Result<Fork, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        let list = read_all(&*self.shared.ports.events, &asked.execution).await.map_err(one)?;
        if list.is_empty() {
            let problem = Problem::new(Code::X013, format!("there is no execution `{}`", asked.execution));
            return Err(one(problem.help("list executions with `ice executions list`")));
        }
        let view = replay(&list).ok_or_else(|| one(senseless(&asked.execution)))?;
        self.must_rest(&asked.execution, &view).await.map_err(one)?;
        let plan = match &asked.blueprint {
            Some(parsed) => self.plan(parsed).await?,
            None => self.plan_again(&view).await.map_err(one)?,
        };
        let nodes = named(&plan, &view, &asked)?;
        let mut inputs = view.inputs.as_object().cloned().unwrap_or_default();
        inputs.extend(asked.inputs.clone());
        let inputs = checked_inputs(&plan, Value::Object(inputs))?;
        let changed = changed(&view.inputs, &inputs);
        let fates = select::select(&plan, &view, &Asked { nodes: &nodes, inputs: &changed });
        if asked.blueprint.is_some() {
            let document = self.shared.ports.documents.get(&view.blueprint).await;
            let document = document.map_err(|failure| one(failure.problem))?.unwrap_or_default();
            let problems = select::unlike(&plan, &document, &view, &fates, &asked.from);
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        let costs = self.costs(&list, &view).await.map_err(one)?;
        let preview = self.preview(&asked, &plan, &view, &Looked { fates: &fates, costs, inputs: &inputs, changed });
        let budget = tighter(plan.budget, asked.budget);
        if let Some(mut problem) = exceeded(&budget, &preview.estimate) {
            problem.message = format!("before the start: {}", problem.message);
            return Err(one(problem.subject(format!("fork of execution `{}`", asked.execution))));
        }
        Ok(Fork { preview, plan: Arc::new(plan), inputs, budget, view, fates, set: asked.set })
    }

    /// Starts a fork: a new execution that holds the ends of the kept nodes and runs the others, with the components
    /// the other execution began with, for whom that one ran. It remembers where it comes from. Fails when the store cannot store.
    pub async fn fork(&self, fork: Fork) -> Result<Handle, Vec<Problem>> {
        let Fork { preview, plan, inputs, budget, view, fates, set } = fork;
        let one = |failure: Failure| vec![failure.problem];
        let ports = &self.shared.ports;
        let now = ports.clock.now_ms();
        let id = keys::execution_id(now, [ports.clock.random(), ports.clock.random()]);
        self.keep_documents(&plan).await.map_err(one)?;
        let mut components = plan.components.clone();
        components.extend(view.components.clone());
        let forked = Forked { execution: preview.execution, node: preview.from, kept: preview.kept, set: preview.set };
        let start = Fact::ExecutionStarted {
            blueprint: plan.digest,
            name: plan.name.clone(),
            inputs,
            identity: view.identity.clone(),
            components,
            blueprints: plan.blueprints.iter().map(|(name, found)| (name.clone(), found.digest)).collect(),
            parent: None,
            budget,
            origin: Some(Box::new(Origin::Fork(forked))),
        };
        let copied = copy::facts(&plan, &view, &fates, &set);
        let facts = std::iter::once((NodePath::root(), 0, start)).chain(copied);
        let event = |(seq, (path, attempt, fact))| Event { seq, at: now, path, attempt, fact };
        let first: Vec<Event> = (1..).zip(facts).map(event).collect();
        let lease_ms = self.shared.options.lease_ms;
        let lease = ports.events.create(&id, &plan.name, &view.identity, &first, lease_ms).await.map_err(one)?;
        let view = replay(&first).expect("it begins with its start");
        let inside = Inside { control: Control::new(id), meter: None, depth: 0 };
        Ok(self.launch(Launch { plan, view, past: Past::Taken(History::of(&first)), lease, budget, inside }))
    }

    /// An execution that some process runs right now cannot be forked: what it is about to do would be done twice.
    async fn must_rest(&self, id: &ExecutionId, view: &Execution) -> Result<(), Problem> {
        if view.status != Status::Running {
            return Ok(());
        }
        if self.shared.running(id).is_some() {
            let problem = Problem::new(Code::X050, format!("execution `{id}` runs right now"));
            return Err(problem.help("fork it when it has ended, or cancel it first"));
        }
        let events = &self.shared.ports.events;
        let lease = events.claim(id, self.shared.options.lease_ms).await.map_err(|failure| failure.problem)?;
        events.release(&lease).await.map_err(|failure| failure.problem)
    }

    /// What each node of the top level cost with everything inside it. A node that was itself kept cost something
    /// where it ran.
    async fn costs(&self, list: &[Event], view: &Execution) -> Result<BTreeMap<String, Usage>, Problem> {
        let mut costs = settled(list);
        let mut forked = view.forked().cloned();
        for _ in 0..ANCESTORS_MAX {
            let Some(from) = forked.take() else { break };
            let earlier = match read_all(&*self.shared.ports.events, &from.execution).await {
                Err(problem) if problem.code.http() == 404 => break,
                earlier => earlier?,
            };
            for (node, usage) in settled(&earlier).into_iter().filter(|(node, _)| from.kept.contains(node)) {
                costs.entry(node).or_insert(usage);
            }
            forked = replay(&earlier).and_then(|view| view.forked().cloned());
        }
        Ok(costs)
    }

    fn preview(&self, asked: &ForkExecution, plan: &Plan, view: &Execution, looked: &Looked<'_>) -> ForkPreview {
        let mut preview = ForkPreview {
            execution: asked.execution.clone(),
            name: view.name.clone(),
            from: asked.from.clone(),
            kept: Vec::new(),
            set: Vec::new(),
            runs: Vec::new(),
            changed_inputs: looked.changed.iter().cloned().collect(),
            before: Usage::default(),
            estimate: Usage::default(),
        };
        for (node, fate) in plan.graph.nodes.iter().zip(looked.fates) {
            let id = node.id.as_str().to_owned();
            let Fate::Runs { why, .. } = fate else {
                if matches!(fate, Fate::Set) {
                    preview.set.push(id)
                } else {
                    preview.kept.push(id)
                }
                continue;
            };
            let ran = view.nodes.get(&NodePath(id.as_str().into())).is_some_and(|record| record.attempts > 0);
            let before = ran.then(|| looked.costs.get(&id).copied().unwrap_or_default());
            let request = node.node.certain_request(looked.inputs).filter(|_| !node.standby);
            // A model that cannot be resolved fails its own node, with a better message than any made here.
            let model = request.and_then(|request| self.shared.ports.llm.resolve(&request).ok());
            let estimate = model.map(|model| model.estimate);
            before.iter().for_each(|usage| preview.before.add(usage));
            estimate.iter().for_each(|usage| preview.estimate.add(usage));
            let kind = node.kind.to_owned();
            preview.runs.push(ForkRun { node: id, kind, why: why.clone(), before, estimate });
        }
        preview
    }
}

/// What a preview is made of.
struct Looked<'a> {
    fates: &'a [Fate],
    costs: BTreeMap<String, Usage>,
    inputs: &'a Value,
    changed: BTreeSet<String>,
}

/// The sums of what was settled, by node of the top level.
fn settled(list: &[Event]) -> BTreeMap<String, Usage> {
    let mut costs: BTreeMap<String, Usage> = BTreeMap::new();
    for event in list {
        if let Fact::BudgetSettled { used } = &event.fact {
            let top = event.path.as_str().split(['[', '.', '/']).next().unwrap_or_default();
            costs.entry(top.to_owned()).or_default().add(used);
        }
    }
    costs
}

/// Names of inputs that have another value, came or went.
fn changed(before: &Value, after: &Value) -> BTreeSet<String> {
    let names = [before, after].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    names.filter(|name| before.get(name.as_str()) != after.get(name.as_str())).cloned().collect()
}

/// The nodes that were named, by position.
struct Named {
    from: usize,
    set: BTreeSet<usize>,
    pin: BTreeSet<usize>,
}

/// Finds what was named in the plan; every problem at once.
fn named(plan: &Plan, view: &Execution, asked: &ForkExecution) -> Result<Named, Vec<Problem>> {
    let mut problems = Vec::new();
    let from = position(plan, "--from", &asked.from).map_err(|problem| problems.push(problem)).ok();
    let mut set = BTreeSet::new();
    for (name, output) in &asked.set {
        match position(plan, "--set", name) {
            Ok(node) => {
                problems.extend(unfit(plan, node, output));
                set.insert(node);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let mut pin = BTreeSet::new();
    for name in &asked.pin {
        match position(plan, "--pin", name) {
            Ok(node) => {
                problems.extend(unpinnable(name, view, asked));
                pin.insert(node);
            }
            Err(problem) => problems.push(problem),
        }
    }
    match from {
        Some(from) if problems.is_empty() => Ok(Named { from, set, pin }),
        _ => Err(problems),
    }
}

fn position(plan: &Plan, flag: &str, name: &str) -> Result<usize, Problem> {
    let ids = || plan.graph.nodes.iter().map(|node| node.id.as_str());
    if let Some(found) = ids().position(|id| id == name) {
        return Ok(found);
    }
    let top = name.split(['[', '.', '/']).next().unwrap_or_default();
    if top != name && ids().any(|id| id == top) {
        let message = format!("`{flag} {name}` names a node inside `{top}`, and a fork begins at the top level");
        return Err(Problem::new(Code::X050, message).help(format!("write `{flag} {top}`: it runs again as a whole")));
    }
    let message = format!("the blueprint has no node `{name}` for `{flag}`");
    let help = did_you_mean(name, ids()).unwrap_or_else(|| "name a node of the top level".into());
    Err(Problem::new(Code::X050, message).help(help))
}

/// An output that is put in has to be one that the node could have.
fn unfit(plan: &Plan, node: usize, output: &Value) -> Option<Problem> {
    let node = &plan.graph.nodes[node];
    let schema = node.output_schema.as_ref()?;
    let what = format!("the output given for node `{}`", node.id);
    fits(schema, output, Code::X050, &what).err()
}

fn unpinnable(name: &str, view: &Execution, asked: &ForkExecution) -> Option<Problem> {
    use ice_core::execution::NodeState;
    let refuse = |message: String, help: &str| Some(Problem::new(Code::X050, message).help(help));
    if name == asked.from {
        let message = format!("`{name}` is where the fork begins, so it cannot keep its output");
        return refuse(message, "begin at a node after it, or put an output in with `--set`");
    }
    if asked.set.contains_key(name) {
        return refuse(format!("`{name}` is given an output and keeps the one it had"), "leave one of the two out");
    }
    let record = view.nodes.get(&NodePath(name.into()));
    if record.is_some_and(|record| matches!(record.state, NodeState::Finished { .. })) {
        return None;
    }
    refuse(format!("`{name}` has no output that it could keep"), "put one in with `--set`")
}
