//! Circuit breakers, one per tool and per provider, shared by every execution of a process.
//!
//! Counts what it is told; calling and waiting belong to others. Open at 5 failures among the last 20 calls, tried
//! again by a single call after 30 s: numbers chosen so that one bad input does not open it and an outage does.

use std::collections::HashMap;
use std::sync::Mutex;

use ice_core::id::UnixMs;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};

/// Calls that are remembered.
const WINDOW: u32 = 20;
/// Failures among them that open the breaker.
const FAILURES: u32 = 5;
/// Time until one call may try again.
const OPEN_MS: u64 = 30_000;

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Tool,
    Agent,
    Provider,
}

impl Target {
    const ALL: [Self; 3] = [Self::Tool, Self::Agent, Self::Provider];

    fn word(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Agent => "agent",
            Self::Provider => "provider",
        }
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Breaker {
    /// The latest calls, newest in the lowest bit; 1 is a failure.
    history: u32,
    /// When it opened.
    opened: Option<UnixMs>,
    /// Whether a call is trying whether things are well again, and since when.
    trying: Option<UnixMs>,
}

/// Every breaker of a process.
pub(crate) struct Breakers {
    by_target: [Mutex<HashMap<Box<str>, Breaker>>; Target::ALL.len()],
}

impl Breakers {
    pub(crate) fn new() -> Self {
        Self { by_target: Default::default() }
    }

    /// Whether a call may be made now; X004 while the breaker is open.
    /// `now` is asked for only when the target has failed lately: a call that goes well costs no look at the clock.
    pub(crate) fn admit(&self, target: Target, name: &str, now: impl Fn() -> UnixMs) -> Result<(), Failure> {
        let mut breakers = self.by_target[target as usize].lock().expect("no panic while counting");
        let Some(breaker) = breakers.get_mut(name) else { return Ok(()) };
        let Some(opened) = breaker.opened else { return Ok(()) };
        let now = now();
        let wait = (opened + OPEN_MS).saturating_sub(now);
        // A trial that never reported back, because its execution went away, must not keep the breaker open for good.
        let tried_lately = breaker.trying.is_some_and(|since| now < since + OPEN_MS);
        if wait == 0 && !tried_lately {
            breaker.trying = Some(now);
            return Ok(());
        }
        let word = target.word();
        let problem = Problem::new(Code::X004, format!("{word} `{name}` failed too often and is left alone"))
            .help(format!("try again in {} s, or find out why the {word} fails", wait.max(1_000).div_ceil(1_000)));
        Err(Failure { problem, retry: ice_core::ports::Retry::AfterMs(wait.max(1_000)) })
    }

    /// Says how a call went. A call that failed by its own input says `failed: false`: the target is well.
    pub(crate) fn report(&self, target: Target, name: &str, failed: bool, now: impl Fn() -> UnixMs) {
        let mut breakers = self.by_target[target as usize].lock().expect("no panic while counting");
        if !failed && !breakers.contains_key(name) {
            return;
        }
        let now = now();
        let breaker = breakers.entry(name.into()).or_default();
        if breaker.trying.take().is_some() {
            *breaker = if failed { Breaker { opened: Some(now), ..*breaker } } else { Breaker::default() };
            return;
        }
        breaker.history = (breaker.history << 1 | u32::from(failed)) & ((1 << WINDOW) - 1);
        if breaker.history.count_ones() >= FAILURES && breaker.opened.is_none() {
            breaker.opened = Some(now);
        }
        // A target that is well again for a whole window needs no memory.
        if breaker.history == 0 && breaker.opened.is_none() {
            breakers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Breakers {
        let breakers = Breakers::new();
        (0..FAILURES).for_each(|_| breakers.report(Target::Tool, "t", true, || 1_000));
        breakers
    }

    #[test]
    fn opens_at_five_failures_of_twenty_calls() {
        let breakers = Breakers::new();
        for call in 0..FAILURES * 5 - 1 {
            breakers.report(Target::Tool, "t", call % 5 == 0, || 1_000);
            assert!(breakers.admit(Target::Tool, "t", || 1_000).is_ok(), "call {call}");
        }
        assert_eq!(opened().admit(Target::Tool, "t", || 1_001).expect_err("open").problem.code, Code::X004);
    }

    #[test]
    fn leaves_other_names_and_kinds_alone() {
        let breakers = opened();
        assert!(breakers.admit(Target::Tool, "u", || 1_001).is_ok());
        assert!(breakers.admit(Target::Provider, "t", || 1_001).is_ok());
    }

    #[test]
    fn lets_one_call_try_after_thirty_seconds() {
        let breakers = opened();
        assert!(breakers.admit(Target::Tool, "t", || 1_000 + OPEN_MS - 1).is_err());
        assert!(breakers.admit(Target::Tool, "t", || 1_000 + OPEN_MS).is_ok());
        assert!(breakers.admit(Target::Tool, "t", || 1_000 + OPEN_MS).is_err(), "one at a time");
        breakers.report(Target::Tool, "t", false, || 1_000 + OPEN_MS);
        assert!(breakers.admit(Target::Tool, "t", || 1_000 + OPEN_MS).is_ok());
    }

    #[test]
    fn opens_again_when_the_trial_fails() {
        let breakers = opened();
        let later = 1_000 + OPEN_MS;
        assert!(breakers.admit(Target::Tool, "t", || later).is_ok());
        breakers.report(Target::Tool, "t", true, || later);
        assert!(breakers.admit(Target::Tool, "t", || later + OPEN_MS - 1).is_err());
        assert!(breakers.admit(Target::Tool, "t", || later + OPEN_MS).is_ok());
    }
}
