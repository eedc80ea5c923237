//! Mermaid: <https://mermaid.js.org/syntax/flowchart.html>.

use std::fmt::Write as _;

use super::style::{self, STYLES, Shape};
use super::{Cell, Drawing, Level, Tie};

pub(super) fn write(drawing: &Drawing) -> String {
    // A title is YAML, and JSON text is YAML text.
    let title = serde_json::Value::from(drawing.title.as_str());
    let mut text = format!("---\ntitle: {title}\n---\nflowchart TD\n");
    level(&drawing.top, 1, &mut text);
    let kinds = drawing.kinds();
    for style in STYLES.iter().filter(|style| kinds.contains_key(style.kind)) {
        let (kind, fill, line) = (style.kind, style.fill, style.light);
        line_of(&mut text, 1, &format!("classDef k_{kind} fill:{fill},stroke:{line},color:#1f2328"));
        let mut keys = Vec::new();
        drawing.top.visit(&mut |cell| {
            if cell.kind == kind {
                keys.push(cell.key.clone());
            }
        });
        line_of(&mut text, 1, &format!("class {} k_{kind}", keys.join(",")));
    }
    text
}

fn line_of(text: &mut String, depth: usize, line: &str) {
    writeln!(text, "{}{line}", "    ".repeat(depth)).expect("a string takes everything");
}

fn level(level: &Level, depth: usize, text: &mut String) {
    for cell in &level.cells {
        draw(cell, depth, text);
    }
    for edge in &level.edges {
        let (from, to) = (&level.cells[edge.from].key, &level.cells[edge.to].key);
        let arrow = match edge.tie {
            Tie::Data => "-->",
            Tie::After => "-.->",
            Tie::Instead => "==>",
        };
        let label = if edge.label.is_empty() { String::new() } else { format!("|{}|", quoted(&edge.label)) };
        line_of(text, depth, &format!("{from} {arrow}{label} {to}"));
    }
}

fn draw(cell: &Cell, depth: usize, text: &mut String) {
    let words = words(cell);
    let (open, close) = match style::of(cell.kind).shape {
        Shape::Box => ("[", "]"),
        Shape::Round => ("(", ")"),
        Shape::Pill => ("([", "])"),
        Shape::Hexagon => ("{{", "}}"),
        Shape::Slant => ("[/", "/]"),
        Shape::Frame => ("[[", "]]"),
    };
    if cell.inside.is_empty() {
        return line_of(text, depth, &format!("{}{open}{words}{close}", cell.key));
    }
    line_of(text, depth, &format!("subgraph {}[{words}]", cell.key));
    for (index, inner) in cell.inside.iter().enumerate() {
        line_of(text, depth + 1, &format!("subgraph {}_g{index}[{}]", cell.key, quoted(&inner.label)));
        level(inner, depth + 2, text);
        line_of(text, depth + 1, "end");
    }
    line_of(text, depth, "end");
}

fn words(cell: &Cell) -> String {
    let about = [cell.kind, cell.about.as_str()].join(" ");
    let lines = [cell.id.as_str(), about.trim(), cell.notes.as_str()];
    let shown = if cell.about.is_empty() && cell.id == cell.kind { &lines[..1] } else { &lines[..] };
    let shown: Vec<String> = shown.iter().filter(|line| !line.is_empty()).map(|line| escape(line)).collect();
    format!("\"{}\"", shown.join("<br/>"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escape(text))
}

/// Entities as Mermaid writes them: `#` and a number or name. Letters, digits and a few signs stay.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_alphanumeric() || " .,:-_/+=()←→…·".contains(c) {
            out.push(c);
        } else {
            write!(out, "#{};", u32::from(c)).expect("a string takes everything");
        }
        out
    })
}
