//! Collects figures and renders them as Markdown tables: one row a thing measured, one column a measurement.

use std::fmt::Write as _;
use std::time::Duration;

/// One table.
struct Table {
    /// How figures name it; the first column of the files that other programs write.
    name: &'static str,
    title: &'static str,
    columns: &'static [&'static str],
    cell: fn(&str, f64) -> String,
}

/// The row of the engine that does nothing but order nodes.
pub(crate) const NO_OP: &str = "**ice**, in memory";

const COUNTS: &[&str] = &["1", "10", "100", "1000", "10000", "100000"];

const TABLES: &[Table] = &[
    Table {
        name: "chain",
        title: "Chain of no-op nodes: total (per node); columns are nodes",
        columns: COUNTS,
        cell: per_node,
    },
    Table {
        name: "fan-out",
        title: "Root, fan-out of no-op nodes, join: total (per node); columns are nodes between root and join",
        columns: COUNTS,
        cell: per_node,
    },
    Table { name: "scale", title: "At scale; each row says its unit", columns: &["figure"], cell: plain },
    Table {
        name: "api",
        title: "`POST /api/v1/executions?wait_seconds=…` to `ice serve`, durable on SQLite, over kept connections",
        columns: &["p50 ms", "p99 ms", "requests/s"],
        cell: plain,
    },
    Table {
        name: "call",
        title: "One call that puts five texts of a 100-byte JSON input together",
        columns: &["p50 µs", "p99 µs", "calls/s"],
        cell: plain,
    },
    Table {
        name: "start",
        title: "A process from start to exit, files warm",
        columns: &["median ms", "slowest ms", "peak MiB"],
        cell: plain,
    },
    Table {
        name: "supply",
        title: "Signed plugins: verified, installed, loaded, found; each row says its unit",
        columns: &["median", "best", "worst"],
        cell: plain,
    },
];

/// Milliseconds in all, and microseconds for each of the nodes that the column says.
fn per_node(column: &str, ms: f64) -> String {
    let nodes: f64 = column.parse().expect("columns of graphs are counts");
    format!("{} ms ({} µs)", plain("", ms), plain("", ms * 1e3 / nodes))
}

/// Three digits that count: more would be noise.
pub(crate) fn plain(_column: &str, value: f64) -> String {
    match value {
        value if value >= 10_000.0 => {
            let digits = format!("{value:.0}");
            let (left, right) = digits.split_at(digits.len() - 3);
            format!("{left},{right}")
        }
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}

struct Figure {
    table: String,
    row: String,
    column: String,
    value: f64,
}

/// Everything measured so far. Rows appear in the order of their first figure.
#[derive(Default)]
pub(crate) struct Figures {
    all: Vec<Figure>,
    notes: Vec<String>,
}

impl Figures {
    /// Adds one figure in the unit of its table: milliseconds for graphs, else the column's.
    pub(crate) fn add(&mut self, table: &str, row: &str, column: &str, value: f64) {
        self.all.push(Figure { table: table.into(), row: row.into(), column: column.into(), value });
    }

    /// Adds a sentence that is printed below the tables.
    pub(crate) fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }

    /// Adds what another program measured: lines of table, row, column and value, or of `note` and a sentence, with a
    /// tab between two fields. Other lines are shown as notes, so that nothing gets lost.
    pub(crate) fn read(&mut self, lines: &str) {
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let fields: Vec<&str> = line.split('\t').collect();
            match (&fields[..], fields.last().and_then(|value| value.parse().ok())) {
                ([table, row, column, _], Some(value)) => self.add(table, row, column, value),
                (["note", note], _) => self.note(note),
                _ => self.note(line),
            }
        }
    }

    /// One figure. A row may say more after the words asked for, in brackets.
    pub(crate) fn find(&self, table: &str, row: &str, column: &str) -> Option<f64> {
        let same = |name: &str| name == row || name.strip_prefix(row).is_some_and(|rest| rest.starts_with(" ("));
        let at = |figure: &&Figure| figure.table == table && figure.column == column && same(&figure.row);
        self.all.iter().find(at).map(|figure| figure.value)
    }

    /// The smallest figure of a column of no-op nodes that is neither ours nor the floor's, and whose it is.
    pub(crate) fn fastest_peer(&self, table: &str, row: &str, column: &str) -> Option<(&str, f64)> {
        let peer = |figure: &&Figure| {
            let own = ["**ice**", "ice,", "floor:"].iter().any(|word| figure.row.starts_with(word));
            row == NO_OP && figure.table == table && figure.column == column && !own
        };
        let fastest = self.all.iter().filter(peer).min_by(|a, b| a.value.total_cmp(&b.value))?;
        Some((&fastest.row, fastest.value))
    }

    /// Lines as [`Figures::read`] takes them.
    pub(crate) fn lines(&self) -> String {
        let lines =
            self.all.iter().map(|Figure { table, row, column, value }| format!("{table}\t{row}\t{column}\t{value}\n"));
        lines.collect()
    }

    /// The tables and notes.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for table in TABLES {
            self.render_one(table, &mut text);
        }
        for note in &self.notes {
            line(&mut text, &format!("- {note}"));
        }
        text
    }

    fn render_one(&self, table: &Table, text: &mut String) {
        let figures: Vec<&Figure> = self.all.iter().filter(|figure| figure.table == table.name).collect();
        let mut rows: Vec<&str> = Vec::new();
        for figure in &figures {
            if !rows.contains(&figure.row.as_str()) {
                rows.push(&figure.row);
            }
        }
        line(text, &format!("### {}\n", table.title));
        line(text, &format!("| | {} |", table.columns.join(" | ")));
        line(text, &format!("|---|{}", "---:|".repeat(table.columns.len())));
        for row in rows {
            let cell = |column: &&str| {
                let found = figures.iter().find(|figure| figure.row == row && figure.column == **column);
                found.map_or_else(|| "–".to_owned(), |figure| (table.cell)(column, figure.value))
            };
            let cells: Vec<String> = table.columns.iter().map(cell).collect();
            line(text, &format!("| {row} | {} |", cells.join(" | ")));
        }
        line(text, "");
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes everything");
}

/// Renders what `ice-store`'s example `throughput` prints: one word, then `name=value` pairs.
pub(crate) fn store(lines: &str) -> String {
    let columns = ["executions", "batch", "events_per_s", "append_p50_us", "append_p99_us"];
    let mut text = String::from("### SQLite store, events of 512 bytes\n\n");
    line(&mut text, "| survives | executions | events an append | events/s | append p50 µs | append p99 µs |");
    line(&mut text, &format!("|---|{}", "---:|".repeat(columns.len())));
    for measured in lines.lines() {
        let mut words = measured.split_whitespace();
        let survives = match words.next() {
            Some("Process") => "the death of the process",
            Some("Power") => "a power cut",
            _ => continue,
        };
        let pairs: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        let value = |name: &&str| pairs.iter().find(|(key, _)| key == name).map_or("–", |(_, value)| value);
        let cells: Vec<&str> = columns.iter().map(value).collect();
        line(&mut text, &format!("| {survives} | {} |", cells.join(" | ")));
    }
    text
}

/// The duration below which `percent` of all durations lie, in microseconds. Sorts.
pub(crate) fn percentile_us(took: &mut [Duration], percent: usize) -> f64 {
    took.sort();
    took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e6
}
