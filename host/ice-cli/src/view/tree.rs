//! An execution as a tree of its nodes, for a terminal. Pure: what is drawn follows from the events, the time and the
//! size; the terminal itself is `screen.rs`.

use std::collections::BTreeMap;

use ice_core::budget::Usage;
use ice_core::execution::{Execution, NodeRecord, NodeState};
use ice_core::id::UnixMs;

use super::branch::{Branch, Stage, grow};
use super::waiting::printable;

/// How much room there is, and how to use it.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    /// Columns; no line is longer.
    pub(crate) width: usize,
    /// Rows; there are no more lines.
    pub(crate) height: usize,
    /// Whether to colour.
    pub(crate) color: bool,
    /// Counts frames, for what moves.
    pub(crate) tick: usize,
}

/// One line, with the columns that it takes on a terminal.
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) columns: usize,
}

/// How many nodes of one level are shown one by one. Tried from the left until everything fits.
#[derive(Clone, Copy)]
struct Limits {
    done: usize,
    going: usize,
    to_come: usize,
}

const LIMITS: [Limits; 4] = [
    Limits { done: 12, going: 8, to_come: 12 },
    Limits { done: 3, going: 6, to_come: 3 },
    Limits { done: 0, going: 4, to_come: 0 },
    Limits { done: 0, going: 2, to_come: 0 },
];

/// Colours by meaning; numbers of ECMA-48 (SGR).
#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Strong,
    Quiet,
    Good,
    Bad,
    Busy,
}

impl Paint {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Quiet => Some("2"),
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Busy => Some("33"),
        }
    }
}

/// Pieces of a line before it is cut.
type Spans = Vec<(Paint, String)>;

/// Draws the tree. `steps` are the ids of the top level in the order of the document: those that have not begun are
/// shown too.
pub(crate) fn tree(execution: &Execution, steps: &[String], now: UnixMs, frame: &Frame) -> Vec<Line> {
    let branches = grow(execution, steps);
    let room = frame.height.saturating_sub(1);
    let mut drawn = Vec::new();
    for limits in LIMITS {
        drawn.clear();
        let mut draw = Draw { execution, now, tick: frame.tick, limits, lines: &mut drawn };
        draw.level(&branches, "");
        if drawn.len() <= room {
            break;
        }
    }
    if drawn.len() > room {
        let hidden = drawn.len() - room.saturating_sub(1);
        drawn.truncate(room.saturating_sub(1));
        drawn.push(vec![(Paint::Quiet, format!("… {hidden} more lines"))]);
    }
    let head = std::iter::once(head(execution, now));
    head.chain(drawn).take(frame.height.max(1)).map(|spans| cut(spans, frame)).collect()
}

fn head(execution: &Execution, now: UnixMs) -> Spans {
    let until = if execution.status.as_str() == "running" { now } else { execution.updated };
    let mut spans = vec![
        (Paint::Strong, printable(&execution.name)),
        (Paint::Plain, format!("  {}", execution.status.as_str())),
        (Paint::Quiet, format!("  {}", duration(until.saturating_sub(execution.started)))),
    ];
    spans.extend(spent(&execution.usage).map(|text| (Paint::Quiet, text)));
    spans
}

struct Draw<'a> {
    execution: &'a Execution,
    now: UnixMs,
    tick: usize,
    limits: Limits,
    lines: &'a mut Vec<Spans>,
}

impl Draw<'_> {
    /// The branches of one level; those beyond the limits are counted.
    fn level(&mut self, branches: &[Branch<'_>], indent: &str) {
        let mut left = BTreeMap::new();
        for branch in branches {
            *left.entry(branch.stage()).or_insert(0_usize) += 1;
        }
        let count = |stage| left.get(&stage).copied().unwrap_or(0);
        let (done, to_come) = (count(Stage::Done), count(Stage::ToCome));
        let fits = |stage| match stage {
            Stage::Done => done <= self.limits.done,
            Stage::ToCome => to_come <= self.limits.to_come,
            Stage::Going | Stage::Failed => true,
        };
        let shown = branches.iter().filter(|branch| fits(branch.stage()));
        let limit = branches.len().min(self.limits.done + self.limits.going + self.limits.to_come);
        let mut going = 0;
        let shown: Vec<&Branch<'_>> = shown
            .filter(|branch| {
                going += usize::from(matches!(branch.stage(), Stage::Going | Stage::Failed));
                going <= self.limits.going
            })
            .take(limit)
            .collect();
        let hidden = branches.len() - shown.len();
        for (position, branch) in shown.iter().enumerate() {
            let last = position + 1 == shown.len() && hidden == 0;
            let (mark, more) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.branch(branch, format!("{indent}{mark}"), &format!("{indent}{more}"));
        }
        if hidden > 0 {
            for branch in &shown {
                left.entry(branch.stage()).and_modify(|count| *count -= 1);
            }
            let words = |(stage, count): (&Stage, &usize)| (*count > 0).then(|| format!("{count} {}", stage.word()));
            let text = left.iter().filter_map(words).collect::<Vec<_>>().join(", ");
            self.lines.push(vec![(Paint::Quiet, format!("{indent}└─ … {text}"))]);
        }
    }

    fn branch(&mut self, branch: &Branch<'_>, lead: String, indent: &str) {
        let (paint, sign) = self.sign(branch);
        let mut spans =
            vec![(Paint::Quiet, lead), (paint, sign.to_owned()), (Paint::Plain, format!(" {}", branch.label))];
        if let Some(record) = branch.record {
            self.describe(branch, record, &mut spans);
        }
        let inside = branch.size() - 1;
        let open = matches!(branch.stage(), Stage::Going | Stage::Failed);
        if inside > 0 && !open {
            spans.push((Paint::Quiet, format!("  {inside} inside")));
        }
        self.lines.push(spans);
        if open {
            self.level(&branch.inside, indent);
        }
    }

    fn sign(&self, branch: &Branch<'_>) -> (Paint, &'static str) {
        const TURNS: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
        match (branch.stage(), branch.record.map(|record| &record.state)) {
            (_, Some(NodeState::Skipped { .. })) => (Paint::Quiet, "-"),
            (_, Some(NodeState::Retrying { .. })) => (Paint::Busy, "↻"),
            (_, Some(NodeState::Failed { .. })) | (Stage::Failed, _) => (Paint::Bad, "✗"),
            (Stage::Done, _) => (Paint::Good, "✓"),
            (Stage::ToCome, _) => (Paint::Quiet, "·"),
            (Stage::Going, _) if self.asks(branch) => (Paint::Busy, "?"),
            // One that no process runs stands still.
            (Stage::Going, _) => (Paint::Busy, TURNS[self.tick % TURNS.len()]),
        }
    }

    fn asks(&self, branch: &Branch<'_>) -> bool {
        self.execution.waits.values().any(|open| *open.path.0 == *branch.path)
    }

    fn describe(&self, branch: &Branch<'_>, record: &NodeRecord, spans: &mut Spans) {
        let took = record.started.map(|started| record.ended.unwrap_or(self.now).saturating_sub(started));
        let time = took.map_or_else(String::new, |ms| format!("  {}", duration(ms)));
        let problem = |text: &str| format!("  {}", printable(text));
        let (paint, text) = match &record.state {
            NodeState::Running if self.asks(branch) => (Paint::Busy, "  waits for an answer".to_owned()),
            NodeState::Running => (Paint::Quiet, time),
            NodeState::Retrying { due, problem: why } => {
                let pause = duration(due.saturating_sub(self.now));
                (Paint::Busy, format!("  again in {pause}: {}", printable(&why.message)))
            }
            NodeState::Finished { cached: true, .. } => (Paint::Quiet, "  from the cache".to_owned()),
            NodeState::Finished { .. } => (Paint::Quiet, time),
            NodeState::Failed { problem: why } => {
                (Paint::Bad, format!("{time}{}", problem(&format!("[{}] {}", why.code, why.message))))
            }
            NodeState::Skipped { .. } => (Paint::Quiet, "  skipped".to_owned()),
        };
        spans.push((paint, text));
        if record.attempts > 1 {
            spans.push((Paint::Quiet, format!("  attempt {}", record.attempts)));
        }
        spans.extend(spent(&record.usage).map(|text| (Paint::Quiet, text)));
    }
}

/// Tokens and money; `None` when nothing was spent.
fn spent(usage: &Usage) -> Option<String> {
    (*usage != Usage::default()).then(|| format!("  {}", cost(usage)))
}

/// Tokens and money in words. `≥` where calls had no known price.
pub(crate) fn cost(usage: &Usage) -> String {
    #[expect(clippy::cast_precision_loss, reason = "an amount for a reader")]
    let usd = usage.cost_micro_usd as f64 / 1e6;
    let at_least = if usage.unpriced_calls > 0 { "≥ " } else { "" };
    format!("{} tokens  {at_least}${usd:.4}", grouped(usage.total_tokens()))
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `340 ms`, `3.2 s`, `2 min 05 s`, `1 h 02 min`.
pub(crate) fn duration(ms: u64) -> String {
    let (seconds, minutes) = (ms / 1_000, ms / 60_000);
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=59_999 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60_000..=3_599_999 => format!("{minutes} min {:02} s", seconds % 60),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// Cuts a line to the width, and colours what is left.
fn cut(spans: Spans, frame: &Frame) -> Line {
    let whole: usize = spans.iter().flat_map(|(_, text)| text.chars()).map(columns).sum();
    // The last column stays free: some terminals wrap when it is written.
    let width = frame.width.saturating_sub(1).max(1);
    let mut left = if whole > width { width - 1 } else { width };
    let (mut text, mut used) = (String::new(), 0);
    'spans: for (paint, piece) in spans {
        let code = paint.code().filter(|_| frame.color && !piece.is_empty());
        text.extend(code.map(|code| format!("\x1b[{code}m")));
        for c in piece.chars() {
            if columns(c) > left {
                text.push_str(if code.is_some() { "\x1b[0m" } else { "" });
                break 'spans;
            }
            left -= columns(c);
            used += columns(c);
            text.push(c);
        }
        text.push_str(if code.is_some() { "\x1b[0m" } else { "" });
    }
    if whole > width {
        text.push('…');
        used += 1;
    }
    Line { text, columns: used }
}

/// Columns that a character takes: two for the wide ones of East Asian scripts and for pictures. Never too few for
/// what combines, which is what matters here.
fn columns(c: char) -> usize {
    const WIDE: [(char, char); 8] = [
        ('\u{1100}', '\u{115f}'),
        ('\u{2e80}', '\u{a4cf}'),
        ('\u{ac00}', '\u{d7a3}'),
        ('\u{f900}', '\u{faff}'),
        ('\u{fe30}', '\u{fe6f}'),
        ('\u{ff00}', '\u{ff60}'),
        ('\u{1f300}', '\u{1faff}'),
        ('\u{20000}', '\u{3fffd}'),
    ];
    if WIDE.iter().any(|(first, last)| (*first..=*last).contains(&c)) { 2 } else { 1 }
}

#[cfg(test)]
mod tests;
