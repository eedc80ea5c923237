//! Trying again: how often, after which pause. Only what may pass is tried again, never a wrong digest.

use std::time::Duration;

use async_trait::async_trait;
use ice_core::problem::Problem;

use super::ClientOptions;
use super::trouble::Trouble;

/// Before the first repetition; doubled before every further one.
const PAUSE: Duration = Duration::from_millis(250);
/// A server that asks for more is not waited for.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Lets time go by. The real one is tokio's; a test has one that does not wait.
#[async_trait]
pub trait Pause: Send + Sync {
    /// Returns after `time`.
    async fn pause(&self, time: Duration);
}

/// Really waits, on the timers of tokio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting;

#[async_trait]
impl Pause for Waiting {
    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// The attempts at one thing.
pub(super) struct Attempts<'a> {
    options: &'a ClientOptions,
    made: u32,
}

impl<'a> Attempts<'a> {
    pub(super) const fn new(options: &'a ClientOptions) -> Self {
        Self { options, made: 0 }
    }

    /// Waits when another attempt makes sense; otherwise the problem is the end.
    pub(super) async fn after(&mut self, trouble: Trouble) -> Result<(), Problem> {
        let (problem, asked) = match trouble {
            Trouble::Passing { problem, after } => (problem, after),
            Trouble::Lasting(problem) => return Err(problem),
        };
        if self.made >= self.options.retries || asked.is_some_and(|asked| asked > PAUSE_MAX) {
            return Err(problem);
        }
        let own = jittered(PAUSE.saturating_mul(1 << self.made.min(6)));
        self.made += 1;
        self.options.pause.pause(asked.unwrap_or(own).min(PAUSE_MAX)).await;
        Ok(())
    }
}

/// Between a half and the whole, so that those who failed together do not come back together.
fn jittered(whole: Duration) -> Duration {
    let mut random = [0; 2];
    // Without random numbers they come back together, which is no failure.
    let _ = getrandom::fill(&mut random);
    whole / 2 + whole.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX) / 2.0)
}
