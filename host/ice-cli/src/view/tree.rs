//! An execution as a tree of its nodes, for a person who watches. Pure: what is drawn follows from events, a time and
//! the size of the terminal.

use std::collections::BTreeMap;

use ice_core::budget::Usage;
use ice_core::execution::{Execution, NodeRecord, NodeState};
use ice_core::id::{NodePath, UnixMs};

/// How to draw.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// Whether colours are wanted.
    pub(crate) color: bool,
    /// Whether the terminal shows more than ASCII.
    pub(crate) unicode: bool,
    /// Most lines.
    pub(crate) height: usize,
    /// Most columns; longer lines are cut.
    pub(crate) width: usize,
}

/// Nodes of the blueprint in the order of the document: id and kind. They are drawn before they begin, too.
pub(crate) type Expected = Vec<(String, String)>;

struct Row<'a> {
    depth: usize,
    label: String,
    kind: &'a str,
    /// `None` for a node that has not begun.
    node: Option<&'a NodeRecord>,
    asks: bool,
    /// Rows below it that are left out, because the terminal is too small.
    hidden: usize,
}

impl Row<'_> {
    /// Whether somebody who has room for few rows wants to see this one.
    fn matters(&self) -> bool {
        let state = self.node.map(|node| &node.state);
        self.asks || matches!(state, Some(NodeState::Running | NodeState::Retrying { .. } | NodeState::Failed { .. }))
    }
}

/// The tree, at most `style.height` lines.
pub(crate) fn draw(execution: &Execution, expected: &Expected, now: UnixMs, style: Style) -> Vec<String> {
    let mut rows = rows(execution, expected);
    let left_out = fit(&mut rows, style.height);
    let names = rows.iter().map(|row| 2 * row.depth + row.label.chars().count()).max().unwrap_or_default().min(40);
    let mut lines: Vec<String> = rows.iter().map(|row| line(row, names, now, style)).collect();
    if left_out > 0 {
        lines.push(format!("  {} more", left_out));
    }
    lines
}

/// One line that says how it stands as a whole.
pub(crate) fn summary(execution: &Execution, now: UnixMs) -> String {
    let ended = execution.nodes.values().filter(|node| node.state.is_final()).count();
    let took = if execution.status == ice_core::execution::Status::Running { now } else { execution.updated };
    let mut words = vec![
        execution.status.as_str().replace('_', " "),
        seconds(took.saturating_sub(execution.started)),
        format!("{ended} of {} nodes", execution.nodes.len()),
    ];
    words.extend(spent(&execution.usage));
    words.join(", ")
}

/// Every node in the order of the document, each followed by what runs inside it.
fn rows<'a>(execution: &'a Execution, expected: &'a Expected) -> Vec<Row<'a>> {
    let mut inside: BTreeMap<&str, Vec<&'a NodePath>> = BTreeMap::new();
    for path in execution.nodes.keys() {
        inside.entry(around(execution, path.as_str())).or_default().push(path);
    }
    for paths in inside.values_mut() {
        paths.sort_by_key(|path| (execution.nodes[*path].started, path.as_str()));
    }
    let asks: Vec<&str> = execution.waits.values().map(|wait| wait.path.as_str()).collect();
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    for (id, kind) in expected {
        let path = NodePath(id.as_str().into());
        match execution.nodes.get_key_value(&path) {
            Some((path, _)) => {
                seen.push(path.as_str());
                add(execution, path, 0, &inside, &asks, &mut rows);
            }
            None => rows.push(Row { depth: 0, label: id.clone(), kind, node: None, asks: false, hidden: 0 }),
        }
    }
    for path in inside.get("").into_iter().flatten().filter(|path| !seen.contains(&path.as_str())) {
        add(execution, path, 0, &inside, &asks, &mut rows);
    }
    rows
}

fn add<'a>(
    execution: &'a Execution,
    path: &'a NodePath,
    depth: usize,
    inside: &BTreeMap<&str, Vec<&'a NodePath>>,
    asks: &[&str],
    rows: &mut Vec<Row<'a>>,
) {
    let node = &execution.nodes[path];
    let outer = around(execution, path.as_str());
    let label = path.as_str()[outer.len()..].trim_start_matches(['/', '.']).to_owned();
    let asks_now = asks.contains(&path.as_str());
    rows.push(Row { depth, label, kind: &node.kind, node: Some(node), asks: asks_now, hidden: 0 });
    for path in inside.get(path.as_str()).into_iter().flatten() {
        add(execution, path, depth + 1, inside, asks, rows);
    }
}

/// The nearest node around a path: `each[3]/post` lies in `each`, `check.true/yes` in `check`.
fn around<'a>(execution: &Execution, path: &'a str) -> &'a str {
    let mut outer = path;
    while let Some(end) = outer.rfind(['/', '[', '.', '~']) {
        outer = &outer[..end];
        if execution.nodes.contains_key(&NodePath(outer.into())) {
            return outer;
        }
    }
    ""
}

/// Leaves rows out until the others fit; says how many are not counted by a row above them.
fn fit(rows: &mut Vec<Row<'_>>, height: usize) -> usize {
    if rows.len() <= height {
        return 0;
    }
    let mut kept: Vec<Row<'_>> = Vec::with_capacity(rows.len());
    for row in rows.drain(..) {
        if row.depth == 0 || row.matters() {
            kept.push(row);
        } else if let Some(above) = kept.iter_mut().rev().find(|above| above.depth < row.depth) {
            above.hidden += 1;
        }
    }
    let most = height.saturating_sub(1);
    let left_out = kept.len().saturating_sub(most);
    if left_out > 0 && kept.len() > height {
        let mut spare = left_out;
        kept.retain(|row| {
            let drop = spare > 0 && !row.matters();
            spare -= usize::from(drop);
            !drop
        });
        kept.truncate(most);
        *rows = kept;
        return left_out;
    }
    *rows = kept;
    0
}

fn line(row: &Row<'_>, names: usize, now: UnixMs, style: Style) -> String {
    let (mark, word, paint) = look(row, style.unicode);
    let name = format!("{}{}", "  ".repeat(row.depth), row.label);
    let mut words = vec![word.to_owned()];
    if let Some(node) = row.node {
        let until = node.ended.unwrap_or(now);
        words.extend(node.started.map(|started| seconds(until.saturating_sub(started))));
        words.extend((node.attempts > 1).then(|| format!("attempt {}", node.attempts)));
        words.extend(spent(&node.usage));
        if let NodeState::Failed { problem } | NodeState::Retrying { problem, .. } = &node.state {
            words.push(super::waiting::printable(&problem.message));
        }
    }
    words.extend((row.hidden > 0).then(|| format!("{} inside", row.hidden)));
    let text = format!("{name:<names$}  {:<9}  {}", row.kind, words.join(", "));
    let room = style.width.saturating_sub(4).max(10);
    let cut: String = text.chars().take(room).collect();
    if style.color { format!("  \x1b[{paint}m{mark}\x1b[0m {cut}") } else { format!("  {mark} {cut}") }
}

/// Mark, word and colour of a node's state.
fn look(row: &Row<'_>, unicode: bool) -> (&'static str, &'static str, &'static str) {
    let (good, plain, word, paint) = match row.node.map(|node| &node.state) {
        None => ("·", ".", "", "2"),
        Some(_) if row.asks => ("?", "?", "asks", "33"),
        Some(NodeState::Running) => ("●", "*", "runs", "36"),
        Some(NodeState::Retrying { .. }) => ("↻", "~", "again soon", "33"),
        Some(NodeState::Finished { cached: true, .. }) => ("✔", "+", "from the cache", "32"),
        Some(NodeState::Finished { .. }) => ("✔", "+", "done", "32"),
        Some(NodeState::Failed { .. }) => ("✘", "x", "FAILED", "31"),
        Some(NodeState::Skipped { .. }) => ("–", "-", "skipped", "2"),
    };
    (if unicode { good } else { plain }, word, paint)
}

fn spent(usage: &Usage) -> Vec<String> {
    let mut words = Vec::new();
    if usage.total_tokens() > 0 {
        words.push(format!("{} tokens", usage.total_tokens()));
    }
    if usage.cost_micro_usd > 0 {
        words.push(format!("${}.{:06}", usage.cost_micro_usd / 1_000_000, usage.cost_micro_usd % 1_000_000));
    }
    words
}

fn seconds(ms: u64) -> String {
    match ms {
        ms if ms < 1_000 => format!("{ms} ms"),
        ms if ms < 60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms => format!("{}:{:02} min", ms / 60_000, ms % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use ice_core::event::{Event, Fact};
    use ice_core::execution::replay;
    use ice_core::id::{Digest, Identity};
    use ice_core::problem::{Code, Problem};
    use serde_json::json;

    use super::*;

    const PLAIN: Style = Style { color: false, unicode: true, height: 20, width: 80 };

    fn started(path: &str, kind: &str) -> (String, Fact) {
        let fact = Fact::NodeStarted { kind: kind.into(), idempotency_key: "k".into(), component: None };
        (path.into(), fact)
    }

    fn finished(path: &str, tokens: u64) -> (String, Fact) {
        let usage = Usage { input_tokens: tokens, cost_micro_usd: tokens * 10, ..Usage::default() };
        (path.into(), Fact::NodeFinished { output: json!(1), cached: false, receipt: None, usage })
    }

    fn execution(facts: Vec<(String, Fact)>) -> Execution {
        let first = Fact::ExecutionStarted {
            blueprint: Digest::of(b"b"),
            name: "demo".into(),
            inputs: json!({}),
            identity: Identity::local(),
            components: BTreeMap::new(),
            parent: None,
            budget: ice_core::budget::Budget::default(),
            origin: None,
        };
        let facts = std::iter::once((String::new(), first)).chain(facts);
        let events: Vec<Event> = (1..)
            .zip(facts)
            .map(|(seq, (path, fact))| Event { seq, at: 100 * seq, path: NodePath(path.into()), attempt: 1, fact })
            .collect();
        replay(&events).expect("it begins")
    }

    fn expected() -> Expected {
        [("read", "tool"), ("each", "loop"), ("chat", "llm")].map(|(id, kind)| (id.into(), kind.into())).into()
    }

    #[test]
    fn nodes_stand_in_the_order_of_the_document_with_what_runs_inside_them() {
        let failed = Fact::NodeFailed { problem: Problem::new(Code::X001, "no such page"), receipt: None };
        let execution = execution(vec![
            started("each", "loop"),
            started("read", "tool"),
            finished("read", 0),
            started("each[0]/post", "tool"),
            finished("each[0]/post", 12),
            started("each[1]/post", "tool"),
            ("each[1]/post".into(), failed),
        ]);
        let lines = draw(&execution, &expected(), 1_000, PLAIN).join("\n");
        expect_test::expect![[r"
              ✔ read        tool       done, 100 ms
              ● each        loop       runs, 800 ms
              ✔   [0]/post  tool       done, 100 ms, 12 tokens, $0.000120
              ✘   [1]/post  tool       FAILED, 100 ms, no such page
              · chat        llm        "]]
        .assert_eq(&lines);
        assert_eq!(summary(&execution, 1_000), "running, 900 ms, 3 of 4 nodes");
    }

    #[test]
    fn a_small_terminal_shows_what_matters_and_counts_the_rest() {
        let mut facts = vec![started("each", "loop")];
        for index in 0..50 {
            facts.push(started(&format!("each[{index}]/post"), "tool"));
            if index != 30 {
                facts.push(finished(&format!("each[{index}]/post"), 1));
            }
        }
        let execution = execution(facts);
        let style = Style { height: 6, ..PLAIN };
        let lines = draw(&execution, &expected(), 20_000, style);
        assert!(lines.len() <= 6, "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("[30]/post")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("each") && line.contains("49 inside")), "{lines:#?}");
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_and_no_colour_comes_unasked() {
        let execution = execution(vec![started(&"x".repeat(300), "tool")]);
        let lines = draw(&execution, &Vec::new(), 500, Style { width: 40, ..PLAIN });
        assert!(lines.iter().all(|line| line.chars().count() <= 40 && !line.contains('\x1b')), "{lines:?}");
    }
}
