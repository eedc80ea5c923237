//! Whether a failed attempt is followed by another, and how long the pause before it is.

use ice_core::blueprint::RetryPolicy;
use ice_core::problem::Code;

/// The pause after attempt number `attempt` (1 is the first) failed with `code`; `None` when it was the last one or
/// the policy does not retry this code. `random` is 64 random bits.
pub(crate) fn delay_ms(policy: &RetryPolicy, attempt: u32, code: Code, random: u64) -> Option<u64> {
    let again = attempt < policy.max_attempts && covers(&policy.retry_on, code);
    again.then(|| policy.delay_ms(attempt, random))
}

/// Whether a filter names the code: as `ICE-X003`, `X003` or `E_NODE_TIMEOUT`. An empty filter names all.
fn covers(retry_on: &[String], code: Code) -> bool {
    let named = |name: &String| {
        let letters = name.strip_prefix("ICE-").unwrap_or(name);
        letters == code.letters() || name == code.name()
    };
    retry_on.is_empty() || retry_on.iter().any(named)
}

#[cfg(test)]
mod tests {
    use ice_core::blueprint::{Jitter, Strategy};

    use super::*;

    fn policy(retry_on: &[&str]) -> RetryPolicy {
        RetryPolicy {
            max_attempts: 3,
            strategy: Strategy::Fixed,
            backoff_ms: 100,
            jitter: Jitter::None,
            retry_on: retry_on.iter().map(ToString::to_string).collect(),
            ..RetryPolicy::once()
        }
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        assert_eq!(delay_ms(&policy(&[]), 2, Code::X001, 0), Some(100));
        assert_eq!(delay_ms(&policy(&[]), 3, Code::X001, 0), None);
    }

    #[test]
    fn a_filter_names_codes_in_three_spellings() {
        for name in ["ICE-X003", "X003", "E_NODE_TIMEOUT"] {
            assert_eq!(delay_ms(&policy(&[name]), 1, Code::X003, 0), Some(100), "{name}");
            assert_eq!(delay_ms(&policy(&[name]), 1, Code::X001, 0), None, "{name}");
        }
    }
}
