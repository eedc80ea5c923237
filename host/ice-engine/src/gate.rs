//! Whether nodes of an execution may begin: a monitor can hold them back until a person agrees.

use tokio::sync::watch;

/// Open while nobody holds it closed.
pub(crate) struct Gate {
    holders: watch::Sender<usize>,
    /// Held closed until whoever had closed it before a crash closes it again.
    early: std::sync::atomic::AtomicUsize,
}

/// Keeps the gate closed.
pub(crate) struct Closed<'a>(&'a Gate);

impl Gate {
    /// A gate that `holders` monitors had closed when the execution was left.
    pub(crate) fn new(holders: usize) -> Self {
        Self { holders: watch::Sender::new(holders), early: holders.into() }
    }

    /// Closes the gate until the guard is dropped.
    pub(crate) fn close(&self) -> Closed<'_> {
        use std::sync::atomic::Ordering::Relaxed;
        // The first ones to come are those that were there before.
        let was_there = self.early.fetch_update(Relaxed, Relaxed, |early| early.checked_sub(1)).is_ok();
        if !was_there {
            self.holders.send_modify(|holders| *holders += 1);
        }
        Closed(self)
    }

    /// Whether nodes may begin.
    pub(crate) fn is_open(&self) -> bool {
        *self.holders.borrow() == 0
    }

    /// Returns when they may.
    pub(crate) async fn opened(&self) {
        let mut holders = self.holders.subscribe();
        // Fails only when the gate is gone, and it is borrowed.
        let _ = holders.wait_for(|holders| *holders == 0).await;
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.holders.send_modify(|holders| *holders -= 1);
    }
}
