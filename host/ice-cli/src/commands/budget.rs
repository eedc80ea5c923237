//! `ice budget`: what orgs and executions spent and may spend, what a blueprint may cost, what models cost.

mod check;
mod estimate;
mod prices;
mod show;
mod table;

use clap::Subcommand;
use ice_core::budget::{MicroUsd, Usage, dollars};
use ice_core::problem::Problem;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum BudgetCommand {
    Show(show::Args),
    Estimate(estimate::Args),
    Prices(prices::Args),
    Check(check::Args),
}

pub(crate) async fn run(command: BudgetCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        BudgetCommand::Show(args) => show::run(args, config, output).await,
        BudgetCommand::Estimate(args) => estimate::run(args, config, output).await,
        BudgetCommand::Prices(args) => prices::run(&args, config, output).map_err(one),
        BudgetCommand::Check(args) => check::run(args, config, output).await,
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

/// Dollars for a reader.
fn usd(micro_usd: MicroUsd) -> String {
    format!("${}", dollars(micro_usd))
}

/// Dollars for a reader, with how many calls they leave out.
fn cost(usage: &Usage) -> String {
    match usage.unpriced_calls {
        0 => usd(usage.cost_micro_usd),
        calls => format!("{} + {calls} unpriced", usd(usage.cost_micro_usd)),
    }
}
