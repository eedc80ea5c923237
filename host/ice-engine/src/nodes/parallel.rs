//! `parallel`: several graphs side by side.

use std::collections::HashMap;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::Effects;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use serde_json::{Map, Value, json};

use super::r#loop::CONCURRENCY_MAX;
use super::{Done, Node, NodeKind};
use crate::context::NodeRun;
use crate::estimate::{Asking, Known, Runs, Times};
use crate::plan::{Graph, PlanContext};
use crate::stop::Token;

/// `type: parallel`.
#[derive(Debug)]
pub struct ParallelKind;

/// Graphs that run at once.
#[derive(Debug)]
pub struct Parallel {
    /// In the order of the document; none is empty.
    pub branches: Vec<Graph>,
    /// Branches that run at once.
    pub max_concurrency: usize,
    /// Whether the outputs of all branches are also put together, by node id.
    pub merge_outputs: bool,
    /// When the node is done.
    pub wait: Wait,
}

/// When a parallel node is done. Branches that still run then are cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// When every branch finished.
    All,
    /// When this many branches finished; 1 is `any`.
    Some(usize),
}

impl NodeKind for ParallelKind {
    fn name(&self) -> &'static str {
        "parallel"
    }

    fn keys(&self) -> &'static [&'static str] {
        &["branches", "max_concurrency", "merge_outputs", "wait"]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let mut fields = cx.fields(doc);
        let max_concurrency = fields.whole("max_concurrency", 1, CONCURRENCY_MAX);
        let merge_outputs = fields.flag("merge_outputs", true);
        let count = fields.get("branches").and_then(Value::as_array).map_or(0, Vec::len);
        let wait = wait(doc, count, cx);
        let branches = branches(doc, cx)?;
        if merge_outputs {
            unique(doc, &branches, cx);
        }
        let max_concurrency = max_concurrency.and_then(|count| count.try_into().ok());
        Some(Box::new(Parallel {
            max_concurrency: max_concurrency.unwrap_or(branches.len()),
            branches,
            merge_outputs,
            wait,
        }))
    }
}

fn wait(doc: &NodeDoc, branches: usize, cx: &mut PlanContext<'_>) -> Wait {
    let mut fields = cx.fields(doc);
    if fields.get("wait").is_some_and(Value::is_number) {
        let most = u64::try_from(branches.max(1)).unwrap_or(u64::MAX);
        return match fields.whole("wait", 1, most).and_then(|count| count.try_into().ok()) {
            Some(count) => Wait::Some(count),
            None => Wait::All,
        };
    }
    fields.choice("wait", &[("all", Wait::All), ("any", Wait::Some(1))]).unwrap_or(Wait::All)
}

fn branches(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Vec<Graph>> {
    let mut fields = cx.fields(doc);
    if fields.get("branches").is_none() {
        fields.missing("branches");
        return None;
    }
    let lists = fields.list("branches")?;
    if lists.is_empty() {
        fields.problem(Code::B006, "branches", "`branches` is empty", "add at least one list of nodes");
        return None;
    }
    let mut graphs = Vec::with_capacity(lists.len());
    for (index, list) in lists.iter().enumerate() {
        let pointer = format!("{}/branches/{index}", doc.pointer);
        let graph = match list {
            Value::Array(items) if !items.is_empty() => cx.nested_list(items, &pointer, None),
            Value::Array(_) => {
                cx.problem(Code::B006, &pointer, "a branch has no nodes", "add a node, or remove the branch");
                None
            }
            _ => {
                cx.problem(Code::B004, &pointer, "a branch is a list of nodes", "write `- - id: …`");
                None
            }
        };
        graphs.push(graph);
    }
    graphs.into_iter().collect()
}

/// Merged outputs are found by node id: two branches may not use the same one.
fn unique(doc: &NodeDoc, branches: &[Graph], cx: &mut PlanContext<'_>) {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, branch) in branches.iter().enumerate() {
        for node in &branch.nodes {
            if let Some(other) = first.insert(node.id.as_str(), index) {
                let message =
                    format!("the id `{}` is in branch {other} and in branch {index} of `{}`", node.id, doc.id);
                let help = "rename one of them, or set `merge_outputs: false`";
                cx.problem(Code::B007, &format!("{}/id", node.pointer), message, help);
            }
        }
    }
}

impl Parallel {
    async fn run(&self, cx: &NodeRun<'_>) -> Result<Done, Failure> {
        cx.check_context()?;
        let needed = match self.wait {
            Wait::All => self.branches.len(),
            Wait::Some(count) => count.min(self.branches.len()),
        };
        let stop = Token::child(cx.stop);
        let mut running = FuturesUnordered::new();
        let mut results: Vec<Option<Map<String, Value>>> = vec![None; self.branches.len()];
        let mut first_failure: Option<Failure> = None;
        let mut next = 0;
        let mut finished = 0;
        loop {
            while running.len() < self.max_concurrency && next < self.branches.len() && stop.why().is_none() {
                let (index, stop) = (next, &stop);
                running.push(async move {
                    (index, cx.graph_until(&self.branches[index], &format!("[{index}]"), None, stop).await)
                });
                next += 1;
            }
            let Some((index, inner)) = running.next().await else { break };
            match inner.failure {
                // A branch that was stopped because enough others finished is not a failure.
                Some(_) if finished >= needed => {}
                Some(failure) => {
                    first_failure.get_or_insert(failure);
                }
                None => {
                    results[index] = Some(inner.outputs);
                    finished += 1;
                }
            }
            if finished >= needed {
                stop.trip(Problem::new(Code::X002, "stopped because enough other branches finished"));
            }
        }
        if finished >= needed {
            return Ok(Done::new(self.output(results)));
        }
        let why = cx.stop.why().cloned().map(Failure::never);
        Err(why.or(first_failure).expect("a branch that did not finish was stopped or failed"))
    }

    fn output(&self, results: Vec<Option<Map<String, Value>>>) -> Value {
        let completed: Vec<usize> = (0..results.len()).filter(|index| results[*index].is_some()).collect();
        let mut merged = Map::new();
        if self.merge_outputs {
            results.iter().flatten().for_each(|outputs| merged.extend(outputs.clone()));
        }
        let strategy = match self.wait {
            Wait::All => "all".to_owned(),
            Wait::Some(1) => "any".to_owned(),
            Wait::Some(count) => count.to_string(),
        };
        json!({
            "branch_results": results, "completed_branches": completed, "merged": merged, "strategy": strategy,
        })
    }
}

impl Node for Parallel {
    /// Branches that are not waited for may have asked already when they are cancelled.
    fn asking(&self, _known: &Known<'_>) -> Asking<'_> {
        let graphs = self.branches.iter().map(|branch| (branch, Times::ONCE)).collect();
        let runs = match self.wait {
            Wait::All => Runs::All,
            Wait::Some(count) => Runs::Some(count),
        };
        Asking { graphs, runs, ..Asking::default() }
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(self.run(cx))
    }

    fn graphs(&self) -> Vec<&Graph> {
        self.branches.iter().collect()
    }

    fn effects(&self) -> Effects {
        let external = self.branches.iter().any(|branch| branch.effects() == Effects::External);
        if external { Effects::External } else { Effects::None }
    }

    fn output_schema(&self) -> Option<Value> {
        Some(json!({
            "type": "object",
            "properties": {
                "branch_results": {"type": "array"}, "completed_branches": {"type": "array"},
                "merged": {"type": "object"}, "strategy": {"type": "string"},
            },
            "additionalProperties": false,
        }))
    }

    fn summary(&self) -> String {
        let wait = match self.wait {
            Wait::All => "all".to_owned(),
            Wait::Some(count) => count.to_string(),
        };
        let merged = if self.merge_outputs { ", merged" } else { "" };
        format!("{} branches, {} at once, wait for {wait}{merged}", self.branches.len(), self.max_concurrency)
    }
}
