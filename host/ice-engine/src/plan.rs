//! Blueprint → plan: a checked, indexed graph ready to run. Pure; never stored.
//!
//! Planning finds every problem of a blueprint that can be known before it runs, and reports them all at once, those
//! of form included. Order, retry and skipping belong to the scheduler; what a node does belongs to `nodes`.
//!
//! Names are resolved here once: a node carries, for every name its templates mention, where the value comes from
//! ([`PlanNode::sees`]). Nothing else can be looked up while it runs, so a node never sees a value by accident of
//! timing.

use std::collections::BTreeMap;
use std::sync::Arc;

use ice_core::blueprint::{FailurePolicy, Parsed, RetryPolicy};
use ice_core::budget::Budget;
use ice_core::catalog::{Catalog, Effects};
use ice_core::id::{Digest, NodeId};
use ice_core::problem::Problem;
use ice_core::schema::Schema;
use ice_core::template::Template;
use serde_json::{Map, Value};

use crate::nodes::Node;

mod arguments;
mod context;
mod graph;
mod library;
mod links;
mod model;
mod print;
mod stand_in;
mod top;

pub use arguments::{Arguments, Binding, Callee, Origin};
pub use context::{PlanContext, Stand, Wanted};
pub use library::{Blueprints, Library};
pub use model::{LlmConfig, llm_config};

/// Levels of nodes inside nodes, and of blueprints inside blueprints. A level is a stack frame of the engine.
pub const NESTING_MAX: usize = 16;

/// A blueprint that can run.
#[derive(Debug)]
pub struct Plan {
    /// A name for people.
    pub name: String,
    /// The blueprint's document, for [`Documents`](ice_core::ports::Documents).
    pub document: Value,
    /// Digest of the canonical document.
    pub digest: Digest,
    /// The top level.
    pub graph: Graph,
    /// What an execution must be given; `None` when anything may be.
    pub input_schema: Option<Schema>,
    /// Values of inputs that were not given; applied before the schema is checked.
    pub defaults: Map<String, Value>,
    /// Name and template, in the order of the document.
    pub outputs: Vec<Output>,
    /// What happens to the rest when a node failed.
    pub failure_policy: FailurePolicy,
    /// What an execution may spend.
    pub budget: Budget,
    /// How many nodes run at once.
    pub max_parallel: usize,
    /// Bound on the whole execution, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The components it calls: callable name → component digest. Those of child blueprints included.
    pub components: BTreeMap<String, Digest>,
    /// The blueprints inside it, as they were written: reference → what it found. Those of child blueprints included.
    pub blueprints: BTreeMap<String, Referred>,
}

impl Plan {
    /// Ids of the top level's nodes, in the order of the document.
    pub fn steps(&self) -> Vec<String> {
        self.graph.nodes.iter().map(|node| node.id.to_string()).collect()
    }
}

/// A blueprint that a `workflow` or `recursive` node refers to.
#[derive(Clone, Debug)]
pub struct Referred {
    /// Digest of its document.
    pub digest: Digest,
    /// The document, before overrides.
    pub parsed: Arc<Parsed>,
}

/// One output of an execution.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its value.
    pub template: Template,
    /// Where the names in the template come from, sorted by name.
    pub sees: Vec<(String, Source)>,
}

/// Nodes of one level. A node's index is its position; the order is that of the document.
#[derive(Debug, Default)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<PlanNode>,
}

impl Graph {
    /// Whether some node leaves traces outside the execution.
    pub fn effects(&self) -> Effects {
        let external = self.nodes.iter().any(|node| node.effects == Effects::External);
        if external { Effects::External } else { Effects::None }
    }
}

/// One node, its kind's part in `node`.
#[derive(Debug)]
pub struct PlanNode {
    /// Unique within its graph, and not that of a node around it.
    pub id: NodeId,
    /// Kind name, for example `tool`.
    pub kind: &'static str,
    /// What the kind made of the configuration.
    pub node: Box<dyn Node>,
    /// Indexes of nodes that must be settled first, without duplicates, in the order written.
    pub depends_on: Vec<usize>,
    /// Indexes of nodes that depend on this one, ascending.
    pub dependents: Vec<usize>,
    /// When it runs.
    pub run_if: RunIf,
    /// The node that takes its place when it failed.
    pub fallback: Option<usize>,
    /// Whether it only runs in the place of another.
    pub standby: bool,
    /// Whether it runs at the end whatever happened.
    pub finally: bool,
    /// How often it is tried.
    pub retry: RetryPolicy,
    /// Bound on one attempt, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Set when the node asked for the cache and its output can be reused.
    pub cache: Option<CacheSpec>,
    /// What its input must fit. For a tool, agent and workflow the input is the arguments. For the other kinds it is
    /// the object of [`PlanNode::input_mappings`] and [`PlanNode::input_bindings`].
    pub input_schema: Option<Arc<Schema>>,
    /// What its output must fit. An llm node's structured answer is checked by the node itself.
    pub output_schema: Option<Arc<Schema>>,
    /// Parameters taken from outputs of other nodes. Tool, agent and workflow take them as arguments; for every kind
    /// they are also names its templates may use, and are then in `sees`.
    pub input_mappings: Vec<InputMapping>,
    /// For kinds without arguments: where each property of `input_schema` that is not mapped comes from.
    pub input_bindings: Vec<Binding>,
    /// Additional names for parts of the output: alias and path.
    pub output_mappings: Vec<(String, Vec<String>)>,
    /// Whether running it leaves traces outside the execution.
    pub effects: Effects,
    /// Where each name in the node's own templates comes from, sorted by name. Nested nodes have their own.
    pub sees: Vec<(String, Source)>,
    /// Where the node is in the document.
    pub pointer: String,
}

impl PlanNode {
    /// Where a name of the node's templates comes from.
    pub fn source(&self, name: &str) -> Option<&Source> {
        let found = self.sees.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&self.sees[found].1)
    }
}

/// Where a value comes from. `up` counts graphs outwards: 0 is the node's own graph, 1 the graph of the node around
/// it, and so on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// The execution itself: `{id}`. A node or input of that name hides it.
    Execution,
    /// All inputs of the execution.
    Inputs,
    /// One input of the execution by its name; undefined when it was not given.
    Input(String),
    /// The output of an ancestor.
    Node {
        /// Graphs outwards.
        up: usize,
        /// Its index there.
        index: usize,
    },
    /// The item of a loop whose body is that many graphs outwards.
    Item {
        /// Graphs outwards.
        up: usize,
    },
    /// The position of that item, from 0.
    Position {
        /// Graphs outwards.
        up: usize,
    },
    /// The parameter of an input mapping of this node, by its position in `input_mappings`.
    Mapping(usize),
}

/// One parameter taken from the output of an ancestor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputMapping {
    /// The parameter.
    pub param: String,
    /// Where its value comes from.
    pub origin: Origin,
}

/// When a node runs.
#[derive(Clone, PartialEq, Debug)]
pub enum RunIf {
    /// When everything it depends on finished.
    Default,
    /// Once everything it depends on is settled, however that ended.
    Always,
    /// As by default, and only when this renders true.
    When(Template),
}

/// How long an output may be reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheSpec {
    /// Milliseconds; `None` for as long as the cache holds it.
    pub ttl_ms: Option<u64>,
}

/// Checks a blueprint and makes its plan, or returns everything that is wrong with it, in the order of the document.
/// `blueprints` finds what `workflow` nodes refer to; nothing is loaded here.
pub fn plan(parsed: &Parsed, catalog: &Catalog, blueprints: &dyn Blueprints) -> Result<Plan, Vec<Problem>> {
    top::plan(parsed, catalog, blueprints)
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        print::plan(self, f)
    }
}

#[cfg(test)]
pub(crate) mod tests;
