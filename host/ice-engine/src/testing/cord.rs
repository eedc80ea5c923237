//! A power cord between an engine and its event store, pulled at an exact event.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ice_core::event::Event;
use ice_core::id::{ExecutionId, Identity, UnixMs};
use ice_core::ports::{Events, ExecutionRow, Failure, Lease, Ledger};
use tokio::sync::Notify;

/// When the cord is pulled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pull {
    /// Never.
    Never,
    /// When this many events are stored and more would be: what was done since is done, and nowhere on record.
    Before(usize),
    /// Once at least this many events are stored, before anybody hears of it.
    After(usize),
    /// Not pulled: `last` is done before the first event is stored, and may take its time.
    Hold,
}

struct Power {
    pull: Pull,
    stored: usize,
    dark: bool,
}

/// Passes everything on until it is pulled; from then on nothing is stored and nobody is answered.
pub struct Cord {
    inner: Arc<dyn Events>,
    power: Mutex<Power>,
    dark: Notify,
    last: Box<dyn Fn() + Send + Sync>,
}

impl Cord {
    /// A cord to `inner`. `last` is done the moment it is pulled: a process may end itself there.
    pub fn new(inner: Arc<dyn Events>, pull: Pull, last: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let power = Mutex::new(Power { pull, stored: 0, dark: false });
        Arc::new(Self { inner, power, dark: Notify::new(), last: Box::new(last) })
    }

    /// Returns when it was pulled.
    pub async fn went_dark(&self) {
        self.dark.notified().await;
    }

    /// How many events were stored through it.
    pub fn stored(&self) -> usize {
        self.power().stored
    }

    fn power(&self) -> std::sync::MutexGuard<'_, Power> {
        self.power.lock().expect("no test panics in here")
    }

    fn is_dark(&self) -> bool {
        self.power().dark
    }

    fn pull(&self) {
        self.power().dark = true;
        (self.last)();
        self.dark.notify_one();
    }

    /// Stores `count` events by `store`, with the cord pulled before or after it when its time has come.
    async fn storing<T>(&self, count: usize, store: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let (pull, stored) = {
            let power = self.power();
            (power.pull, power.stored)
        };
        if pull == Pull::Hold && stored == 0 && count > 0 {
            (self.last)();
        }
        if matches!(pull, Pull::Before(limit) if stored + count > limit) {
            self.pull();
        }
        if self.is_dark() {
            std::future::pending::<()>().await;
        }
        let done = store.await?;
        let stored = {
            let mut power = self.power();
            power.stored += count;
            power.stored
        };
        if matches!(pull, Pull::After(limit) if stored >= limit) {
            self.pull();
        }
        if self.is_dark() {
            std::future::pending::<()>().await;
        }
        Ok(done)
    }
}

#[async_trait]
impl Events for Cord {
    async fn create(
        &self,
        id: &ExecutionId,
        name: &str,
        who: &Identity,
        first: &[Event],
        lease_ms: u64,
    ) -> Result<Lease, Failure> {
        self.storing(first.len(), self.inner.create(id, name, who, first, lease_ms)).await
    }

    async fn claim(&self, id: &ExecutionId, lease_ms: u64) -> Result<Lease, Failure> {
        self.storing(0, self.inner.claim(id, lease_ms)).await
    }

    async fn renew(&self, lease: &Lease, lease_ms: u64) -> Result<Lease, Failure> {
        self.storing(0, self.inner.renew(lease, lease_ms)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        self.storing(0, self.inner.release(lease)).await
    }

    async fn append(&self, lease: &Lease, events: &[Event]) -> Result<(), Failure> {
        self.storing(events.len(), self.inner.append(lease, events)).await
    }

    async fn read(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        self.inner.read(id, after, limit).await
    }

    async fn follow(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        self.inner.follow(id, after, limit).await
    }

    async fn list(&self, who: &Identity, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        self.inner.list(who, limit).await
    }

    async fn older(&self, who: &Identity, than: &ExecutionId, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        self.inner.older(who, than, limit).await
    }

    async fn left(&self, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        self.inner.left(limit).await
    }

    async fn request_cancel(&self, id: &ExecutionId, reason: &str) -> Result<bool, Failure> {
        self.storing(0, self.inner.request_cancel(id, reason)).await
    }

    async fn standing(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionRow>, Failure> {
        self.inner.standing(ids).await
    }

    /// Cut off with the process, which does nothing any more, and not in the middle of an event.
    fn ledger(&self) -> Option<&dyn Ledger> {
        self.inner.ledger()
    }

    async fn cancel_requested(&self, id: &ExecutionId) -> Result<Option<String>, Failure> {
        self.inner.cancel_requested(id).await
    }

    async fn waiting(&self, who: Option<&Identity>, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        self.inner.waiting(who, limit).await
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        self.inner.due(now, limit).await
    }
}
