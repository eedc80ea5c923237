//! Plan → cells and edges.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, Edge, Level, Tie, cut};
use crate::plan::{Graph, Plan, PlanNode, RunIf, Source};

/// Kind of the cells that are no nodes: what an execution is given, and what it gives.
pub(super) const INPUTS: &str = "inputs";
pub(super) const OUTPUTS: &str = "outputs";

/// What the graphs inside a node are called; `{}` is the number of the graph, from 1.
const INSIDE: &[(&str, &[&str])] = &[
    ("condition", &["true", "false"]),
    ("loop", &["for each item"]),
    ("parallel", &["branch {}"]),
    ("recursive", &["each round"]),
    ("swarm", &["agent {}"]),
];

/// A value that is taken from outside the taker, with the parameters that take it.
type Takes = BTreeMap<From, BTreeSet<String>>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    Node { up: usize, index: usize },
    Inputs,
}

/// Nodes of a graph, nested ones included.
pub(super) fn count(graph: &Graph) -> usize {
    graph.nodes.iter().map(|node| 1 + node.node.graphs().into_iter().map(count).sum::<usize>()).sum()
}

pub(super) fn top(plan: &Plan) -> Level {
    let mut level = level(&plan.graph, "n");
    let nodes = level.cells.len();
    let takers: Vec<(usize, String)> = plan
        .graph
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(index, node)| takes(node).remove(&From::Inputs).map(|names| (index, joined(&names))))
        .collect();
    if !takers.is_empty() {
        level.cells.push(terminal(INPUTS));
        let edge = |(to, label)| Edge { from: nodes, to, tie: Tie::Data, label };
        level.edges.extend(takers.into_iter().map(edge));
    }
    let mut given: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for output in &plan.outputs {
        for (_, source) in &output.sees {
            if let Source::Node { up: 0, index } = source {
                given.entry(*index).or_default().insert(output.name.clone());
            }
        }
    }
    if !given.is_empty() {
        let to = level.cells.len();
        level.cells.push(terminal(OUTPUTS));
        let edge = |(from, names)| Edge { from, to, tie: Tie::Data, label: joined(&names) };
        level.edges.extend(given.into_iter().map(edge));
    }
    level.edges.sort_by_key(|edge| (edge.from, edge.to, edge.tie));
    level
}

fn terminal(kind: &'static str) -> Cell {
    Cell {
        key: kind.to_owned(),
        id: kind.to_owned(),
        kind,
        about: String::new(),
        notes: String::new(),
        inside: Vec::new(),
    }
}

fn level(graph: &Graph, prefix: &str) -> Level {
    let cells = graph.nodes.iter().enumerate().map(|(index, node)| cell(node, graph, format!("{prefix}{index}")));
    let cells = cells.collect();
    let mut edges = Vec::new();
    for (to, node) in graph.nodes.iter().enumerate() {
        let mut taken: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (from, names) in takes(node) {
            if let From::Node { up: 0, index } = from {
                taken.insert(index, names);
            }
        }
        let waits = node.depends_on.iter().filter(|from| !taken.contains_key(from));
        edges.extend(waits.map(|&from| Edge { from, to, tie: Tie::After, label: String::new() }));
        edges.extend(taken.iter().map(|(&from, names)| Edge { from, to, tie: Tie::Data, label: joined(names) }));
        let fallback = node.fallback.map(|instead| (to, instead));
        edges.extend(fallback.map(|(from, to)| Edge { from, to, tie: Tie::Instead, label: "if it fails".into() }));
    }
    edges.sort_by_key(|edge| (edge.from, edge.to, edge.tie));
    Level { label: String::new(), cells, edges }
}

fn cell(node: &PlanNode, graph: &Graph, key: String) -> Cell {
    let names = INSIDE.iter().find(|(kind, _)| *kind == node.kind).map_or(&[][..], |(_, names)| names);
    let inside = node.node.graphs().into_iter().enumerate().filter(|(_, graph)| !graph.nodes.is_empty());
    let inside = inside.map(|(index, inner)| {
        let label = names.get(index).or(names.last()).unwrap_or(&"{}").replace("{}", &(index + 1).to_string());
        Level { label, ..level(inner, &format!("{key}_{index}_")) }
    });
    Cell {
        id: node.id.to_string(),
        kind: node.kind,
        about: cut(&node.node.summary()),
        notes: cut(&notes(node, graph)),
        inside: inside.collect(),
        key,
    }
}

fn notes(node: &PlanNode, graph: &Graph) -> String {
    let mut notes = Vec::new();
    match &node.run_if {
        RunIf::Default => {}
        RunIf::Always => notes.push("always".to_owned()),
        RunIf::When(template) => {
            let text = template.source();
            notes.push(format!("if {}", text.as_str().map_or_else(|| text.to_string(), str::to_owned)));
        }
    }
    notes.extend(node.finally.then(|| "at the end".to_owned()));
    if let Some(stood_for) = graph.nodes.iter().find(|other| other.standby_is(node, graph)) {
        notes.push(format!("in place of {}", stood_for.id));
    }
    notes.extend((node.retry.max_attempts > 1).then(|| format!("{} attempts", node.retry.max_attempts)));
    notes.join(", ")
}

impl PlanNode {
    fn standby_is(&self, node: &PlanNode, graph: &Graph) -> bool {
        node.standby && self.fallback.is_some_and(|index| std::ptr::eq(&raw const graph.nodes[index], node))
    }
}

/// What a node and the nodes inside it take from outside of it.
fn takes(node: &PlanNode) -> Takes {
    let mut takes = Takes::new();
    for (name, source) in &node.sees {
        note(&mut takes, source, None);
        if let (Source::Input(_), Some(names)) = (source, takes.get_mut(&From::Inputs)) {
            names.insert(name.clone());
        }
    }
    let arguments = node.node.arguments();
    for (param, template) in arguments.iter().flat_map(|arguments| &arguments.given) {
        for root in template.roots() {
            if let Some(source) = node.source(root) {
                note(&mut takes, source, Some(param));
            }
        }
    }
    let bindings = arguments.iter().flat_map(|arguments| &arguments.bindings).chain(&node.input_bindings);
    for binding in bindings {
        for origin in &binding.origins {
            note(&mut takes, &origin.source, Some(&binding.param));
        }
    }
    for mapping in &node.input_mappings {
        note(&mut takes, &mapping.origin.source, Some(&mapping.param));
    }
    for inner in node.node.graphs().into_iter().flat_map(|graph| &graph.nodes) {
        for (from, names) in self::takes(inner) {
            let from = match from {
                From::Inputs => From::Inputs,
                From::Node { up: 0, .. } => continue,
                From::Node { up, index } => From::Node { up: up - 1, index },
            };
            takes.entry(from).or_default().extend(names);
        }
    }
    takes
}

fn note(takes: &mut Takes, source: &Source, param: Option<&String>) {
    let from = match source {
        Source::Node { up, index } => From::Node { up: *up, index: *index },
        Source::Inputs | Source::Input(_) => From::Inputs,
        Source::Execution | Source::Item { .. } | Source::Position { .. } | Source::Mapping(_) => return,
    };
    takes.entry(from).or_default().extend(param.cloned());
}

fn joined(names: &BTreeSet<String>) -> String {
    cut(&names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
}
