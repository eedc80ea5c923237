//! `ice schedules`: what runs at which times.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use ice_core::budget::Budget;
use ice_core::ports::{Components, Documents, Events, ScheduleRow, Schedules};
use ice_core::problem::{Code, Exit, Problem};
use ice_core::schedule::{self, CATCH_UP_DEFAULT, MISFIRES, OVERLAPS, Schedule, Timing, When};
use ice_engine::{Handle, Started, Timetable};
use serde_json::{Map, Value, json};

use super::Outcome;
use super::cassette::CassetteArgs;
use super::inputs::InputArgs;
use crate::config::Config;
use crate::output::Output;
use crate::view::watch::{self, Report, Stay};
use crate::wire::{Host, Storage};
use crate::{interrupt, networks};

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

/// Add a schedule, replacing the one of that name
///
/// What the file says now is stored: the schedule runs that, whatever the file becomes.
///
/// Example: ice schedules add morning --cron "0 7 * * 1-5" --tz Europe/Oslo report.yaml --input city=Oslo
#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// Its name
    #[arg(required_unless_present = "network")]
    name: Option<String>,
    /// A blueprint or network file, or a bundle entry
    #[arg(required_unless_present = "network")]
    what: Option<String>,
    /// Instead: all schedules of a network file, replacing those it had
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "what", "cron"])]
    network: Option<PathBuf>,
    /// Minute, hour, day, month, weekday; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`
    #[arg(long, required_unless_present = "network")]
    cron: Option<String>,
    /// The time zone, by its name in the IANA database
    #[arg(long, default_value = "UTC")]
    tz: String,
    /// Missed runs: `skip`, `run_once` or `run_all`
    #[arg(long, default_value = "run_once")]
    misfire: String,
    /// Most missed runs that `run_all` catches up with
    #[arg(long, default_value_t = CATCH_UP_DEFAULT)]
    max_catch_up: u32,
    /// A run that is due while the one before still runs: `skip`, `queue` or `allow`
    #[arg(long, default_value = "skip")]
    overlap: String,
    /// Start each run up to so many seconds later
    #[arg(long, default_value_t = 0)]
    jitter: u32,
    /// No run before: `2026-03-29T07:00` in the time zone, or with `Z`
    #[arg(long)]
    start: Option<String>,
    /// No run from then on
    #[arg(long)]
    end: Option<String>,
    #[command(flatten)]
    inputs: InputArgs,
}

/// Run schedules at their times, until stopped
///
/// Any number of processes may do so: each time is run by one of them. Changes by other processes are seen within 30
/// seconds. Ctrl-C or SIGTERM stops; executions that still run can be resumed.
///
/// Example: * * * * * ice schedules serve --once --quiet
#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// Run what is due now, and exit when it has ended; for a timer such as cron
    #[arg(long)]
    once: bool,
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
        SchedulesCommand::Add(args) => add(*args, config, output).await,
        SchedulesCommand::List => list(config, output).await,
        SchedulesCommand::Show { name } => {
            let (storage, row) = find(&name, config).await?;
            let value = described(&storage, &row).await?;
            output.value(&value);
            Ok(Exit::Done)
        }
        SchedulesCommand::Pause { name } => {
            let (storage, row) = find(&name, config).await?;
            write(&storage, ScheduleRow { paused: true, ..row }, output).await
        }
        SchedulesCommand::Resume { name } => {
            let (storage, row) = find(&name, config).await?;
            let (last, next) = begin(&row.schedule, &storage)?;
            write(&storage, ScheduleRow { paused: false, last, next, ..row }, output).await
        }
        SchedulesCommand::Remove { name } => {
            let (storage, row) = find(&name, config).await?;
            storage.store.remove_schedule(&row.who, &name).await.map_err(|failure| one(failure.problem))?;
            output.either(|| json!({"removed": name}), || vec![format!("removed {name}")]);
            Ok(Exit::Done)
        }
        SchedulesCommand::Next { name, count } => next(&name, count, config, output).await,
        SchedulesCommand::RunNow(args) => run_now(args, config, output).await,
        SchedulesCommand::Serve(args) => serve(args, config, output).await,
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

fn timetable(host: &Host) -> Timetable {
    Timetable::new(host.engine.clone(), Arc::clone(&host.storage().store) as _)
}

async fn run_now(args: RunNowArgs, config: &Config, output: &Output) -> Outcome {
    let (storage, row) = find(&args.name, config).await?;
    let tape = args.cassette.open()?;
    let host = Host::over(storage, config, output, tape.cassette())?;
    let handle = timetable(&host).run_now(&row).await?;
    let outcome = watch::run(handle, Vec::new(), Report::Events(Stay::of(args.follow)), &host, output).await;
    tape.finish(outcome, output)
}

async fn find(name: &str, config: &Config) -> Result<(Storage, ScheduleRow), Vec<Problem>> {
    let storage = Storage::open(config).await.map_err(one)?;
    let found = storage.store.schedule(&config.identity, name).await.map_err(|failure| one(failure.problem))?;
    match found {
        Some(row) => Ok((storage, row)),
        None => {
            Err(one(Problem::new(Code::X025, format!("there is no schedule `{name}`"))
                .help("`ice schedules list` shows them")))
        }
    }
}

/// From now on: nothing planned before is run.
fn begin(schedule: &Schedule, storage: &Storage) -> Result<(u64, Option<u64>), Vec<Problem>> {
    let timing = Timing::of(&schedule.name, &schedule.when)?;
    let now = storage.clock.now_ms();
    Ok((now, timing.after(now).map(|planned| timing.starts(planned))))
}

async fn write(storage: &Storage, row: ScheduleRow, output: &Output) -> Outcome {
    storage.store.put_schedule(&row).await.map_err(|failure| one(failure.problem))?;
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

/// A row, and how its newest run stands.
async fn described(storage: &Storage, row: &ScheduleRow) -> Result<Value, Vec<Problem>> {
    let mut value = json!(row);
    value["status"] = json!(status(storage, row).await?);
    Ok(value)
}

async fn status(storage: &Storage, row: &ScheduleRow) -> Result<Option<&'static str>, Vec<Problem>> {
    let Some(id) = &row.execution else { return Ok(None) };
    let events = storage.store.read(id, 0, u32::MAX >> 1).await.map_err(|failure| one(failure.problem))?;
    Ok(ice_core::execution::replay(&events).map(|execution| execution.status.as_str()))
}

async fn list(config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let rows = storage.store.schedules(Some(&config.identity), LISTED_MAX).await;
    let rows = rows.map_err(|failure| one(failure.problem))?;
    let (mut values, mut lines) = (Vec::new(), Vec::new());
    for row in &rows {
        let value = described(&storage, row).await?;
        lines.push(line(row, value["status"].as_str().unwrap_or_default()));
        values.push(value);
    }
    output.either(|| values.into(), || if lines.is_empty() { vec!["there are no schedules".into()] } else { lines });
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

async fn add(args: AddArgs, config: &Config, output: &Output) -> Outcome {
    let inputs = args.inputs.read()?;
    if let Some(file) = &args.network {
        let source = networks::read(file)?;
        return apply(&source, file, inputs, &Host::open(config, output).await?, config, output).await;
    }
    let (name, what) = (args.name.clone().unwrap_or_default(), args.what.clone().unwrap_or_default());
    let when = when(&args)?;
    Timing::of(&name, &when)?;
    let host = Host::open(config, output).await?;
    let document = if host.catalog.blueprints.contains_key(&what) {
        let components: &dyn Components = &*host.runtime;
        components.blueprint(&what).await.map_err(|failure| one(failure.problem))?
    } else {
        let text = crate::files::read_text(Path::new(&what)).map_err(one)?;
        let (document, _) = ice_core::blueprint::read_document(&text, &what)?;
        if ice_core::network::is_network(&document) {
            networks::read(Path::new(&what))?.blueprint(&[])?.blueprint.document
        } else {
            let parsed = ice_core::blueprint::parse(&text, &what)?;
            host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
            document
        }
    };
    let row = row(name, None, what, document, when, inputs, &host, config).await?;
    write(host.storage(), row, output).await
}

fn when(args: &AddArgs) -> Result<When, Vec<Problem>> {
    fn choice<T: Copy>(flag: &str, text: &str, choices: &[(&'static str, T)]) -> Result<T, Problem> {
        choices.iter().find(|(word, _)| *word == text.replace('-', "_")).map(|(_, value)| *value).ok_or_else(|| {
            let help = ice_core::blueprint::did_you_mean(text, choices.iter().map(|(word, _)| *word));
            Problem::new(Code::C001, format!("`{text}` is not a value of `{flag}`")).help(help.unwrap_or_default())
        })
    }
    let at = |text: &Option<String>| text.as_ref().map(|text| schedule::moment(text, &args.tz)).transpose();
    let when = || {
        Ok(When {
            cron: args.cron.clone().unwrap_or_default(),
            tz: args.tz.clone(),
            misfire: choice("--misfire", &args.misfire, MISFIRES)?,
            max_catch_up: args.max_catch_up,
            overlap: choice("--overlap", &args.overlap, OVERLAPS)?,
            jitter_ms: u64::from(args.jitter) * 1000,
            start: at(&args.start)?,
            end: at(&args.end)?,
        })
    };
    when().map_err(one)
}

#[expect(clippy::too_many_arguments, reason = "a row has that many parts")]
async fn row(
    name: String,
    network: Option<String>,
    source: String,
    document: Value,
    when: When,
    inputs: Map<String, Value>,
    host: &Host,
    config: &Config,
) -> Result<ScheduleRow, Vec<Problem>> {
    let parsed = ice_core::blueprint::Parsed::from_value(document)?;
    host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    let (storage, document) = (host.storage(), &parsed.blueprint.document);
    let stored = Documents::put(&*storage.store, "blueprint", document).await;
    let blueprint = stored.map_err(|failure| one(failure.problem))?;
    let budget: Budget = config.budget;
    let schedule = Schedule { name, network, source, blueprint, when, inputs, budget };
    let (last, next) = begin(&schedule, storage)?;
    let who = config.identity.clone();
    Ok(ScheduleRow { who, schedule, paused: false, last, next, execution: None, planned: None })
}

/// Writes the schedules of a network and removes those it no longer has.
pub(crate) async fn apply(
    source: &networks::Source,
    file: &Path,
    inputs: Map<String, Value>,
    host: &Host,
    config: &Config,
    output: &Output,
) -> Outcome {
    let network = &source.network;
    let storage = host.storage();
    let mut rows = Vec::new();
    for planned in &network.schedules {
        let document = source.blueprint(&planned.members)?.blueprint.document;
        let mut given = inputs.clone();
        given.extend(planned.inputs.clone());
        let (name, from) = (planned.name.clone(), file.display().to_string());
        let of = Some(network.name.clone());
        let row = row(name, of, from, document, planned.when.clone(), given, host, config).await?;
        rows.push(ScheduleRow { paused: !planned.enabled, ..row });
    }
    let failed = |failure: ice_core::ports::Failure| one(failure.problem);
    let old = storage.store.schedules(Some(&config.identity), LISTED_MAX).await.map_err(failed)?;
    for row in &mut rows {
        // History stays with the name.
        if let Some(old) = old.iter().find(|old| old.schedule.name == row.schedule.name) {
            (row.execution, row.planned) = (old.execution.clone(), old.planned);
        }
        storage.store.put_schedule(row).await.map_err(failed)?;
    }
    let gone = old.iter().filter(|old| old.schedule.network.as_ref() == Some(&network.name));
    for old in gone.filter(|old| !rows.iter().any(|row| row.schedule.name == old.schedule.name)) {
        storage.store.remove_schedule(&old.who, &old.schedule.name).await.map_err(failed)?;
    }
    output.either(|| json!(rows), || rows.iter().map(|row| line(row, "")).collect());
    Ok(Exit::Done)
}

async fn serve(args: ServeArgs, config: &Config, output: &Output) -> Outcome {
    let host = Host::open(config, output).await?;
    let timetable = timetable(&host);
    if args.once {
        return once(&timetable, output).await;
    }
    output.note("running schedules; Ctrl-C stops");
    let said = |started: Started| {
        let _: Option<Handle> = told(&started, output).and_then(|_| started.run.ok());
    };
    tokio::select! {
        stopped = timetable.serve(said) => match stopped {
            Ok(never) => match never {},
            Err(problem) => Err(one(problem)),
        },
        () = interrupt::interrupted() => {
            output.note("stopped; `ice executions list` shows what can be resumed");
            Ok(Exit::Done)
        }
    }
}

/// Prints what was started; the execution's id, or nothing when it could not be.
fn told(started: &Started, output: &Output) -> Option<String> {
    match &started.run {
        Ok(handle) => {
            let (name, planned) = (&started.name, started.planned);
            output.either(
                || json!({"schedule": name, "planned": planned, "execution_id": handle.id}),
                || vec![format!("{name} ({}): execution {}", schedule::local(planned, "UTC"), handle.id)],
            );
            Some(handle.id.to_string())
        }
        Err(problems) => {
            problems.iter().for_each(|problem| output.warn(problem));
            None
        }
    }
}

async fn once(timetable: &Timetable, output: &Output) -> Outcome {
    let started = timetable.start_due().await.map_err(one)?;
    let mut failed = false;
    for started in started {
        failed |= told(&started, output).is_none();
        let Ok(handle) = started.run else { continue };
        tokio::select! {
            rest = handle.rest() => {
                let bad = |ending: &ice_core::execution::Ending| {
                    ending.status != ice_core::event::FinalStatus::Completed
                };
                failed |= matches!(&rest, ice_engine::Rest::Ended(ending) if bad(ending));
            }
            () = interrupt::interrupted() => return Ok(Exit::Interrupted),
        }
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}
