//! The ledger of orgs in memory.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use ice_core::budget::MicroUsd;
use ice_core::id::ExecutionId;
use ice_core::ports::{DaySpent, Failure, Hold, Ledger, Restating, Settled, Standing};

use super::{MemoryStore, unknown};

/// What a store knows of the money of orgs.
#[derive(Default)]
pub(super) struct Purses {
    /// By execution and key: org and amount.
    holds: BTreeMap<(ExecutionId, String), (String, MicroUsd)>,
    /// By execution and day: org and amount.
    spent: BTreeMap<(ExecutionId, u64), (String, MicroUsd)>,
    /// So many events of an execution are in its sums because they were restated.
    counted: BTreeMap<ExecutionId, u64>,
}

impl Purses {
    fn standing(&self, org: &str, since: u64) -> Standing {
        let of_org = |found: &&(String, MicroUsd)| found.0 == org;
        let spent = self.spent.iter().filter(|((_, day), _)| *day >= since).map(|(_, found)| found);
        Standing {
            org: org.to_owned(),
            spent: spent.filter(of_org).map(|found| found.1).sum(),
            reserved: self.holds.values().filter(of_org).map(|found| found.1).sum(),
        }
    }
}

#[async_trait]
impl Ledger for MemoryStore {
    async fn hold(&self, hold: &Hold, limit: Option<MicroUsd>, since: u64) -> Result<Option<Standing>, Failure> {
        let mut inner = self.lock();
        let key = (hold.execution.clone(), hold.key.clone());
        let before = inner.purses.holds.remove(&key);
        let standing = inner.purses.standing(&hold.org, since);
        if limit.is_some_and(|limit| standing.spent + standing.reserved + hold.micro_usd > limit) {
            inner.purses.holds.extend(before.map(|before| (key, before)));
            return Ok(Some(standing));
        }
        inner.purses.holds.insert(key, (hold.org.clone(), hold.micro_usd));
        Ok(None)
    }

    async fn settle(&self, hold: &Hold, settled: Settled) -> Result<(), Failure> {
        let mut inner = self.lock();
        let purses = &mut inner.purses;
        purses.holds.remove(&(hold.execution.clone(), hold.key.clone()));
        if settled.seq > purses.counted.get(&hold.execution).copied().unwrap_or_default() && settled.micro_usd > 0 {
            let sum = purses.spent.entry((hold.execution.clone(), settled.day)).or_default();
            *sum = (hold.org.clone(), sum.1 + settled.micro_usd);
        }
        Ok(())
    }

    async fn restate(
        &self,
        execution: &ExecutionId,
        org: &str,
        events: u64,
        spent: &[DaySpent],
        who: Restating<'_>,
    ) -> Result<bool, Failure> {
        let mut inner = self.lock();
        let now = inner.clock.now_ms();
        let list = inner.lists.get(execution).ok_or_else(|| unknown(execution))?;
        let allowed = match who {
            Restating::Holder(lease) => lease.fence == list.fence,
            Restating::Anybody => list.until <= now,
        };
        if !allowed || list.events.len() as u64 != events {
            return Ok(false);
        }
        let purses = &mut inner.purses;
        purses.holds.retain(|(id, _), _| id != execution);
        purses.spent.retain(|(id, _), _| id != execution);
        let rows = spent.iter().map(|spent| ((execution.clone(), spent.day), (org.to_owned(), spent.micro_usd)));
        purses.spent.extend(rows);
        purses.counted.insert(execution.clone(), events);
        Ok(true)
    }

    async fn stale(&self, org: &str, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        let inner = self.lock();
        let now = inner.clock.now_ms();
        let held = |id: &ExecutionId| inner.lists.get(id).is_some_and(|list| list.until > now);
        let holding = inner.purses.holds.iter().filter(|(_, (owner, _))| owner == org).map(|((id, _), _)| id);
        let free: BTreeSet<&ExecutionId> = holding.filter(|id| !held(id)).collect();
        Ok(free.into_iter().take(usize::try_from(limit).expect("32 bits fit")).cloned().collect())
    }

    async fn standings(&self, since: u64) -> Result<Vec<Standing>, Failure> {
        let inner = self.lock();
        let orgs = inner.purses.spent.values().chain(inner.purses.holds.values()).map(|(org, _)| org.as_str());
        let orgs: BTreeSet<&str> = orgs.collect();
        let standings = orgs.into_iter().map(|org| inner.purses.standing(org, since));
        Ok(standings.filter(|standing| standing.spent + standing.reserved > 0).collect())
    }

    async fn dearest(&self, org: &str, since: u64, limit: u32) -> Result<Vec<(ExecutionId, MicroUsd)>, Failure> {
        let inner = self.lock();
        let mut sums: BTreeMap<&ExecutionId, MicroUsd> = BTreeMap::new();
        for ((id, day), (owner, micro_usd)) in &inner.purses.spent {
            if owner == org && *day >= since {
                *sums.entry(id).or_default() += micro_usd;
            }
        }
        let mut sums: Vec<_> = sums.into_iter().map(|(id, sum)| (id.clone(), sum)).collect();
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
        sums.truncate(usize::try_from(limit).expect("32 bits fit"));
        Ok(sums)
    }

    async fn spent(&self, execution: &ExecutionId) -> Result<Vec<DaySpent>, Failure> {
        let inner = self.lock();
        let own = inner.purses.spent.iter().filter(|((id, _), _)| id == execution);
        Ok(own.map(|((_, day), (_, micro_usd))| DaySpent { day: *day, micro_usd: *micro_usd }).collect())
    }
}
