//! What this house set out to reach, beside what this run reached. A figure that is missing says so.

use std::fmt::Write as _;

use crate::figures::{Figures, NO_OP, plain};

/// Which side of the number is good.
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Goal {
    measure: &'static str,
    bound: Bound,
    unit: &'static str,
    /// Table, row and column of the figure.
    figure: (&'static str, &'static str, &'static str),
    /// What the figure is multiplied with: a total in milliseconds becomes microseconds for each node.
    times: f64,
}

const COMPONENT: &str = "**ice**, in memory, each node calls a component";
const ONE_NODE: &str = "**ice** run-blueprint, one node";

const GOALS: &[Goal] = &[
    node("a no-op node, chain of 100", ("chain", NO_OP, "100"), 5.0, 10.0),
    node("a no-op node, chain of 1,000", ("chain", NO_OP, "1000"), 5.0, 1.0),
    node("a no-op node, chain of 100,000", ("chain", NO_OP, "100000"), 5.0, 0.01),
    node("a no-op node, fan-out of 100", ("fan-out", NO_OP, "100"), 5.0, 10.0),
    node("a no-op node, fan-out of 1,000", ("fan-out", NO_OP, "1000"), 5.0, 1.0),
    node("a no-op node, fan-out of 100,000", ("fan-out", NO_OP, "100000"), 5.0, 0.01),
    node("an execution of one no-op node, with its start and end", ("chain", NO_OP, "1"), 5.0, 1_000.0),
    node("a node through a component, chain of 1,000", ("chain", COMPONENT, "1000"), 50.0, 1.0),
    node("a node through a component, fan-out of 1,000", ("fan-out", COMPONENT, "1000"), 50.0, 1.0),
    goal(
        "durable nodes without effects",
        at_least(20_000.0),
        "events/s",
        ("scale", "durable nodes without effects, SQLite, events/s", "figure"),
    ),
    goal(
        "`POST /executions` of one tool node, durable, 1 client, p50",
        at_most(2.0),
        "ms",
        ("api", "**ice** one tool node, 1 client", "p50 ms"),
    ),
    goal(
        "the same, 64 clients",
        at_least(2_000.0),
        "requests/s",
        ("api", "**ice** one tool node, 64 clients", "requests/s"),
    ),
    goal("the same, 64 clients, p99", at_most(80.0), "ms", ("api", "**ice** one tool node, 64 clients", "p99 ms")),
    goal(
        "cancelling a guest that spins, p99",
        at_most(100.0),
        "ms",
        ("scale", "cancelling a guest that spins, p99, ms", "figure"),
    ),
    goal(
        "memory after 10,000 executions",
        at_most(150.0),
        "MiB",
        ("scale", "memory after 10,000 executions in one process, SQLite, MiB", "figure"),
    ),
    goal(
        "growth of it from the 1,000th to the 10,000th",
        at_most(16.0),
        "MiB",
        ("scale", "growth from the 1,000th to the 10,000th of them, MiB", "figure"),
    ),
    goal("`ice run-blueprint`, one node, start to exit", at_most(60.0), "ms", ("start", ONE_NODE, "median ms")),
    goal("the same, memory", at_most(40.0), "MiB", ("start", ONE_NODE, "peak MiB")),
];

const fn at_most(value: f64) -> Bound {
    Bound::AtMost(value)
}

const fn at_least(value: f64) -> Bound {
    Bound::AtLeast(value)
}

const fn goal(
    measure: &'static str,
    bound: Bound,
    unit: &'static str,
    figure: (&'static str, &'static str, &'static str),
) -> Goal {
    Goal { measure, bound, unit, figure, times: 1.0 }
}

const fn node(measure: &'static str, figure: (&'static str, &'static str, &'static str), us: f64, times: f64) -> Goal {
    Goal { measure, bound: Bound::AtMost(us), unit: "µs", figure, times }
}

/// The table of goals.
pub(crate) fn render(figures: &Figures) -> String {
    let mut text = String::from(
        "### Goals\n\n| | goal | this run | met | the fastest peer of this run |\n|---|---:|---:|---|---:|\n",
    );
    for Goal { measure, bound, unit, figure: (table, row, column), times } in GOALS {
        let found = figures.find(table, row, column).map(|value| value * times);
        let (sign, limit, met) = match bound {
            Bound::AtMost(limit) => ("≤", limit, found.map(|found| found <= *limit)),
            Bound::AtLeast(limit) => ("≥", limit, found.map(|found| found >= *limit)),
        };
        let met = met.map_or("not measured", |met| if met { "yes" } else { "**no**" });
        let found = found.map_or_else(|| "–".to_owned(), |found| format!("{} {unit}", plain("", found)));
        let peer = figures
            .fastest_peer(table, row, column)
            .map_or_else(|| "–".to_owned(), |(name, value)| format!("{} {unit} ({name})", plain("", value * times)));
        writeln!(text, "| {measure} | {sign} {} {unit} | {found} | {met} | {peer} |", plain("", *limit))
            .expect("a String takes everything");
    }
    text
}
