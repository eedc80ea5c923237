//! Money, tokens and time: what an execution may spend and what it has spent. Integers only, so sums are exact.

use serde::{Deserialize, Serialize};

/// Millionths of a US dollar.
pub type MicroUsd = u64;

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
