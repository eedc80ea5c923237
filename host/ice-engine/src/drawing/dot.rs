//! DOT: <https://graphviz.org/doc/info/lang.html>. A node with nodes inside is a cluster; the point in it, which nobody
//! sees, is what its edges hold on to.

use std::fmt::Write as _;

use super::style::{self, Shape};
use super::{Cell, Drawing, Level, Tie};

const HEAD: &str =
    "    graph [rankdir=TB, compound=true, fontname=\"Helvetica\", labelloc=t, nodesep=0.35, ranksep=0.55]
    node [fontname=\"Helvetica\", fontsize=11, style=\"filled\", fontcolor=\"#1f2328\"]
    edge [fontname=\"Helvetica\", fontsize=9, color=\"#6e7781\", fontcolor=\"#57606a\"]
";

pub(super) fn write(drawing: &Drawing) -> String {
    let mut text = format!("digraph {} {{\n{HEAD}", quoted(&drawing.title));
    line(&mut text, 1, &format!("label={}", quoted(&drawing.title)));
    level(&drawing.top, 1, &mut text);
    text.push_str("}\n");
    text
}

fn line(text: &mut String, depth: usize, words: &str) {
    writeln!(text, "{}{words}", "    ".repeat(depth)).expect("a string takes everything");
}

fn level(level: &Level, depth: usize, text: &mut String) {
    for cell in &level.cells {
        draw(cell, depth, text);
    }
    for edge in &level.edges {
        let (from, to) = (&level.cells[edge.from], &level.cells[edge.to]);
        let mut settings = Vec::new();
        if !edge.label.is_empty() {
            settings.push(format!("label={}", quoted(&edge.label)));
        }
        match edge.tie {
            Tie::Data => {}
            Tie::After => settings.push("style=dashed".into()),
            Tie::Instead => settings.push("style=bold, color=\"#b3372f\"".into()),
        }
        settings.extend((!from.inside.is_empty()).then(|| format!("ltail=cluster_{}", from.key)));
        settings.extend((!to.inside.is_empty()).then(|| format!("lhead=cluster_{}", to.key)));
        line(text, depth, &format!("{} -> {} [{}]", from.key, to.key, settings.join(", ")));
    }
}

fn draw(cell: &Cell, depth: usize, text: &mut String) {
    let style = style::of(cell.kind);
    let (fill, border) = (style.fill, style.light);
    let label = quoted(&words(cell));
    if cell.inside.is_empty() {
        let shape = match style.shape {
            Shape::Box => "shape=box",
            Shape::Round => "shape=box, style=\"filled,rounded\"",
            Shape::Pill => "shape=oval",
            Shape::Hexagon => "shape=hexagon",
            Shape::Slant => "shape=parallelogram",
            Shape::Frame => "shape=box, peripheries=2",
        };
        let words = format!("{} [label={label}, {shape}, fillcolor=\"{fill}\", color=\"{border}\"]", cell.key);
        return line(text, depth, &words);
    }
    line(text, depth, &format!("subgraph cluster_{} {{", cell.key));
    line(
        text,
        depth + 1,
        &format!("label={label}; style=\"filled,rounded\"; fillcolor=\"{fill}\"; color=\"{border}\""),
    );
    line(text, depth + 1, &format!("{} [shape=point, style=invis]", cell.key));
    for (index, inner) in cell.inside.iter().enumerate() {
        line(text, depth + 1, &format!("subgraph cluster_{}_g{index} {{", cell.key));
        line(text, depth + 2, &format!("label={}; style=\"dashed\"", quoted(&inner.label)));
        level(inner, depth + 2, text);
        line(text, depth + 1, "}");
    }
    line(text, depth, "}");
}

fn words(cell: &Cell) -> String {
    let about = [cell.kind, cell.about.as_str()].join(" ");
    let lines = [cell.id.as_str(), about.trim(), cell.notes.as_str()];
    let shown = if cell.about.is_empty() && cell.id == cell.kind { &lines[..1] } else { &lines[..] };
    shown.iter().filter(|line| !line.is_empty()).copied().collect::<Vec<_>>().join("\n")
}

/// A quoted string of DOT: a backslash would begin an escape of its own.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
