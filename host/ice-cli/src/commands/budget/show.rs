//! `ice budget show`: of orgs, or of one execution by node.

use std::collections::{BTreeMap, BTreeSet};

use ice_core::budget::{MicroUsd, Usage};
use ice_core::event::{Event, Fact};
use ice_core::execution::{Execution, replay};
use ice_core::id::{ExecutionId, NodePath};
use ice_core::ports::{DaySpent, Ledger, Standing};
use ice_core::problem::{Exit, Problem};
use serde::Serialize;
use serde_json::json;

use super::table::{lines, row};
use super::{cost, one, usd};
use crate::commands::{Outcome, executions};
use crate::config::Config;
use crate::output::Output;
use crate::view::{self, waiting};
use crate::wire::Storage;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// The executions of an org that spent most.
const DEAREST: u32 = 10;

/// Show what each org spent, has set aside and has left; or what one execution spent, by node
///
/// The window is that of `[budget]`; money counts on the day, in UTC, on which it was spent. What is set aside is for
/// calls under way, and for those of processes that died, until somebody needs it.
///
/// Example: ice budget show --org acme
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An execution; without one, all orgs
    execution: Option<String>,
    /// Only this org, with the executions that spent most
    #[arg(long, conflicts_with = "execution")]
    org: Option<String>,
}

pub(super) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    match args.execution {
        Some(id) => of_execution(&ExecutionId(id), &storage, output).await,
        None => of_orgs(args.org.as_deref(), config, &storage, output).await.map_err(one),
    }
}

/// How an org stands.
#[derive(Serialize)]
struct Row {
    org: String,
    spent_micro_usd: MicroUsd,
    reserved_micro_usd: MicroUsd,
    /// None without a limit.
    budget_micro_usd: Option<MicroUsd>,
    left_micro_usd: Option<MicroUsd>,
}

async fn of_orgs(only: Option<&str>, config: &Config, storage: &Storage, output: &Output) -> Result<Exit, Problem> {
    let budgets = &config.org_budgets;
    let since = budgets.window.first_day(storage.clock.now_ms());
    let ledger: &dyn Ledger = &*storage.store;
    let standings = ledger.standings(since).await.map_err(|failure| failure.problem)?;
    let mut by_org: BTreeMap<String, Standing> =
        standings.into_iter().map(|standing| (standing.org.clone(), standing)).collect();
    let named: BTreeSet<&str> = match only {
        Some(org) => [org].into(),
        None => budgets.by_org.keys().map(String::as_str).chain([config.identity.org.as_str()]).collect(),
    };
    for org in named {
        by_org.entry(org.to_owned()).or_insert_with(|| Standing { org: org.to_owned(), ..Standing::default() });
    }
    by_org.retain(|org, _| only.is_none_or(|only| only == org));
    let rows: Vec<Row> = by_org.into_values().map(|standing| stand(standing, |org| budgets.of(org))).collect();
    let dearest = match only {
        Some(org) => ledger.dearest(org, since, DEAREST).await.map_err(|failure| failure.problem)?,
        None => Vec::new(),
    };
    let from = (since > 0).then(|| waiting::moment(since * DAY_MS));
    output.either(
        || {
            let dearest: Vec<_> =
                dearest.iter().map(|(id, micro_usd)| json!({ "execution": id, "micro_usd": micro_usd })).collect();
            let mut value = json!({ "window": budgets.window, "since": from, "orgs": rows });
            if only.is_some() {
                value["dearest"] = json!(dearest);
            }
            value
        },
        || {
            let mut shown = vec![match &from {
                Some(from) => format!("{}, since {from}", budgets.window.phrase()),
                None => budgets.window.phrase().to_owned(),
            }];
            shown.extend(describe(&rows));
            shown.extend(dearest.iter().map(|(id, micro_usd)| format!("  {id}  {}", usd(*micro_usd))));
            shown
        },
    );
    Ok(Exit::Done)
}

fn stand(standing: Standing, limit: impl Fn(&str) -> Option<MicroUsd>) -> Row {
    let Standing { org, spent, reserved } = standing;
    let budget_micro_usd = limit(&org);
    let left_micro_usd = budget_micro_usd.map(|limit| limit.saturating_sub(spent.saturating_add(reserved)));
    Row { org, spent_micro_usd: spent, reserved_micro_usd: reserved, budget_micro_usd, left_micro_usd }
}

fn describe(rows: &[Row]) -> Vec<String> {
    let head = row(["org", "spent", "set aside", "budget", "left"]);
    let cells = |row: &Row| {
        let or_dash = |amount: Option<MicroUsd>| amount.map_or_else(|| "-".to_owned(), usd);
        let (spent, reserved) = (usd(row.spent_micro_usd), usd(row.reserved_micro_usd));
        vec![row.org.clone(), spent, reserved, or_dash(row.budget_micro_usd), or_dash(row.left_micro_usd)]
    };
    lines(&std::iter::once(head).chain(rows.iter().map(cells)).collect::<Vec<_>>(), 1)
}

/// What a node settled.
#[derive(Default, Serialize)]
struct Spent {
    kind: String,
    /// Settlements that are not nothing.
    calls: u64,
    #[serde(flatten)]
    used: Usage,
}

async fn of_execution(id: &ExecutionId, storage: &Storage, output: &Output) -> Outcome {
    let events = executions::read(id, storage).await?;
    let execution = replay(&events).ok_or_else(|| vec![view::not_found(&id.0)])?;
    let ledger: &dyn Ledger = &*storage.store;
    let days = ledger.spent(id).await.map_err(|failure| one(failure.problem))?;
    let nodes = by_node(&events, &execution);
    output.either(
        || {
            let nodes: Vec<_> = nodes
                .iter()
                .map(|(path, spent)| {
                    let mut value = json!(spent);
                    value["node"] = json!(path);
                    value
                })
                .collect();
            json!({
                "execution": id, "name": execution.name, "org": execution.identity.org,
                "status": execution.status.as_str(), "budget": execution.budget, "usage": execution.usage,
                "nodes": nodes, "ledger": days,
            })
        },
        || lines_of(id, &execution, &nodes, &days),
    );
    Ok(Exit::Done)
}

fn by_node(events: &[Event], execution: &Execution) -> BTreeMap<NodePath, Spent> {
    let mut nodes: BTreeMap<NodePath, Spent> = BTreeMap::new();
    for event in events {
        if let Fact::BudgetSettled { used } = &event.fact
            && *used != Usage::default()
        {
            let spent = nodes.entry(event.path.clone()).or_default();
            spent.calls += 1;
            spent.used.add(used);
        }
    }
    for (path, spent) in &mut nodes {
        if let Some(record) = execution.nodes.get(path) {
            spent.kind.clone_from(&record.kind);
        }
    }
    nodes
}

fn lines_of(
    id: &ExecutionId,
    execution: &Execution,
    nodes: &BTreeMap<NodePath, Spent>,
    days: &[DaySpent],
) -> Vec<String> {
    let cells = |name: &str, kind: &str, calls: u64, used: &Usage| {
        vec![name.to_owned(), kind.to_owned(), calls.to_string(), used.total_tokens().to_string(), cost(used)]
    };
    let mut rows = vec![row(["node", "kind", "calls", "tokens", "cost"])];
    rows.extend(nodes.iter().map(|(path, spent)| cells(path.as_str(), &spent.kind, spent.calls, &spent.used)));
    rows.push(cells("total", "", nodes.values().map(|spent| spent.calls).sum(), &execution.usage));
    let mut shown = vec![format!("{} {} ({id})", execution.name, execution.status.as_str())];
    shown.extend(lines(&rows, 2));
    if let Some(limit) = execution.budget.micro_usd {
        let left = usd(limit.saturating_sub(execution.usage.cost_micro_usd));
        shown.push(format!("budget {}, {left} left", usd(limit)));
    }
    let (org, own) = (&execution.identity.org, days.iter().map(|day| day.micro_usd).sum());
    shown.push(format!("the ledger of org `{org}` has {} of it itself, the rest is its children's", usd(own)));
    shown
}
