//! What an execution may cost, before it starts: low, likely and high. Pure: asks nobody what anything is.
//!
//! `low` is what is certain unless something fails: nodes without a condition and without a conditional node before
//! them, loops whose items are written down or come from the inputs, the cheaper path of a condition, one round of
//! agents and recursion; each answer is one token long. `high` is everything that could be asked: every branch, the
//! dearer path of a condition, every round and retry, fallbacks, stand-in models, repairs of structured answers; each
//! answer is as long as it may be, as in a reservation. `likely` lies between: a condition at the mean of its paths,
//! agents and recursion at 3 rounds, swarms at 2, no failures; each answer fills 7 tenths of its room. Where the items
//! of a loop are not known before it runs, 10 are likely and 100 are high, or its `max_iterations`; that is said in
//! `assumed`. What tools ask of models by themselves is not known before they run, and not in here.

use ice_core::budget::Usage;
use ice_core::ports::{Llm, LlmRequest};
use ice_core::template::{Datum, Template, datum};
use serde::Serialize;
use serde_json::Value;

use crate::plan::{Graph, Plan, PlanNode, RunIf, Source};

/// Rounds of agents and recursion that are likely, unless fewer are allowed.
pub(crate) const ROUNDS_LIKELY: u64 = 3;
/// Rounds of a swarm that are likely.
pub(crate) const SWARM_ROUNDS_LIKELY: u64 = 2;
/// Items of a loop over a list that is not known yet.
pub(crate) const ITEMS_LIKELY: u64 = 10;
/// As above, at most.
pub(crate) const ITEMS_HIGH: u64 = 100;
/// How much of its room an answer is likely to fill, in tenths: what estimates of older versions took.
const FILLED_TENTHS: u32 = 7;

/// How often something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// For certain.
    pub low: u64,
    /// As may be expected.
    pub likely: u64,
    /// At most.
    pub high: u64,
}

impl Times {
    /// Once.
    pub const ONCE: Self = Self { low: 1, likely: 1, high: 1 };

    /// Only when something goes wrong, at most `most` times.
    pub fn at_worst(most: u64) -> Self {
        Self { low: 0, likely: 0, high: most }
    }

    /// Once for certain, at most `most`, and no more than `usual` as may be expected.
    pub fn up_to(most: u64, usual: u64) -> Self {
        Self { low: most.min(1), likely: most.min(usual), high: most }
    }
}

/// Which of the graphs inside a node run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Runs {
    /// All of them.
    #[default]
    All,
    /// One of them.
    OneOf,
    /// At least the cheapest ones of this number for certain, and perhaps all.
    Some(usize),
}

/// What a node would ask of models, itself and in what is inside it.
#[derive(Default)]
pub struct Asking<'a> {
    /// Questions of its own.
    pub requests: Vec<(LlmRequest, Times)>,
    /// Graphs inside it.
    pub graphs: Vec<(&'a Graph, Times)>,
    /// Which of the graphs run.
    pub runs: Runs,
    /// The blueprint it starts, with what is known of its inputs.
    pub child: Option<(&'a Plan, Value)>,
    /// What had to be assumed, in words.
    pub assumed: Option<String>,
}

/// What is known before anything ran: the inputs, as a node's templates name them.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    node: &'a PlanNode,
    /// The inputs of the execution that the node is in.
    pub inputs: &'a Value,
}

impl<'a> Known<'a> {
    /// The value of a name in a template; `None` for what comes from nodes and loops.
    pub fn value(&self, name: &str) -> Option<Datum> {
        match self.node.source(name)? {
            Source::Inputs => Some(datum(self.inputs)),
            Source::Input(name) => self.inputs.get(name).map(datum),
            _ => None,
        }
    }

    /// Parameters that are mapped from outputs of other nodes.
    pub fn mapped(&self) -> impl Iterator<Item = &'a str> {
        self.node.input_mappings.iter().map(|mapping| mapping.param.as_str())
    }

    /// What a template renders to; `None` when it needs more than is known.
    pub fn render(&self, template: &Template) -> Option<Value> {
        template.render(&|name: &str| self.value(name)).ok()
    }
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
    /// The largest reservation among the certain calls: with less than this left, one of them is never made.
    #[serde(skip)]
    pub dearest: Usage,
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

/// Estimates the execution of a plan. A model that is not configured costs nothing here and fails later.
pub(crate) fn estimate(llm: &dyn Llm, plan: &Plan, inputs: &Value) -> Estimate {
    let mut walk = Walk { llm, assumed: Vec::new() };
    let mut estimate = Estimate::default();
    for (node, range) in walk.nodes(&plan.graph, inputs) {
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
    fn nodes<'g>(&mut self, graph: &'g Graph, inputs: &Value) -> Vec<(&'g PlanNode, Range)> {
        let doubtful = doubtful(graph);
        let of = |(node, doubtful): (&'g PlanNode, bool)| {
            let mut range = self.node(node, inputs);
            if doubtful {
                (range.calls[0], range.low, range.dearest) = (0, Usage::default(), Usage::default());
            }
            (node, range)
        };
        graph.nodes.iter().zip(doubtful).map(of).collect()
    }

    fn node(&mut self, node: &PlanNode, inputs: &Value) -> Range {
        let asking = node.node.asking(&Known { node, inputs });
        self.assumed.extend(asking.assumed.iter().map(|what| format!("`{}`: {what}", node.id)));
        let mut range = Range::default();
        for (request, times) in &asking.requests {
            range.add(&self.call(request).often(*times));
        }
        let graphs = asking.graphs.iter();
        let inner: Vec<Range> = graphs.map(|(graph, times)| self.graph(graph, inputs).often(*times)).collect();
        range.add(&together(inner, asking.runs));
        if let Some((child, inputs)) = &asking.child {
            range.add(&self.graph(&child.graph, inputs));
        }
        // Another try pays again: the one before may have failed after it was answered.
        range.often(Times { low: 1, likely: 1, high: node.retry.max_attempts.max(1).into() }).as_planned(node)
    }

    fn graph(&mut self, graph: &Graph, inputs: &Value) -> Range {
        let mut sum = Range::default();
        self.nodes(graph, inputs).iter().for_each(|(_, range)| sum.add(range));
        sum
    }

    fn call(&self, request: &LlmRequest) -> Range {
        let cost = |max_tokens: Option<u32>| {
            let request = LlmRequest { max_tokens: max_tokens.or(request.max_tokens), ..request.clone() };
            self.llm.resolve(&request).ok().map(|model| model.estimate)
        };
        let Some(high) = cost(None) else { return Range::default() };
        let room = u32::try_from(high.output_tokens).unwrap_or(u32::MAX);
        let filled = (room / 10 * FILLED_TENTHS).max(room.min(1));
        let low = cost(Some(room.min(1))).unwrap_or_default();
        let likely = cost(Some(filled)).unwrap_or_default();
        Range { calls: [1; 3], low, likely, high, dearest: high }
    }
}

/// Which nodes may not run although nothing fails: those with a condition, stand-ins, and what needs them.
fn doubtful(graph: &Graph) -> Vec<bool> {
    let mut doubtful: Vec<bool> =
        graph.nodes.iter().map(|node| node.standby || matches!(node.run_if, RunIf::When(_))).collect();
    let mut open: Vec<usize> = (0..doubtful.len()).filter(|&node| doubtful[node]).collect();
    while let Some(node) = open.pop() {
        for &next in &graph.nodes[node].dependents {
            if !doubtful[next] && graph.nodes[next].run_if != RunIf::Always && !graph.nodes[next].finally {
                doubtful[next] = true;
                open.push(next);
            }
        }
    }
    doubtful
}

/// What graphs come to that run as `runs` says.
fn together(inner: Vec<Range>, runs: Runs) -> Range {
    let mut sum = Range::default();
    inner.iter().for_each(|range| sum.add(range));
    match runs {
        Runs::All => sum,
        Runs::Some(count) => {
            let mut certain = Range::default();
            let mut cheapest = inner;
            cheapest.sort_by_key(|range| (range.low.cost_micro_usd, range.calls[0]));
            cheapest.iter().take(count).for_each(|range| certain.add(range));
            let dearest = Usage::default();
            Range { calls: [certain.calls[0], sum.calls[1], sum.calls[2]], low: certain.low, dearest, ..sum }
        }
        Runs::OneOf => one_of(&inner, &sum),
    }
}

/// The cheapest as low, the mean as likely, rounded up, and the dearest as high.
fn one_of(inner: &[Range], sum: &Range) -> Range {
    let count = inner.len().max(1) as u64;
    let likely = Usage {
        input_tokens: sum.likely.input_tokens.div_ceil(count),
        output_tokens: sum.likely.output_tokens.div_ceil(count),
        cost_micro_usd: sum.likely.cost_micro_usd.div_ceil(count),
        unpriced_calls: sum.likely.unpriced_calls.min(1),
    };
    let least = inner.iter().min_by_key(|range| (range.low.cost_micro_usd, range.calls[0]));
    let least = least.copied().unwrap_or_default();
    let most =
        inner.iter().max_by_key(|range| (range.high.cost_micro_usd, range.calls[2])).copied().unwrap_or_default();
    Range {
        calls: [least.calls[0], sum.calls[1].div_ceil(count), most.calls[2]],
        low: least.low,
        likely,
        high: most.high,
        dearest: Usage::default(),
    }
}

impl Range {
    fn add(&mut self, other: &Self) {
        self.calls.iter_mut().zip(other.calls).for_each(|(calls, more)| *calls = calls.saturating_add(more));
        self.low.add(&other.low);
        self.likely.add(&other.likely);
        self.high.add(&other.high);
        self.dearest = larger(&self.dearest, &other.dearest);
    }

    fn often(self, times: Times) -> Self {
        let Times { low, likely, high } = times;
        let calls = self.calls.iter().zip([low, likely, high]).map(|(calls, times)| calls.saturating_mul(times));
        let calls: Vec<u64> = calls.collect();
        Self {
            calls: [calls[0], calls[1], calls[2]],
            low: multiply(&self.low, low),
            likely: multiply(&self.likely, likely),
            high: multiply(&self.high, high),
            dearest: if low == 0 { Usage::default() } else { self.dearest },
        }
    }

    /// A node that only takes the place of another one is not expected to run.
    fn as_planned(mut self, node: &PlanNode) -> Self {
        if node.standby {
            (self.calls[1], self.likely) = (0, Usage::default());
        }
        self
    }
}

/// The larger of each.
fn larger(a: &Usage, b: &Usage) -> Usage {
    Usage {
        input_tokens: a.input_tokens.max(b.input_tokens),
        output_tokens: a.output_tokens.max(b.output_tokens),
        cost_micro_usd: a.cost_micro_usd.max(b.cost_micro_usd),
        unpriced_calls: a.unpriced_calls.max(b.unpriced_calls),
    }
}

fn multiply(usage: &Usage, times: u64) -> Usage {
    Usage {
        input_tokens: usage.input_tokens.saturating_mul(times),
        output_tokens: usage.output_tokens.saturating_mul(times),
        cost_micro_usd: usage.cost_micro_usd.saturating_mul(times),
        unpriced_calls: usage.unpriced_calls.saturating_mul(times.try_into().unwrap_or(u32::MAX)),
    }
}
