//! The port to the ledger of orgs: what all executions of an org spent and have set aside, across processes.
//!
//! A view: every row can be made again from the events. It is kept so that two processes can ask "does this call still
//! fit?" and have one of them be first.
//!
//! What a process that died had set aside counts until its execution is taken up again, or until somebody needs the
//! money after the lease of the dead process ran out: both restate the sums of the execution from its events, which
//! frees its holds and counts each settled call once.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Failure, Lease};
use crate::budget::{MicroUsd, day_of};
use crate::event::{Event, Fact, Origin};
use crate::id::{ExecutionId, NodePath};

/// Money set aside for one call that is about to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The execution that pays.
    pub execution: ExecutionId,
    /// Tells its calls apart, and those of two processes that held it one after the other; a second hold under the same
    /// key takes the place of the first.
    pub key: String,
    /// Whose budget it comes from.
    pub org: String,
    /// The most the call can cost.
    pub micro_usd: MicroUsd,
}

/// What a call really cost, as an event says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// Number of the event. Sums that were restated from a list that holds it already do not grow again.
    pub seq: u64,
    /// Day of the event, see [`day_of`].
    pub day: u64,
    /// What it cost.
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

    /// Replaces the hold, if there is one, by what the call cost. What the hold says of money is not read. Adds nothing
    /// when the sums of the execution were restated from a list that holds the event already.
    async fn settle(&self, hold: &Hold, settled: Settled) -> Result<(), Failure>;

    /// Puts what the first `events` events of an execution say in the place of what the ledger says, and frees its
    /// holds. False, and nothing is changed, when the list is longer by now or when it is not for `who` to say. Fails when
    /// there is no such execution.
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
/// repeat at a workflow node what the execution inside it settled in its own list. Answers from a cassette cost nothing.
pub fn own_spending(events: &[Event]) -> Vec<DaySpent> {
    let mut sums = OwnSpending::default();
    events.iter().for_each(|event| sums.take(event));
    sums.by_day()
}

/// [`own_spending`] of a list that is read in pieces.
#[derive(Default)]
pub struct OwnSpending {
    /// Nodes that started executions.
    starters: HashSet<NodePath>,
    replayed: bool,
    days: BTreeMap<u64, MicroUsd>,
}

impl OwnSpending {
    /// Takes in the next event.
    pub fn take(&mut self, event: &Event) {
        match &event.fact {
            Fact::ExecutionStarted { origin, .. } => {
                self.replayed = matches!(origin.as_deref(), Some(Origin::Replay { .. }));
            }
            Fact::NodeStarted { kind, .. } if kind == "workflow" => drop(self.starters.insert(event.path.clone())),
            Fact::BudgetSettled { used } => {
                let own = !self.replayed && !self.starters.contains(&event.path);
                if own && used.cost_micro_usd > 0 {
                    let sum = self.days.entry(day_of(event.at)).or_default();
                    *sum = sum.saturating_add(used.cost_micro_usd);
                }
            }
            _ => {}
        }
    }

    /// The sums so far, oldest day first.
    pub fn by_day(&self) -> Vec<DaySpent> {
        self.days.iter().map(|(&day, &micro_usd)| DaySpent { day, micro_usd }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, Usage};
    use crate::id::{Digest, Identity};

    const DAY_MS: u64 = 86_400_000;

    fn event(seq: u64, at: u64, path: &str, fact: Fact) -> Event {
        Event { seq, at, path: NodePath(path.into()), attempt: 1, fact }
    }

    fn paid(cost_micro_usd: u64) -> Fact {
        Fact::BudgetSettled { used: Usage { cost_micro_usd, ..Usage::default() } }
    }

    fn began(kind: &str) -> Fact {
        Fact::NodeStarted { kind: kind.into(), idempotency_key: String::new(), component: None }
    }

    fn start(origin: Option<Origin>) -> Event {
        let fact = Fact::ExecutionStarted {
            blueprint: Digest::of(b"b"),
            name: "n".into(),
            inputs: serde_json::Value::Null,
            identity: Identity::local(),
            components: Default::default(),
            blueprints: Default::default(),
            parent: None,
            budget: Budget::default(),
            origin: origin.map(Box::new),
        };
        event(1, DAY_MS - 1, "", fact)
    }

    #[test]
    fn spending_is_summed_by_the_day_of_its_event() {
        let list = [
            start(None),
            event(2, DAY_MS - 1, "a", paid(1)),
            event(3, DAY_MS, "a", paid(2)),
            event(4, DAY_MS, "b", paid(4)),
        ];
        let by_day = [DaySpent { day: 0, micro_usd: 1 }, DaySpent { day: 1, micro_usd: 6 }];
        assert_eq!(own_spending(&list), by_day);
    }

    #[test]
    fn what_a_child_settled_itself_and_what_a_cassette_answered_is_not_own_spending() {
        let list =
            [start(None), event(2, 0, "w", began("workflow")), event(3, 0, "w", paid(5)), event(4, 0, "x", paid(1))];
        assert_eq!(own_spending(&list), [DaySpent { day: 0, micro_usd: 1 }]);
        let cassette = Origin::Replay { cassette: Digest::of(b"c") };
        assert!(own_spending(&[start(Some(cassette)), event(2, 0, "x", paid(1))]).is_empty());
    }
}
