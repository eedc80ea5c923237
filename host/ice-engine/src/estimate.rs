//! What an execution may cost, before it starts: low, likely and high.
//!
//! `low` is what is certain: the llm nodes of the top level that have no condition. `high` is everything that could be
//! asked: every branch of `parallel`, the dearer one of a condition, every item of a loop, every round of agents,
//! swarms and recursion, children, fallbacks, repairs of structured answers. `likely` lies between, by these rules: a
//! condition at the mean of its branches, loops at their items, agents and recursion at 3 rounds, swarms at 2, no
//! fallbacks and no repairs. Where the items of a loop are not known before it runs, 10 are likely and 100 are high, or
//! its `max_iterations`; that is said in `assumed`.
//!
//! Every call is taken at the most it can cost, as its reservation is: whatever the model writes, no call costs more.

use ice_core::budget::Usage;
use ice_core::ports::{Llm, LlmRequest};
use serde::Serialize;
use serde_json::Value;

use crate::plan::{Graph, Plan, PlanNode, RunIf};

/// Rounds of agents and recursion that are likely, unless fewer are allowed.
pub(crate) const ROUNDS_LIKELY: u64 = 3;
/// Rounds of a swarm that are likely.
pub(crate) const SWARM_ROUNDS_LIKELY: u64 = 2;
/// Items of a loop over a list that is not known yet.
pub(crate) const ITEMS_LIKELY: u64 = 10;
/// As above, at most.
pub(crate) const ITEMS_HIGH: u64 = 100;

/// How often something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// As may be expected.
    pub likely: u64,
    /// At most.
    pub high: u64,
}

impl Times {
    /// Once.
    pub const ONCE: Self = Self { likely: 1, high: 1 };

    /// At most `most`, and no more than `usual` as may be expected.
    pub fn up_to(most: u64, usual: u64) -> Self {
        Self { likely: most.min(usual), high: most }
    }
}

/// What a node would ask of models, itself and in what is inside it.
#[derive(Default)]
pub struct Asking<'a> {
    /// Questions of its own.
    pub requests: Vec<(LlmRequest, Times)>,
    /// Graphs inside it.
    pub graphs: Vec<(&'a Graph, Times)>,
    /// Whether only one of the graphs runs.
    pub one_of: Option<()>,
    /// The blueprint it starts.
    pub child: Option<&'a Plan>,
    /// What had to be assumed, in words.
    pub assumed: Option<String>,
}

/// What is spent: certain, likely, at most.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug, Default)]
pub struct Range {
    /// Calls to models, in the same order.
    pub calls: [u64; 3],
    /// What is certain.
    pub low: Usage,
    /// What may be expected.
    pub likely: Usage,
    /// What it could be at most.
    pub high: Usage,
}

/// The estimate of one node of the top level.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct NodeEstimate {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// What it may spend.
    #[serde(flatten)]
    pub range: Range,
}

/// The estimate of an execution.
#[derive(Clone, PartialEq, Serialize, Debug, Default)]
pub struct Estimate {
    /// What it may spend.
    #[serde(flatten)]
    pub range: Range,
    /// Nodes of the top level that may spend anything, in the order of the document.
    pub nodes: Vec<NodeEstimate>,
    /// What had to be assumed, by node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
}

/// Estimates the execution of a plan. Asks nobody; a model that is not configured costs nothing here and fails later.
pub(crate) fn estimate(llm: &dyn Llm, plan: &Plan, inputs: &Value) -> Estimate {
    let mut walk = Walk { llm, assumed: Vec::new() };
    let mut estimate = Estimate::default();
    for node in &plan.graph.nodes {
        let range = walk.top(node, inputs);
        if range != Range::default() {
            estimate.range.add(&range);
            estimate.nodes.push(NodeEstimate { id: node.id.to_string(), kind: node.kind, range });
        }
    }
    estimate.assumed = walk.assumed;
    estimate
}

struct Walk<'a> {
    llm: &'a dyn Llm,
    assumed: Vec<String>,
}

impl Walk<'_> {
    fn top(&mut self, node: &PlanNode, inputs: &Value) -> Range {
        let mut range = self.node(node, inputs);
        if node.standby || matches!(node.run_if, RunIf::When(_)) {
            return range;
        }
        if let Some(cost) = node.node.certain_request(inputs).and_then(|request| self.cost(&request)) {
            (range.calls[0], range.low) = (1, cost);
        }
        range
    }

    /// Without what is certain: that is known of the top level only.
    fn node(&mut self, node: &PlanNode, inputs: &Value) -> Range {
        let asking = node.node.asking(inputs);
        self.assumed.extend(asking.assumed.iter().map(|what| format!("`{}`: {what}", node.id)));
        let mut range = Range::default();
        for (request, times) in &asking.requests {
            if let Some(cost) = self.cost(request) {
                range.grow(&Range { calls: [0, 1, 1], low: Usage::default(), likely: cost, high: cost }, *times);
            }
        }
        let inner: Vec<(Range, Times)> =
            asking.graphs.iter().map(|(graph, times)| (self.graph(graph, inputs), *times)).collect();
        if asking.one_of.is_some() {
            range.add(&one_of(&inner));
        } else {
            inner.iter().for_each(|(inner, times)| range.grow(inner, *times));
        }
        if let Some(child) = asking.child {
            // What it will be given is not known yet: its prompts count as they are written.
            let inner = self.graph(&child.graph, &Value::Object(child.defaults.clone()));
            range.grow(&inner, Times::ONCE);
        }
        if node.standby {
            (range.calls[1], range.likely) = (0, Usage::default());
        }
        range
    }

    fn graph(&mut self, graph: &Graph, inputs: &Value) -> Range {
        let mut range = Range::default();
        graph.nodes.iter().for_each(|node| range.add(&self.node(node, inputs)));
        range
    }

    fn cost(&self, request: &LlmRequest) -> Option<Usage> {
        self.llm.resolve(request).ok().map(|model| model.estimate)
    }
}

/// The mean as likely, rounded up; the dearest as high.
fn one_of(inner: &[(Range, Times)]) -> Range {
    let count = inner.len().max(1) as u64;
    let mut sum = Range::default();
    inner.iter().for_each(|(range, _)| sum.add(range));
    let mean = Usage {
        input_tokens: sum.likely.input_tokens.div_ceil(count),
        output_tokens: sum.likely.output_tokens.div_ceil(count),
        cost_micro_usd: sum.likely.cost_micro_usd.div_ceil(count),
        unpriced_calls: sum.likely.unpriced_calls.div_ceil(inner.len().max(1).try_into().unwrap_or(u32::MAX)),
    };
    let dearest = inner.iter().map(|(range, _)| range).max_by_key(|range| (range.high.cost_micro_usd, range.calls[2]));
    let (most, high) = dearest.map_or((0, Usage::default()), |range| (range.calls[2], range.high));
    Range { calls: [0, sum.calls[1].div_ceil(count), most], low: Usage::default(), likely: mean, high }
}

impl Range {
    fn add(&mut self, other: &Self) {
        self.calls.iter_mut().zip(other.calls).for_each(|(calls, more)| *calls = calls.saturating_add(more));
        self.low.add(&other.low);
        self.likely.add(&other.likely);
        self.high.add(&other.high);
    }

    fn grow(&mut self, other: &Self, times: Times) {
        let calls = [0, other.calls[1].saturating_mul(times.likely), other.calls[2].saturating_mul(times.high)];
        let (likely, high) = (often(&other.likely, times.likely), often(&other.high, times.high));
        self.add(&Self { calls, low: Usage::default(), likely, high });
    }
}

fn often(usage: &Usage, times: u64) -> Usage {
    Usage {
        input_tokens: usage.input_tokens.saturating_mul(times),
        output_tokens: usage.output_tokens.saturating_mul(times),
        cost_micro_usd: usage.cost_micro_usd.saturating_mul(times),
        unpriced_calls: usage.unpriced_calls.saturating_mul(times.try_into().unwrap_or(u32::MAX)),
    }
}
