//! Before anything starts: could the budget suffice at all?
//!
//! Counts only model calls that are certain to be made and whose model is known: top-level llm nodes without a
//! condition. What is inside loops, branches, agents and children is watched while it runs.

use ice_core::budget::{Budget, Usage};
use ice_core::problem::Problem;
use serde_json::Value;

use crate::meter::exceeded;
use crate::plan::{Plan, RunIf};
use crate::run::Ports;

/// X005 when the calls that are certain could cost more than the budget.
pub(crate) fn check(ports: &Ports, plan: &Plan, inputs: &Value, budget: &Budget) -> Result<(), Problem> {
    if budget.micro_usd.is_none() && budget.tokens.is_none() {
        return Ok(());
    }
    let mut total = Usage::default();
    let mut calls = 0;
    for node in &plan.graph.nodes {
        if node.standby || matches!(node.run_if, RunIf::When(_)) {
            continue;
        }
        let Some(request) = node.node.certain_request(inputs) else { continue };
        // A model that cannot be resolved fails its own node, with a better message than any made here.
        if let Ok(model) = ports.llm.resolve(&request) {
            total.add(&model.estimate);
            calls += 1;
        }
    }
    match exceeded(budget, &total).filter(|_| calls > 0) {
        None => Ok(()),
        Some(mut problem) => {
            let plural = if calls == 1 { "call" } else { "calls" };
            problem.message = format!("before the start: {calls} model {plural} together: {}", problem.message);
            Err(problem.subject(format!("blueprint `{}`", plan.name)))
        }
    }
}
