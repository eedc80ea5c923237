//! `ice budget check`: do the ledger of orgs and the stored events say the same?

use std::collections::BTreeMap;

use ice_capabilities::llm::price_table;
use ice_core::budget::MicroUsd;
use ice_core::event::Fact;
use ice_core::id::ExecutionId;
use ice_core::ports::{DaySpent, Events, Failure, Ledger, OwnSpending};
use ice_core::problem::{Code, Exit, Problem};
use ice_engine::restate;
use ice_store::{Every, Store};
use serde::Serialize;
use serde_json::json;

use super::usd;
use crate::commands::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::wire::{self, Storage};

/// Executions and events are read in pieces of these sizes.
const EXECUTIONS_PAGE: u32 = 500;
const EVENTS_PAGE: u32 = 1_000;
/// Executions of dead processes that are named.
const STALE_MAX: u32 = 1_000;
/// Differences that are named one by one.
const NAMED_MAX: usize = 20;

/// Add up what the events of all executions say they cost, and compare it with the ledger of the orgs
///
/// Also reads the price table. Exits with 0 when both say the same, else with 1, and names every execution that
/// differs. One that runs right now may differ for a moment; one whose process died may until it is resumed.
/// `--repair` makes the sums of all that no process holds again from their events; executions that are older than the
/// ledger get into it that way.
///
/// Example: ice budget check
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this org
    #[arg(long)]
    org: Option<String>,
    /// Make the sums that differ again from the events
    #[arg(long)]
    repair: bool,
}

/// What an execution spent, by its events and by the ledger.
#[derive(Serialize)]
struct Difference {
    execution: ExecutionId,
    org: String,
    events_micro_usd: MicroUsd,
    ledger_micro_usd: MicroUsd,
}

/// What was found.
#[derive(Default)]
struct Sums {
    executions: u64,
    by_org: BTreeMap<String, MicroUsd>,
    differences: Vec<Difference>,
    repaired: u64,
}

pub(super) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let prices = price_table(wire::prices(config).map_err(one)?.as_deref()).map_err(one)?;
    let storage = Storage::open(config).await.map_err(one)?;
    let bar = output.spinner("adding up");
    let sums = add_up(&storage.store, &args).await.map_err(|failure| one(failure.problem))?;
    bar.finish_and_clear();
    let (problems, reserved) = compare(&storage.store, &sums, &args).await.map_err(|failure| one(failure.problem))?;
    let total = sums.by_org.values().sum();
    output.either(
        || {
            json!({
                "equal": problems.is_empty(), "executions": sums.executions, "events_micro_usd": total,
                "orgs": sums.by_org, "differences": sums.differences, "repaired": sums.repaired,
                "left_aside_micro_usd": reserved, "prices": prices.len(),
            })
        },
        || {
            let (word, money) = (if problems.is_empty() { "equal" } else { "different" }, usd(total));
            let mut shown = vec![format!("{word}: {} executions, {money} by their events", sums.executions)];
            if sums.repaired > 0 {
                shown.push(format!("{} executions were put right", sums.repaired));
            }
            if reserved > 0 {
                let amount = usd(reserved);
                shown.push(format!("{amount} set aside by processes that died; free as soon as somebody needs it"));
            }
            shown.push(format!("{} prices are well formed", prices.len()));
            shown
        },
    );
    if problems.is_empty() {
        return Ok(Exit::Done);
    }
    if output.json() {
        return Ok(Exit::Failed);
    }
    Err(problems)
}

async fn add_up(store: &Store, args: &Args) -> Result<Sums, Failure> {
    let which = Every { org: args.org.clone(), ..Every::default() };
    let (mut sums, mut last) = (Sums::default(), None);
    loop {
        let ids = store.every(&which, last.as_ref(), EXECUTIONS_PAGE).await?;
        for id in &ids {
            take(store, id, args, &mut sums).await?;
        }
        last = ids.into_iter().last();
        if last.is_none() {
            return Ok(sums);
        }
    }
}

async fn take(store: &Store, id: &ExecutionId, args: &Args, sums: &mut Sums) -> Result<(), Failure> {
    let sum = |days: &[DaySpent]| days.iter().map(|day| day.micro_usd).sum::<MicroUsd>();
    let (mut org, mut own) = by_events(store, id).await?;
    let mut ledger = store.spent(id).await?;
    if own != ledger {
        // One that runs may have settled in between: a second look is at both after it.
        ledger = store.spent(id).await?;
        (org, own) = by_events(store, id).await?;
    }
    if own != ledger && args.repair && restate(store, store, &org, id).await? {
        (org, own) = by_events(store, id).await?;
        ledger = store.spent(id).await?;
        sums.repaired += 1;
    }
    sums.executions += 1;
    let spent = sum(&own);
    let of_org = sums.by_org.entry(org.clone()).or_default();
    *of_org = of_org.saturating_add(spent);
    if own != ledger {
        let execution = id.clone();
        sums.differences.push(Difference { execution, org, events_micro_usd: spent, ledger_micro_usd: sum(&ledger) });
    }
    Ok(())
}

/// For whom an execution runs, and what its events say it spent.
async fn by_events(store: &Store, id: &ExecutionId) -> Result<(String, Vec<DaySpent>), Failure> {
    let (mut org, mut own, mut after) = (String::new(), OwnSpending::default(), 0);
    loop {
        let events = Events::read(store, id, after, EVENTS_PAGE).await?;
        let Some(last) = events.last() else { return Ok((org, own.by_day())) };
        after = last.seq;
        for event in &events {
            own.take(event);
            if let Fact::ExecutionStarted { identity, .. } = &event.fact {
                org.clone_from(&identity.org);
            }
        }
    }
}

/// Every difference as a problem, and what processes that died have set aside.
async fn compare(store: &Store, sums: &Sums, args: &Args) -> Result<(Vec<Problem>, MicroUsd), Failure> {
    let problem = |message: String| Problem::new(Code::X027, message);
    let mut problems: Vec<Problem> = sums
        .differences
        .iter()
        .take(NAMED_MAX)
        .map(|found| {
            let Difference { execution, org, events_micro_usd, ledger_micro_usd } = found;
            let (events, ledger) = (usd(*events_micro_usd), usd(*ledger_micro_usd));
            problem(format!(
                "execution `{execution}` cost {events} by its events and {ledger} by the ledger of org `{org}`"
            ))
            .help("resume it if it was left, or run `ice budget check --repair`")
        })
        .collect();
    let more = sums.differences.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        problems.push(problem(format!("{more} further executions differ")).help("`--json` names them all"));
    }
    let mut reserved: MicroUsd = 0;
    for standing in store.standings(0).await? {
        if args.org.as_ref().is_some_and(|org| *org != standing.org) {
            continue;
        }
        let by_events = sums.by_org.get(&standing.org).copied().unwrap_or_default();
        if sums.differences.is_empty() && by_events != standing.spent {
            let (events, ledger) = (usd(by_events), usd(standing.spent));
            let message = format!("org `{}` spent {events} by events and {ledger} by the ledger", standing.org);
            problems.push(problem(message).help("executions ran meanwhile, or the database was changed by hand"));
        }
        if !store.stale(&standing.org, STALE_MAX).await?.is_empty() {
            reserved = reserved.saturating_add(standing.reserved);
        }
    }
    Ok((problems, reserved))
}
