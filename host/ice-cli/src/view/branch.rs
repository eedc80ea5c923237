//! Paths of nodes as branches of a tree: `price_all[3]/quote` hangs under `[3]`, and that under `price_all`. Pure.

use std::collections::BTreeMap;

use ice_core::execution::{Execution, NodeRecord, NodeState};
use ice_core::id::UnixMs;

use super::waiting::printable;

/// What a reader wants to know first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    Failed,
    Going,
    Done,
    ToCome,
}

impl Stage {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Going => "going on",
            Self::Done => "done",
            Self::ToCome => "to come",
        }
    }
}

/// A node, or a position inside one, with what is inside it.
pub(super) struct Branch<'a> {
    pub(super) label: String,
    pub(super) path: String,
    /// `None` for a position, and for a node that has not begun.
    pub(super) record: Option<&'a NodeRecord>,
    pub(super) inside: Vec<Branch<'a>>,
}

impl Branch<'_> {
    /// Where it stands; a position stands where what is inside it stands.
    pub(super) fn stage(&self) -> Stage {
        match self.record.map(|record| &record.state) {
            Some(NodeState::Running | NodeState::Retrying { .. }) => Stage::Going,
            Some(NodeState::Failed { .. }) => Stage::Failed,
            Some(NodeState::Finished { .. } | NodeState::Skipped { .. }) => Stage::Done,
            None => {
                let mut stages = self.inside.iter().map(Branch::stage);
                stages.clone().find(|stage| *stage == Stage::Going).or_else(|| stages.next()).unwrap_or(Stage::ToCome)
            }
        }
    }

    /// Nodes in it, itself included.
    pub(super) fn size(&self) -> usize {
        1 + self.inside.iter().map(Branch::size).sum::<usize>()
    }

    fn began(&self) -> UnixMs {
        let inside = || self.inside.iter().map(Branch::began).min();
        self.record.and_then(|record| record.started).or_else(inside).unwrap_or(UnixMs::MAX)
    }
}

#[derive(Default)]
struct Twig<'a> {
    record: Option<&'a NodeRecord>,
    inside: BTreeMap<&'a str, Twig<'a>>,
}

/// The tree of an execution: the top level in the order of `steps`, everything below in the order in which it began.
pub(super) fn grow<'a>(execution: &'a Execution, steps: &'a [String]) -> Vec<Branch<'a>> {
    let mut root = Twig::default();
    for step in steps {
        root.inside.entry(step).or_default();
    }
    for (path, record) in &execution.nodes {
        let mut at = &mut root;
        for part in parts(path.as_str()) {
            at = at.inside.entry(part).or_default();
        }
        at.record = Some(record);
    }
    let mut branches = level(root, "");
    let place = |branch: &Branch<'_>| steps.iter().position(|step| *step == branch.label).unwrap_or(usize::MAX);
    branches.sort_by_cached_key(place);
    branches
}

/// `price_all[3]/quote` → `price_all`, `[3]`, `quote`.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').flat_map(|segment| {
        let (name, position) = segment.find('[').map_or((segment, ""), |at| segment.split_at(at));
        [name, position].into_iter().filter(|part| !part.is_empty())
    })
}

fn level<'a>(twig: Twig<'a>, path: &str) -> Vec<Branch<'a>> {
    let mut branches: Vec<Branch<'a>> = Vec::new();
    for (part, twig) in twig.inside {
        let is_position = part.starts_with('[');
        let path = if is_position || path.is_empty() { format!("{path}{part}") } else { format!("{path}/{part}") };
        let record = twig.record;
        let inside = level(twig, &path);
        let label = printable(part);
        // What is nothing but a step on the way to others is not shown by itself.
        let positions = record.is_none() && !inside.is_empty() && inside.iter().all(|one| one.label.starts_with('['));
        if positions || (record.is_none() && inside.len() == 1) {
            branches.extend(inside.into_iter().map(|one| {
                let joint = if one.label.starts_with('[') { "" } else { "/" };
                Branch { label: format!("{label}{joint}{}", one.label), ..one }
            }));
        } else {
            branches.push(Branch { label, path, record, inside });
        }
    }
    branches.sort_by_cached_key(|branch| (branch.began(), position(&branch.label), branch.label.clone()));
    branches
}

/// The number in `[3]/quote`.
fn position(label: &str) -> u64 {
    let digits = label.split_once('[').and_then(|(_, rest)| rest.split(']').next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}
