//! What a node may see, and what it may do: the inputs, outputs of its ancestors, the item of a loop around it.
//!
//! Where each name comes from was decided when the blueprint was planned; here values are only fetched. Nothing is
//! copied for a node: outputs are shared, and turned into template values at most once.

use std::sync::{Arc, Mutex, OnceLock};

use ice_core::budget::{Receipt, Usage};
use ice_core::id::NodePath;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use ice_core::template::{Datum, Lookup, Template, TemplateError, datum};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, SemaphorePermit};

use crate::activity::{Entered, Inside};
use crate::calls::Site;
use crate::driver::{GraphEnd, run_graph};
use crate::plan::{Graph, Origin, Output, PlanNode, RunIf, Source};
use crate::resting::{Holder, Rests};
use crate::run::Run;
use crate::scheduler::Shape;
use crate::settled::Settled;
use crate::stop::Token;

/// A JSON value that templates read, converted when the first one does.
struct Shared {
    json: Arc<Value>,
    datum: OnceLock<Datum>,
}

impl Shared {
    fn new(json: Arc<Value>) -> Self {
        Self { json, datum: OnceLock::new() }
    }

    fn datum(&self) -> Datum {
        self.datum.get_or_init(|| datum(&self.json)).clone()
    }
}

/// One graph of one execution while it runs, with the outputs of its nodes. Graphs inside nodes have frames of their
/// own, one per loop item and branch.
pub(crate) struct Frame<'a> {
    pub(crate) run: &'a Arc<Run>,
    pub(crate) graph: &'a Graph,
    /// What node ids are appended to: empty, or `loop[3]/`, `check.true/`, `both[0]/`.
    prefix: String,
    pub(crate) parent: Option<&'a Frame<'a>>,
    /// The node this graph is inside of: its index in the parent, and what it knows of its graphs.
    pub(crate) holder: Option<(usize, Arc<Holder>)>,
    /// The item of the loop whose body this is, and its position.
    item: Option<(Shared, usize)>,
    inputs: Option<Shared>,
    outputs: Vec<OnceLock<Arc<Shared>>>,
    /// Tripped when this graph must stop.
    pub(crate) soft: Arc<Token>,
    /// Whether a node around this graph may be tried again, so that what finished must be remembered.
    pub(crate) keep: bool,
    /// What the nodes of this graph spent.
    spent: Mutex<Usage>,
    /// Nodes that began or ceased to rest, for the driver.
    pub(crate) rests: Mutex<Vec<(usize, Rests)>>,
    pub(crate) bell: Notify,
    /// Which nodes are settled, for those who watch.
    pub(crate) settled: Settled,
}

impl<'a> Frame<'a> {
    /// The frame of an execution's top level.
    pub(crate) fn root(run: &'a Arc<Run>, graph: &'a Graph) -> Self {
        Self {
            run,
            graph,
            prefix: String::new(),
            parent: None,
            holder: None,
            item: None,
            inputs: Some(Shared::new(Arc::clone(&run.inputs))),
            outputs: empty(graph),
            soft: Arc::clone(&run.control.soft),
            keep: false,
            spent: Mutex::default(),
            rests: Mutex::default(),
            bell: Notify::new(),
            settled: Settled::none(graph),
        }
    }

    /// The path of a node.
    pub(crate) fn path(&self, index: usize) -> NodePath {
        let id = self.graph.nodes[index].id.as_str();
        if self.prefix.is_empty() {
            return NodePath(id.into());
        }
        NodePath([&self.prefix, id].concat().into())
    }

    /// Lets others see the output of a node. Only the first one counts.
    pub(crate) fn set_output(&self, index: usize, output: Arc<Value>) {
        // A node that was restored and one that finished are the same node: there is no second output to lose.
        let _ = self.outputs[index].set(Arc::new(Shared::new(output)));
    }

    /// The output of `from` is from now on also that of `to`.
    pub(crate) fn share_output(&self, from: usize, to: usize) {
        if let Some(output) = self.outputs[from].get() {
            let _ = self.outputs[to].set(Arc::clone(output));
        }
    }

    /// The output of a node, once it finished or was recovered.
    pub(crate) fn output(&self, index: usize) -> Option<&Arc<Value>> {
        self.outputs[index].get().map(|shared| &shared.json)
    }

    pub(crate) fn spend(&self, usage: &Usage) {
        if *usage != Usage::default() {
            self.spent.lock().expect("no panic while adding").add(usage);
        }
    }

    fn up(&self, levels: usize) -> &Frame<'a> {
        let mut frame = self;
        for _ in 0..levels {
            frame = frame.parent.expect("the plan counted the levels");
        }
        frame
    }

    /// What templates see as `execution`.
    fn execution(&self) -> Arc<Value> {
        Arc::new(json!({ "id": self.run.id }))
    }

    fn inputs(&self) -> &Shared {
        let mut frame = self;
        loop {
            match (&frame.inputs, frame.parent) {
                (Some(inputs), _) => return inputs,
                (None, Some(parent)) => frame = parent,
                (None, None) => unreachable!("the top level has the inputs"),
            }
        }
    }

    /// Fetches a value for templates.
    fn datum(&self, source: &Source, mappings: &[Datum]) -> Option<Datum> {
        match source {
            Source::Execution => Some(datum(&self.execution())),
            Source::Inputs => Some(self.inputs().datum()),
            Source::Input(name) => self.inputs().datum().get_attr(name).ok().filter(|value| !value.is_undefined()),
            Source::Node { up, index } => self.up(*up).outputs[*index].get().map(|shared| shared.datum()),
            Source::Item { up } => self.up(*up).item.as_ref().map(|(item, _)| item.datum()),
            Source::Position { up } => self.up(*up).item.as_ref().map(|(_, position)| Datum::from(*position)),
            Source::Mapping(mapping) => mappings.get(*mapping).cloned(),
        }
    }

    /// Fetches a value as JSON.
    fn json(&self, source: &Source) -> Option<Arc<Value>> {
        match source {
            Source::Execution => Some(self.execution()),
            Source::Inputs => Some(Arc::clone(&self.inputs().json)),
            Source::Input(name) => self.inputs().json.get(name).cloned().map(Arc::new),
            Source::Node { up, index } => self.up(*up).output(*index).cloned(),
            Source::Item { up } => self.up(*up).item.as_ref().map(|(item, _)| Arc::clone(&item.json)),
            Source::Position { up } => self.up(*up).item.as_ref().map(|(_, position)| Arc::new((*position).into())),
            Source::Mapping(_) => None,
        }
    }

    /// Renders an output of the execution.
    pub(crate) fn render_output(&self, output: &Output) -> Result<Value, Problem> {
        let lookup = |name: &str| {
            let (_, source) = output.sees.iter().find(|(known, _)| known == name)?;
            self.datum(source, &[])
        };
        output.template.render(&lookup).map_err(|error| {
            Problem::new(Code::X011, format!("output `{}` cannot be made: {error}", output.name))
                .help("correct the template under `outputs`, or give it a `default`")
        })
    }
}

fn empty(graph: &Graph) -> Vec<OnceLock<Arc<Shared>>> {
    std::iter::repeat_with(OnceLock::new).take(graph.nodes.len()).collect()
}

/// One attempt of one node, from the node's side.
pub struct NodeRun<'a> {
    pub(crate) frame: &'a Frame<'a>,
    pub(crate) node: &'a PlanNode,
    pub(crate) index: usize,
    pub(crate) path: NodePath,
    /// From 1.
    pub(crate) attempt: u32,
    pub(crate) stop: &'a Arc<Token>,
    spent: Mutex<Usage>,
    receipt: Mutex<Option<Box<Receipt>>>,
    /// Values of `input_mappings`, fetched when the first template asks.
    mappings: OnceLock<Vec<Datum>>,
    inside: Inside,
    holder: OnceLock<Arc<Holder>>,
}

/// Values that only one template sees, by name.
pub(crate) type Own<'o> = dyn Fn(&str) -> Option<Datum> + Sync + 'o;

/// How a graph inside a node ended, as the node sees it.
pub(crate) struct Inner {
    /// Outputs by node id, in the order of the graph; nodes that did not finish are missing.
    pub(crate) outputs: Map<String, Value>,
    /// The output of the last node in the order of the document; null when it was skipped.
    pub(crate) last: Value,
    /// Why it did not end well.
    pub(crate) failure: Option<Failure>,
}

impl<'a> NodeRun<'a> {
    pub(crate) fn new(frame: &'a Frame<'a>, index: usize, attempt: u32, stop: &'a Arc<Token>) -> Self {
        Self {
            frame,
            node: &frame.graph.nodes[index],
            index,
            path: frame.path(index),
            attempt,
            stop,
            spent: Mutex::default(),
            receipt: Mutex::default(),
            mappings: OnceLock::new(),
            inside: Inside::default(),
            holder: OnceLock::new(),
        }
    }

    pub(crate) fn run(&self) -> &'a Arc<Run> {
        self.frame.run
    }

    /// Something inside the node is counted on its own until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.inside.enter(&self.frame.run.activity)
    }

    /// Waits for one of the execution's permits; fails when the node is stopped first.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'a>, Failure> {
        tokio::select! {
            biased;
            permit = self.frame.run.permits.acquire() => Ok(permit.expect("never closed")),
            why = self.stop.tripped() => Err(Failure::never(why.clone())),
        }
    }

    pub(crate) fn site(&self) -> Site {
        Site { path: self.path.clone(), attempt: self.attempt, stop: Arc::clone(self.stop) }
    }

    /// What the attempt and everything inside it spent so far.
    pub(crate) fn spent(&self) -> Usage {
        *self.spent.lock().expect("no panic while adding")
    }

    pub(crate) fn spend(&self, usage: &Usage) {
        if *usage != Usage::default() {
            self.spent.lock().expect("no panic while adding").add(usage);
        }
    }

    /// Keeps the receipt of a call that failed, for the event of the failure.
    pub(crate) fn keep_receipt(&self, receipt: Option<Box<Receipt>>) {
        *self.receipt.lock().expect("no panic while keeping") = receipt;
    }

    pub(crate) fn take_receipt(&self) -> Option<Box<Receipt>> {
        self.receipt.lock().expect("no panic while keeping").take()
    }

    /// Whether `run_if` lets the node run.
    pub(crate) fn wanted(&self) -> Result<bool, Failure> {
        match &self.node.run_if {
            RunIf::Default | RunIf::Always => Ok(true),
            RunIf::When(template) => template.truth(self).map_err(|error| self.unrendered("run_if", &error)),
        }
    }

    /// Renders a template of the node; `what` names it for a person.
    pub(crate) fn render(&self, template: &Template, what: &str) -> Result<Value, Failure> {
        template.render(self).map_err(|error| self.unrendered(what, &error))
    }

    /// Renders a template of the node to yes or no.
    pub(crate) fn truth(&self, template: &Template, what: &str) -> Result<bool, Failure> {
        template.truth(self).map_err(|error| self.unrendered(what, &error))
    }

    /// Like [`NodeRun::truth`], for a template that also sees some values of its own; those hide what else has their
    /// names.
    pub(crate) fn truth_over(&self, template: &Template, what: &str, own: &Own<'_>) -> Result<bool, Failure> {
        let lookup = |name: &str| own(name).or_else(|| self.get(name));
        template.truth(&lookup).map_err(|error| self.unrendered(what, &error))
    }

    fn unrendered(&self, what: &str, error: &TemplateError) -> Failure {
        let place = if error.pointer.is_empty() { String::new() } else { format!(" at `{}`", error.pointer) };
        let message = format!("`{what}`{place} cannot be rendered: {error}");
        Failure::never(Problem::new(Code::X011, message).pointer(format!("{}/{what}", self.node.pointer)))
    }

    /// Fetches a value by where it comes from; `None` when it is not there.
    pub(crate) fn fetch(&self, origin: &Origin) -> Option<Value> {
        let value = match &origin.source {
            Source::Mapping(mapping) => Arc::new(self.fetch(&self.node.input_mappings[*mapping].origin)?),
            source => self.frame.json(source)?,
        };
        let mut at = &*value;
        for segment in &origin.path {
            at = child(at, segment)?;
        }
        Some(at.clone())
    }

    /// Fetches the value of an input mapping; X006 when the output it is taken from does not have it.
    pub(crate) fn mapped(&self, mapping: usize) -> Result<Value, Failure> {
        let mapping = &self.node.input_mappings[mapping];
        self.fetch(&mapping.origin).ok_or_else(|| {
            let path = mapping.origin.path.join(".");
            let message = format!("`{}` should be taken from `{path}`, which the output does not have", mapping.param);
            let problem = Problem::new(Code::X006, message)
                .pointer(format!("{}/input_mappings/{}", self.node.pointer, mapping.param));
            Failure::never(problem)
        })
    }

    /// Adds the aliases of `output_mappings` to an output that is an object.
    pub(crate) fn add_aliases(&self, output: &mut Value) {
        for (alias, path) in &self.node.output_mappings {
            let mut at = Some(&*output);
            for segment in path {
                at = at.and_then(|value| child(value, segment));
            }
            let found = at.cloned().unwrap_or(Value::Null);
            if let Value::Object(fields) = output {
                fields.insert(alias.clone(), found);
            }
        }
    }

    /// Runs a graph that is inside this node. `segment` follows the node's path: `[3]`, `.true`.
    pub(crate) async fn graph(&self, graph: &Graph, segment: &str, item: Option<(Value, usize)>) -> Inner {
        self.graph_until(graph, segment, item, self.stop).await
    }

    /// Like [`NodeRun::graph`], stopped by a token of its own, which must hang under the node's.
    pub(crate) async fn graph_until(
        &self,
        graph: &Graph,
        segment: &str,
        item: Option<(Value, usize)>,
        stop: &Arc<Token>,
    ) -> Inner {
        let holder = self.holder.get_or_init(Arc::default);
        holder.begins(self.frame, self.index);
        let frame = Frame {
            run: self.frame.run,
            graph,
            prefix: format!("{}{segment}/", self.path),
            parent: Some(self.frame),
            holder: Some((self.index, Arc::clone(holder))),
            item: item.map(|(item, position)| (Shared::new(Arc::new(item)), position)),
            inputs: None,
            outputs: empty(graph),
            soft: Arc::clone(stop),
            keep: self.frame.keep || self.node.retry.max_attempts > 1,
            spent: Mutex::default(),
            rests: Mutex::default(),
            bell: Notify::new(),
            settled: Settled::none(graph),
        };
        let _entered = self.enter();
        let end: GraphEnd = run_graph(&frame).await;
        // A graph that ended does not rest.
        holder.ends(self.frame, self.index);
        self.spend(&frame.spent.lock().expect("no panic while adding"));
        let mut outputs = Map::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            if let Some(output) = frame.output(index) {
                outputs.insert(node.id.as_str().to_owned(), Value::clone(output));
            }
        }
        let last = graph.nodes.iter().rposition(|node| !node.standby && !node.finally);
        let last = last.and_then(|index| frame.output(index)).map_or(Value::Null, |output| Value::clone(output));
        Inner { outputs, last, failure: end.failure() }
    }
}

/// One step into a value: a field of an object, or a position in an array.
pub(crate) fn child<'v>(value: &'v Value, segment: &str) -> Option<&'v Value> {
    match value {
        Value::Object(fields) => fields.get(segment),
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    }
}

impl Lookup for NodeRun<'_> {
    fn get(&self, name: &str) -> Option<Datum> {
        let source = self.node.source(name)?;
        if let Source::Mapping(_) = source {
            let fetched = |mapping: &crate::plan::InputMapping| {
                self.fetch(&mapping.origin).map_or(Datum::UNDEFINED, |value| datum(&value))
            };
            let mappings = self.mappings.get_or_init(|| self.node.input_mappings.iter().map(fetched).collect());
            return self.frame.datum(source, mappings).filter(|value| !value.is_undefined());
        }
        self.frame.datum(source, &[])
    }
}

impl Shape for Graph {
    fn len(&self) -> usize {
        self.nodes.len()
    }

    fn dependencies(&self, node: usize) -> &[usize] {
        &self.nodes[node].depends_on
    }

    fn dependents(&self, node: usize) -> &[usize] {
        &self.nodes[node].dependents
    }

    fn always(&self, node: usize) -> bool {
        self.nodes[node].run_if == RunIf::Always
    }

    fn fallback(&self, node: usize) -> Option<usize> {
        self.nodes[node].fallback
    }

    fn standby(&self, node: usize) -> bool {
        self.nodes[node].standby
    }

    fn finally(&self, node: usize) -> bool {
        self.nodes[node].finally
    }

    fn retry_delay(&self, node: usize, attempt: u32, code: Code, random: u64) -> Option<u64> {
        crate::retry::delay_ms(&self.nodes[node].retry, attempt, code, random)
    }
}
