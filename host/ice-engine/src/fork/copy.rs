//! The facts a fork begins with: how kept nodes ended, without what they cost. Pure.

use std::collections::BTreeMap;

use ice_core::budget::Usage;
use ice_core::event::Fact;
use ice_core::execution::{Execution, NodeRecord, NodeState};
use ice_core::id::NodePath;
use serde_json::Value;

use super::select::Fate;
use crate::context::child;
use crate::plan::{Plan, PlanNode};

/// Path, attempt and fact.
type Entry = (NodePath, u32, Fact);

/// Kinds whose graphs look up by path what finished in them, and depend on nothing that is not in their outputs.
const HOLDERS: [&str; 3] = ["condition", "loop", "parallel"];

/// Everything that is not run.
pub(super) fn facts(plan: &Plan, view: &Execution, fates: &[Fate], set: &BTreeMap<String, Value>) -> Vec<Entry> {
    let mut facts = Vec::new();
    for (node, fate) in plan.graph.nodes.iter().zip(fates) {
        let path = NodePath(node.id.as_str().into());
        let record = view.nodes.get(&path);
        match (fate, record) {
            (Fate::Set, _) => {
                let output = set.get(node.id.as_str()).cloned().unwrap_or_default();
                facts.push(begun(&path, 1, node.kind));
                facts.push((path, 1, finished(with_aliases(node, output))));
            }
            (Fate::Kept, Some(record)) => facts.extend(ended(&path, record)),
            (Fate::Runs { goes_on: true, .. }, Some(record)) if HOLDERS.contains(&record.kind.as_str()) => {
                facts.extend(inside(view, node.id.as_str()));
            }
            _ => {}
        }
    }
    facts
}

fn begun(path: &NodePath, attempt: u32, kind: &str) -> Entry {
    // No key: nothing will be sent under it. No component: none is called.
    let fact = Fact::NodeStarted { kind: kind.to_owned(), idempotency_key: String::new(), component: None };
    (path.clone(), attempt, fact)
}

fn finished(output: Value) -> Fact {
    Fact::NodeFinished { output, cached: false, receipt: None, usage: Usage::default() }
}

fn ended(path: &NodePath, record: &NodeRecord) -> Vec<Entry> {
    let attempt = record.attempts.max(1);
    let last = match &record.state {
        NodeState::Finished { output, .. } => finished(output.clone()),
        NodeState::Failed { problem } => Fact::NodeFailed { problem: problem.clone(), receipt: None },
        NodeState::Skipped { reason } => return vec![(path.clone(), 0, Fact::NodeSkipped { reason: reason.clone() })],
        NodeState::Running | NodeState::Retrying { .. } => return Vec::new(),
    };
    vec![begun(path, attempt, &record.kind), (path.clone(), attempt, last)]
}

/// What finished inside a node that had not ended, as far as only nodes that hold graphs are around it.
fn inside(view: &Execution, holder: &str) -> Vec<Entry> {
    let below =
        |path: &NodePath| path.as_str().strip_prefix(holder).is_some_and(|rest| rest.starts_with(['[', '.', '/']));
    let mut facts = Vec::new();
    for (path, record) in view.nodes.iter().filter(|(path, _)| below(path)) {
        let plain = around(path.as_str()).all(|outer| {
            view.nodes.get(&NodePath(outer.into())).is_some_and(|outer| HOLDERS.contains(&outer.kind.as_str()))
        });
        if plain && matches!(record.state, NodeState::Finished { .. }) {
            facts.extend(ended(path, record));
        }
    }
    facts
}

/// The nodes around a node: `each` and `each[0]/check` for `each[0]/check.true/yes`.
fn around(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| {
        let segment = path[..at].rfind('/').map_or(0, |slash| slash + 1);
        let end = path[segment..at].find(['[', '.']).map_or(at, |cut| segment + cut);
        &path[..end]
    })
}

/// An output as it is once the node is done.
fn with_aliases(node: &PlanNode, mut output: Value) -> Value {
    for (alias, path) in &node.output_mappings {
        let found = path.iter().try_fold(&output, |at, segment| child(at, segment)).cloned().unwrap_or_default();
        if let Value::Object(fields) = &mut output {
            fields.entry(alias.clone()).or_insert(found);
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_around_a_node_are_read_off_its_path() {
        let around = |path| around(path).collect::<Vec<_>>().join(" ");
        assert_eq!(around("each[0]/check.true/yes"), "each each[0]/check");
        assert_eq!(around("chat/step[2]/lookup"), "chat chat/step");
        assert_eq!(around("top"), "");
    }
}
