//! `ice schedules serve`.

use ice_api::app::EXECUTIONS_MAX;
use ice_core::event::FinalStatus;
use ice_core::execution::Ending;
use ice_core::problem::{Exit, Problem};
use ice_core::schedule;
use ice_engine::{Rest, Started};
use serde_json::json;

use super::one;
use crate::commands::Outcome;
use crate::config::Config;
use crate::interrupt;
use crate::output::Output;
use crate::wire::Host;

/// Run schedules at their times, until stopped
///
/// Any number of processes may do so: each time is run by one of them. `ice serve` does it too, beside its API. Changes
/// by other processes are seen within 10 seconds, and executions that a dead process left are taken up. Ctrl-C or SIGTERM
/// stops: nothing more is started, executions have `--grace` seconds to end, and the next process goes on with the others.
///
/// Example: * * * * * ice schedules serve --once --quiet
#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// Run what is due now and go on with what dead processes left, and exit when that has ended; for a timer such as cron
    #[arg(long)]
    once: bool,
    /// How many seconds executions have to end when it is stopped
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=3_600))]
    grace: u64,
}

pub(super) async fn run(args: ServeArgs, config: &Config, output: &Output) -> Outcome {
    let host = Host::open(config, output).await?;
    if args.once {
        let outcome = once(&host, output).await;
        if host.engine.drain(0).await > 0 {
            output.note("stopped; `ice executions list` shows what can be resumed");
        }
        return outcome;
    }
    let timetable = host.timetable();
    output.note("running schedules; Ctrl-C stops");
    let said = |heard: Result<Started, Problem>| match heard {
        Ok(started) => drop(told(&started, output)),
        Err(problem) => output.warn(&problem),
    };
    tokio::select! {
        biased;
        () = interrupt::interrupted() => {}
        never = timetable.serve(said) => match never {},
        never = host.engine.tend(EXECUTIONS_MAX, |problem| output.warn(problem)) => match never {},
    }
    interrupt::leave_on_second();
    output.note("stopping");
    let left = host.engine.drain(args.grace * 1_000).await;
    host.close().await;
    if left > 0 {
        output.note(&format!("{left} executions have not ended; the next process goes on with them"));
    }
    Ok(Exit::Done)
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
        Err(_) => {
            refusals(started).iter().for_each(|problem| output.warn(problem));
            None
        }
    }
}

/// Why a run was not started, with its schedule and when it is tried again.
pub(crate) fn refusals(started: &Started) -> Vec<Problem> {
    let again = started.again.map(|at| format!("; tried again at {}", schedule::local(at, "UTC"))).unwrap_or_default();
    let of = |problem: &Problem| {
        let mut problem = problem.clone();
        problem.message = format!("schedule `{}` was not started: {}{again}", started.name, problem.message);
        problem
    };
    started.run.as_ref().err().into_iter().flatten().map(of).collect()
}

/// What dead processes left first: it may be what a schedule waits for.
async fn once(host: &Host, output: &Output) -> Outcome {
    let mut handles = host.engine.tend_once(EXECUTIONS_MAX, |problem| output.warn(problem)).await;
    let mut failed = false;
    for started in host.timetable().start_due().await.map_err(one)? {
        failed |= told(&started, output).is_none();
        handles.extend(started.run);
    }
    for handle in handles {
        tokio::select! {
            rest = handle.rest() => {
                let bad = |ending: &Ending| ending.status != FinalStatus::Completed;
                failed |= matches!(&rest, Rest::Ended(ending) if bad(ending));
            }
            () = interrupt::interrupted() => return Ok(Exit::Interrupted),
        }
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}
