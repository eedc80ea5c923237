//! The growing list of one execution: gives sequence numbers, gathers events, commits them in groups.
//!
//! Does not know what an event means. Whoever needs an event to be durable waits with [`Journal::durable`]; nobody
//! else waits. One writer appends; it is polled by the execution's own task and outlives every attempt, so a group
//! that is under way is never torn by an attempt that is dropped.

use std::sync::{Mutex, OnceLock};

use ice_core::event::{Event, Fact};
use ice_core::id::{NodePath, UnixMs};
use ice_core::ports::{Clock, Events, Failure, Lease};
use tokio::sync::{Notify, watch};

use crate::live::Stage;

/// When a group is committed although nobody waits for it.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    /// At this many events.
    pub events: usize,
    /// When the oldest one is this old, in milliseconds.
    pub ms: u64,
}

impl Default for Grouping {
    /// 64 events or 5 ms: beyond 64 the cost of a commit is no longer felt per event; 5 ms is what a crash may lose.
    fn default() -> Self {
        Self { events: 64, ms: 5 }
    }
}

/// Events that may wait for a slow store before their makers wait too.
const BACKLOG_MAX: usize = 4096;

struct Pending {
    events: Vec<Event>,
    /// The next sequence number.
    next: u64,
    /// Somebody waits for everything up to here.
    wanted: u64,
    /// No event comes after this one.
    closed: bool,
}

/// One execution's list, from the writing side.
pub(crate) struct Journal {
    pending: Mutex<Pending>,
    bell: Notify,
    durable: watch::Sender<u64>,
    broken: OnceLock<Failure>,
    lease: Mutex<Lease>,
    grouping: Grouping,
}

impl Journal {
    /// A journal whose newest stored event is `seq`.
    pub(crate) fn new(lease: Lease, seq: u64, grouping: Grouping) -> Self {
        let pending = Pending { events: Vec::new(), next: seq + 1, wanted: 0, closed: false };
        let (durable, _) = watch::channel(seq);
        Self {
            pending: Mutex::new(pending),
            bell: Notify::new(),
            durable,
            broken: OnceLock::new(),
            lease: Mutex::new(lease),
            grouping,
        }
    }

    /// Appends one fact; returns its sequence number. It is durable some time later.
    pub(crate) fn push(&self, at: UnixMs, path: &NodePath, attempt: u32, fact: Fact) -> u64 {
        let mut pending = self.pending.lock().expect("no panic while appending");
        let seq = self.number(&mut pending, at, path, attempt, fact);
        self.ring(&pending, 1);
        seq
    }

    /// Appends facts that become durable together or not at all; returns the last sequence number.
    pub(crate) fn push_all(&self, at: UnixMs, path: &NodePath, attempt: u32, facts: Vec<Fact>) -> u64 {
        let mut pending = self.pending.lock().expect("no panic while appending");
        let count = facts.len();
        let mut seq = pending.next - 1;
        for fact in facts {
            seq = self.number(&mut pending, at, path, attempt, fact);
        }
        self.ring(&pending, count);
        seq
    }

    fn number(&self, pending: &mut Pending, at: UnixMs, path: &NodePath, attempt: u32, fact: Fact) -> u64 {
        let seq = pending.next;
        pending.next += 1;
        if self.broken.get().is_none() && !pending.closed {
            pending.events.push(Event { seq, at, path: path.clone(), attempt, fact });
        }
        seq
    }

    /// Wakes the writer when the first event of a group came, to set its timer, and when the group is full.
    fn ring(&self, pending: &Pending, added: usize) {
        let (before, now) = (pending.events.len().saturating_sub(added), pending.events.len());
        if before == 0 || (before < self.grouping.events && now >= self.grouping.events) {
            self.bell.notify_one();
        }
    }

    /// Returns when everything up to `seq` is durable. Fails when it never will be.
    pub(crate) async fn durable(&self, seq: u64) -> Result<(), Failure> {
        let mut seen = self.durable.subscribe();
        if *seen.borrow_and_update() >= seq {
            return Ok(());
        }
        {
            let mut pending = self.pending.lock().expect("no panic while appending");
            pending.wanted = pending.wanted.max(seq);
        }
        self.bell.notify_one();
        loop {
            if let Some(failure) = self.broken.get() {
                return Err(failure.clone());
            }
            if *seen.borrow_and_update() >= seq {
                return Ok(());
            }
            // The sender lives in `self`; a change is the only way this returns.
            let _ = seen.changed().await;
        }
    }

    /// Asks for everything so far to be committed soon, without waiting for it.
    pub(crate) fn urge(&self) {
        {
            let mut pending = self.pending.lock().expect("no panic while appending");
            pending.wanted = pending.next - 1;
        }
        self.bell.notify_one();
    }

    /// Lets the writer run when a group is full, and waits for the store when far too much has piled up.
    pub(crate) async fn breathe(&self) {
        let (waiting, newest) = {
            let pending = self.pending.lock().expect("no panic while appending");
            (pending.events.len(), pending.next - 1)
        };
        if waiting >= BACKLOG_MAX {
            // A broken journal trips the execution's stop by itself.
            let _ = self.durable(newest).await;
        } else if waiting >= self.grouping.events {
            yield_once().await;
        }
    }

    /// No further event: the writer ends once everything is durable.
    pub(crate) fn close(&self) {
        self.pending.lock().expect("no panic while appending").closed = true;
        self.bell.notify_one();
    }

    /// Nothing more is appended, not even what waits: the lease is lost or the store fails.
    pub(crate) fn break_off(&self, failure: Failure) {
        if self.broken.set(failure).is_ok() {
            self.pending.lock().expect("no panic while appending").events.clear();
            self.durable.send_modify(|_| {});
            self.bell.notify_one();
        }
    }

    /// Why nothing more is appended.
    pub(crate) fn broken(&self) -> Option<&Failure> {
        self.broken.get()
    }

    /// The lease appends carry.
    pub(crate) fn lease(&self) -> Lease {
        self.lease.lock().expect("no panic while renewing").clone()
    }

    /// Puts a renewed lease in the place of the old one.
    pub(crate) fn set_lease(&self, lease: Lease) {
        *self.lease.lock().expect("no panic while renewing") = lease;
    }

    /// Appends groups until the journal is closed and empty, or broken. Run once, beside the execution.
    pub(crate) async fn write(&self, store: &dyn Events, clock: &dyn Clock, stage: &Stage) -> Result<(), Failure> {
        let mut timer = None;
        loop {
            if let Some(failure) = self.broken.get() {
                return Err(failure.clone());
            }
            match self.take(false) {
                Taken::Group(group) => {
                    timer = None;
                    self.commit(store, stage, group).await?;
                }
                Taken::Closed => return Ok(()),
                Taken::Empty => self.bell.notified().await,
                Taken::Young => {
                    let due = timer.get_or_insert_with(|| clock.sleep(self.grouping.ms));
                    tokio::select! {
                        biased;
                        () = self.bell.notified() => {}
                        () = due => {
                            timer = None;
                            if let Taken::Group(group) = self.take(true) {
                                self.commit(store, stage, group).await?;
                            }
                        }
                    }
                }
            }
        }
    }

    fn take(&self, due: bool) -> Taken {
        let mut pending = self.pending.lock().expect("no panic while appending");
        let Some(first) = pending.events.first() else {
            return if pending.closed { Taken::Closed } else { Taken::Empty };
        };
        let wanted = pending.wanted >= first.seq;
        if due || wanted || pending.closed || pending.events.len() >= self.grouping.events {
            let room = Vec::with_capacity(pending.events.len().min(self.grouping.events * 2));
            return Taken::Group(std::mem::replace(&mut pending.events, room));
        }
        Taken::Young
    }

    async fn commit(&self, store: &dyn Events, stage: &Stage, group: Vec<Event>) -> Result<(), Failure> {
        let Some(last) = group.last().map(|event| event.seq) else { return Ok(()) };
        let lease = self.lease();
        if let Err(failure) = store.append(&lease, &group).await {
            self.break_off(failure.clone());
            return Err(failure);
        }
        self.durable.send_replace(last);
        stage.show(group);
        Ok(())
    }
}

enum Taken {
    Group(Vec<Event>),
    /// There are events, and nobody is in a hurry.
    Young,
    Empty,
    Closed,
}

/// Lets everything else in the task be polled once.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
