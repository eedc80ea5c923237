//! Checks nodes that do not run in the usual order: those that take a failed node's place, and those at the end.

use std::collections::{BTreeMap, HashMap};

use ice_core::blueprint::NodeDoc;
use ice_core::problem::Code;

use super::PlanContext;
use super::context::Level;
use super::links::Links;

impl PlanContext<'_> {
    /// Resolves `fallback` of each node. A stand-in stands in for one node, and can run when that node failed.
    pub(super) fn stand_ins(&mut self, docs: &[NodeDoc], level: &Level) -> Vec<Option<usize>> {
        let mut fallbacks = vec![None; docs.len()];
        let mut stands_for: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, doc) in docs.iter().enumerate() {
            let Some(id) = &doc.fallback else { continue };
            let pointer = format!("{}/fallback", doc.pointer);
            let Some(&target) = level.links.by_id.get(id) else {
                let message = format!("the fallback `{id}` of `{}` does not exist", doc.id);
                self.unknown(Code::B012, &pointer, message, id, level.ids.iter().map(String::as_str));
                continue;
            };
            if target == index {
                self.problem(Code::B013, &pointer, format!("`{id}` is its own fallback"), "name another node");
                continue;
            }
            let first = *stands_for.entry(target).or_insert(index);
            if first != index {
                let message = format!("`{id}` is already the fallback of `{}`", docs[first].id);
                self.problem(Code::B005, &pointer, message, "give each node its own fallback");
            }
            fallbacks[index] = Some(target);
        }
        let pairs: Vec<(usize, usize)> = stands_for.iter().map(|(&stand_in, &node)| (stand_in, node)).collect();
        for (&(stand_in, node), depends) in pairs.iter().zip(level.links.are_ancestors(&pairs)) {
            if depends {
                let (stand_in, node) = (&docs[stand_in], &docs[node]);
                let message = format!("`{}` stands in for `{}` and depends on it", stand_in.id, node.id);
                let help = format!("remove `{}` from what `{}` depends on", node.id, stand_in.id);
                self.problem(Code::B013, &format!("{}/dependencies", stand_in.pointer), message, help);
            }
        }
        self.circular(docs, &fallbacks);
        fallbacks
    }

    fn circular(&mut self, docs: &[NodeDoc], fallbacks: &[Option<usize>]) {
        let edges = fallbacks.iter().map(|fallback| fallback.iter().copied().collect()).collect();
        for circle in Links::new(HashMap::new(), edges).circles() {
            let path: Vec<&str> = circle.iter().chain(circle.first()).map(|&node| docs[node].id.as_str()).collect();
            let message = format!("nodes are each other's fallback: {}", path.join(" → "));
            let pointer = format!("{}/fallback", docs[circle[0]].pointer);
            self.problem(Code::B013, &pointer, message, "remove one of them");
        }
    }

    /// A node that runs at the end whatever happened cannot be waited for by one that does not.
    pub(super) fn finals(&mut self, docs: &[NodeDoc], level: &Level) {
        for (index, doc) in docs.iter().enumerate().filter(|(_, doc)| !doc.finally) {
            let last = level.links.depends_on[index].iter().find(|&&dependency| docs[dependency].finally);
            if let Some(&last) = last {
                let message = format!("`{}` depends on `{}`, which runs at the end", doc.id, docs[last].id);
                let help = format!("set `finally: true` on `{}` too, or remove the dependency", doc.id);
                self.problem(Code::B005, &format!("{}/dependencies", doc.pointer), message, help);
            }
        }
    }
}
