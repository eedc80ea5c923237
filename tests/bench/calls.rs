//! Calls of one tool of a real kit, each in a fresh instance, beside a native function and a process a call.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ice_core::catalog::CallKind;
use ice_core::grant::LimitSettings;
use ice_core::id::{ExecutionId, NodePath};
use ice_core::ports::{Call, Components};
use ice_runtime::Runtime;
use serde_json::{Value, json};

use crate::figures::{Figures, percentile_us};
use crate::ports::{AGGREGATOR_TOOL, Alone, aggregator};

/// Calls of one task.
const CALLS: usize = 3_000;

/// Calls before the clock runs.
const WARM_UP: usize = 300;

/// About 100 bytes as text.
pub(crate) fn input() -> Value {
    json!({ "inputs": ["first text", "second text", "third text", "fourth text", "fifth text"], "sep": ", " })
}

/// What the tool answers.
fn answer() -> Value {
    json!({ "text": "first text, second text, third text, fourth text, fifth text" })
}

/// Adds the native function, a process a call, and calls from one and from two tasks.
pub(crate) async fn measure(figures: &mut Figures) {
    let text = input().to_string();
    let took = (0..CALLS).map(|_| timed(|| drop(black_box(native(black_box(&text)))))).collect();
    add(figures, "floor: native function, text to text", took, None);
    let took = (0..200).map(|_| timed(spawn)).collect();
    add(figures, "floor: `/bin/true` spawned a call", took, None);

    let runtime = aggregator().await;
    calls(Arc::clone(&runtime), WARM_UP).await;
    for tasks in [1, 2] {
        let began = Instant::now();
        let running: Vec<_> = (0..tasks).map(|_| tokio::spawn(calls(Arc::clone(&runtime), CALLS))).collect();
        let mut took = Vec::new();
        for task in running {
            took.extend(task.await.expect("no call panics"));
        }
        let name = format!("**ice**, fresh instance a call, tasks at once: {tasks}");
        add(figures, &name, took, Some(began.elapsed()));
    }
    figures.note(&format!("Instances of the calls above are allocated by: {}.", runtime.allocation()));
}

/// Without `wall`, the calls were made one after the other and nothing else was done between them.
fn add(figures: &mut Figures, name: &str, mut took: Vec<Duration>, wall: Option<Duration>) {
    let wall = wall.unwrap_or_else(|| took.iter().sum());
    figures.add("call", name, "p50 µs", percentile_us(&mut took, 50));
    figures.add("call", name, "p99 µs", percentile_us(&mut took, 99));
    let count = u32::try_from(took.len()).expect("not that many calls");
    figures.add("call", name, "calls/s", f64::from(count) / wall.as_secs_f64());
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

async fn calls(runtime: Arc<Runtime>, count: usize) -> Vec<Duration> {
    let scope = Alone::new();
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        took.push(one(&runtime, &scope).await);
    }
    took
}

/// How long one call takes from the question to the answer, which is checked afterwards.
pub(crate) async fn one(runtime: &Runtime, scope: &Arc<Alone>) -> Duration {
    let call = Call {
        kind: CallKind::Tool,
        name: AGGREGATOR_TOOL.into(),
        artifact: None,
        input: input(),
        execution: ExecutionId("bench".into()),
        path: NodePath::root().join("node"),
        attempt: 1,
        limits: LimitSettings::default(),
    };
    let began = Instant::now();
    let outcome = runtime.call(call, scope.clone()).await;
    let took = began.elapsed();
    assert_eq!(outcome.result.as_ref().ok(), Some(&answer()), "{:?}", outcome.result);
    took
}

/// What the tool does, without a sandbox: reads JSON text, writes JSON text.
fn native(text: &str) -> String {
    let input: Value = serde_json::from_str(text).expect("it is JSON");
    let values = input["inputs"].as_array().expect("a list");
    let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    json!({ "text": texts.join(input["sep"].as_str().unwrap_or("\n")) }).to_string()
}

fn spawn() {
    let status = Command::new("/bin/true").stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "`/bin/true` runs");
}
