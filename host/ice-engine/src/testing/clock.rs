//! Time and chance that a test controls.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ice_core::id::UnixMs;
use ice_core::ports::Clock;
use tokio::time::Instant;

/// Follows tokio's clock: in a runtime with paused time, sleeping takes no time and `now_ms` moves by what was slept.
/// The random numbers are the same in every run. Make it inside the runtime it is used in.
pub struct SimClock {
    base: UnixMs,
    began: Instant,
    random: AtomicU64,
}

impl SimClock {
    /// A clock that shows `base` now.
    pub fn at(base: UnixMs) -> Self {
        Self { base, began: Instant::now(), random: AtomicU64::new(base) }
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now_ms(&self) -> UnixMs {
        self.base + u64::try_from(self.began.elapsed().as_millis()).expect("a test is over before that")
    }

    async fn sleep(&self, ms: u64) {
        tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): good bits from a counter.
    fn random(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
