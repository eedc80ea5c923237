//! Events and documents in memory, with leases and fences, and a power cord that can be pulled.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ice_core::event::{Event, Fact};
use ice_core::execution::{Status, replay};
use ice_core::id::{Digest, ExecutionId, Identity, UnixMs};
use ice_core::ports::{
    Clock, Documents, Events, ExecutionRow, Failure, Lease, Ledger, NamedDocument, sort_versions, taken,
};
use ice_core::problem::{Code, Problem};
use semver::Version;
use serde_json::Value;
use tokio::sync::Notify;

mod ledger;

use super::schedules::Table;
use ledger::Purses;

/// When the store stops answering, as if the machine had lost power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Never.
    Never,
    /// Once this many events are stored: the next append never returns and stores nothing.
    After(usize),
}

struct List {
    name: String,
    who: Identity,
    events: Vec<Event>,
    fence: u64,
    until: UnixMs,
    cancel: Option<String>,
}

impl List {
    /// Its line in a listing.
    fn row(&self, id: &ExecutionId, now: UnixMs) -> ExecutionRow {
        let execution = replay(&self.events);
        ExecutionRow {
            id: id.clone(),
            name: self.name.clone(),
            status: execution.as_ref().map_or(Status::Running, |view| view.status).as_str().into(),
            started: self.events.first().map_or(0, |event| event.at),
            updated: self.events.last().map_or(0, |event| event.at),
            events: u64::try_from(self.events.len()).expect("64 bits fit"),
            held: self.until > now,
            waits: execution.map_or(0, |view| u64::try_from(view.waits.len()).expect("64 bits fit")),
        }
    }
}

pub(super) struct Inner {
    lists: HashMap<ExecutionId, List>,
    documents: HashMap<Digest, Value>,
    versions: BTreeMap<(String, Version), NamedDocument>,
    pub(super) schedules: Table,
    refusal: Option<Failure>,
    purses: Purses,
    clock: Arc<dyn Clock>,
    cut: Cut,
    stored: usize,
    /// Whose giving back takes until it is let go.
    held_up: Option<ExecutionId>,
}

/// A store that lives as long as the test, over several engines and runtimes.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    dark: Notify,
    gives_back: Notify,
    let_go: Notify,
    appended: Notify,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let (lists, documents, versions) = (HashMap::new(), HashMap::new(), BTreeMap::new());
        let (schedules, purses, refusal) = (Table::default(), Purses::default(), None);
        let (cut, stored, held_up) = (Cut::Never, 0, None);
        let inner = Inner { lists, documents, versions, schedules, purses, refusal, clock, cut, stored, held_up };
        let (dark, gives_back, let_go) = (Notify::new(), Notify::new(), Notify::new());
        Arc::new(Self { inner: Mutex::new(inner), dark, gives_back, let_go, appended: Notify::new() })
    }

    /// Sets when the store goes dark, and counts stored events from here.
    pub fn cut(&self, cut: Cut) {
        let mut inner = self.lock();
        inner.cut = cut;
        inner.stored = 0;
    }

    /// Lets no execution begin any more, for this reason, until it is called with none.
    pub fn refuse(&self, refusal: Option<Failure>) {
        self.lock().refusal = refusal;
    }

    /// Gives the store the clock of a new runtime.
    pub fn set_clock(&self, clock: Arc<dyn Clock>) {
        self.lock().clock = clock;
    }

    /// Returns when an append hit the cut.
    pub async fn went_dark(&self) {
        self.dark.notified().await;
    }

    /// Makes the next giving back of an execution slow: returns when it is under way; it is done once
    /// [`MemoryStore::let_go`] is called.
    pub async fn hold_up(&self, id: &ExecutionId) {
        self.lock().held_up = Some(id.clone());
        self.gives_back.notified().await;
    }

    /// Lets go what was held up.
    pub fn let_go(&self) {
        self.let_go.notify_one();
    }

    /// Every stored event of an execution.
    pub fn events_of(&self, id: &ExecutionId) -> Vec<Event> {
        self.lock().lists.get(id).map(|list| list.events.clone()).unwrap_or_default()
    }

    /// Ids of every stored execution.
    pub fn ids(&self) -> Vec<ExecutionId> {
        let mut ids: Vec<_> = self.lock().lists.keys().cloned().collect();
        ids.sort();
        ids
    }

    /// Lines of a listing, newest first.
    fn rows(&self, who: &Identity, wanted: impl Fn(&ExecutionId) -> bool, limit: u32) -> Vec<ExecutionRow> {
        let inner = self.lock();
        let now = inner.clock.now_ms();
        let mine = |list: &List| list.who.org == who.org && list.who.user == who.user;
        let found = inner.lists.iter().filter(|(id, list)| mine(list) && wanted(id));
        let mut rows: Vec<ExecutionRow> = found.map(|(id, list)| list.row(id, now)).collect();
        rows.sort_by(|a, b| b.id.cmp(&a.id));
        rows.truncate(usize::try_from(limit).expect("32 bits fit"));
        rows
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics in here")
    }

    /// Whether `count` more events still fit before the cut; otherwise the light goes out.
    fn powered(&self, count: usize) -> bool {
        let mut inner = self.lock();
        if let Cut::After(limit) = inner.cut
            && inner.stored + count > limit
        {
            drop(inner);
            self.dark.notify_one();
            return false;
        }
        inner.stored += count;
        true
    }
}

fn unknown(id: &ExecutionId) -> Failure {
    Failure::never(Problem::new(Code::X013, format!("there is no execution `{id}`")))
}

fn lost(id: &ExecutionId) -> Failure {
    Failure::never(Problem::new(Code::X008, format!("execution `{id}` is held by another process")))
}

#[async_trait]
impl Events for MemoryStore {
    async fn create(
        &self,
        id: &ExecutionId,
        name: &str,
        who: &Identity,
        first: &[Event],
        lease_ms: u64,
    ) -> Result<Lease, Failure> {
        if !self.powered(first.len()) {
            std::future::pending::<()>().await;
        }
        let mut inner = self.lock();
        let until = inner.clock.now_ms() + lease_ms;
        let list = List { name: name.into(), who: who.clone(), events: first.to_vec(), fence: 1, until, cancel: None };
        if let Some(refusal) = &inner.refusal {
            return Err(refusal.clone());
        }
        if inner.lists.contains_key(id) {
            return Err(Failure::never(Problem::new(Code::X044, format!("there is an execution `{id}` already"))));
        }
        inner.lists.insert(id.clone(), list);
        Ok(Lease { execution: id.clone(), fence: 1, until })
    }

    async fn claim(&self, id: &ExecutionId, lease_ms: u64) -> Result<Lease, Failure> {
        let mut inner = self.lock();
        let now = inner.clock.now_ms();
        let list = inner.lists.get_mut(id).ok_or_else(|| unknown(id))?;
        if list.until > now {
            return Err(Failure::maybe(lost(id).problem));
        }
        list.fence += 1;
        list.until = now + lease_ms;
        Ok(Lease { execution: id.clone(), fence: list.fence, until: list.until })
    }

    async fn renew(&self, lease: &Lease, lease_ms: u64) -> Result<Lease, Failure> {
        let mut inner = self.lock();
        let until = inner.clock.now_ms() + lease_ms;
        let list = inner.lists.get_mut(&lease.execution).ok_or_else(|| unknown(&lease.execution))?;
        if list.fence != lease.fence {
            return Err(lost(&lease.execution));
        }
        list.until = until;
        Ok(Lease { until, ..lease.clone() })
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        let mut inner = self.lock();
        let list = inner.lists.get_mut(&lease.execution).ok_or_else(|| unknown(&lease.execution))?;
        if list.fence == lease.fence {
            list.until = 0;
        }
        Ok(())
    }

    async fn append(&self, lease: &Lease, events: &[Event]) -> Result<(), Failure> {
        if !self.powered(events.len()) {
            std::future::pending::<()>().await;
        }
        let parks = events.iter().any(|event| matches!(event.fact, Fact::ExecutionParked { .. }));
        if parks && self.lock().held_up.take_if(|id| *id == lease.execution).is_some() {
            self.gives_back.notify_one();
            self.let_go.notified().await;
        }
        let mut inner = self.lock();
        let list = inner.lists.get_mut(&lease.execution).ok_or_else(|| unknown(&lease.execution))?;
        if list.fence != lease.fence {
            return Err(lost(&lease.execution));
        }
        for event in events {
            let expected = list.events.last().map_or(1, |last| last.seq + 1);
            assert_eq!(event.seq, expected, "events are numbered without gaps");
            list.events.push(event.clone());
        }
        drop(inner);
        self.appended.notify_waiters();
        Ok(())
    }

    async fn read(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        let inner = self.lock();
        let list = inner.lists.get(id).ok_or_else(|| unknown(id))?;
        let limit = usize::try_from(limit).expect("32 bits fit");
        Ok(list.events.iter().filter(|event| event.seq > after).take(limit).cloned().collect())
    }

    async fn follow(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        loop {
            // Before the reading: what is appended after it wakes.
            let appended = self.appended.notified();
            let page = self.read(id, after, limit).await?;
            if !page.is_empty() {
                return Ok(page);
            }
            appended.await;
        }
    }

    async fn list(&self, who: &Identity, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        Ok(self.rows(who, |_| true, limit))
    }

    async fn older(&self, who: &Identity, than: &ExecutionId, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        let known = self.lock().lists.contains_key(than);
        Ok(self.rows(who, |id| known && id < than, limit))
    }

    async fn left(&self, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        let inner = self.lock();
        let now = inner.clock.now_ms();
        let runs = |list: &List| replay(&list.events).is_some_and(|view| view.status == Status::Running);
        let left = inner.lists.iter().filter(|(_, list)| list.until <= now && runs(list));
        let mut ids: Vec<ExecutionId> = left.map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids.truncate(usize::try_from(limit).expect("32 bits fit"));
        Ok(ids)
    }

    async fn request_cancel(&self, id: &ExecutionId, reason: &str) -> Result<bool, Failure> {
        let mut inner = self.lock();
        let list = inner.lists.get_mut(id).ok_or_else(|| unknown(id))?;
        let runs = ice_core::execution::ending(&list.events).is_none();
        if runs {
            list.cancel = Some(reason.into());
        }
        Ok(runs)
    }

    async fn waiting(&self, who: Option<&Identity>, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        let inner = self.lock();
        let waits = |list: &List| replay(&list.events).is_some_and(|view| !view.waits.is_empty());
        let mine = |list: &List| who.is_none_or(|who| list.who.org == who.org && list.who.user == who.user);
        let found = inner.lists.iter().filter(|(_, list)| mine(list) && waits(list));
        let mut ids: Vec<ExecutionId> = found.map(|(id, _)| id.clone()).collect();
        ids.sort_by(|a, b| b.cmp(a));
        ids.truncate(usize::try_from(limit).expect("32 bits fit"));
        Ok(ids)
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        let inner = self.lock();
        let due = |list: &List| match list.events.last().map(|last| &last.fact) {
            Some(Fact::ExecutionParked { due: Some(due), .. }) if *due <= now => Some(*due),
            _ => None,
        };
        let mut found: Vec<(UnixMs, ExecutionId)> =
            inner.lists.iter().filter_map(|(id, list)| Some((due(list)?, id.clone()))).collect();
        found.sort();
        found.truncate(usize::try_from(limit).expect("32 bits fit"));
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    async fn cancel_requested(&self, id: &ExecutionId) -> Result<Option<String>, Failure> {
        Ok(self.lock().lists.get(id).ok_or_else(|| unknown(id))?.cancel.clone())
    }

    async fn standing(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionRow>, Failure> {
        let inner = self.lock();
        let now = inner.clock.now_ms();
        Ok(ids.iter().filter_map(|id| Some(inner.lists.get(id)?.row(id, now))).collect())
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}

#[async_trait]
impl Documents for MemoryStore {
    async fn put(&self, _kind: &str, document: &Value) -> Result<Digest, Failure> {
        let digest = crate::keys::digest_of(document);
        self.lock().documents.insert(digest, document.clone());
        Ok(digest)
    }

    async fn get(&self, digest: &Digest) -> Result<Option<Value>, Failure> {
        Ok(self.lock().documents.get(digest).cloned())
    }

    async fn publish(&self, named: &NamedDocument) -> Result<(), Failure> {
        let mut inner = self.lock();
        let key = (named.name.clone(), named.version.clone());
        let there = inner.versions.entry(key).or_insert_with(|| named.clone());
        if there.digest == named.digest { Ok(()) } else { Err(taken(named)) }
    }

    async fn versions(&self, name: Option<&str>, limit: u32) -> Result<Vec<NamedDocument>, Failure> {
        let inner = self.lock();
        let wanted = inner.versions.values().filter(|row| name.is_none_or(|name| row.name == name));
        let mut versions: Vec<_> = wanted.take(usize::try_from(limit).expect("32 bits fit")).cloned().collect();
        sort_versions(&mut versions);
        Ok(versions)
    }

    async fn withdraw(&self, name: &str, version: &Version) -> Result<bool, Failure> {
        Ok(self.lock().versions.remove(&(name.to_owned(), version.clone())).is_some())
    }
}
