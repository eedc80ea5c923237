//! Processor time of one guest: what the thread consumed while the guest's future was polled.
//!
//! Time in which the guest waits, or in which the machine runs something else, does not count.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Counts nanoseconds of processor time. Written by the thread that polls the guest.
#[derive(Default, Debug)]
pub(crate) struct CpuClock {
    used: AtomicU64,
    polled_since: AtomicU64,
}

impl CpuClock {
    /// What was used up to the last pause.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// What was used up to now. Only meaningful on the thread that polls the guest, inside a poll.
    pub(crate) fn used_now(&self) -> Duration {
        let running = thread_nanos().saturating_sub(self.polled_since.load(Ordering::Relaxed));
        self.used() + Duration::from_nanos(running)
    }
}

/// A future whose polls are counted.
pub(crate) struct Metered<F> {
    inner: Pin<Box<F>>,
    clock: Arc<CpuClock>,
}

impl<F: Future> Metered<F> {
    /// Counts the polls of `inner` on `clock`.
    pub(crate) fn new(inner: F, clock: Arc<CpuClock>) -> Self {
        Self { inner: Box::pin(inner), clock }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = thread_nanos();
        self.clock.polled_since.store(before, Ordering::Relaxed);
        let answer = self.inner.as_mut().poll(context);
        let spent = thread_nanos().saturating_sub(before);
        self.clock.used.fetch_add(spent, Ordering::Relaxed);
        answer
    }
}

fn thread_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
