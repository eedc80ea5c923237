//! Edges of one graph: ids to indexes, circles, and who is an ancestor of whom.
//!
//! Everything here is linear in nodes and edges. Ancestors are asked for in bulk: 64 targets share one pass.

use std::collections::HashMap;

/// The edges of a graph under construction.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// First index of each id.
    pub(super) by_id: HashMap<String, usize>,
    pub(super) depends_on: Vec<Vec<usize>>,
    pub(super) dependents: Vec<Vec<usize>>,
    /// A topological order; nodes on a circle and behind it are missing.
    pub(super) order: Vec<usize>,
}

impl Links {
    pub(super) fn new(by_id: HashMap<String, usize>, depends_on: Vec<Vec<usize>>) -> Self {
        let mut dependents = vec![Vec::new(); depends_on.len()];
        for (node, needed) in depends_on.iter().enumerate() {
            for &dependency in needed {
                dependents[dependency].push(node);
            }
        }
        let mut links = Self { by_id, depends_on, dependents, order: Vec::new() };
        links.order = links.topological();
        links
    }

    /// Kahn's algorithm: take nodes whose dependencies were all taken.
    fn topological(&self) -> Vec<usize> {
        let mut missing: Vec<usize> = self.depends_on.iter().map(Vec::len).collect();
        let mut order: Vec<usize> = (0..missing.len()).filter(|&node| missing[node] == 0).collect();
        let mut next = 0;
        while next < order.len() {
            for &dependent in &self.dependents[order[next]] {
                missing[dependent] -= 1;
                if missing[dependent] == 0 {
                    order.push(dependent);
                }
            }
            next += 1;
        }
        order
    }

    /// One circle for every group of nodes that wait for each other: each node depends on the one after it, the last
    /// one on the first.
    pub(super) fn circles(&self) -> Vec<Vec<usize>> {
        let mut ordered = vec![false; self.depends_on.len()];
        self.order.iter().for_each(|&node| ordered[node] = true);
        let mut walked = ordered.clone();
        let mut circles = Vec::new();
        for start in 0..walked.len() {
            let mut position = HashMap::new();
            let mut path = Vec::new();
            let mut at = start;
            // A node that is not in the order depends on another such node, so a walk ends only where one was before.
            while !walked[at] {
                if let Some(&first) = position.get(&at) {
                    circles.push(path[first..].to_vec());
                    break;
                }
                position.insert(at, path.len());
                path.push(at);
                let ahead = self.depends_on[at].iter().find(|&&dependency| !ordered[dependency]);
                at = *ahead.expect("a node whose dependencies are all in the order is in it");
            }
            path.iter().for_each(|&node| walked[node] = true);
        }
        circles
    }

    /// For each pair (node, target): whether `target` is an ancestor of `node`.
    pub(super) fn are_ancestors(&self, pairs: &[(usize, usize)]) -> Vec<bool> {
        let mut answers: Vec<bool> =
            pairs.iter().map(|(node, target)| self.depends_on[*node].contains(target)).collect();
        let mut far: Vec<usize> = (0..pairs.len()).filter(|&pair| !answers[pair]).collect();
        far.sort_by_key(|&pair| pairs[pair].1);
        let mut rest = far.as_slice();
        while !rest.is_empty() {
            let (taken, bits) = block(rest, pairs);
            let reached = self.reach(&bits);
            for &pair in &rest[..taken] {
                let (node, target) = pairs[pair];
                answers[pair] = node != target && reached[node] & bits[&target] != 0;
            }
            rest = &rest[taken..];
        }
        answers
    }

    /// Which of the marked nodes each node is, or has among its ancestors.
    fn reach(&self, bits: &HashMap<usize, u64>) -> Vec<u64> {
        let mut reached = vec![0_u64; self.depends_on.len()];
        for &node in &self.order {
            let inherited = self.depends_on[node].iter().fold(0, |mask, &dependency| mask | reached[dependency]);
            reached[node] = inherited | bits.get(&node).copied().unwrap_or(0);
        }
        reached
    }
}

/// The longest start of `rest` with at most 64 different targets, and a bit for each of them.
fn block(rest: &[usize], pairs: &[(usize, usize)]) -> (usize, HashMap<usize, u64>) {
    let mut bits = HashMap::new();
    for (taken, &pair) in rest.iter().enumerate() {
        let target = pairs[pair].1;
        if !bits.contains_key(&target) {
            if bits.len() == 64 {
                return (taken, bits);
            }
            bits.insert(target, 1 << bits.len());
        }
    }
    (rest.len(), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(depends_on: Vec<Vec<usize>>) -> Links {
        Links::new(HashMap::new(), depends_on)
    }

    #[test]
    fn circles_are_found_once_each_and_dead_ends_are_not_circles() {
        // 0 ↔ 1, 2 behind them, 3 → 3 alone, 4 free.
        let links = links(vec![vec![1], vec![0], vec![1], vec![3], vec![]]);
        assert_eq!(links.circles(), [vec![0, 1], vec![3]]);
        assert_eq!(links.order, [4]);
    }

    proptest::proptest! {
        #[test]
        fn ancestors_are_what_a_walk_finds(edges in proptest::collection::vec((0_usize..90, 0_usize..90), 0..200)) {
            let mut depends_on = vec![Vec::new(); 90];
            for (a, b) in edges {
                if a != b && !depends_on[a.max(b)].contains(&a.min(b)) {
                    depends_on[a.max(b)].push(a.min(b));
                }
            }
            let links = links(depends_on);
            let pairs: Vec<(usize, usize)> = (0..90).flat_map(|a| (0..90).map(move |b| (a, b))).collect();
            let answers = links.are_ancestors(&pairs);
            for (answer, start) in answers.chunks(90).zip(&links.depends_on) {
                let mut seen = [false; 90];
                let mut walk = start.clone();
                while let Some(at) = walk.pop() {
                    if !std::mem::replace(&mut seen[at], true) {
                        walk.extend(&links.depends_on[at]);
                    }
                }
                proptest::prop_assert_eq!(answer, &seen[..]);
            }
        }
    }
}
