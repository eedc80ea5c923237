//! `ice executions`.

use clap::Subcommand;
use ice_core::event::Event;
use ice_core::execution::{Execution, NodeState, Status, replay};
use ice_core::id::{ExecutionId, NodePath};
use ice_core::ports::Events;
use ice_core::problem::{Exit, Problem};
use ice_engine::Stopping;
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::view::{self, waiting};
use crate::wire::{Host, Storage};

#[derive(Subcommand)]
pub(crate) enum ExecutionsCommand {
    /// List executions, newest first
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show how an execution stands: its nodes, outputs, cost
    Show {
        /// The execution
        id: String,
    },
    /// Print the events of an execution, one JSON object a line
    Events {
        /// The execution
        id: String,
    },
    /// Go on with an execution whose process died or was stopped; finished nodes do not run again
    Resume {
        /// The execution
        id: String,
    },
    /// Ask an execution to stop; one that waits for an answer ends in this process
    Cancel {
        /// The execution
        id: String,
    },
}

/// Events are read in pieces of this size, so that a long list does not have to fit into one answer.
const PAGE: u32 = 1_000;

pub(crate) async fn run(command: ExecutionsCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        ExecutionsCommand::List { limit } => list(limit, config, output).await,
        ExecutionsCommand::Show { id } => show(&ExecutionId(id), config, output).await,
        ExecutionsCommand::Events { id } => {
            for event in read(&ExecutionId(id), config).await? {
                output.line(&serde_json::to_string(&event).expect("an event prints"));
            }
            Ok(Exit::Done)
        }
        ExecutionsCommand::Resume { id } => {
            let host = Host::open(config, output).await?;
            let handle = host.engine.resume(&ExecutionId(id)).await.map_err(one)?;
            view::follow(handle, &host, output).await
        }
        ExecutionsCommand::Cancel { id } => cancel(&ExecutionId(id), config, output).await,
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

async fn list(limit: u32, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let rows = storage.store.list(&config.identity, limit).await.map_err(|failure| one(failure.problem))?;
    output.either(
        || json!(rows),
        || {
            let mut lines = vec![format!("{:<36}  {:<21}  {:>6}  name", "id", "status", "events")];
            lines.extend(rows.iter().map(|row| {
                let status = match (row.status.as_str(), row.held) {
                    ("running", false) => "left (can be resumed)".to_owned(),
                    ("waiting", _) if row.waits > 0 => format!("waiting ({} open)", row.waits),
                    (status, _) => status.to_owned(),
                };
                format!("{:<36}  {status:<21}  {:>6}  {}", row.id, row.events, row.name)
            }));
            lines
        },
    );
    Ok(Exit::Done)
}

async fn read(id: &ExecutionId, config: &Config) -> Result<Vec<Event>, Vec<Problem>> {
    let storage = Storage::open(config).await.map_err(one)?;
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(0, |event: &Event| event.seq);
        let page = storage.store.read(id, after, PAGE).await.map_err(|failure| one(failure.problem))?;
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    if events.is_empty() { Err(vec![view::not_found(&id.0)]) } else { Ok(events) }
}

async fn show(id: &ExecutionId, config: &Config, output: &Output) -> Outcome {
    let events = read(id, config).await?;
    let execution = replay(&events).ok_or_else(|| vec![view::not_found(&id.0)])?;
    output.either(|| json!(execution), || describe(&execution));
    Ok(Exit::Done)
}

fn describe(execution: &Execution) -> Vec<String> {
    let mut lines = vec![format!("{} {}", execution.name, execution.status.as_str())];
    let asks = |path: &NodePath| execution.waits.values().any(|open| open.path == *path);
    for (path, node) in &execution.nodes {
        let (state, problem) = match &node.state {
            NodeState::Running if asks(path) => ("waiting", None),
            NodeState::Running => ("running", None),
            NodeState::Retrying { problem, .. } => ("retrying", Some(problem)),
            NodeState::Finished { cached: true, .. } => ("cached", None),
            NodeState::Finished { .. } => ("finished", None),
            NodeState::Failed { problem } => ("failed", Some(problem)),
            NodeState::Skipped { .. } => ("skipped", None),
        };
        lines.push(format!("  {state:<10} {path}"));
        lines.extend(problem.map(|problem| format!("             [{}] {}", problem.code, problem.message)));
    }
    for (wait, open) in &execution.waits {
        lines.extend(waiting::lines(wait, open, &execution.name));
    }
    if execution.usage.total_tokens() > 0 {
        #[expect(clippy::cast_precision_loss, reason = "an amount for a reader")]
        let usd = execution.usage.cost_micro_usd as f64 / 1e6;
        lines.push(format!("{} tokens, {usd:.6} USD", execution.usage.total_tokens()));
    }
    lines
}

async fn cancel(id: &ExecutionId, config: &Config, output: &Output) -> Outcome {
    const REASON: &str = "cancelled from the command line";
    let events = read(id, config).await?;
    let (running, words) = if replay(&events).is_some_and(|execution| execution.status == Status::Waiting) {
        // Nobody runs it, so nobody would see a request.
        let host = Host::open(config, output).await?;
        match host.engine.stop(id, REASON).await.map_err(one)? {
            Stopping::Here(handle) => {
                handle.rest().await;
                (true, "cancelled")
            }
            Stopping::Elsewhere => (true, "asked to stop"),
            Stopping::HasEnded => (false, "it has already ended"),
        }
    } else {
        let storage = Storage::open(config).await.map_err(one)?;
        let asked = storage.store.request_cancel(id, REASON).await.map_err(|failure| one(failure.problem))?;
        (asked, if asked { "asked to stop" } else { "it has already ended" })
    };
    output.either(|| json!({ "running": running }), || vec![words.to_owned()]);
    Ok(Exit::Done)
}
