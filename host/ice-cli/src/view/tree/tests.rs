use std::collections::BTreeMap;

use ice_core::budget::Budget;
use ice_core::event::{Event, Fact, FinalStatus, SkipReason};
use ice_core::execution::replay;
use ice_core::id::{Digest, Identity, NodePath};
use ice_core::problem::{Code, Problem};
use serde_json::json;

use super::*;

/// A list of events that grows.
struct Story(Vec<Event>);

impl Story {
    fn begin() -> Self {
        let mut story = Self(Vec::new());
        let fact = Fact::ExecutionStarted {
            blueprint: Digest::of(b"b"),
            name: "release".into(),
            inputs: json!({}),
            identity: Identity::local(),
            components: BTreeMap::new(),
            blueprints: BTreeMap::new(),
            parent: None,
            budget: Budget::default(),
            origin: None,
        };
        story.push(0, "", fact);
        story
    }

    fn push(&mut self, at: UnixMs, path: &str, fact: Fact) {
        let seq = self.0.len() as u64 + 1;
        self.0.push(Event { seq, at: 1_000_000 + at, path: NodePath(path.into()), attempt: 1, fact });
    }

    fn started(&mut self, at: UnixMs, path: &str) {
        self.push(at, path, Fact::NodeStarted { kind: "tool".into(), idempotency_key: "k".into(), component: None });
    }

    fn done(&mut self, at: UnixMs, path: &str, tokens: u64) {
        let usage = Usage { input_tokens: tokens, cost_micro_usd: tokens * 10, ..Usage::default() };
        if tokens > 0 {
            self.push(at, path, Fact::BudgetSettled { used: usage });
        }
        self.push(at, path, Fact::NodeFinished { output: json!(1), cached: false, receipt: None, usage });
    }

    fn drawn(&self, steps: &[&str], now: UnixMs, width: usize, height: usize) -> String {
        let steps: Vec<String> = steps.iter().map(|&step| step.to_owned()).collect();
        let frame = Frame { width, height, color: false, tick: 0 };
        let lines = tree(&replay(&self.0).expect("begun"), &steps, 1_000_000 + now, &frame);
        assert!(lines.len() <= height, "{} lines in {height} rows", lines.len());
        assert!(lines.iter().all(|line| line.columns < width), "a line fits its row");
        let mut text: String = lines.into_iter().flat_map(|line| [line.text, "\n".into()]).collect();
        text.insert(0, '\n');
        text
    }
}

/// One of everything.
fn story() -> Story {
    let mut story = Story::begin();
    story.started(10, "load");
    story.done(350, "load", 0);
    story.started(400, "price_all");
    for item in 0..3 {
        story.started(400 + item, &format!("price_all[{item}]/quote"));
    }
    story.done(1_400, "price_all[0]/quote", 1_234);
    let problem = Problem::new(Code::X031, "no such item\nat all");
    story.push(1_500, "price_all[1]/quote", Fact::NodeFailed { problem, receipt: None });
    story.started(400, "chat");
    story.started(500, "chat/step[0]/search");
    story.done(600, "chat/step[0]/search", 0);
    story.started(700, "chat/step[1]/search");
    let again =
        Fact::NodeRetried { problem: Problem::new(Code::X062, "no connection"), delay_ms: 2_000, receipt: None };
    story.push(2_000, "chat/step[1]/search", again);
    story.push(450, "extra", Fact::NodeSkipped { reason: SkipReason::RunIf });
    story
}

const STEPS: [&str; 5] = ["load", "extra", "price_all", "chat", "send"];

#[test]
fn a_tree_shows_where_every_node_stands() {
    let expected = "
release  running  2.5 s  1,234 tokens  $0.0123
├─ ✓ load  340 ms
├─ - extra  skipped
├─ ⠋ price_all  2.1 s
│  ├─ ✓ [0]/quote  1.0 s  1,234 tokens  $0.0123
│  ├─ ✗ [1]/quote  1.0 s  [ICE-X031] no such itemat all
│  └─ ⠋ [2]/quote  2.0 s
├─ ⠋ chat  2.1 s
│  ├─ ✓ step[0]/search  100 ms
│  └─ ↻ step[1]/search  again in 1.5 s: no connection
└─ · send
";
    assert_eq!(story().drawn(&STEPS, 2_500, 80, 40), expected);
}

#[test]
fn a_narrow_terminal_cuts_and_a_low_one_counts() {
    let expected = "
release  running  2.5 s…
├─ ✓ load  340 ms
├─ - extra  skipped
├─ ⠋ price_all  2.1 s
│  ├─ ✓ [0]/quote  1.0 …
│  ├─ ✗ [1]/quote  1.0 …
│  └─ ⠋ [2]/quote  2.0 s
├─ ⠋ chat  2.1 s
│  ├─ ✓ step[0]/search …
│  └─ ↻ step[1]/search …
└─ · send
";
    assert_eq!(story().drawn(&STEPS, 2_500, 25, 40), expected);
    let expected = "
release  running  2.5 s  1,234 tokens  $0.0123
├─ ⠋ price_all  2.1 s
│  ├─ ✗ [1]/quote  1.0 s  [ICE-X031] no such itemat all
│  ├─ ⠋ [2]/quote  2.0 s
│  └─ … 1 done
├─ ⠋ chat  2.1 s
│  ├─ ↻ step[1]/search  again in 1.5 s: no connection
… 2 more lines
";
    assert_eq!(story().drawn(&STEPS, 2_500, 80, 8), expected);
}

#[test]
fn a_large_loop_is_counted_and_a_finished_one_is_closed() {
    let mut story = Story::begin();
    story.started(0, "each");
    for item in 0..500 {
        story.started(item, &format!("each[{item}]/quote"));
        if item < 480 {
            story.done(item + 100, &format!("each[{item}]/quote"), 0);
        }
    }
    let expected = "
release  running  1.0 s
└─ ⠋ each  1.0 s
   ├─ ⠋ [480]/quote  520 ms
   ├─ ⠋ [481]/quote  519 ms
   ├─ ⠋ [482]/quote  518 ms
   ├─ ⠋ [483]/quote  517 ms
   ├─ ⠋ [484]/quote  516 ms
   ├─ ⠋ [485]/quote  515 ms
   ├─ ⠋ [486]/quote  514 ms
   ├─ ⠋ [487]/quote  513 ms
   └─ … 12 going on, 480 done
";
    assert_eq!(story.drawn(&["each"], 1_000, 80, 24), expected);
    story.done(1_500, "each", 0);
    let ended = Fact::ExecutionFinished {
        status: FinalStatus::Completed,
        outputs: json!({}),
        problem: None,
        usage: Usage::default(),
    };
    story.push(1_600, "", ended);
    let expected = "
release  completed  1.6 s
└─ ✓ each  1.5 s  500 inside
";
    assert_eq!(story.drawn(&["each"], 90_000, 80, 24), expected);
}

#[test]
fn every_size_is_kept_to() {
    let story = story();
    for (width, height) in [(1, 1), (2, 2), (3, 5), (10, 3), (200, 1), (80, 9)] {
        let steps: Vec<String> = STEPS.iter().map(|&step| step.to_owned()).collect();
        let lines = tree(&replay(&story.0).unwrap(), &steps, 0, &Frame { width, height, color: true, tick: 7 });
        assert!(lines.len() <= height && lines.iter().all(|line| line.columns <= width), "{width}x{height}");
    }
}

#[test]
fn times_and_amounts_are_for_readers() {
    for (ms, text) in
        [(0, "0 ms"), (999, "999 ms"), (59_999, "59.9 s"), (65_000, "1 min 05 s"), (3_720_000, "1 h 02 min")]
    {
        assert_eq!(duration(ms), text);
    }
    let usage = Usage { input_tokens: 1_234_567, cost_micro_usd: 1_500_000, unpriced_calls: 1, ..Usage::default() };
    assert_eq!(cost(&usage), "1,234,567 tokens  ≥ $1.5000");
    assert_eq!(cost(&Usage::default()), "0 tokens  $0.0000");
}
