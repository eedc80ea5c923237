//! Which nodes of a fork run, and why. Pure.
//!
//! A node runs when the fork begins at it, when it reads an input that changed, when it had not ended or never began,
//! and when something before it runs or was given another output. Finally nodes always run: they are the end of this
//! execution too. A node that was given an output or keeps the one it had does not run, and in the second case hides
//! what is before it from what is after it.

use std::collections::BTreeSet;

use ice_core::event::SkipReason;
use ice_core::execution::{Execution, NodeRecord, NodeState};
use ice_core::id::NodePath;
use ice_core::problem::{Code, Problem};
use serde::Serialize;
use serde_json::Value;

use super::Named;
use crate::plan::{Graph, Plan, PlanNode, Source};

/// Why a node of a fork runs.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Why {
    /// The fork begins here.
    From,
    /// It comes after a node that runs or was given an output.
    After {
        /// That node.
        after: String,
    },
    /// It reads an input that changed.
    Input {
        /// That input.
        input: String,
    },
    /// It never began, had not ended, or failed.
    Unfinished,
    /// It runs at the end of every execution.
    Finally,
}

/// What becomes of a node.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Fate {
    /// Its end is kept.
    Kept,
    /// Its output is given.
    Set,
    /// It runs.
    Runs {
        why: Why,
        /// Whether nothing it depends on is different, so that what finished inside it can stay.
        goes_on: bool,
    },
}

/// What is different.
pub(super) struct Asked<'a> {
    pub(super) nodes: &'a Named,
    /// Names of inputs that have another value.
    pub(super) inputs: &'a BTreeSet<String>,
}

/// Decides for every node of the top level.
pub(super) fn select(plan: &Plan, view: &Execution, asked: &Asked<'_>) -> Vec<Fate> {
    let graph = &plan.graph;
    let record = |node: usize| view.nodes.get(&NodePath(graph.nodes[node].id.as_str().into()));
    let nodes = asked.nodes;
    let mut walk = Walk { graph, next: after(plan), why: vec![None; graph.nodes.len()], nodes };
    walk.begin(nodes.from, Why::From);
    for &node in &nodes.set {
        walk.spread(node);
    }
    for node in 0..graph.nodes.len() {
        if let Some(input) = reads(plan, node, asked.inputs) {
            walk.begin(node, Why::Input { input });
        }
    }
    let different: Vec<bool> = walk.why.iter().map(Option::is_some).collect();
    for node in 0..graph.nodes.len() {
        let stands_in = |other: usize| record(other).is_some_and(is_finished);
        match record(node) {
            None => walk.begin(node, Why::Unfinished),
            Some(record) if !has_ended(&graph.nodes[node], record, stands_in) => walk.begin(node, Why::Unfinished),
            Some(_) if graph.nodes[node].finally => walk.begin(node, Why::Finally),
            Some(_) => {}
        }
    }
    let fate = |(node, why): (usize, Option<Why>)| match why {
        _ if nodes.set.contains(&node) => Fate::Set,
        Some(why) => Fate::Runs { goes_on: !different[node] && why == Why::Unfinished, why },
        None => Fate::Kept,
    };
    walk.why.into_iter().enumerate().map(fate).collect()
}

struct Walk<'a> {
    graph: &'a Graph,
    next: Vec<Vec<usize>>,
    why: Vec<Option<Why>>,
    nodes: &'a Named,
}

impl Walk<'_> {
    fn begin(&mut self, node: usize, why: Why) {
        if self.mark(node, why) {
            self.spread(node);
        }
    }

    fn mark(&mut self, node: usize, why: Why) -> bool {
        let held = self.nodes.set.contains(&node) || self.nodes.pin.contains(&node);
        let fresh = !held && self.why[node].is_none();
        if fresh {
            self.why[node] = Some(why);
        }
        fresh
    }

    /// Marks everything after a node. A stack instead of recursion, for long chains.
    fn spread(&mut self, node: usize) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            let id = self.graph.nodes[node].id.as_str().to_owned();
            for next in std::mem::take(&mut self.next[node]) {
                if self.mark(next, Why::After { after: id.clone() }) {
                    open.push(next);
                }
            }
        }
    }
}

/// For each node the nodes that see something else when it does.
fn after(plan: &Plan) -> Vec<Vec<usize>> {
    let graph = &plan.graph;
    let mut next: Vec<Vec<usize>> = graph.nodes.iter().map(|node| node.dependents.clone()).collect();
    for (index, node) in graph.nodes.iter().enumerate() {
        for (_, source) in &node.sees {
            if let Source::Node { up: 0, index: seen } = source {
                next[*seen].push(index);
            }
        }
        if let Some(stand_in) = node.fallback {
            next[index].push(stand_in);
            next[stand_in].extend(&node.dependents);
        }
        if node.kind == "monitor" {
            let watch = plan.document["nodes"][index]["watch"].as_array();
            let watched = |other: &str| watch.is_none_or(|watch| watch.iter().any(|id| id == other));
            for (other, node) in graph.nodes.iter().enumerate() {
                if other != index && watched(node.id.as_str()) {
                    next[other].push(index);
                }
            }
        }
    }
    next
}

fn is_finished(record: &NodeRecord) -> bool {
    matches!(record.state, NodeState::Finished { .. })
}

/// Whether a node ended in a way that may stay: a failure only when another node took its place.
fn has_ended(node: &PlanNode, record: &NodeRecord, finished: impl Fn(usize) -> bool) -> bool {
    match &record.state {
        NodeState::Finished { .. } => true,
        NodeState::Skipped { reason } => *reason != SkipReason::Halted,
        NodeState::Failed { .. } => node.fallback.is_some_and(finished),
        NodeState::Running | NodeState::Retrying { .. } => false,
    }
}

/// The first of these inputs that a node, or a node inside it, reads.
fn reads(plan: &Plan, node: usize, inputs: &BTreeSet<String>) -> Option<String> {
    if inputs.is_empty() {
        return None;
    }
    let mut seen = Seen::default();
    see(&plan.graph.nodes[node], &mut seen);
    if seen.all {
        return inputs.first().cloned();
    }
    if seen.by_root {
        match written(&plan.document["nodes"][node]) {
            Some(names) => seen.names.extend(names),
            None => return inputs.first().cloned(),
        }
    }
    inputs.iter().find(|name| seen.names.contains(*name)).cloned()
}

#[derive(Default)]
struct Seen {
    /// By their own names.
    names: BTreeSet<String>,
    /// Whether some template goes through `inputs`.
    by_root: bool,
    /// Whether the node is given all of them.
    all: bool,
}

fn see(node: &PlanNode, seen: &mut Seen) {
    seen.all |= node.node.takes_all_inputs();
    let bound = node.node.arguments().map(|arguments| arguments.bindings.as_slice()).unwrap_or_default();
    let origins = bound.iter().chain(&node.input_bindings).flat_map(|binding| &binding.origins);
    let mapped = node.input_mappings.iter().map(|mapping| &mapping.origin);
    let named = node.sees.iter().map(|(_, source)| source);
    for source in origins.chain(mapped).map(|origin| &origin.source).chain(named) {
        match source {
            Source::Input(name) => drop(seen.names.insert(name.clone())),
            Source::Inputs => seen.by_root = true,
            _ => {}
        }
    }
    for inner in node.node.graphs().into_iter().flat_map(|graph| &graph.nodes) {
        see(inner, seen);
    }
}

/// The names that follow `inputs.` in the texts of a node; `None` when one goes through `inputs` in another way, so
/// that it may read any of them.
fn written(value: &Value) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    collect(value, &mut names).then_some(names)
}

fn collect(value: &Value, names: &mut BTreeSet<String>) -> bool {
    match value {
        Value::String(text) => collect_text(text, names),
        Value::Array(items) => items.iter().all(|item| collect(item, names)),
        Value::Object(fields) => fields.values().all(|field| collect(field, names)),
        _ => true,
    }
}

fn collect_text(text: &str, names: &mut BTreeSet<String>) -> bool {
    const ROOT: &str = "inputs";
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (at, _) in text.match_indices(ROOT) {
        let rest = &text[at + ROOT.len()..];
        let inside_a_word = text[..at].ends_with(|c| is_word(c) || c == '.') || rest.starts_with(is_word);
        if inside_a_word {
            continue;
        }
        let name = rest.strip_prefix('.').map(|rest| rest.split(|c| !is_word(c)).next().unwrap_or_default());
        match name.filter(|name| !name.is_empty()) {
            Some(name) => names.insert(name.to_owned()),
            None => return false,
        };
    }
    true
}

/// What does not fit between an edited blueprint and what is kept: a kept node has to be the one that ran.
pub(super) fn unlike(plan: &Plan, document: &Value, view: &Execution, fates: &[Fate], from: &str) -> Vec<Problem> {
    let none = Vec::new();
    let before = document["nodes"].as_array().unwrap_or(&none);
    let old = |id: &str| before.iter().find(|node| node["id"] == id);
    let mut problems = Vec::new();
    for (index, node) in plan.graph.nodes.iter().enumerate().filter(|(index, _)| fates[*index] == Fate::Kept) {
        let id = node.id.as_str();
        if old(id) != Some(&plan.document["nodes"][index]) {
            let message = format!("node `{id}` is not as it was, and its output would be kept");
            let help = format!("begin there: `--from {id}`, or put an output in: `--set {id}=…`");
            problems.push(Problem::new(Code::X050, message).pointer(node.pointer.clone()).help(help));
        }
    }
    let below = below(before, from);
    for id in before.iter().filter_map(|node| node["id"].as_str()) {
        let finished = view.nodes.get(&NodePath(id.into())).is_some_and(is_finished);
        if finished && !below.contains(id) && !plan.graph.nodes.iter().any(|node| node.id.as_str() == id) {
            let message = format!("the blueprint has no node `{id}` any more, and its output would be kept");
            problems.push(Problem::new(Code::X050, message).help("put it back, or begin at it or before it"));
        }
    }
    problems
}

/// A node and everything that depends on it, as written.
fn below<'d>(nodes: &'d [Value], from: &'d str) -> BTreeSet<&'d str> {
    let mut found = BTreeSet::from([from]);
    loop {
        let before = found.len();
        for node in nodes {
            let needs = node["dependencies"].as_array().into_iter().flatten();
            if let Some(id) = node["id"].as_str()
                && needs.filter_map(Value::as_str).any(|need| found.contains(need))
            {
                found.insert(id);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_inputs_are_read_off_the_texts_and_doubt_means_all() {
        let names = |value: Value| written(&value).map(|names| names.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(names(json!({"a": "{{ inputs.city }}", "b": ["{{ inputs.n + 1 }}"]})).as_deref(), Some("city n"));
        assert_eq!(names(json!("{{ my_inputs.x }} {{ node.inputs.y }} inputs_z")).as_deref(), Some(""));
        for all in ["{{ inputs }}", "{{ inputs['a'] }}", "{{ inputs | tojson }}", "{% for k in inputs %}"] {
            assert_eq!(names(json!(all)), None, "{all}");
        }
    }

    #[test]
    fn what_depends_on_a_removed_node_is_found_in_any_order() {
        let nodes = [json!({"id": "c", "dependencies": ["b"]}), json!({"id": "b", "dependencies": ["a"]})];
        assert_eq!(below(&nodes, "a"), BTreeSet::from(["a", "b", "c"]));
    }
}
