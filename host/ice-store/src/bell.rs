//! Who waits for events of which execution, and waking them. Pure of databases: a backend rings when it has committed,
//! and when it hears that another process has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

/// The followers of one store.
pub(crate) struct Bell {
    /// By execution; only those somebody waits for.
    seats: Mutex<HashMap<String, Arc<Notify>>>,
    /// How many wait. An append looks here first, so that it costs nothing while nobody does.
    waiting: watch::Sender<usize>,
}

/// A place at the bell. What is rung after it was taken wakes it.
pub(crate) struct Seat<'a> {
    bell: &'a Bell,
    execution: String,
    notify: Arc<Notify>,
}

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { seats: Mutex::default(), waiting: watch::Sender::new(0) })
    }

    /// Takes a place. Whoever reads after it, and then waits, misses nothing.
    pub(crate) fn sit(&self, execution: &str) -> Seat<'_> {
        let notify = Arc::clone(self.seats().entry(execution.to_owned()).or_default());
        self.waiting.send_modify(|waiting| *waiting += 1);
        Seat { bell: self, execution: execution.to_owned(), notify }
    }

    /// Wakes those who wait for this execution.
    pub(crate) fn ring(&self, execution: &str) {
        if *self.waiting.borrow() == 0 {
            return;
        }
        if let Some(notify) = self.seats().get(execution) {
            notify.notify_waiters();
        }
    }

    /// Wakes everybody: something was written, and it is not known where.
    pub(crate) fn ring_all(&self) {
        self.seats().values().for_each(|notify| notify.notify_waiters());
    }

    /// Returns when somebody waits.
    pub(crate) async fn wanted(&self) {
        let mut waiting = self.waiting.subscribe();
        // Fails only without a sender, which lives in `self`.
        let _waits = waiting.wait_for(|waiting| *waiting > 0).await;
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// Returns when the bell rings after this call, however late the future is polled.
    pub(crate) fn rung(&self) -> impl Future<Output = ()> + Send + '_ {
        self.notify.notified()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut seats = self.bell.seats();
        // One is the map's, one is ours: nobody else sits here. Places are taken under the same lock.
        if Arc::strong_count(&self.notify) == 2 {
            seats.remove(&self.execution);
        }
        drop(seats);
        self.bell.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn what_rings_between_sitting_and_waiting_wakes_and_only_there() {
        let bell = Bell::new();
        bell.ring("a");
        let (a, also_a, b) = (bell.sit("a"), bell.sit("a"), bell.sit("b"));
        let (first, second, mut other) = (a.rung(), also_a.rung(), Box::pin(b.rung()));
        bell.ring("a");
        first.await;
        second.await;
        assert!(std::future::poll_fn(|task| Poll::Ready(other.as_mut().poll(task).is_pending())).await);
        bell.ring_all();
        other.await;
    }

    #[tokio::test]
    async fn a_place_that_is_left_is_kept_for_nobody() {
        let bell = Bell::new();
        let (first, second) = (bell.sit("a"), bell.sit("a"));
        drop(first);
        let rung = second.rung();
        bell.ring("a");
        rung.await;
        bell.wanted().await;
        drop(second);
        assert!(bell.seats().is_empty());
        assert_eq!(*bell.waiting.borrow(), 0);
    }
}
