//! SVG 1.1: shapes, curves and text, with two sets of colours. No script, no font, nothing fetched.

use std::fmt::Write as _;

use super::place::{self, Area, HEADER, ID_SIZE, LABEL, LINE, Line, Placed, TEXT_SIZE};
use super::style::{self, STYLES, Shape};
use super::{Cell, Drawing, Edge, Level, Tie};

/// Around everything, and above it for the title.
const MARGIN: f64 = 24.0;
const TITLE: f64 = 34.0;

pub(super) fn write(drawing: &Drawing) -> String {
    let placed = place::place(&drawing.top);
    let title_width = place::width(&drawing.title, 16.0);
    let width = (placed.width.max(title_width) + 2.0 * MARGIN).ceil();
    let height = (placed.height + 2.0 * MARGIN + TITLE).ceil();
    let title = escape(&drawing.title);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>\n{}</style>\n{MARKERS}\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{title}</text>\n",
        colours(drawing),
        MARGIN + 14.0,
    );
    let left = (width - placed.width) / 2.0;
    draw_level(&drawing.top, &placed, (left, MARGIN + TITLE), &mut text);
    text.push_str("</svg>\n");
    text
}

const MARKERS: &str = "<defs>\
<marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\" \
markerUnits=\"userSpaceOnUse\"><path class=\"tip\" d=\"M0,0.8 L7.5,4 L0,7.2 z\"/></marker>\
<marker id=\"tip-instead\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\" \
markerUnits=\"userSpaceOnUse\"><path class=\"tip-instead\" d=\"M0,0.8 L7.5,4 L0,7.2 z\"/></marker></defs>\n";

/// Rules for the kinds that occur: colours on light paper, then those on dark paper.
fn colours(drawing: &Drawing) -> String {
    let kinds = drawing.kinds();
    let used = || STYLES.iter().filter(|style| kinds.contains_key(style.kind));
    let mut css = format!(
        "text{{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:{TEXT_SIZE}px;\
         fill:#1f2328}}\n.title{{font-size:16px;font-weight:600}}\n.id{{font-size:{ID_SIZE}px;font-weight:600}}\n\
         .about,.graph-label{{fill:#57606a}}\n.notes{{fill:#57606a;font-style:italic}}\n.mid{{text-anchor:middle}}\n\
         .paper{{fill:#ffffff}}\n.frame{{fill-opacity:.45}}\n.graph{{fill:#ffffff;fill-opacity:.6;stroke:#afb8c1;\
         stroke-dasharray:3 3}}\n.edge{{fill:none;stroke:#6e7781;stroke-width:1.4}}\n.after{{stroke-dasharray:5 4}}\n\
         .instead{{stroke:#b3372f;stroke-dasharray:2 3}}\n.tip{{fill:#6e7781}}\n.tip-instead{{fill:#b3372f}}\n\
         .words{{fill:#424a53;text-anchor:middle;paint-order:stroke;stroke:#ffffff;stroke-width:4px;\
         stroke-linejoin:round}}\n"
    );
    for style in used() {
        let (kind, fill, line) = (style.kind, style.fill, style.light);
        writeln!(css, ".k-{kind}{{fill:{fill};stroke:{line};stroke-width:1.4}}").expect("a string takes everything");
    }
    css.push_str(
        "@media (prefers-color-scheme:dark){\ntext{fill:#e6edf3}\n.about,.graph-label,.notes{fill:#aab4bf}\n\
         .paper{fill:#0d1117}\n.graph{fill:#0d1117;stroke:#4b545e}\n.edge{stroke:#8b949e}\n.instead{stroke:#f09a92}\n\
         .tip{fill:#8b949e}\n.tip-instead{fill:#f09a92}\n.words{fill:#c9d1d9;stroke:#0d1117}\n",
    );
    for style in used() {
        let (kind, fill, line) = (style.kind, style.dark_fill, style.dark);
        writeln!(css, ".k-{kind}{{fill:{fill};stroke:{line}}}").expect("a string takes everything");
    }
    css.push_str("}\n");
    css
}

/// Edges first, so that cells lie on them; their words last, so that nothing lies on those.
fn draw_level(level: &Level, placed: &Placed, at: (f64, f64), text: &mut String) {
    for (edge, line) in level.edges.iter().zip(&placed.lines) {
        draw_edge(level, edge, line, at, text);
    }
    for ((cell, area), inside) in level.cells.iter().zip(&placed.cells).zip(&placed.inside) {
        let area = Area { x: area.x + at.0, y: area.y + at.1, ..*area };
        draw_cell(cell, &area, inside, text);
    }
    for (edge, line) in level.edges.iter().zip(&placed.lines) {
        if let Some((x, y)) = line.label {
            let (x, y) = (number(x + at.0), number(y + at.1 + 4.0));
            push(text, &format!("<text class=\"words\" x=\"{x}\" y=\"{y}\">{}</text>", escape(&edge.label)));
        }
    }
}

fn draw_edge(level: &Level, edge: &Edge, line: &Line, at: (f64, f64), text: &mut String) {
    let (class, tip) = match edge.tie {
        Tie::Data => ("edge", "tip"),
        Tie::After => ("edge after", "tip"),
        Tie::Instead => ("edge instead", "tip-instead"),
    };
    let mut path = String::new();
    for (index, pair) in line.points.chunks(2).enumerate() {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[pair.len() - 1]].map(|(x, y)| (x + at.0, y + at.1));
        let start = if index == 0 { 'M' } else { 'L' };
        let middle = number(f64::midpoint(y0, y1));
        let upright = (x0 - x1).abs() < 0.05;
        let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(number);
        let curve = if upright { format!("V{y1}") } else { format!("C{x0},{middle} {x1},{middle} {x1},{y1}") };
        write!(path, "{start}{x0},{y0} {curve} ").expect("a string takes everything");
    }
    let names = format!("{} → {}", level.cells[edge.from].id, level.cells[edge.to].id);
    let words = if edge.label.is_empty() { names } else { format!("{names}: {}", edge.label) };
    let title = escape(&words);
    push(
        text,
        &format!(
            "<path class=\"{class}\" marker-end=\"url(#{tip})\" d=\"{}\"><title>{title}</title></path>",
            path.trim_end()
        ),
    );
}

/// The line below the id.
pub(super) fn about(cell: &Cell) -> String {
    match (cell.about.as_str(), cell.id == cell.kind) {
        ("", true) => String::new(),
        ("", false) => cell.kind.to_owned(),
        (about, _) => format!("{} · {about}", cell.kind),
    }
}

fn draw_cell(cell: &Cell, area: &Area, inside: &[(f64, f64, Placed)], text: &mut String) {
    push(text, &format!("<g id=\"{}\">", cell.key));
    let about = about(cell);
    if inside.is_empty() {
        outline(cell.kind, area, text);
        let lines: Vec<(&str, &str)> = [("id", cell.id.as_str()), ("about", &about), ("notes", &cell.notes)]
            .into_iter()
            .filter(|(_, line)| !line.is_empty())
            .collect();
        let mut y = area.y + 8.0 + LINE * 0.75;
        for (class, line) in lines {
            let (x, at) = (number(area.x + area.width / 2.0), number(y));
            push(text, &format!("<text class=\"{class} mid\" x=\"{x}\" y=\"{at}\">{}</text>", escape(line)));
            y += LINE;
        }
    } else {
        frame(cell, &about, area, text);
        for (level, (x, y, placed)) in cell.inside.iter().zip(inside) {
            let at = (area.x + x, area.y + y);
            let graph = Area {
                x: at.0 - 8.0,
                y: at.1 - LABEL,
                width: placed.width + 16.0,
                height: area.y + area.height - 8.0 - (at.1 - LABEL),
            };
            rect("graph", &graph, 6.0, text);
            let (x, y) = (number(graph.x + 8.0), number(graph.y + 13.0));
            push(text, &format!("<text class=\"graph-label\" x=\"{x}\" y=\"{y}\">{}</text>", escape(&level.label)));
            draw_level(level, placed, at, text);
        }
    }
    push(text, "</g>");
}

fn frame(cell: &Cell, about: &str, area: &Area, text: &mut String) {
    rect(&format!("frame k-{}", cell.kind), area, 8.0, text);
    let x = number(area.x + 12.0);
    push(text, &format!("<text class=\"id\" x=\"{x}\" y=\"{}\">{}</text>", number(area.y + 17.0), escape(&cell.id)));
    let more = [about, cell.notes.as_str()].into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" · ");
    let y = number(area.y + HEADER - 8.0);
    push(text, &format!("<text class=\"about\" x=\"{x}\" y=\"{y}\">{}</text>", escape(&more)));
}

fn outline(kind: &str, area: &Area, text: &mut String) {
    let class = format!("k-{kind}");
    let (x, y, right, bottom) = (area.x, area.y, area.x + area.width, area.y + area.height);
    let middle = y + area.height / 2.0;
    match style::of(kind).shape {
        Shape::Box => rect(&class, area, 3.0, text),
        Shape::Round => rect(&class, area, 12.0, text),
        Shape::Pill => rect(&class, area, area.height / 2.0, text),
        Shape::Hexagon => {
            polygon(
                &class,
                &[
                    (x + 10.0, y),
                    (right - 10.0, y),
                    (right, middle),
                    (right - 10.0, bottom),
                    (x + 10.0, bottom),
                    (x, middle),
                ],
                text,
            );
        }
        Shape::Slant => {
            polygon(&class, &[(x + 10.0, y), (right, y), (right - 10.0, bottom), (x, bottom)], text);
        }
        Shape::Frame => {
            rect(&class, area, 3.0, text);
            let inner = Area { x: x + 5.0, width: area.width - 10.0, ..*area };
            rect(&class, &inner, 0.0, text);
        }
    }
}

fn rect(class: &str, area: &Area, round: f64, text: &mut String) {
    let [x, y, width, height, round] = [area.x, area.y, area.width, area.height, round].map(number);
    push(
        text,
        &format!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\"/>"),
    );
}

fn polygon(class: &str, points: &[(f64, f64)], text: &mut String) {
    let points: Vec<String> = points.iter().map(|&(x, y)| format!("{},{}", number(x), number(y))).collect();
    push(text, &format!("<polygon class=\"{class}\" points=\"{}\"/>", points.join(" ")));
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Tenths of a pixel are enough, and the same on every machine.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// XML text. Signs that XML cannot hold become what stands for them.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
        out
    })
}
