//! Before anything starts: could the budgets suffice at all?
//!
//! Refuses for what is certain, see `estimate`: what is inside loops, branches, agents and children is watched while it
//! runs.

use ice_core::budget::Budget;
use ice_core::problem::Problem;
use serde_json::Value;

use crate::estimate::estimate;
use crate::meter::exceeded;
use crate::plan::Plan;
use crate::purse;
use crate::run::Shared;

/// X005 when the calls that are certain could cost more than the budget, or than what the org has left.
pub(crate) async fn check(
    shared: &Shared,
    plan: &Plan,
    inputs: &Value,
    budget: &Budget,
    org: &str,
) -> Result<(), Problem> {
    let own = budget.micro_usd.is_some() || budget.tokens.is_some();
    if !own && shared.options.org_budgets.of(org).is_none() {
        return Ok(());
    }
    let range = estimate(&*shared.ports.llm, plan, inputs).range;
    let subject = format!("blueprint `{}`", plan.name);
    let calls = range.calls[0];
    if calls == 0 {
        return Ok(());
    }
    if let Some(mut problem) = exceeded(budget, &range.low) {
        let plural = if calls == 1 { "call" } else { "calls" };
        problem.message = format!("before the start: {calls} model {plural} together: {}", problem.message);
        return Err(problem.subject(subject));
    }
    purse::check(shared, org, range.low.cost_micro_usd).await.map_err(|problem| problem.subject(subject))
}
