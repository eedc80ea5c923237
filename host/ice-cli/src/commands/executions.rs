//! `ice executions`.

mod follow;
mod fork;
mod show;
mod transfer;

use clap::Subcommand;
use ice_core::event::Event;
use ice_core::execution::{Status, replay};
use ice_core::id::{ExecutionId, UnixMs};
use ice_core::ports::{Events, ExecutionRow};
use ice_core::problem::{Exit, Problem};
use ice_engine::Stopping;
use serde_json::json;

use super::{Outcome, metering};
use crate::config::Config;
use crate::output::Output;
use crate::view;
use crate::wire::{Host, Storage};

#[derive(Subcommand)]
pub(crate) enum ExecutionsCommand {
    List(ListArgs),
    Show(show::ShowArgs),
    Events(EventsArgs),
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
    Fork(fork::ForkArgs),
    Export(transfer::ExportArgs),
    Import(transfer::ImportArgs),
}

/// List executions, newest first
///
/// Example: ice executions list --status failed --since 2h
#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// How many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Only those that stand like this; may be given several times
    #[arg(long, value_parser = STATUSES)]
    status: Vec<String>,
    /// Only those whose name holds this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those that began at this moment or later: a moment in UTC (RFC 3339), or how long ago (`30m`, `2h`, `7d`)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
}

/// Print the events of an execution, one JSON object a line
///
/// Example: ice executions events 0193a1b2-… --follow
#[derive(clap::Args)]
pub(crate) struct EventsArgs {
    /// The execution
    id: String,
    /// Go on printing new ones until the execution ends, whichever process runs it
    #[arg(long, short)]
    follow: bool,
}

/// How an execution may stand.
const STATUSES: [&str; 6] = ["running", "waiting", "completed", "completed_with_errors", "failed", "cancelled"];

/// The newest executions that a listing looks through for those that are wanted.
const LOOKED_THROUGH_MAX: u32 = 100_000;

/// Events are read in pieces of this size, so that a long list does not have to fit into one answer.
const PAGE: u32 = 1_000;

/// A moment, or a time before now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Since {
    Moment(UnixMs),
    Ago(u64),
}

fn since(text: &str) -> Result<Since, String> {
    const UNITS: [(char, u64); 4] = [('s', 1_000), ('m', 60_000), ('h', 3_600_000), ('d', 86_400_000)];
    let unit = UNITS.iter().find_map(|(unit, ms)| Some((text.strip_suffix(*unit)?, ms)));
    let ago = unit.and_then(|(count, ms)| count.parse::<u64>().ok()?.checked_mul(*ms));
    match ago {
        Some(ago) => Ok(Since::Ago(ago)),
        None => metering::moment(text).map(Since::Moment).map_err(|words| format!("{words}, or `30m`, `2h`, `7d`")),
    }
}

pub(crate) async fn run(command: ExecutionsCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        ExecutionsCommand::List(args) => list(&args, config, output).await,
        ExecutionsCommand::Show(args) => show::run(args, config, output).await,
        ExecutionsCommand::Events(EventsArgs { id, follow: true }) => {
            follow::run(&ExecutionId(id), config, output).await
        }
        ExecutionsCommand::Events(EventsArgs { id, follow: false }) => {
            let storage = Storage::open(config).await.map_err(one)?;
            for event in read(&ExecutionId(id), &storage).await? {
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
        ExecutionsCommand::Fork(args) => fork::run(args, config, output).await,
        ExecutionsCommand::Export(args) => transfer::write(args, config, output).await,
        ExecutionsCommand::Import(args) => transfer::read(args, config, output).await,
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

impl ListArgs {
    fn wants(&self, row: &ExecutionRow, since: Option<UnixMs>) -> bool {
        (self.status.is_empty() || self.status.contains(&row.status))
            && self.name.as_ref().is_none_or(|name| row.name.contains(name))
            && since.is_none_or(|since| row.started >= since)
    }
}

async fn list(args: &ListArgs, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let since = args.since.map(|since| match since {
        Since::Moment(moment) => moment,
        Since::Ago(ms) => storage.clock.now_ms().saturating_sub(ms),
    });
    let narrowed = !args.status.is_empty() || args.name.is_some() || since.is_some();
    let looked_through = if narrowed { LOOKED_THROUGH_MAX } else { args.limit };
    let rows = storage.store.list(&config.identity, looked_through).await.map_err(|failure| one(failure.problem))?;
    let wanted = rows.into_iter().filter(|row| args.wants(row, since));
    let rows: Vec<ExecutionRow> = wanted.take(usize::try_from(args.limit).unwrap_or(usize::MAX)).collect();
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

pub(super) async fn read(id: &ExecutionId, storage: &Storage) -> Result<Vec<Event>, Vec<Problem>> {
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

async fn cancel(id: &ExecutionId, config: &Config, output: &Output) -> Outcome {
    const REASON: &str = "cancelled from the command line";
    let storage = Storage::open(config).await.map_err(one)?;
    let events = read(id, &storage).await?;
    let (running, words) = if replay(&events).is_some_and(|execution| execution.status == Status::Waiting) {
        // Nobody runs it, so nobody would see a request.
        let host = Host::over(storage, config, output, None)?;
        match host.engine.stop(id, REASON).await.map_err(one)? {
            Stopping::Here(handle) => {
                handle.rest().await;
                (true, "cancelled")
            }
            Stopping::Elsewhere => (true, "asked to stop"),
            Stopping::HasEnded => (false, "it has already ended"),
        }
    } else {
        let asked = storage.store.request_cancel(id, REASON).await.map_err(|failure| one(failure.problem))?;
        (asked, if asked { "asked to stop" } else { "it has already ended" })
    };
    output.either(|| json!({ "running": running }), || vec![words.to_owned()]);
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_an_age() {
        assert_eq!(since("30m"), Ok(Since::Ago(1_800_000)));
        assert_eq!(since("7d"), Ok(Since::Ago(604_800_000)));
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(Since::Moment(1_000)));
        for wrong in ["", "m", "-1h", "yesterday", "99999999999999999999d"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
