//! Money, tokens and time: what an execution may spend and what it has spent. Integers only, so sums are exact.

use serde::{Deserialize, Serialize};

/// Millionths of a US dollar.
pub type MicroUsd = u64;

/// Reads US dollars, exactly: digits, and at most six more behind a point. What is wrong is said in words.
pub fn parse_usd(text: &str) -> Result<MicroUsd, &'static str> {
    const FORM: &str = "write an amount of US dollars like 0.50, with at most six digits behind the point";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return Err(FORM);
    }
    let micro = format!("{fraction:0<6}").parse::<MicroUsd>().map_err(|_| FORM)?;
    let whole = whole.parse::<MicroUsd>().ok().and_then(|whole| whole.checked_mul(1_000_000));
    whole.and_then(|whole| whole.checked_add(micro)).ok_or("that is more money than there is: write less")
}

/// Tokens and money of one call, one node or one execution. Adds up.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(default)]
pub struct Usage {
    /// Tokens sent to a model.
    pub input_tokens: u64,
    /// Tokens a model wrote.
    pub output_tokens: u64,
    /// Price in micro-USD of what has a known price.
    pub cost_micro_usd: MicroUsd,
    /// Calls whose price is not known; when not 0, `cost_micro_usd` is a lower bound.
    pub unpriced_calls: u32,
}

impl Usage {
    /// Adds `other`, saturating: a guest's or provider's number can be anything.
    pub fn add(&mut self, other: &Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(other.cost_micro_usd);
        self.unpriced_calls = self.unpriced_calls.saturating_add(other.unpriced_calls);
    }

    /// Input and output tokens together.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// What an execution may spend; `None` means no limit of that kind.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Money, in micro-USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_usd: Option<MicroUsd>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Wall-clock milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

/// What one component call cost the host, measured by the host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(default)]
pub struct Receipt {
    /// Processor time inside the guest, in microseconds.
    pub cpu_us: u64,
    /// From request to answer, in microseconds.
    pub wall_us: u64,
    /// Largest sum of the guest's memories and tables, in bytes.
    pub peak_memory: u64,
    /// Calls from the guest into the host.
    pub host_calls: u32,
    /// Requests that were let out through the http capability; those that failed on their way count.
    pub http_requests: u32,
    /// Bytes sent out through the http capability.
    pub egress_bytes: u64,
    /// Log lines that were dropped at the log limit.
    pub log_lines_dropped: u32,
    /// Tokens and money of the models it asked.
    pub usage: Usage,
    /// What it asked for and did not get, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        for (text, micro) in [("0", 0), ("0.1", 100_000), ("12.345678", 12_345_678), ("1.000001", 1_000_001)] {
            assert_eq!(parse_usd(text), Ok(micro), "{text}");
        }
        // As a binary fraction this one would become 16_777_217_000_000_001 or its neighbour.
        assert_eq!(parse_usd("16777217000.000001"), Ok(16_777_217_000_000_001));
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "nan", "0.1234567", "1,5", " 1", "18446744073709"] {
            let expected = text == "18446744073709";
            assert_eq!(parse_usd(text).is_ok(), expected, "{text}");
        }
        assert!(parse_usd("18446744073710").is_err(), "more than 64 bits");
    }
}
