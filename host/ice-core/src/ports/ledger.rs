//! The port to the ledger of orgs: what all executions of an org spent and have set aside, across processes.
//!
//! A view: every row can be made again from the events. It is kept so that two processes can ask "does this call still
//! fit?" and have one of them be first.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Failure, Lease};
use crate::budget::{MicroUsd, day_of};
use crate::event::{Event, Fact};
use crate::id::ExecutionId;

/// Money set aside for one call that is about to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The execution that pays.
    pub execution: ExecutionId,
    /// Tells its calls apart; a second hold under the same key takes the place of the first.
    pub key: String,
    /// Whose budget it comes from.
    pub org: String,
    /// The most the call can cost.
    pub micro_usd: MicroUsd,
}

/// What an org spent in a window and has set aside now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Standing {
    /// The org.
    pub org: String,
    /// Settled since the window began, in micro-USD.
    pub spent: MicroUsd,
    /// Set aside for calls under way, in micro-USD.
    pub reserved: MicroUsd,
}

/// What one execution itself spent on one day. Executions it started have rows of their own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct DaySpent {
    /// Days since 1970-01-01 in UTC.
    pub day: u64,
    /// Micro-USD.
    pub micro_usd: MicroUsd,
}

/// Who restates the sums of an execution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restating<'a> {
    /// The process that holds it.
    Holder(&'a Lease),
    /// Somebody else, while no process holds it.
    Anybody,
}

/// The ledger of orgs. Implemented by ice-store beside the event lists, because a restatement has to see both at once.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Sets money aside, unless what the org spent since the day `since`, what it has set aside and this hold together
    /// are more than `limit`: then nothing is written and the standing is returned. Without a limit it always fits.
    /// Of two that ask at once the second sees the hold of the first.
    async fn hold(&self, hold: &Hold, limit: Option<MicroUsd>, since: u64) -> Result<Option<Standing>, Failure>;

    /// Replaces the hold, if there is one, by `used`, spent on `day`. What the hold says of money is not read.
    async fn settle(&self, hold: &Hold, used: MicroUsd, day: u64) -> Result<(), Failure>;

    /// Puts what the first `events` events of an execution say in the place of what the ledger says, and frees its
    /// holds. False, and nothing is changed, when the list is longer by now or when it is not for `who` to say.
    async fn restate(
        &self,
        execution: &ExecutionId,
        org: &str,
        events: u64,
        spent: &[DaySpent],
        who: Restating<'_>,
    ) -> Result<bool, Failure>;

    /// Executions of the org that have holds although no process holds them, at most `limit`.
    async fn stale(&self, org: &str, limit: u32) -> Result<Vec<ExecutionId>, Failure>;

    /// How every org that ever spent or holds anything stands, by name.
    async fn standings(&self, since: u64) -> Result<Vec<Standing>, Failure>;

    /// Executions of the org that spent most since the day `since`, most first, at most `limit`.
    async fn dearest(&self, org: &str, since: u64, limit: u32) -> Result<Vec<(ExecutionId, MicroUsd)>, Failure>;

    /// What the ledger says of one execution, by day.
    async fn spent(&self, execution: &ExecutionId) -> Result<Vec<DaySpent>, Failure>;
}

/// What the events say an execution itself spent, by day, oldest first: the sum of its settlements, without those that
/// repeat at a workflow node what the execution inside it settled in its own list.
pub fn own_spending(events: &[Event]) -> Vec<DaySpent> {
    let mut children = HashSet::new();
    let mut days: BTreeMap<u64, MicroUsd> = BTreeMap::new();
    for event in events {
        match &event.fact {
            Fact::NodeStarted { kind, .. } if kind == "workflow" => drop(children.insert(&event.path)),
            Fact::BudgetSettled { used } if used.cost_micro_usd > 0 && !children.contains(&event.path) => {
                let sum = days.entry(day_of(event.at)).or_default();
                *sum = sum.saturating_add(used.cost_micro_usd);
            }
            _ => {}
        }
    }
    days.into_iter().map(|(day, micro_usd)| DaySpent { day, micro_usd }).collect()
}
