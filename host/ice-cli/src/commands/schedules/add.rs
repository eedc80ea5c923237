//! `ice schedules add`, and the schedules of a network.

use std::path::{Path, PathBuf};

use ice_core::blueprint::Parsed;
use ice_core::budget::Budget;
use ice_core::ports::{Documents, ScheduleRow};
use ice_core::problem::{Code, Exit, Problem};
use ice_core::schedule::{self, CATCH_UP_DEFAULT, MISFIRES, OVERLAPS, Schedule, Target, Timing, When};
use ice_engine::{checked_inputs, tighter};
use serde_json::{Map, Value, json};

use super::{failed, line, one};
use crate::commands::Outcome;
use crate::commands::inputs::InputArgs;
use crate::commands::run::target::{self, Target as Named};
use crate::config::{Amount, Config, amount};
use crate::networks;
use crate::output::Output;
use crate::wire::Host;

/// Add a schedule, replacing the one of that name
///
/// What a file says now is stored: the schedule runs that, whatever the file becomes. The name of a stored blueprint,
/// `news` or `news@^1`, is checked now and means at each time what it finds then. A schedule that is replaced keeps its
/// history, and stays paused when it was.
///
/// Example: ice schedules add morning --cron "0 7 * * 1-5" --tz Europe/Oslo report.yaml --input city=Oslo
///
/// Example: ice schedules add news --cron @hourly news@^1 --budget-usd 0.25
#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// Its name
    #[arg(required_unless_present = "network")]
    name: Option<String>,
    /// A blueprint or network file, a stored blueprint (`news`, `news@^1`, `sha256:…`), or a bundle or its entry
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
    /// Stop each run before more than this is spent, in US dollars; tightens other budgets, never widens them
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    budget_usd: Option<Amount>,
    #[command(flatten)]
    inputs: InputArgs,
}

/// What checks and writes schedules.
struct Desk<'a> {
    host: &'a Host,
    config: &'a Config,
}

impl Desk<'_> {
    /// Checks a blueprint and what it is to be given.
    async fn check(&self, parsed: &Parsed, inputs: &Map<String, Value>) -> Result<(), Vec<Problem>> {
        let plan = self.host.engine.plan(parsed).await.map_err(|problems| self.host.explain(problems))?;
        checked_inputs(&plan, Value::Object(inputs.clone())).map(drop)
    }

    /// Checks and keeps a blueprint.
    async fn keep(&self, parsed: &Parsed, inputs: &Map<String, Value>) -> Result<Target, Vec<Problem>> {
        self.check(parsed, inputs).await?;
        let kept = Documents::put(&*self.host.storage().store, "blueprint", &parsed.blueprint.document).await;
        kept.map(Target::Document).map_err(failed)
    }

    /// Finds and checks what a user names.
    async fn target(&self, what: &str, inputs: &Map<String, Value>) -> Result<Target, Vec<Problem>> {
        let store = &*self.host.storage().store;
        let found = target::find(what, &self.host.catalog, store).await.map_err(|one| self.host.explain(vec![one]))?;
        match &found {
            Named::File(path) if networks::is_one(path)? => {
                let source = networks::read(path)?;
                self.keep(&source.blueprint(&[])?, inputs).await.map_err(|problems| source.locate(&[], problems))
            }
            Named::Stored(name, _) => {
                self.check(&found.load(self.host, store).await?, inputs).await?;
                Ok(Target::from(name.clone()))
            }
            Named::File(_) | Named::Bundle(_) => self.keep(&found.load(self.host, store).await?, inputs).await,
        }
    }

    /// Writes schedules that begin now, and says how they stand.
    async fn write(&self, network: Option<&str>, schedules: Vec<Schedule>, output: &Output) -> Outcome {
        let (who, now) = (&self.config.identity, self.host.storage().clock.now_ms());
        let rows = schedules.into_iter().map(|schedule| ScheduleRow::begin(who.clone(), schedule, now));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let rows = self.host.timetable().apply(who, network, &rows).await.map_err(one)?;
        match network {
            Some(_) => output.either(|| json!(rows), || rows.iter().map(|row| line(row, "")).collect()),
            None => output.either(|| json!(rows[0]), || vec![line(&rows[0], "")]),
        }
        Ok(Exit::Done)
    }

    /// Writes the schedules of a network and removes those it no longer has: all or nothing.
    async fn apply(
        &self,
        source: &networks::Source,
        file: &Path,
        (inputs, budget): (Map<String, Value>, Budget),
        output: &Output,
    ) -> Outcome {
        let network = &source.network;
        let (mut schedules, mut problems) = (Vec::new(), Vec::new());
        for planned in &network.schedules {
            let mut given = inputs.clone();
            given.extend(planned.inputs.clone());
            match self.keep(&source.blueprint(&planned.members)?, &given).await {
                Ok(blueprint) => schedules.push(Schedule {
                    name: planned.name.clone(),
                    network: Some(network.name.clone()),
                    source: file.display().to_string(),
                    blueprint,
                    enabled: planned.enabled,
                    when: planned.when.clone(),
                    inputs: given,
                    budget,
                }),
                Err(found) => {
                    let found = source.locate(&planned.members, found);
                    let of = |problem: Problem| match problem.at.as_ref().and_then(|at| at.subject.as_ref()) {
                        Some(_) => problem,
                        None => problem.subject(format!("schedule `{}`", planned.name)),
                    };
                    problems.extend(found.into_iter().map(of));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.write(Some(&network.name), schedules, output).await
    }
}

pub(super) async fn run(args: AddArgs, config: &Config, output: &Output) -> Outcome {
    let inputs = args.inputs.read()?;
    let budget =
        tighter(config.budget, Budget { micro_usd: args.budget_usd.map(|amount| amount.0), ..Budget::default() });
    if let Some(file) = &args.network {
        let source = networks::read(file)?;
        let desk = Desk { host: &Host::open(config, output).await?, config };
        return desk.apply(&source, file, (inputs, budget), output).await;
    }
    let (name, what) = (args.name.clone().unwrap_or_default(), args.what.clone().unwrap_or_default());
    let when = when(&args)?;
    Timing::of(&name, &when)?;
    let desk = Desk { host: &Host::open(config, output).await?, config };
    let blueprint = desk.target(&what, &inputs).await?;
    let schedule = Schedule { name, network: None, source: what, blueprint, enabled: true, when, inputs, budget };
    desk.write(None, vec![schedule], output).await
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

/// Writes the schedules of a network and removes those it no longer has: all or nothing.
pub(crate) async fn apply(
    source: &networks::Source,
    file: &Path,
    inputs: Map<String, Value>,
    host: &Host,
    config: &Config,
    output: &Output,
) -> Outcome {
    Desk { host, config }.apply(source, file, (inputs, config.budget), output).await
}
