//! `ice schedules`: what runs at which times.

mod add;
mod serve;

use std::collections::HashMap;

use clap::Subcommand;
use ice_core::id::ExecutionId;
use ice_core::ports::{Events, Failure, ScheduleRow, Schedules};
use ice_core::problem::{Code, Exit, Problem};
use ice_core::schedule::{self, Timing};
use serde_json::{Value, json};

use self::add::AddArgs;
use self::serve::ServeArgs;
use super::Outcome;
use super::cassette::CassetteArgs;
use crate::config::Config;
use crate::output::Output;
use crate::view::watch::{self, Report, Stay};
use crate::wire::{Host, Storage};

pub(crate) use self::add::apply;
pub(crate) use self::serve::refusals;

/// Schedules that are listed.
const LISTED_MAX: u32 = 10_000;

#[derive(Subcommand)]
pub(crate) enum SchedulesCommand {
    Add(Box<AddArgs>),
    /// List schedules: when they ran, how that ended, when they run next
    List,
    /// Show one schedule
    Show {
        /// Its name
        name: String,
    },
    /// Let nothing run until `ice schedules resume`
    Pause {
        /// Its name
        name: String,
    },
    /// Run again from now on; what was missed meanwhile is left out
    Resume {
        /// Its name
        name: String,
    },
    /// Remove a schedule; its executions stay
    Remove {
        /// Its name
        name: String,
    },
    /// Show the next times of a schedule
    Next {
        /// Its name
        name: String,
        /// How many
        #[arg(short = 'n', default_value_t = 5)]
        count: usize,
    },
    RunNow(RunNowArgs),
    Serve(ServeArgs),
}

/// Run what a schedule runs, now and beside its times
///
/// It is shown as `ice run` shows a blueprint: as a tree on a terminal, elsewhere and with `--json` as JSON lines, every
/// event and at last `{"event": "result", …}`.
///
/// Example: ice schedules run-now morning --record morning.jsonl
#[derive(clap::Args)]
pub(crate) struct RunNowArgs {
    /// Its name
    name: String,
    /// Stay while it waits for answers
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    cassette: CassetteArgs,
}

pub(crate) async fn run(command: SchedulesCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        SchedulesCommand::Add(args) => add::run(*args, config, output).await,
        SchedulesCommand::List => list(config, output).await,
        SchedulesCommand::Show { name } => {
            let (storage, row) = find(&name, config).await?;
            let value = described(&storage, vec![row]).await?.remove(0).1;
            output.value(&value);
            Ok(Exit::Done)
        }
        SchedulesCommand::Pause { name } => {
            let (storage, row) = find(&name, config).await?;
            write(&storage, ScheduleRow { paused: true, ..row }, output).await
        }
        SchedulesCommand::Resume { name } => {
            let (storage, row) = find(&name, config).await?;
            let fresh = ScheduleRow::begin(row.who.clone(), row.schedule.clone(), storage.clock.now_ms())?;
            write(&storage, ScheduleRow { paused: false, last: fresh.last, next: fresh.next, ..row }, output).await
        }
        SchedulesCommand::Remove { name } => {
            // Without reading it: one that cannot be read can be removed.
            let storage = Storage::open(config).await.map_err(one)?;
            if !storage.store.remove_schedule(&config.identity, &name).await.map_err(failed)? {
                return Err(one(unknown(&name)));
            }
            output.either(|| json!({"removed": name}), || vec![format!("removed {name}")]);
            Ok(Exit::Done)
        }
        SchedulesCommand::Next { name, count } => next(&name, count, config, output).await,
        SchedulesCommand::RunNow(args) => run_now(args, config, output).await,
        SchedulesCommand::Serve(args) => serve::run(args, config, output).await,
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

fn failed(failure: Failure) -> Vec<Problem> {
    one(failure.problem)
}

async fn run_now(args: RunNowArgs, config: &Config, output: &Output) -> Outcome {
    let (storage, row) = find(&args.name, config).await?;
    let tape = args.cassette.open()?;
    let host = Host::over(storage, config, output, tape.cassette())?;
    let handle = host.timetable().run_now(&row).await?;
    let outcome = watch::run(handle, Vec::new(), Report::Events(Stay::of(args.follow)), &host, output).await;
    tape.finish(outcome, output)
}

async fn find(name: &str, config: &Config) -> Result<(Storage, ScheduleRow), Vec<Problem>> {
    let storage = Storage::open(config).await.map_err(one)?;
    let found = storage.store.schedule(&config.identity, name).await.map_err(failed)?;
    match found {
        Some(row) => Ok((storage, row)),
        None => Err(one(unknown(name))),
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(Code::X025, format!("there is no schedule `{name}`")).help("`ice schedules list` shows them")
}

async fn write(storage: &Storage, row: ScheduleRow, output: &Output) -> Outcome {
    storage.store.put_schedule(&row).await.map_err(failed)?;
    output.either(|| json!(row), || vec![line(&row, "")]);
    Ok(Exit::Done)
}

fn line(row: &ScheduleRow, status: &str) -> String {
    let tz = &row.schedule.when.tz;
    let at = |moment: Option<u64>| moment.map_or_else(|| "-".to_owned(), |moment| schedule::local(moment, tz));
    let next = if row.paused { "paused".to_owned() } else { at(row.next) };
    let (name, cron) = (&row.schedule.name, &row.schedule.when.cron);
    format!("{name:<24}  {cron:<16}  next {next}  last {} {status}", at(row.planned))
}

/// The rows, each with how its newest run stands.
async fn described(storage: &Storage, rows: Vec<ScheduleRow>) -> Result<Vec<(ScheduleRow, Value)>, Vec<Problem>> {
    let newest: Vec<ExecutionId> = rows.iter().filter_map(|row| row.execution.clone()).collect();
    let standing = storage.store.standing(&newest).await.map_err(failed)?;
    let standing: HashMap<ExecutionId, String> = standing.into_iter().map(|row| (row.id, row.status)).collect();
    let described = |row: ScheduleRow| {
        let mut value = json!(row);
        value["status"] = json!(row.execution.as_ref().and_then(|id| standing.get(id)));
        (row, value)
    };
    Ok(rows.into_iter().map(described).collect())
}

async fn list(config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let rows = storage.store.schedules(Some(&config.identity), LISTED_MAX).await.map_err(failed)?;
    let rows = described(&storage, rows).await?;
    output.either(
        || rows.iter().map(|(_, value)| value.clone()).collect(),
        || match rows.as_slice() {
            [] => vec!["there are no schedules".into()],
            rows => rows.iter().map(|(row, value)| line(row, value["status"].as_str().unwrap_or_default())).collect(),
        },
    );
    Ok(Exit::Done)
}

async fn next(name: &str, count: usize, config: &Config, output: &Output) -> Outcome {
    let (storage, row) = find(name, config).await?;
    let when = &row.schedule.when;
    let timing = Timing::of(name, when)?;
    let first = timing.after(storage.clock.now_ms());
    let times: Vec<u64> = std::iter::successors(first, |planned| timing.after(*planned)).take(count).collect();
    output.either(|| json!(times), || times.iter().map(|at| schedule::local(*at, &when.tz)).collect());
    Ok(Exit::Done)
}
