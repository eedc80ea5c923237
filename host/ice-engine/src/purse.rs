//! The budget of the org an execution runs for: asked before each priced call, across executions and processes.
//!
//! The ledger itself is the store's, which alone can let one of two processes be first. What is spent there follows
//! from events: an execution that is taken up restates its own sums, and sums of processes that died with a call under
//! way are restated when somebody needs what they had set aside.

use ice_core::budget::{Usage, day_of, dollars};
use ice_core::event::Event;
use ice_core::id::{ExecutionId, NodePath};
use ice_core::ports::{Failure, Hold, Lease, Ledger, Restating, Standing, own_spending};
use ice_core::problem::{Code, Problem};

use crate::engine::read_all;
use crate::run::{Run, Shared};

/// Executions of dead processes that are restated before a call is refused.
const STALE_MAX: u32 = 1_000;

fn hold(run: &Run, path: &NodePath, micro_usd: u64) -> Hold {
    Hold { execution: run.id.clone(), key: path.to_string(), org: run.identity.org.clone(), micro_usd }
}

/// Sets `estimate` aside; X005 when the org has not that much left. A call that is free for certain needs nothing.
pub(crate) async fn reserve(run: &Run, path: &NodePath, estimate: &Usage) -> Result<(), Failure> {
    let Some(ledger) = run.shared.ports.events.ledger() else { return Ok(()) };
    let org = &run.identity.org;
    let budgets = &run.shared.options.org_budgets;
    let limit = budgets.of(org);
    if limit.is_some() && estimate.unpriced_calls > 0 {
        return Err(Failure::never(unpriced(org)));
    }
    if estimate.cost_micro_usd == 0 {
        return Ok(());
    }
    let hold = hold(run, path, estimate.cost_micro_usd);
    let since = budgets.window.first_day(run.now());
    let Some(_) = ledger.hold(&hold, limit, since).await? else { return Ok(()) };
    // What the dead had set aside may be free.
    restate_stale(&run.shared, ledger, org).await?;
    match ledger.hold(&hold, limit, since).await? {
        None => Ok(()),
        Some(standing) => {
            let next = format!("the next call of `{path}` could cost ${}", dollars(hold.micro_usd));
            Err(Failure::never(refusal(&next, &standing, limit.unwrap_or_default(), &run.shared)))
        }
    }
}

/// Replaces what was set aside by what the call cost. The events say it already: when the ledger cannot take it now,
/// the larger amount stays set aside until the sums are restated.
pub(crate) async fn settle(run: &Run, path: &NodePath, used: &Usage, reserved: bool) {
    let Some(ledger) = run.shared.ports.events.ledger() else { return };
    if reserved || used.cost_micro_usd > 0 {
        let _ = ledger.settle(&hold(run, path, 0), used.cost_micro_usd, day_of(run.now())).await;
    }
}

/// Before anything starts: X005 when the org has less left than what is certain to be spent.
pub(crate) async fn check(shared: &Shared, org: &str, certain: u64) -> Result<(), Problem> {
    let Some((limit, ledger)) = shared.options.org_budgets.of(org).zip(shared.ports.events.ledger()) else {
        return Ok(());
    };
    if certain == 0 {
        return Ok(());
    }
    let left = async || {
        let since = shared.options.org_budgets.window.first_day(shared.ports.clock.now_ms());
        let standings = ledger.standings(since).await.map_err(|failure| failure.problem)?;
        let found = standings.into_iter().find(|standing| standing.org == org);
        let standing = found.unwrap_or_else(|| Standing { org: org.to_owned(), ..Standing::default() });
        let taken = standing.spent.saturating_add(standing.reserved);
        Ok::<_, Problem>((certain > limit.saturating_sub(taken)).then_some(standing))
    };
    if left().await?.is_none() {
        return Ok(());
    }
    restate_stale(shared, ledger, org).await.map_err(|failure| failure.problem)?;
    let Some(standing) = left().await? else { return Ok(()) };
    let next = format!("before the start: the calls that are certain could cost ${}", dollars(certain));
    Err(refusal(&next, &standing, limit, shared))
}

/// Puts what its events say in the place of what the ledger says of an execution that this process has just taken up.
pub(crate) async fn take_up(shared: &Shared, lease: &Lease, org: &str, list: &[Event]) -> Result<(), Failure> {
    let Some(ledger) = shared.ports.events.ledger() else { return Ok(()) };
    let spent = own_spending(list);
    ledger.restate(&lease.execution, org, list.len() as u64, &spent, Restating::Holder(lease)).await.map(drop)
}

async fn restate_stale(shared: &Shared, ledger: &dyn Ledger, org: &str) -> Result<(), Failure> {
    for id in ledger.stale(org, STALE_MAX).await? {
        restate(shared, ledger, org, &id).await?;
    }
    Ok(())
}

async fn restate(shared: &Shared, ledger: &dyn Ledger, org: &str, id: &ExecutionId) -> Result<(), Failure> {
    let list = read_all(&*shared.ports.events, id).await.map_err(Failure::maybe)?;
    // False when somebody has taken it up meanwhile, who restates it too.
    ledger.restate(id, org, list.len() as u64, &own_spending(&list), Restating::Anybody).await.map(drop)
}

fn refusal(next: &str, standing: &Standing, limit: u64, shared: &Shared) -> Problem {
    let window = shared.options.org_budgets.window.as_str();
    let message = format!(
        "{next}, and org `{}` has spent ${} and set ${} aside of its budget of ${} ({window})",
        standing.org,
        dollars(standing.spent),
        dollars(standing.reserved),
        dollars(limit)
    );
    Problem::new(Code::X005, message)
        .help("see `ice budget show`; raise `ORG_BUDGET_USD` or `[budget] org_usd`, or wait for the next window")
}

fn unpriced(org: &str) -> Problem {
    let message = format!("the price of the next call is not known, so the budget of org `{org}` could not be kept");
    Problem::new(Code::X005, message).help("use a model with a price, or set its price: `ice budget prices` shows how")
}
