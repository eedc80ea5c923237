//! The budget of the org an execution runs for: asked before each priced call, across executions and processes.
//!
//! The ledger itself is the store's, which alone can let one of two processes be first. What is spent there follows
//! from events: an execution that is taken up restates its own sums, so does one that ends with something still set
//! aside, and sums of processes that died with a call under way are restated when somebody needs what they had set
//! aside. Answers from a cassette cost nothing, and nobody is asked about them.

use std::collections::HashSet;
use std::sync::Mutex;

use ice_core::budget::{MicroUsd, Usage, Window, day_of, dollars};
use ice_core::event::Event;
use ice_core::id::{ExecutionId, NodePath, UnixMs};
use ice_core::ports::{Events, Failure, Hold, Lease, Ledger, Restating, Settled, Standing, own_spending};
use ice_core::problem::{Code, Problem};

use crate::engine::read_all;
use crate::run::{Run, Shared};

/// Executions of dead processes that are restated before a call is refused.
const STALE_MAX: u32 = 1_000;

/// What an execution has set aside in the ledger of its org, as far as this process knows.
pub(crate) struct Purse {
    /// False when a cassette answers.
    pays: bool,
    open: Mutex<HashSet<NodePath>>,
}

/// An event that says what a call cost: number, moment, amount.
pub(crate) struct Paid {
    pub(crate) seq: u64,
    pub(crate) at: UnixMs,
    pub(crate) used: Usage,
}

/// How an org stands within the window of its budget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrgStanding {
    /// What it may spend.
    pub limit: MicroUsd,
    /// For which time.
    pub window: Window,
    /// What it spent and set aside.
    pub standing: Standing,
}

impl OrgStanding {
    /// What is left.
    pub fn left(&self) -> MicroUsd {
        self.limit.saturating_sub(self.standing.spent.saturating_add(self.standing.reserved))
    }
}

impl Purse {
    /// The purse of an execution that has set nothing aside; it `pays` unless a cassette answers.
    pub(crate) fn new(pays: bool) -> Self {
        Self { pays, open: Mutex::default() }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashSet<NodePath>> {
        self.open.lock().expect("no panic while listing")
    }
}

/// Of two processes that held an execution one after the other, none touches what the other set aside.
fn hold(run: &Run, path: &NodePath, micro_usd: MicroUsd) -> Hold {
    let key = format!("{}:{path}", run.journal.lease().fence);
    Hold { execution: run.id.clone(), key, org: run.identity.org.clone(), micro_usd }
}

/// Sets `estimate` aside; X005 when the org has not that much left. A call that is free for certain needs nothing.
pub(crate) async fn reserve(run: &Run, path: &NodePath, estimate: &Usage) -> Result<(), Failure> {
    let org = &run.identity.org;
    let budgets = &run.shared.options.org_budgets;
    let limit = budgets.of(org);
    if !run.purse.pays || (limit.is_none() && estimate.cost_micro_usd == 0) {
        return Ok(());
    }
    if limit.is_some() && estimate.unpriced_calls > 0 {
        return Err(Failure::never(unpriced(org)));
    }
    if estimate.cost_micro_usd == 0 {
        return Ok(());
    }
    let Some(ledger) = run.shared.ports.events.ledger() else {
        return limit.map_or(Ok(()), |_| Err(Failure::never(no_ledger(org))));
    };
    let hold = hold(run, path, estimate.cost_micro_usd);
    let since = budgets.window.first_day(run.now());
    // Noted first: whoever drops this half way leaves a hold that is freed at the end.
    run.purse.open().insert(path.clone());
    if ledger.hold(&hold, limit, since).await?.is_none() {
        return Ok(());
    }
    // What the dead had set aside may be free.
    restate_stale(&run.shared, ledger, org).await?;
    let Some(standing) = ledger.hold(&hold, limit, since).await? else { return Ok(()) };
    run.purse.open().remove(path);
    let next = format!("the next call of `{path}` could cost ${}", dollars(hold.micro_usd));
    let standing = OrgStanding { limit: limit.unwrap_or_default(), window: budgets.window, standing };
    Err(Failure::never(refusal(&next, &standing)))
}

/// Replaces what was set aside under `path` by what the call cost, which a durable event says, or by nothing. When the
/// ledger cannot take it now, the larger amount stays set aside until the end of the execution.
pub(crate) async fn settle(run: &Run, path: &NodePath, paid: Paid) {
    let Some(ledger) = run.shared.ports.events.ledger() else { return };
    let Paid { seq, at, used } = paid;
    let reserved = run.purse.open().contains(path);
    if !run.purse.pays || (!reserved && used.cost_micro_usd == 0) {
        return;
    }
    // Noted here too: a settlement that is dropped half way, or fails, is made good at the end.
    run.purse.open().insert(path.clone());
    let settled = Settled { seq, day: day_of(at), micro_usd: used.cost_micro_usd };
    if ledger.settle(&hold(run, path, 0), settled).await.is_ok() {
        run.purse.open().remove(path);
    }
}

/// At the end, once everything is durable: restates the sums when some call is not settled. A ledger that cannot take
/// it keeps the larger amount, until somebody needs it.
pub(crate) async fn close(run: &Run) {
    let Some(ledger) = run.shared.ports.events.ledger() else { return };
    if run.purse.open().is_empty() || run.journal.broken().is_some() {
        return;
    }
    if let Ok(list) = read_all(&*run.shared.ports.events, &run.id).await {
        let (lease, spent) = (run.journal.lease(), own_spending(&list));
        let who = Restating::Holder(&lease);
        let _ = ledger.restate(&run.id, &run.identity.org, list.len() as u64, &spent, who).await;
    }
}

/// How an org stands, when it has a budget; with `needed` more than it has left, after whatever is free was freed.
pub(crate) async fn standing(shared: &Shared, org: &str, needed: MicroUsd) -> Result<Option<OrgStanding>, Problem> {
    let budgets = &shared.options.org_budgets;
    let Some(limit) = budgets.of(org) else { return Ok(None) };
    let ledger = shared.ports.events.ledger().ok_or_else(|| no_ledger(org))?;
    let look = async || {
        let since = budgets.window.first_day(shared.ports.clock.now_ms());
        let standings = ledger.standings(since).await.map_err(|failure| failure.problem)?;
        let found = standings.into_iter().find(|standing| standing.org == org);
        let standing = found.unwrap_or_else(|| Standing { org: org.to_owned(), ..Standing::default() });
        Ok::<_, Problem>(OrgStanding { limit, window: budgets.window, standing })
    };
    let first = look().await?;
    if needed <= first.left() || first.standing.reserved == 0 {
        return Ok(Some(first));
    }
    restate_stale(shared, ledger, org).await.map_err(|failure| failure.problem)?;
    look().await.map(Some)
}

/// Puts what its events say in the place of what the ledger says of an execution that this process has just taken up.
pub(crate) async fn take_up(shared: &Shared, lease: &Lease, org: &str, list: &[Event]) -> Result<(), Failure> {
    let Some(ledger) = shared.ports.events.ledger() else { return Ok(()) };
    let spent = own_spending(list);
    ledger.restate(&lease.execution, org, list.len() as u64, &spent, Restating::Holder(lease)).await.map(drop)
}

async fn restate_stale(shared: &Shared, ledger: &dyn Ledger, org: &str) -> Result<(), Failure> {
    for id in ledger.stale(org, STALE_MAX).await? {
        restate(&*shared.ports.events, ledger, org, &id).await?;
    }
    Ok(())
}

/// Makes the sums of an execution that no process holds again from its events. False when somebody has taken it up
/// meanwhile, who does the same.
pub async fn restate(events: &dyn Events, ledger: &dyn Ledger, org: &str, id: &ExecutionId) -> Result<bool, Failure> {
    let list = read_all(events, id).await.map_err(Failure::maybe)?;
    ledger.restate(id, org, list.len() as u64, &own_spending(&list), Restating::Anybody).await
}

/// X005 for an amount that an org has not left; `next` says for what.
pub(crate) fn refusal(next: &str, org: &OrgStanding) -> Problem {
    let OrgStanding { limit, window, standing } = org;
    let (spent, reserved, limit) = (dollars(standing.spent), dollars(standing.reserved), dollars(*limit));
    let message = format!(
        "{next}, and org `{}` has spent ${spent} and set ${reserved} aside of its budget of ${limit} ({})",
        standing.org,
        window.phrase()
    );
    let later = match window {
        Window::Total => "",
        Window::Day | Window::Month => ", or wait for the next window",
    };
    Problem::new(Code::X005, message)
        .help(format!("see `ice budget show`; raise `org_usd` of `[budget]` (`ORG_BUDGET_USD`){later}"))
}

/// X005 for a call whose price nobody knows.
pub(crate) fn unpriced(org: &str) -> Problem {
    let message = format!("the price of the next call is not known, so the budget of org `{org}` could not be kept");
    Problem::new(Code::X005, message).help(
        "use a model of `ice budget prices`, or put a `[[price]]` with `model`, `input`, `output`, `as_of` and `source` \
         into the file that `prices` of `[llm]` names",
    )
}

fn no_ledger(org: &str) -> Problem {
    Problem::new(Code::X005, format!("this store keeps no ledger, so the budget of org `{org}` could not be kept"))
        .help("keep executions in SQLite or Postgres")
}
