//! When a failed attempt is tried again, and how long to wait before.

/// How the pause grows from attempt to attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// Always the same.
    Fixed,
    /// Once, twice, three times as long.
    Linear,
    /// Twice as long each time.
    Exponential,
}

/// Whether chance shortens the pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jitter {
    /// No.
    None,
    /// Anything between nothing and the whole pause, so that many nodes that failed together do not return together.
    Full,
}

/// How often and how fast a node is tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// All attempts, the first one included; at least 1.
    pub max_attempts: u32,
    /// How the pause grows.
    pub strategy: Strategy,
    /// The pause after the first attempt, in milliseconds.
    pub backoff_ms: u64,
    /// The longest pause, in milliseconds.
    pub max_backoff_ms: u64,
    /// Whether chance shortens it.
    pub jitter: Jitter,
    /// Error codes (`ICE-X064`, `X064` or `E_TIMEOUT`) that are worth another attempt; empty for all.
    pub retry_on: Vec<String>,
}

impl RetryPolicy {
    /// One attempt.
    pub const fn once() -> Self {
        Self {
            max_attempts: 1,
            strategy: Strategy::Exponential,
            backoff_ms: 1000,
            max_backoff_ms: 60_000,
            jitter: Jitter::Full,
            retry_on: Vec::new(),
        }
    }

    /// The pause after attempt number `attempt` (1 is the first) failed, in milliseconds. `random` is 64 random bits.
    pub fn delay_ms(&self, attempt: u32, random: u64) -> u64 {
        let failed = u64::from(attempt.max(1));
        let factor = match self.strategy {
            Strategy::Fixed => 1,
            Strategy::Linear => failed,
            Strategy::Exponential => 1_u64.checked_shl(attempt.max(1) - 1).unwrap_or(u64::MAX),
        };
        let pause = self.backoff_ms.saturating_mul(factor).min(self.max_backoff_ms);
        match self.jitter {
            Jitter::None => pause,
            Jitter::Full => random % (pause.saturating_add(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_as_the_strategy_says() {
        let pauses = |strategy| {
            let policy = RetryPolicy { strategy, backoff_ms: 100, jitter: Jitter::None, ..RetryPolicy::once() };
            [1, 2, 3, 4].map(|attempt| policy.delay_ms(attempt, 0))
        };
        assert_eq!(pauses(Strategy::Fixed), [100, 100, 100, 100]);
        assert_eq!(pauses(Strategy::Linear), [100, 200, 300, 400]);
        assert_eq!(pauses(Strategy::Exponential), [100, 200, 400, 800]);
    }

    proptest::proptest! {
        #[test]
        fn a_pause_never_passes_the_bound(attempt: u32, random: u64, backoff_ms: u64, max_backoff_ms: u64) {
            for strategy in [Strategy::Fixed, Strategy::Linear, Strategy::Exponential] {
                for jitter in [Jitter::None, Jitter::Full] {
                    let policy = RetryPolicy { strategy, backoff_ms, max_backoff_ms, jitter, ..RetryPolicy::once() };
                    proptest::prop_assert!(policy.delay_ms(attempt, random) <= max_backoff_ms);
                }
            }
        }
    }
}
