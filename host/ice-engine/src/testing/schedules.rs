//! Schedules in memory, with claims and fences.

use std::collections::BTreeMap;

use async_trait::async_trait;
use ice_core::id::{Identity, UnixMs};
use ice_core::ports::{Failure, ScheduleClaim, ScheduleRow, Schedules};
use ice_core::problem::{Code, Problem};

use super::MemoryStore;

/// Name, org and user: the order of a listing.
type Key = (String, String, String);

/// Every schedule, by name and owner.
#[derive(Default)]
pub(super) struct Table(BTreeMap<Key, Kept>);

struct Kept {
    row: ScheduleRow,
    held: UnixMs,
    fence: u64,
}

fn key(who: &Identity, name: &str) -> Key {
    (name.to_owned(), who.org.clone(), who.user.clone())
}

fn fenced(name: &str) -> Failure {
    Failure::never(Problem::new(Code::X026, format!("the claim on the schedule `{name}` was lost")))
}

impl Table {
    fn put(&mut self, row: ScheduleRow) {
        let key = key(&row.who, &row.schedule.name);
        let fence = self.0.get(&key).map_or(1, |old| old.fence + 1);
        self.0.insert(key, Kept { row, held: 0, fence });
    }

    fn apply(&mut self, who: &Identity, network: Option<&str>, rows: &[ScheduleRow]) -> Vec<ScheduleRow> {
        let names: Vec<&str> = rows.iter().map(|row| row.schedule.name.as_str()).collect();
        let gone = |row: &ScheduleRow| network.is_some() && row.schedule.network.as_deref() == network;
        let stays = |row: &ScheduleRow| names.contains(&row.schedule.name.as_str()) || row.who != *who || !gone(row);
        self.0.retain(|_, kept| stays(&kept.row));
        let mut written = Vec::with_capacity(rows.len());
        for row in rows {
            let old = self.0.get(&key(who, &row.schedule.name));
            let row = old.map_or_else(|| row.clone(), |old| row.clone().in_place_of(&old.row));
            self.put(row.clone());
            written.push(row);
        }
        written
    }

    fn claim(&mut self, now: UnixMs, lease_ms: u64) -> Option<ScheduleClaim> {
        let free = |kept: &&mut Kept| !kept.row.paused && kept.held <= now && kept.row.next.is_some_and(|at| at <= now);
        let kept = self.0.values_mut().filter(free).min_by_key(|kept| kept.row.next)?;
        kept.held = now + lease_ms;
        kept.fence += 1;
        Some(ScheduleClaim { row: kept.row.clone(), fence: kept.fence })
    }
}

#[async_trait]
impl Schedules for MemoryStore {
    async fn put_schedule(&self, row: &ScheduleRow) -> Result<(), Failure> {
        self.lock().schedules.put(row.clone());
        Ok(())
    }

    async fn apply_schedules(
        &self,
        who: &Identity,
        network: Option<&str>,
        rows: &[ScheduleRow],
    ) -> Result<Vec<ScheduleRow>, Failure> {
        Ok(self.lock().schedules.apply(who, network, rows))
    }

    async fn schedule(&self, who: &Identity, name: &str) -> Result<Option<ScheduleRow>, Failure> {
        Ok(self.lock().schedules.0.get(&key(who, name)).map(|kept| kept.row.clone()))
    }

    async fn schedules(&self, who: Option<&Identity>, limit: u32) -> Result<Vec<ScheduleRow>, Failure> {
        let inner = self.lock();
        let rows = inner.schedules.0.values().map(|kept| &kept.row);
        let rows = rows.filter(|row| who.is_none_or(|who| (&row.who.org, &row.who.user) == (&who.org, &who.user)));
        Ok(rows.take(usize::try_from(limit).expect("32 bits fit")).cloned().collect())
    }

    async fn remove_schedule(&self, who: &Identity, name: &str) -> Result<bool, Failure> {
        Ok(self.lock().schedules.0.remove(&key(who, name)).is_some())
    }

    async fn claim_schedule(&self, now: UnixMs, lease_ms: u64) -> Result<Option<ScheduleClaim>, Failure> {
        Ok(self.lock().schedules.claim(now, lease_ms))
    }

    async fn settle_schedule(&self, claim: &ScheduleClaim) -> Result<(), Failure> {
        let ScheduleClaim { row, fence } = claim;
        let mut inner = self.lock();
        let kept = inner.schedules.0.get_mut(&key(&row.who, &row.schedule.name));
        let kept = kept.filter(|kept| kept.fence == *fence).ok_or_else(|| fenced(&row.schedule.name))?;
        let ScheduleRow { last, next, execution, planned, .. } = row.clone();
        kept.row = ScheduleRow { last, next, execution, planned, ..kept.row.clone() };
        kept.held = 0;
        Ok(())
    }

    async fn wake_schedule(&self, who: &Identity, name: &str, at: UnixMs) -> Result<bool, Failure> {
        let mut inner = self.lock();
        let kept = inner.schedules.0.get_mut(&key(who, name));
        let rests = |kept: &&mut Kept| !kept.row.paused && kept.row.next.is_some_and(|next| next > at);
        Ok(kept.filter(rests).map(|kept| kept.row.next = Some(at)).is_some())
    }

    async fn next_schedule(&self) -> Result<Option<UnixMs>, Failure> {
        let inner = self.lock();
        let rows = inner.schedules.0.values().filter(|kept| !kept.row.paused);
        Ok(rows.filter_map(|kept| Some(kept.row.next?.max(kept.held))).min())
    }
}
