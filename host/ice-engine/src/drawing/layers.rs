//! Who stands above whom, and who beside whom: the first half of a layered drawing (Sugiyama, Tagawa, Toda 1981).
//!
//! Rows by the longest path; an edge over several rows gets a bend in each row between; then rows are sorted by the
//! mean place of the neighbours (barycenter), up and down, and the order with the fewest crossings is kept.

/// Sweeps over all rows, and sweeps without gain after which nothing more is expected.
const SWEEPS: usize = 24;
const SWEEPS_IN_VAIN: usize = 4;

/// Bends of one level. Where they were more, edges over more than [`SPAN_MAX`] rows are drawn without.
const BENDS_MAX: usize = 20_000;
const SPAN_MAX: usize = 4;

/// Vertices in rows. The first are the cells, the others are bends.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The row of each vertex.
    pub(super) row: Vec<usize>,
    /// The vertices of each row, from left to right.
    pub(super) rows: Vec<Vec<usize>>,
    /// Vertices that each edge passes, from top to bottom; both ends in the same row for one that is not in the rows.
    pub(super) routes: Vec<Vec<usize>>,
    /// Whether a route goes against its edge.
    pub(super) upwards: Vec<bool>,
    /// Neighbours one row up and one row down, of each vertex.
    pub(super) above: Vec<Vec<usize>>,
    pub(super) below: Vec<Vec<usize>>,
}

impl Layers {
    /// Sorts `count` cells with these edges. Edges of `loose` decide no row: they may close a circle.
    pub(super) fn new(count: usize, edges: &[(usize, usize)], loose: &[bool]) -> Self {
        let firm: Vec<(usize, usize)> =
            edges.iter().zip(loose).filter(|(_, loose)| !**loose).map(|(edge, _)| *edge).collect();
        // Loose edges go down too where they close no circle.
        let row = rows(count, edges).or_else(|| rows(count, &firm)).expect("a plan has no circle of firm edges");
        let mut layers = Self { row, ..Self::default() };
        layers.route(edges);
        layers.fill();
        layers.sort();
        layers
    }

    fn route(&mut self, edges: &[(usize, usize)]) {
        let span = |&(from, to): &(usize, usize)| self.row[from].abs_diff(self.row[to]);
        let all: usize = edges.iter().map(span).sum();
        let span_max = if all > BENDS_MAX { SPAN_MAX } else { usize::MAX };
        for &(from, to) in edges {
            let upwards = self.row[from] > self.row[to];
            let (top, bottom) = if upwards { (to, from) } else { (from, to) };
            let (first, last) = (self.row[top], self.row[bottom]);
            let mut route = vec![top];
            if last - first <= span_max {
                for row in first + 1..last {
                    route.push(self.row.len());
                    self.row.push(row);
                }
            }
            route.push(bottom);
            self.routes.push(route);
            self.upwards.push(upwards);
        }
    }

    fn fill(&mut self) {
        let height = self.row.iter().max().map_or(0, |last| last + 1);
        self.rows = vec![Vec::new(); height];
        for (vertex, &row) in self.row.iter().enumerate() {
            self.rows[row].push(vertex);
        }
        self.above = vec![Vec::new(); self.row.len()];
        self.below = vec![Vec::new(); self.row.len()];
        for pair in self.routes.iter().flat_map(|route| route.windows(2)) {
            if self.row[pair[0]] + 1 == self.row[pair[1]] {
                self.below[pair[0]].push(pair[1]);
                self.above[pair[1]].push(pair[0]);
            }
        }
    }

    fn sort(&mut self) {
        let mut place = vec![0.0_f64; self.row.len()];
        let mut best = (self.crossings(), self.rows.clone());
        let mut in_vain = 0;
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            self.rows.iter().for_each(|row| number(row, &mut place));
            let neighbours = if down { &self.above } else { &self.below };
            let height = self.rows.len();
            for step in 0..height {
                let at = if down { step } else { height - 1 - step };
                let row = &mut self.rows[at];
                let mut keyed: Vec<(f64, usize)> = row
                    .iter()
                    .map(|&vertex| (mean(&neighbours[vertex], &place).unwrap_or(place[vertex]), vertex))
                    .collect();
                // Stable: what has no better place stays where it was.
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                *row = keyed.into_iter().map(|(_, vertex)| vertex).collect();
                number(row, &mut place);
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
                in_vain = 0;
            } else {
                in_vain += 1;
            }
            if best.0 == 0 || in_vain == SWEEPS_IN_VAIN {
                break;
            }
        }
        self.rows = best.1;
    }

    /// Pairs of lines between neighbouring rows that cross: inversions, counted with a Fenwick tree.
    pub(super) fn crossings(&self) -> usize {
        let mut place = vec![0_usize; self.row.len()];
        for row in &self.rows {
            row.iter().enumerate().for_each(|(at, &vertex)| place[vertex] = at);
        }
        let between = |upper: &Vec<usize>| {
            let mut ends = Vec::new();
            for &vertex in upper {
                let mut below: Vec<usize> = self.below[vertex].iter().map(|&vertex| place[vertex]).collect();
                below.sort_unstable();
                ends.extend(below);
            }
            inversions(&ends)
        };
        self.rows.iter().map(between).sum()
    }
}

/// Longest path from the top; a cell nobody is above of moves down to where it is needed. `None` for a circle.
fn rows(count: usize, edges: &[(usize, usize)]) -> Option<Vec<usize>> {
    let mut below = vec![Vec::new(); count];
    let mut missing = vec![0_usize; count];
    for &(from, to) in edges {
        below[from].push(to);
        missing[to] += 1;
    }
    let roots: Vec<bool> = missing.iter().map(|&above| above == 0).collect();
    let mut ready: Vec<usize> = (0..count).filter(|&cell| roots[cell]).collect();
    let mut row = vec![0; count];
    let mut next = 0;
    while next < ready.len() {
        let cell = ready[next];
        next += 1;
        for &lower in &below[cell] {
            row[lower] = row[lower].max(row[cell] + 1);
            missing[lower] -= 1;
            if missing[lower] == 0 {
                ready.push(lower);
            }
        }
    }
    if ready.len() < count {
        return None;
    }
    for cell in 0..count {
        if roots[cell] {
            row[cell] = below[cell].iter().map(|&lower| row[lower]).min().map_or(row[cell], |lowest| lowest - 1);
        }
    }
    Some(row)
}

#[expect(clippy::cast_precision_loss, reason = "places in a row are far below 2^52")]
fn number(row: &[usize], place: &mut [f64]) {
    row.iter().enumerate().for_each(|(at, &vertex)| place[vertex] = at as f64);
}

#[expect(clippy::cast_precision_loss, reason = "neighbours are far below 2^52")]
fn mean(neighbours: &[usize], place: &[f64]) -> Option<f64> {
    let sum: f64 = neighbours.iter().map(|&vertex| place[vertex]).sum();
    (!neighbours.is_empty()).then(|| sum / neighbours.len() as f64)
}

fn inversions(ends: &[usize]) -> usize {
    let size = ends.iter().max().map_or(0, |most| most + 1);
    let mut tree = vec![0_usize; size + 1];
    let mut found = 0;
    for (seen, &end) in ends.iter().enumerate() {
        let (mut at, mut not_right) = (end + 1, 0);
        while at > 0 {
            not_right += tree[at];
            at &= at - 1;
        }
        found += seen - not_right;
        at = end + 1;
        while at <= size {
            tree[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossing_that_can_be_undone_is_undone() {
        // 0 and 1 above, 2 and 3 below, connected crosswise.
        let layers = Layers::new(4, &[(0, 3), (1, 2)], &[false, false]);
        assert_eq!(layers.crossings(), 0);
        assert_eq!(layers.row, [0, 0, 1, 1]);
    }

    proptest::proptest! {
        #[test]
        fn edges_go_down_and_inversions_are_what_a_double_loop_counts(
            pairs in proptest::collection::vec((0_usize..40, 0_usize..40), 0..120),
            ends in proptest::collection::vec(0_usize..30, 0..60),
        ) {
            let edges: Vec<_> = pairs.into_iter().filter(|(a, b)| a < b).collect();
            let layers = Layers::new(40, &edges, &vec![false; edges.len()]);
            for ((from, to), route) in edges.iter().zip(&layers.routes) {
                proptest::prop_assert_eq!((route[0], route[route.len() - 1]), (*from, *to));
                proptest::prop_assert!(route.windows(2).all(|pair| layers.row[pair[0]] + 1 == layers.row[pair[1]]));
            }
            let slow = (0..ends.len()).flat_map(|a| (0..a).map(move |b| (b, a)));
            let slow = slow.filter(|&(b, a)| ends[b] > ends[a]).count();
            proptest::prop_assert_eq!(inversions(&ends), slow);
        }
    }
}
