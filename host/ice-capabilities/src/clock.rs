//! The real clock and the real dice. A simulated clock for tests is ice-engine's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ice_core::id::UnixMs;
use ice_core::ports::Clock;

/// The clock of the operating system, tokio's timer and the system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now_ms(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn random(&self) -> u64 {
        // The system's source fails only where it does not exist, and then no id or key of this process is safe.
        getrandom::u64().expect("the operating system gives random numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_a_time_after_2020() {
        assert!(SystemClock.now_ms() > 1_577_836_800_000);
    }

    #[test]
    fn throws_different_dice() {
        assert_ne!((SystemClock.random(), SystemClock.random()), (SystemClock.random(), SystemClock.random()));
    }

    #[tokio::test]
    async fn returns_after_sleeping() {
        SystemClock.sleep(1).await;
    }
}
