//! What each kind looks like: one table for all formats.

/// The outline of a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    Box,
    Round,
    Pill,
    Hexagon,
    Slant,
    Frame,
}

/// Shape and colours of a kind.
#[derive(Debug)]
pub(super) struct Style {
    pub(super) kind: &'static str,
    pub(super) shape: Shape,
    /// Line on light pages; the fill is a thin layer of it.
    pub(super) light: &'static str,
    /// Line on dark pages.
    pub(super) dark: &'static str,
    /// Fill on light pages.
    pub(super) fill: &'static str,
    /// Fill on dark pages.
    pub(super) dark_fill: &'static str,
}

const fn style(kind: &'static str, shape: Shape, [light, dark, fill, dark_fill]: [&'static str; 4]) -> Style {
    Style { kind, shape, light, dark, fill, dark_fill }
}

const BLUE: [&str; 4] = ["#1d6fb8", "#6cb2f0", "#e6f1fb", "#12304a"];
const VIOLET: [&str; 4] = ["#7a3fb5", "#c39af0", "#f2e9fb", "#331f4a"];
const PINK: [&str; 4] = ["#b53272", "#f08fbc", "#fbe8f1", "#4a1830"];
const AMBER: [&str; 4] = ["#9a6700", "#e3b341", "#fff6db", "#3d2e0a"];
const GREEN: [&str; 4] = ["#1a7f4b", "#5fcf93", "#e3f6eb", "#10361f"];
const TEAL: [&str; 4] = ["#0f7b83", "#5cc8d0", "#e0f5f6", "#0b3437"];
const RED: [&str; 4] = ["#b3372f", "#f09a92", "#fcebe9", "#4a1d19"];
const GREY: [&str; 4] = ["#57606a", "#9aa4af", "#eef0f3", "#262c33"];

/// Every kind of `nodes::NODES`, and the two cells that are no nodes.
pub(super) const STYLES: &[Style] = &[
    style("tool", Shape::Box, BLUE),
    style("llm", Shape::Round, VIOLET),
    style("agent", Shape::Hexagon, VIOLET),
    style("condition", Shape::Hexagon, AMBER),
    style("loop", Shape::Box, GREEN),
    style("parallel", Shape::Box, GREEN),
    style("recursive", Shape::Box, GREEN),
    style("workflow", Shape::Frame, TEAL),
    style("human", Shape::Pill, PINK),
    style("webhook", Shape::Slant, TEAL),
    style("code", Shape::Frame, BLUE),
    style("monitor", Shape::Slant, RED),
    style("swarm", Shape::Hexagon, VIOLET),
    style(super::read::INPUTS, Shape::Pill, GREY),
    style(super::read::OUTPUTS, Shape::Pill, GREY),
];

pub(super) fn of(kind: &str) -> &'static Style {
    STYLES.iter().find(|style| style.kind == kind).unwrap_or(&STYLES[0])
}
