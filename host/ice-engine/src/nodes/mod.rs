//! The node kinds. A kind is one file here and one line in [`NODES`].
//!
//! Each file holds what the kind reads of its configuration, what it checks, which nodes are inside it, and what it
//! does when it runs. When it runs is the scheduler's business.

use futures_util::future::BoxFuture;
use ice_core::blueprint::{NodeDoc, RetryPolicy};
use ice_core::budget::Receipt;
use ice_core::catalog::{CallKind, Effects};
use ice_core::ports::{Failure, LlmRequest};
use serde_json::Value;

use crate::context::NodeRun;
use crate::estimate::{Asking, Known, Times};
use crate::plan::{Arguments, Graph, PlanContext};

pub mod agent;
mod ask;
pub mod code;
pub mod condition;
pub mod human;
pub mod llm;
pub mod r#loop;
pub mod monitor;
pub mod parallel;
pub mod recursive;
pub mod swarm;
pub mod tool;
pub mod webhook;
pub mod workflow;

/// A kind of node: what a blueprint may write under `type`.
pub trait NodeKind: Sync {
    /// The word a blueprint writes.
    fn name(&self) -> &'static str;
    /// The keys it takes besides those all nodes have.
    fn keys(&self) -> &'static [&'static str];
    /// Reads and checks one node. Problems go to `cx`; `None` when there were some that leave nothing to run.
    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>>;
}

/// Every kind that can run.
pub const NODES: &[&dyn NodeKind] = &[
    &tool::ToolKind,
    &llm::LlmKind,
    &agent::AgentKind,
    &condition::ConditionKind,
    &r#loop::LoopKind,
    &parallel::ParallelKind,
    &workflow::WorkflowKind,
    &human::HumanKind,
    &webhook::WebhookKind,
    &recursive::RecursiveKind,
    &code::CodeKind,
    &monitor::MonitorKind,
    &swarm::SwarmKind,
];

/// What a kind made of one node.
pub trait Node: Send + Sync + std::fmt::Debug {
    /// The graphs inside it, in the order of the document.
    fn graphs(&self) -> Vec<&Graph> {
        Vec::new()
    }

    /// Whether running it leaves traces outside the execution.
    fn effects(&self) -> Effects;

    /// Whether the same input always gives the same output, so that a cached one may be used.
    fn is_repeatable(&self) -> bool {
        self.effects() == Effects::None
    }

    /// The component it calls, for kinds that call one: tool or agent, and its name in the catalog.
    fn callee(&self) -> Option<(CallKind, &str)> {
        None
    }

    /// What it is called with, for kinds that call something by its arguments.
    fn arguments(&self) -> Option<&Arguments> {
        None
    }

    /// JSON Schema of its output, as far as it is known before it runs.
    fn output_schema(&self) -> Option<Value>;

    /// What it does, in a line, for a printed plan.
    fn summary(&self) -> String;

    /// Whether it runs no graph and no loop of its own, so that it takes one of the execution's permits while it runs.
    fn is_leaf(&self) -> bool {
        false
    }

    /// Whether it looks after `timeout_seconds` itself.
    fn keeps_time(&self) -> bool {
        false
    }

    /// How often it is tried where neither the node nor the blueprint says; once without.
    fn own_retry(&self) -> Option<RetryPolicy> {
        None
    }

    /// The question it is certain to ask a model, as far as it is known before anything ran: for the preflight.
    fn certain_request(&self, _inputs: &Value) -> Option<LlmRequest> {
        None
    }

    /// Whether it is given all inputs of the execution without naming them.
    fn takes_all_inputs(&self) -> bool {
        false
    }

    /// What it would ask of models, for estimates: the graphs inside it once each, unless a kind says otherwise.
    fn asking(&self, _known: &Known<'_>) -> Asking<'_> {
        let graphs = self.graphs().into_iter().map(|graph| (graph, Times::ONCE)).collect();
        Asking { graphs, ..Asking::default() }
    }

    /// Does it, once. Input, output schema, events, retries and time limits around it are not its business.
    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>>;
}

/// What an attempt made.
#[derive(Debug)]
pub struct Done {
    /// The output.
    pub output: Value,
    /// What a component call cost the host.
    pub receipt: Option<Box<Receipt>>,
    /// Whether the output came from the cache.
    pub cached: bool,
}

impl Done {
    /// An output that no component made.
    pub fn new(output: Value) -> Self {
        Self { output, receipt: None, cached: false }
    }
}
