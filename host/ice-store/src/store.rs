//! The open database, whichever backend keeps it.

use std::fmt;

use async_trait::async_trait;
use ice_core::budget::MicroUsd;
use ice_core::event::Event;
use ice_core::id::{Digest, ExecutionId, Identity, UnixMs};
use ice_core::ports::{
    DaySpent, Documents, Events, ExecutionRow, Failure, Hold, Lease, Ledger, MemoryFilter, MemoryRow, MemoryRows,
    NamedDocument, Restating, ScheduleClaim, ScheduleRow, Schedules, Settled, Standing,
};
use ice_core::problem::Problem;
use semver::Version;
use serde_json::Value;

use crate::every::Every;
use crate::{postgres, sqlite};

/// An open database. Cheap to clone; the clones share connections. Ends when the last clone is dropped; [`Store::close`]
/// ends it at a known moment.
#[derive(Clone)]
pub struct Store(pub(crate) Kind);

#[derive(Clone)]
pub(crate) enum Kind {
    Sqlite(sqlite::Store),
    Postgres(postgres::Store),
}

/// Asks the backend.
macro_rules! ask {
    ($store:expr, $backend:ident => $call:expr) => {
        match &$store.0 {
            Kind::Sqlite($backend) => $call,
            Kind::Postgres($backend) => $call,
        }
    };
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Store {
    /// Number of the newest migration that was applied.
    pub async fn schema_version(&self) -> Result<u32, Problem> {
        ask!(self, backend => backend.schema_version().await)
    }

    /// Bytes the database takes on disk: with SQLite the file and its write-ahead log, or in memory the bytes of its
    /// pages; with Postgres all tables and indexes of the database.
    pub async fn size(&self) -> Result<u64, Problem> {
        ask!(self, backend => backend.size().await)
    }

    /// The database as messages name it: the path of its file, `sqlite::memory:`, or host and database without user
    /// and password.
    pub fn place(&self) -> &str {
        ask!(self, backend => backend.place())
    }

    /// Reads the whole database and returns everything that is wrong with it; empty when it is sound. Takes as long
    /// as reading everything does.
    pub async fn check(&self) -> Vec<Problem> {
        ask!(self, backend => backend.check().await)
    }

    /// Returns the ids of at most `limit` executions that `which` asks for and that come after `after`, in their order.
    /// Ids begin with the time, so this is about the order in which executions started. Fails as reading events does.
    pub async fn every(
        &self,
        which: &Every,
        after: Option<&ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, Failure> {
        ask!(self, backend => backend.every(which, after, limit).await)
    }

    /// Finishes what was asked for and closes the connections; SQLite's write-ahead log is folded into the file.
    /// Everything afterwards fails with X047.
    pub async fn close(&self) {
        ask!(self, backend => backend.close().await)
    }
}

#[async_trait]
impl Events for Store {
    async fn create(
        &self,
        id: &ExecutionId,
        name: &str,
        who: &Identity,
        first: &[Event],
        lease_ms: u64,
    ) -> Result<Lease, Failure> {
        ask!(self, backend => backend.create(id, name, who, first, lease_ms).await)
    }

    async fn claim(&self, id: &ExecutionId, lease_ms: u64) -> Result<Lease, Failure> {
        ask!(self, backend => backend.claim(id, lease_ms).await)
    }

    async fn renew(&self, lease: &Lease, lease_ms: u64) -> Result<Lease, Failure> {
        ask!(self, backend => backend.renew(lease, lease_ms).await)
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        ask!(self, backend => backend.release(lease).await)
    }

    async fn append(&self, lease: &Lease, events: &[Event]) -> Result<(), Failure> {
        ask!(self, backend => backend.append(lease, events).await)
    }

    async fn read(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        ask!(self, backend => Events::read(backend, id, after, limit).await)
    }

    async fn follow(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        ask!(self, backend => backend.follow(id, after, limit).await)
    }

    async fn list(&self, who: &Identity, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        ask!(self, backend => backend.list(who, limit).await)
    }

    async fn older(&self, who: &Identity, than: &ExecutionId, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        ask!(self, backend => backend.older(who, than, limit).await)
    }

    async fn left(&self, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        ask!(self, backend => backend.left(limit).await)
    }

    async fn request_cancel(&self, id: &ExecutionId, reason: &str) -> Result<bool, Failure> {
        ask!(self, backend => backend.request_cancel(id, reason).await)
    }

    async fn cancel_requested(&self, id: &ExecutionId) -> Result<Option<String>, Failure> {
        ask!(self, backend => backend.cancel_requested(id).await)
    }

    async fn waiting(&self, who: Option<&Identity>, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        ask!(self, backend => backend.waiting(who, limit).await)
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        ask!(self, backend => backend.due(now, limit).await)
    }

    async fn standing(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionRow>, Failure> {
        ask!(self, backend => backend.standing(ids).await)
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}

#[async_trait]
impl Ledger for Store {
    async fn hold(&self, hold: &Hold, limit: Option<MicroUsd>, since: u64) -> Result<Option<Standing>, Failure> {
        ask!(self, backend => backend.hold(hold, limit, since).await)
    }

    async fn settle(&self, hold: &Hold, settled: Settled) -> Result<(), Failure> {
        ask!(self, backend => backend.settle(hold, settled).await)
    }

    async fn restate(
        &self,
        execution: &ExecutionId,
        org: &str,
        events: u64,
        spent: &[DaySpent],
        who: Restating<'_>,
    ) -> Result<bool, Failure> {
        ask!(self, backend => backend.restate(execution, org, events, spent, who).await)
    }

    async fn stale(&self, org: &str, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        ask!(self, backend => backend.stale(org, limit).await)
    }

    async fn standings(&self, since: u64) -> Result<Vec<Standing>, Failure> {
        ask!(self, backend => backend.standings(since).await)
    }

    async fn dearest(&self, org: &str, since: u64, limit: u32) -> Result<Vec<(ExecutionId, MicroUsd)>, Failure> {
        ask!(self, backend => backend.dearest(org, since, limit).await)
    }

    async fn spent(&self, execution: &ExecutionId) -> Result<Vec<DaySpent>, Failure> {
        ask!(self, backend => backend.spent(execution).await)
    }
}

#[async_trait]
impl Documents for Store {
    async fn put(&self, kind: &str, document: &Value) -> Result<Digest, Failure> {
        ask!(self, backend => Documents::put(backend, kind, document).await)
    }

    async fn get(&self, digest: &Digest) -> Result<Option<Value>, Failure> {
        ask!(self, backend => Documents::get(backend, digest).await)
    }

    async fn publish(&self, named: &NamedDocument) -> Result<(), Failure> {
        ask!(self, backend => backend.publish(named).await)
    }

    async fn versions(&self, name: Option<&str>, limit: u32) -> Result<Vec<NamedDocument>, Failure> {
        ask!(self, backend => backend.versions(name, limit).await)
    }

    async fn withdraw(&self, name: &str, version: &Version) -> Result<bool, Failure> {
        ask!(self, backend => backend.withdraw(name, version).await)
    }
}

#[async_trait]
impl MemoryRows for Store {
    async fn put(&self, who: &Identity, scope: &str, row: MemoryRow) -> Result<(), Failure> {
        ask!(self, backend => MemoryRows::put(backend, who, scope, row).await)
    }

    async fn get(&self, who: &Identity, scope: &str, key: &str) -> Result<Option<MemoryRow>, Failure> {
        ask!(self, backend => MemoryRows::get(backend, who, scope, key).await)
    }

    async fn keyword(
        &self,
        who: &Identity,
        scope: &str,
        query: &str,
        filter: &MemoryFilter,
        limit: u32,
    ) -> Result<Vec<(MemoryRow, f32)>, Failure> {
        ask!(self, backend => backend.keyword(who, scope, query, filter, limit).await)
    }

    async fn nearest(
        &self,
        who: &Identity,
        scope: &str,
        embedder: &str,
        vector: &[f32],
        filter: &MemoryFilter,
        limit: u32,
    ) -> Result<Vec<(MemoryRow, f32)>, Failure> {
        ask!(self, backend => backend.nearest(who, scope, embedder, vector, filter, limit).await)
    }

    async fn recent(
        &self,
        who: &Identity,
        scope: &str,
        key_prefix: &str,
        limit: u32,
    ) -> Result<Vec<MemoryRow>, Failure> {
        ask!(self, backend => backend.recent(who, scope, key_prefix, limit).await)
    }

    async fn delete(&self, who: &Identity, scope: &str, key: &str) -> Result<(), Failure> {
        ask!(self, backend => backend.delete(who, scope, key).await)
    }
}

#[async_trait]
impl Schedules for Store {
    async fn put_schedule(&self, row: &ScheduleRow) -> Result<(), Failure> {
        ask!(self, backend => backend.put_schedule(row).await)
    }

    async fn apply_schedules(
        &self,
        who: &Identity,
        network: Option<&str>,
        rows: &[ScheduleRow],
    ) -> Result<Vec<ScheduleRow>, Failure> {
        ask!(self, backend => backend.apply_schedules(who, network, rows).await)
    }

    async fn schedule(&self, who: &Identity, name: &str) -> Result<Option<ScheduleRow>, Failure> {
        ask!(self, backend => backend.schedule(who, name).await)
    }

    async fn schedules(&self, who: Option<&Identity>, limit: u32) -> Result<Vec<ScheduleRow>, Failure> {
        ask!(self, backend => backend.schedules(who, limit).await)
    }

    async fn remove_schedule(&self, who: &Identity, name: &str) -> Result<bool, Failure> {
        ask!(self, backend => backend.remove_schedule(who, name).await)
    }

    async fn claim_schedule(&self, now: UnixMs, lease_ms: u64) -> Result<Option<ScheduleClaim>, Failure> {
        ask!(self, backend => backend.claim_schedule(now, lease_ms).await)
    }

    async fn settle_schedule(&self, claim: &ScheduleClaim) -> Result<(), Failure> {
        ask!(self, backend => backend.settle_schedule(claim).await)
    }

    async fn wake_schedule(&self, who: &Identity, name: &str, at: UnixMs) -> Result<bool, Failure> {
        ask!(self, backend => backend.wake_schedule(who, name, at).await)
    }

    async fn next_schedule(&self) -> Result<Option<UnixMs>, Failure> {
        ask!(self, backend => backend.next_schedule().await)
    }
}
