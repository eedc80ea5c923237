//! `ice executions show`: an execution as a tree of its nodes, now or as it was after an event.

use std::collections::BTreeMap;

use ice_core::budget::Usage;
use ice_core::event::Origin;
use ice_core::execution::{Execution, NodeRecord, NodeState, replay};
use ice_core::id::{ExecutionId, NodePath, UnixMs};
use ice_core::problem::{Code, Exit, Problem};
use serde_json::json;

use super::read;
use crate::commands::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::view::{self, waiting};
use crate::wire::Storage;

/// Show how an execution stands: its nodes with times, attempts and cost, its outputs
///
/// Example: ice executions show 0193a1b2-… --at 12
#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    /// The execution
    id: String,
    /// As it stood after this event; `ice executions events` numbers them
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    at: Option<u64>,
}

pub(super) async fn run(args: ShowArgs, config: &Config, output: &Output) -> Outcome {
    let id = ExecutionId(args.id);
    let storage = Storage::open(config).await.map_err(|problem| vec![problem])?;
    let events = read(&id, &storage).await?;
    let all = events.len();
    let seen = match args.at.map(|at| usize::try_from(at).unwrap_or(usize::MAX)) {
        Some(at) if at > all => {
            let problem =
                Problem::new(Code::C001, format!("the execution has {all} events, so there is no event {at}"));
            return Err(vec![problem.help(format!("say `--at` with a number from 1 to {all}"))]);
        }
        at => &events[..at.unwrap_or(all)],
    };
    let execution = replay(seen).ok_or_else(|| vec![view::not_found(&id.0)])?;
    output.either(
        || json!(execution),
        || {
            let mut lines = describe(&id, &execution);
            if args.at.is_some() {
                lines.insert(0, format!("as it stood after event {} of {all}", seen.len()));
            }
            lines
        },
    );
    Ok(Exit::Done)
}

fn describe(id: &ExecutionId, execution: &Execution) -> Vec<String> {
    let mut lines = vec![
        format!("{} {}", execution.name, execution.status.as_str()),
        format!("  {id}, began {}, ran {}", waiting::moment(execution.started), took(execution.active_ms)),
    ];
    match execution.origin.as_deref() {
        Some(Origin::Fork(forked)) => lines.push(format!("  forked from {} at `{}`", forked.execution, forked.node)),
        Some(Origin::Replay { cassette }) => {
            lines.push(format!("  replayed from cassette {}: nothing was paid", cassette.short()));
        }
        None => {}
    }
    if let Some((parent, path)) = &execution.parent {
        lines.push(format!("  started by {parent} at `{path}`"));
    }
    let tree = tree(execution);
    lines.extend(tree.iter().flat_map(|(depth, path, record)| node(execution, *depth, path, record)));
    for (wait, open) in &execution.waits {
        lines.extend(waiting::lines(wait, open, &execution.name));
    }
    if execution.usage != Usage::default() {
        lines.push(usage(&execution.usage));
    }
    lines
}

/// Every node below the one it is inside of, in the order of their beginning.
fn tree(execution: &Execution) -> Vec<(usize, &NodePath, &NodeRecord)> {
    let mut inside: BTreeMap<Option<&str>, Vec<(&NodePath, &NodeRecord)>> = BTreeMap::new();
    for (path, record) in &execution.nodes {
        inside.entry(outer(execution, path.as_str())).or_default().push((path, record));
    }
    for nodes in inside.values_mut() {
        nodes.sort_by_key(|(path, record)| (record.started.or(record.ended).unwrap_or(UnixMs::MAX), *path));
    }
    let top = inside.remove(&None).unwrap_or_default();
    let mut open: Vec<_> = top.into_iter().rev().map(|(path, record)| (0, path, record)).collect();
    let mut lines = Vec::with_capacity(execution.nodes.len());
    while let Some((depth, path, record)) = open.pop() {
        lines.push((depth, path, record));
        let below = inside.remove(&Some(path.as_str())).unwrap_or_default();
        open.extend(below.into_iter().rev().map(|(path, record)| (depth + 1, path, record)));
    }
    lines
}

/// The innermost node around one: `each` for `each[0]/one`.
fn outer<'p>(execution: &Execution, path: &'p str) -> Option<&'p str> {
    let known = |path: &str| execution.nodes.contains_key(&NodePath(path.into()));
    let ends = path.rmatch_indices(['/', '[', '.']).map(|(at, _)| &path[..at]);
    ends.into_iter().find(|outer| known(outer))
}

fn node(execution: &Execution, depth: usize, path: &NodePath, record: &NodeRecord) -> Vec<String> {
    let (state, problem) = state(execution, path, record);
    let mut parts = Vec::new();
    if !record.kind.is_empty() {
        parts.push(record.kind.clone());
    }
    if record.attempts > 1 {
        parts.push(format!("attempt {}", record.attempts));
    }
    let ended = record.ended.unwrap_or(execution.updated);
    let copied = matches!(state, "kept" | "given");
    parts.extend(record.started.filter(|_| !copied).map(|started| took(ended.saturating_sub(started))));
    if record.usage != Usage::default() {
        parts.push(usage(&record.usage));
    }
    let details = if parts.is_empty() { String::new() } else { format!("  ({})", parts.join(", ")) };
    let indent = "  ".repeat(depth);
    let mut lines = vec![format!("  {state:<10} {indent}{path}{details}")];
    lines.extend(problem.map(|problem| format!("             {indent}[{}] {}", problem.code, problem.message)));
    lines
}

fn state<'e>(execution: &Execution, path: &NodePath, record: &'e NodeRecord) -> (&'static str, Option<&'e Problem>) {
    let forked = execution.forked();
    let among = |nodes: &[String]| nodes.iter().any(|node| node == path.as_str());
    let asks = execution.waits.values().any(|open| open.path == *path);
    match &record.state {
        NodeState::Finished { .. } if forked.is_some_and(|forked| among(&forked.set)) => ("given", None),
        NodeState::Finished { .. } if forked.is_some_and(|forked| among(&forked.kept)) => ("kept", None),
        NodeState::Running if asks => ("waiting", None),
        NodeState::Running => ("running", None),
        NodeState::Retrying { problem, .. } => ("retrying", Some(problem)),
        NodeState::Finished { cached: true, .. } => ("cached", None),
        NodeState::Finished { .. } => ("finished", None),
        NodeState::Failed { problem } => ("failed", Some(problem)),
        NodeState::Skipped { .. } => ("skipped", None),
    }
}

/// A duration for a reader.
fn took(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// Tokens and money for a reader.
pub(super) fn usage(usage: &Usage) -> String {
    if *usage == Usage::default() {
        return "nothing".to_owned();
    }
    format!("{} tokens, {}", usage.total_tokens(), dollars(usage))
}

/// An amount of money for a reader, at least this much where some price is not known.
pub(super) fn dollars(usage: &Usage) -> String {
    let known = format!("{}.{:06} USD", usage.cost_micro_usd / 1_000_000, usage.cost_micro_usd % 1_000_000);
    if usage.unpriced_calls > 0 {
        format!("{known} and {} calls of unknown price", usage.unpriced_calls)
    } else {
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_money_are_readable() {
        assert_eq!([0, 999, 1_250, 61_000].map(took), ["0 ms", "999 ms", "1.25 s", "1 min 1 s"]);
        let price = Usage { input_tokens: 2, output_tokens: 1, cost_micro_usd: 1_000_050, unpriced_calls: 2 };
        assert_eq!(usage(&price), "3 tokens, 1.000050 USD and 2 calls of unknown price");
        assert_eq!(usage(&Usage::default()), "nothing");
    }
}
