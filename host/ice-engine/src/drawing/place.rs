//! Where everything stands, in pixels: the second half of a layered drawing. Frames are laid out from the inside out.

use super::layers::Layers;
use super::{Cell, Level, Tie};

/// Sizes of text: what a letter of a usual font of that size takes on average, with some air.
pub(super) const ID_SIZE: f64 = 13.0;
pub(super) const TEXT_SIZE: f64 = 11.0;

/// From one line of text to the next.
pub(super) const LINE: f64 = 15.0;

/// Between the outline of a cell and its text, and between a frame and what is inside.
const PAD: f64 = 16.0;
/// Above the content of a frame: its own lines of text.
pub(super) const HEADER: f64 = 40.0;
/// Above each graph of a frame: its label.
pub(super) const LABEL: f64 = 20.0;

const WIDTH_MIN: f64 = 92.0;
/// Between cells of a row; less between lines.
const GAP: f64 = 30.0;
const BEND_GAP: f64 = 16.0;
/// Between rows: with words on the edges, and without.
const ROW_GAP: f64 = 64.0;
const BARE_ROW_GAP: f64 = 42.0;

/// Rounds in which every vertex moves towards its neighbours.
const ROUNDS: usize = 16;

/// Something with a place; `x` and `y` are its upper left corner, in the level it belongs to.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    fn meets(&self, other: &Self) -> bool {
        let apart = self.x + self.width < other.x || other.x + other.width < self.x;
        !(apart || self.y + self.height < other.y || other.y + other.height < self.y)
    }
}

/// A level with places.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) width: f64,
    pub(super) height: f64,
    /// One for each cell.
    pub(super) cells: Vec<Area>,
    /// One for each graph inside each cell; its place counts from the cell's corner.
    pub(super) inside: Vec<Vec<(f64, f64, Placed)>>,
    /// One for each edge.
    pub(super) lines: Vec<Line>,
}

/// An edge with places.
#[derive(Debug)]
pub(super) struct Line {
    /// Points it passes: pairs of a start and an end, a curve from each start to its end and straight on between.
    pub(super) points: Vec<(f64, f64)>,
    /// The middle of its words; none where there is no room.
    pub(super) label: Option<(f64, f64)>,
}

/// How wide a text is, in pixels: letters of some scripts are as wide as they are high.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| if u32::from(c) < 0x1100 { 0.56 } else { 1.0 } * size).sum()
}

pub(super) fn place(level: &Level) -> Placed {
    let inside: Vec<Vec<Placed>> = level.cells.iter().map(|cell| cell.inside.iter().map(place).collect()).collect();
    let sizes: Vec<(f64, f64)> = level.cells.iter().zip(&inside).map(|(cell, inside)| size(cell, inside)).collect();
    let edges: Vec<(usize, usize)> = level.edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let loose: Vec<bool> = level.edges.iter().map(|edge| edge.tie == Tie::Instead).collect();
    let layers = Layers::new(level.cells.len(), &edges, &loose);
    let x = columns(&layers, &sizes);
    let (tops, heights) = heights(level, &layers, &sizes);
    let area = |(cell, &(width, height)): (usize, &(f64, f64))| {
        let row = layers.row[cell];
        Area { x: x[cell] - width / 2.0, y: tops[row] + (heights[row] - height) / 2.0, width, height }
    };
    let cells: Vec<Area> = sizes.iter().enumerate().map(area).collect();
    let mut lines = lines(&layers, &cells, &x, &tops, &heights);
    label(level, &cells, &mut lines);
    let reach = |value: fn(&Area) -> f64| cells.iter().map(value).fold(0.0, f64::max);
    let bends = x[level.cells.len()..].iter().copied().fold(0.0, f64::max);
    Placed {
        width: reach(|area| area.x + area.width).max(bends + BEND_GAP),
        height: tops.last().zip(heights.last()).map_or(0.0, |(top, height)| top + height),
        inside: inside.into_iter().map(within).collect(),
        cells,
        lines,
    }
}

/// The graphs of a frame stand side by side.
fn within(graphs: Vec<Placed>) -> Vec<(f64, f64, Placed)> {
    let mut x = PAD;
    let mut placed = Vec::with_capacity(graphs.len());
    for graph in graphs {
        let next = x + graph.width + 2.0 * PAD;
        placed.push((x, HEADER + LABEL, graph));
        x = next;
    }
    placed
}

fn size(cell: &Cell, inside: &[Placed]) -> (f64, f64) {
    let about = width(&super::svg::about(cell), TEXT_SIZE).max(width(&cell.notes, TEXT_SIZE));
    let words = width(&cell.id, ID_SIZE * 1.08).max(about) + 2.0 * PAD;
    if inside.is_empty() {
        let lines = 1.0
            + f64::from(u8::from(!super::svg::about(cell).is_empty() || !cell.notes.is_empty()))
            + f64::from(u8::from(!super::svg::about(cell).is_empty() && !cell.notes.is_empty()));
        return (words.max(WIDTH_MIN).ceil(), lines * LINE + PAD);
    }
    let graphs: f64 = inside.iter().map(|graph| graph.width + 2.0 * PAD).sum();
    let height = inside.iter().map(|graph| graph.height).fold(0.0, f64::max);
    (words.max(graphs).ceil(), (HEADER + LABEL + height + PAD).ceil())
}

/// The middle of every vertex: first packed to the left, then moved towards the neighbours, as near as the others of
/// the row allow.
fn columns(layers: &Layers, sizes: &[(f64, f64)]) -> Vec<f64> {
    let half = |vertex: usize| sizes.get(vertex).map_or(0.0, |size| size.0 / 2.0);
    let gap = |a: usize, b: usize| if a < sizes.len() && b < sizes.len() { GAP } else { BEND_GAP };
    let apart = |row: &[usize], at: usize| half(row[at - 1]) + gap(row[at - 1], row[at]) + half(row[at]);
    let mut x = vec![0.0; layers.row.len()];
    for row in &layers.rows {
        for at in 1..row.len() {
            x[row[at]] = x[row[at - 1]] + apart(row, at);
        }
    }
    for round in 0..ROUNDS {
        let down = round % 2 == 0;
        let last = round + 2 >= ROUNDS;
        for step in 0..layers.rows.len() {
            let row = &layers.rows[if down { step } else { layers.rows.len() - 1 - step }];
            let wanted: Vec<f64> =
                row.iter().map(|&vertex| wanted(vertex, layers, &x, sizes.len(), (down, last))).collect();
            let needed: Vec<f64> = (0..row.len()).map(|at| if at == 0 { 0.0 } else { apart(row, at) }).collect();
            for (&vertex, at) in row.iter().zip(nearest(&wanted, &needed)) {
                x[vertex] = at;
            }
        }
    }
    let left = (0..x.len()).map(|vertex| x[vertex] - half(vertex)).fold(f64::INFINITY, f64::min);
    x.iter_mut().for_each(|x| *x -= left);
    x
}

/// The mean of the neighbours in the direction of the sweep, of both sides at the end. Bends pull harder: long lines
/// become straight.
fn wanted(vertex: usize, layers: &Layers, x: &[f64], cells: usize, (down, both): (bool, bool)) -> f64 {
    let (first, second) = if down { (&layers.above, &layers.below) } else { (&layers.below, &layers.above) };
    let more: &[usize] = if both || first[vertex].is_empty() { &second[vertex] } else { &[] };
    let (mut sum, mut weights) = (0.0, 0.0);
    for &other in first[vertex].iter().chain(more) {
        let weight = match (vertex >= cells, other >= cells) {
            (true, true) => 8.0,
            (false, false) => 1.0,
            _ => 2.0,
        };
        sum += weight * x[other];
        weights += weight;
    }
    if weights == 0.0 { x[vertex] } else { sum / weights }
}

/// The places nearest to the wanted ones (least squares) that keep each `needed` distance to the one before: isotonic
/// regression by pooling neighbours that want to be in each other's place.
fn nearest(wanted: &[f64], needed: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    let mut pools: Vec<(f64, usize)> = Vec::with_capacity(wanted.len());
    let mut offsets = Vec::with_capacity(wanted.len());
    for (wanted, needed) in wanted.iter().zip(needed) {
        offset += needed;
        offsets.push(offset);
        let mut pool = (wanted - offset, 1);
        while let Some(&(mean, count)) = pools.last().filter(|(mean, _)| *mean > pool.0) {
            pools.pop();
            pool = (weighed(mean, count, pool), count + pool.1);
        }
        pools.push(pool);
    }
    let places = pools.iter().flat_map(|&(mean, count)| std::iter::repeat_n(mean, count));
    places.zip(offsets).map(|(place, offset)| place + offset).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a row is far below 2^52")]
fn weighed(mean: f64, count: usize, pool: (f64, usize)) -> f64 {
    (mean * count as f64 + pool.0 * pool.1 as f64) / (count + pool.1) as f64
}

/// Top and height of each row.
fn heights(level: &Level, layers: &Layers, sizes: &[(f64, f64)]) -> (Vec<f64>, Vec<f64>) {
    let mut heights = vec![0.0_f64; layers.rows.len()];
    for (cell, size) in sizes.iter().enumerate() {
        let row = layers.row[cell];
        heights[row] = heights[row].max(size.1);
    }
    let mut worded = vec![false; layers.rows.len()];
    for (edge, route) in level.edges.iter().zip(&layers.routes) {
        worded[layers.row[route[0]]] |= !edge.label.is_empty();
    }
    let mut tops = Vec::with_capacity(heights.len());
    let mut top = 0.0;
    for (height, worded) in heights.iter().zip(worded) {
        tops.push(top);
        top += height + if worded { ROW_GAP } else { BARE_ROW_GAP };
    }
    (tops, heights)
}

fn lines(layers: &Layers, cells: &[Area], x: &[f64], tops: &[f64], heights: &[f64]) -> Vec<Line> {
    let mut starts = vec![Vec::new(); cells.len()];
    let mut ends = vec![Vec::new(); cells.len()];
    for (index, route) in layers.routes.iter().enumerate() {
        starts[route[0]].push((x[route[1]], index));
        ends[route[route.len() - 1]].push((x[route[route.len() - 2]], index));
    }
    let mut ports = vec![(0.0, 0.0); layers.routes.len()];
    for (cell, area) in cells.iter().enumerate() {
        spread(&mut starts[cell], area, |index, x| ports[index].0 = x);
        spread(&mut ends[cell], area, |index, x| ports[index].1 = x);
    }
    let line = |(index, route): (usize, &Vec<usize>)| {
        let (first, last) = (&cells[route[0]], &cells[route[route.len() - 1]]);
        // Upright inside a row: what is higher than its neighbours is not crossed.
        let (upper, lower) = (layers.row[route[0]], layers.row[route[route.len() - 1]]);
        let leaves = (ports[index].0, tops[upper] + heights[upper]);
        let mut points = vec![(leaves.0, first.y + first.height), leaves, leaves];
        for &bend in &route[1..route.len() - 1] {
            let row = layers.row[bend];
            points.push((x[bend], tops[row]));
            points.push((x[bend], tops[row] + heights[row]));
        }
        let arrives = (ports[index].1, tops[lower]);
        points.extend([arrives, arrives, (arrives.0, last.y)]);
        if layers.row[route[0]] == layers.row[route[route.len() - 1]] {
            points = beside(first, last);
        }
        if layers.upwards[index] {
            points.reverse();
        }
        Line { points, label: None }
    };
    layers.routes.iter().enumerate().map(line).collect()
}

/// Two cells of one row: from side to side.
fn beside(from: &Area, to: &Area) -> Vec<(f64, f64)> {
    let (a, b) = (from.y + from.height / 2.0, to.y + to.height / 2.0);
    if from.x < to.x { vec![(from.x + from.width, a), (to.x, b)] } else { vec![(from.x, a), (to.x + to.width, b)] }
}

/// Spreads the ends of lines over the middle of a cell's side, sorted by where they go.
#[expect(clippy::cast_precision_loss, reason = "lines of a cell are far below 2^52")]
fn spread(lines: &mut [(f64, usize)], area: &Area, mut put: impl FnMut(usize, f64)) {
    const APART_MAX: f64 = 22.0;
    lines.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let apart = (area.width * 0.7 / lines.len().max(1) as f64).min(APART_MAX);
    let middle = area.x + area.width / 2.0;
    let first = middle - apart * (lines.len() as f64 - 1.0) / 2.0;
    for (at, (_, index)) in lines.iter().enumerate() {
        put(*index, first + apart * at as f64);
    }
}

/// Puts words where they meet neither a cell nor other words; the title of the line has them anyway.
fn label(level: &Level, cells: &[Area], lines: &mut [Line]) {
    let mut taken: Vec<Area> = cells.to_vec();
    for (edge, line) in level.edges.iter().zip(lines).filter(|(edge, _)| !edge.label.is_empty()) {
        let (width, height) = (width(&edge.label, TEXT_SIZE) + 6.0, TEXT_SIZE + 3.0);
        let spots = line
            .points
            .chunks(2)
            .flat_map(|pair| [0.5, 0.36, 0.64, 0.24, 0.76].map(|t| curve_at(pair[0], pair[pair.len() - 1], t)));
        let area = |(x, y)| Area { x: x - width / 2.0, y: y - height / 2.0, width, height };
        let free =
            spots.map(area).filter(|area| area.x >= 0.0).find(|area| !taken.iter().any(|other| other.meets(area)));
        if let Some(area) = free {
            taken.push(area);
            line.label = Some((area.x + width / 2.0, area.y + height / 2.0));
        }
    }
}

/// A point of the curve that begins and ends upright.
fn curve_at((x0, y0): (f64, f64), (x1, y1): (f64, f64), t: f64) -> (f64, f64) {
    let s = 1.0 - t;
    let middle = f64::midpoint(y0, y1);
    let (a, b, c, d) = (s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t);
    (x0 * (a + b) + x1 * (c + d), y0 * a + middle * (b + c) + y1 * d)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn places_are_as_wanted_where_there_is_room_and_share_the_loss_where_not() {
        assert_eq!(nearest(&[0.0, 100.0], &[0.0, 10.0]), [0.0, 100.0]);
        assert_eq!(nearest(&[50.0, 50.0], &[0.0, 10.0]), [45.0, 55.0]);
        assert_eq!(nearest(&[50.0, 50.0, 50.0], &[0.0, 10.0, 10.0]), [40.0, 50.0, 60.0]);
    }
}
