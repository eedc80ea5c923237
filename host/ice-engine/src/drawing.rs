//! A plan as a picture: Mermaid, DOT and SVG. Pure; the same plan always gives the same text.
//!
//! What is drawn is the plan, so every line is true: an edge is drawn where one node waits for another or takes a value
//! from it, nodes inside a node stand inside its frame. [`Drawing`] is the picture without places; [`layers`] decides
//! who stands above whom, [`place`] where exactly, and one file a format writes it down.

use std::collections::BTreeMap;

use ice_core::problem::{Code, Problem};

use crate::plan::Plan;

mod dot;
mod layers;
mod mermaid;
mod place;
mod read;
mod style;
mod svg;

/// Nodes of one picture, nested ones included: more cannot be read, and a browser cannot show them.
pub const NODES_MAX: usize = 2_000;

/// A line of text in a cell or on an edge; the rest is cut off.
const TEXT_CHARS_MAX: usize = 44;

/// A plan as cells and edges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drawing {
    title: String,
    top: Level,
}

/// Cells that stand side by side or above each other, and the edges among them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Level {
    /// What the graph is to the node around it: `true`, `branch 2`; empty at the top.
    label: String,
    cells: Vec<Cell>,
    /// Sorted by (from, to); at most one for each pair and way.
    edges: Vec<Edge>,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cell {
    /// Unique in the picture, and a name in every format: `n2_0_1`.
    key: String,
    id: String,
    kind: &'static str,
    /// What it does, in a line.
    about: String,
    /// When it runs and how often, in a line; empty when there is nothing to say.
    notes: String,
    inside: Vec<Level>,
}

/// A line from one cell to another, by their positions in the level.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Edge {
    from: usize,
    to: usize,
    tie: Tie,
    /// Parameters that take a value of `from`; empty where nothing can be said.
    label: String,
}

/// Why there is an edge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Tie {
    /// It takes a value.
    Data,
    /// It waits, and takes nothing.
    After,
    /// It takes the place of the other when that failed.
    Instead,
}

impl Drawing {
    /// Reads a plan. Fails with C001 when it has more than [`NODES_MAX`] nodes.
    pub fn of(plan: &Plan) -> Result<Self, Problem> {
        let count = read::count(&plan.graph);
        if count > NODES_MAX {
            let message = format!("the blueprint has {count} nodes; a picture of more than {NODES_MAX} cannot be read");
            return Err(Problem::new(Code::C001, message).help("move parts of it to blueprints of their own"));
        }
        Ok(Self { title: plan.name.clone(), top: read::top(plan) })
    }

    /// A Mermaid flowchart, as Markdown pages of code forges show it between fences.
    pub fn mermaid(&self) -> String {
        mermaid::write(self)
    }

    /// A graph in the DOT language of Graphviz.
    pub fn dot(&self) -> String {
        dot::write(self)
    }

    /// A picture by itself: no fonts, links or code from elsewhere, readable on light and on dark pages.
    pub fn svg(&self) -> String {
        svg::write(self)
    }

    /// How many cells of each kind there are, by the kind's name.
    pub fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        self.top.visit(&mut |cell| *counts.entry(cell.kind).or_default() += 1);
        counts
    }
}

impl Level {
    fn visit(&self, seen: &mut impl FnMut(&Cell)) {
        for cell in &self.cells {
            seen(cell);
            cell.inside.iter().for_each(|level| level.visit(seen));
        }
    }
}

/// The start of a line of text, on one line.
fn cut(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= TEXT_CHARS_MAX {
        return line;
    }
    line.chars().take(TEXT_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
