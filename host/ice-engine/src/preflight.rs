//! Before anything starts: could the budgets suffice at all?
//!
//! Refuses for what is certain, see `estimate`: what is inside conditions, agents and the like is watched while it
//! runs. What could happen at most is only worth a warning.

use ice_core::budget::{Budget, Usage, dollars};
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use crate::estimate::{Range, estimate};
use crate::meter::exceeded;
use crate::plan::Plan;
use crate::purse::{self, refusal};
use crate::run::Shared;

/// X005 when what is certain costs more than the budget or than what the org has left, or when one of the certain calls
/// could cost so much by itself that it is never made.
pub(crate) async fn check(
    shared: &Shared,
    plan: &Plan,
    inputs: &Value,
    budget: &Budget,
    org: &str,
) -> Result<(), Problem> {
    let Some(range) = limited(shared, plan, inputs, budget, org) else { return Ok(()) };
    let subject = format!("blueprint `{}`", plan.name);
    let calls = range.calls[0];
    if calls == 0 {
        return Ok(());
    }
    let plural = if calls == 1 { "call" } else { "calls" };
    for usage in [&range.low, &range.dearest] {
        if let Some(mut problem) = exceeded(budget, usage) {
            problem.message = format!("before the start, for {calls} certain model {plural}: {}", problem.message);
            return Err(problem.subject(subject));
        }
    }
    if shared.options.replays.is_some() {
        return Ok(());
    }
    let needed = range.low.cost_micro_usd.max(range.dearest.cost_micro_usd);
    let Some(standing) = purse::standing(shared, org, needed).await? else { return Ok(()) };
    if range.low.unpriced_calls > 0 {
        return Err(purse::unpriced(org).subject(subject));
    }
    if needed <= standing.left() {
        return Ok(());
    }
    let next = format!("before the start: the calls that are certain could cost ${}", dollars(needed));
    Err(refusal(&next, &standing).subject(subject))
}

/// X005 for every limit that holds for what is certain, and not for what could happen at most.
pub(crate) async fn warnings(shared: &Shared, plan: &Plan, inputs: &Value, budget: &Budget, org: &str) -> Vec<Problem> {
    let Some(range) = limited(shared, plan, inputs, budget, org) else { return Vec::new() };
    let high = range.high;
    let over = |what: String| {
        let message = format!("it could cost ${} at most, and {what}: it may be stopped on the way", money(&high));
        Problem::new(Code::X005, message).subject(format!("blueprint `{}`", plan.name)).help(
            "`ice budget estimate` shows which nodes; lower `max_tokens` or `max_iterations`, or raise the budget",
        )
    };
    let mut problems = Vec::new();
    if let Some(limit) = budget.micro_usd.filter(|limit| high.cost_micro_usd > *limit || high.unpriced_calls > 0) {
        problems.push(over(format!("its budget is ${}", dollars(limit))));
    }
    if let Some(limit) = budget.tokens.filter(|limit| high.total_tokens() > *limit) {
        problems.push(over(format!("take {} tokens, its budget is {limit} tokens", high.total_tokens())));
    }
    if shared.options.replays.is_none()
        && let Ok(Some(standing)) = purse::standing(shared, org, high.cost_micro_usd).await
        && (high.cost_micro_usd > standing.left() || high.unpriced_calls > 0)
    {
        let (left, window) = (dollars(standing.left()), standing.window.phrase());
        problems.push(over(format!("org `{org}` has ${left} left ({window})")));
    }
    problems
}

/// The estimate, where there is any limit that it could break.
fn limited(shared: &Shared, plan: &Plan, inputs: &Value, budget: &Budget, org: &str) -> Option<Range> {
    let own = budget.micro_usd.is_some() || budget.tokens.is_some();
    let any = own || shared.options.org_budgets.of(org).is_some();
    any.then(|| estimate(&*shared.ports.llm, plan, inputs).range)
}

/// Dollars, and how many calls they leave out.
fn money(usage: &Usage) -> String {
    match usage.unpriced_calls {
        0 => dollars(usage.cost_micro_usd),
        calls => format!("{} and {calls} calls of unknown price", dollars(usage.cost_micro_usd)),
    }
}
