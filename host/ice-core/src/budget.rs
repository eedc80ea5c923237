//! Money, tokens and time: what an execution may spend and what it has spent. Integers only, so sums are exact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::UnixMs;

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

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// The day of a moment, counted from 1970-01-01 in UTC.
pub fn day_of(now: UnixMs) -> u64 {
    now / DAY_MS
}

/// The stretch of time for which an org's budget is meant. Days and months begin at midnight UTC.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Today.
    Day,
    /// This month.
    #[default]
    Month,
    /// Ever.
    Total,
}

impl Window {
    /// All of them, from the shortest to the longest.
    pub const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    /// The first day of the window that `now` lies in, counted from 1970-01-01.
    pub fn first_day(self, now: UnixMs) -> u64 {
        let today = day_of(now);
        match self {
            Self::Day => today,
            Self::Month => today - (day_of_month(today) - 1),
            Self::Total => 0,
        }
    }

    /// When it is, in words: `this month`.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Day => "today",
            Self::Month => "this month",
            Self::Total => "ever",
        }
    }

    /// The window of a word of settings.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.as_str() == word)
    }

    /// The word of settings and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

/// 1 to 31. Counts in years that begin in March, so that the leap day is the last of them: the 400-year cycle has
/// 146,097 days, and day 0 of it was 719,468 days before 1970.
fn day_of_month(day: u64) -> u64 {
    let in_cycle = (day + 719_468) % 146_097;
    let year = (in_cycle - in_cycle / 1_460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    in_year - (153 * month + 2) / 5 + 1
}

/// What orgs may spend in a window, over all their executions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrgBudgets {
    /// Of every org that is not named.
    pub each: Option<MicroUsd>,
    /// Of single orgs.
    pub by_org: BTreeMap<String, MicroUsd>,
    /// For which time.
    pub window: Window,
}

impl OrgBudgets {
    /// What `org` may spend; `None` for no limit.
    pub fn of(&self, org: &str) -> Option<MicroUsd> {
        self.by_org.get(org).copied().or(self.each)
    }
}

/// Writes micro-USD as dollars, at least with cents and without further zeros: `1.50`, `0.000015`.
pub fn dollars(micro: MicroUsd) -> String {
    let text = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let zeros = text.len() - text.trim_end_matches('0').len();
    text[..text.len() - zeros.min(4)].to_owned()
}

/// Reads dollars as people write them, `12`, `0.50` or `.000001`, digit by digit: no amount is rounded. `None` for
/// anything else, for more than 10^12 dollars, and for parts of a micro-dollar.
pub fn parse_dollars(text: &str) -> Option<MicroUsd> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let part = part.trim_end_matches('0');
    // A point without a digit on either side is not a number.
    let some = text.bytes().any(|byte| byte.is_ascii_digit());
    if !some || !digits(whole) || !digits(part) || part.len() > 6 || whole.trim_start_matches('0').len() > 12 {
        return None;
    }
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    number(whole)?.checked_mul(1_000_000)?.checked_add(number(&format!("{part:0<6}"))?)
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
    fn windows_begin_at_midnight() {
        // 2026-11-30T06:00:00Z is day 20,787; 2024-02-29 day 19,782; 2000-03-01 day 11,017.
        let at = |day: u64| day * DAY_MS + 6 * 3_600_000;
        assert_eq!(Window::Day.first_day(at(20_787)), 20_787);
        assert_eq!(Window::Month.first_day(at(20_787)), 20_787 - 29);
        assert_eq!(Window::Month.first_day(at(19_782)), 19_782 - 28);
        assert_eq!(Window::Month.first_day(at(11_017)), 11_017);
        assert_eq!(Window::Month.first_day(0), 0);
        assert_eq!(Window::Total.first_day(at(20_787)), 0);
    }

    #[test]
    fn a_month_has_at_most_31_days_and_begins_with_its_first() {
        let starts: Vec<u64> = (0..40_000).filter(|day| day_of_month(*day) == 1).collect();
        assert!(starts.windows(2).all(|pair| (28..=31).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn money_is_read_digit_by_digit() {
        let good = [("0.1", 100_000), ("12", 12_000_000), (".5", 500_000), ("3.", 3_000_000), ("0.000001", 1)];
        assert_eq!(good.map(|(text, _)| parse_dollars(text)), good.map(|(_, micro)| Some(micro)));
        // As a binary fraction this one is not exact.
        assert_eq!(parse_dollars("4503599627.370497"), Some(4_503_599_627_370_497));
        assert_eq!(parse_dollars("1.2300000"), Some(1_230_000));
        assert_eq!(parse_dollars("007"), Some(7_000_000));
        for text in ["", ".", "-1", "+1", "1e3", "0.0000001", "1,5", " 1", "NaN", "inf", "9999999999999", "1.2.3"] {
            assert_eq!(parse_dollars(text), None, "{text}");
        }
        for micro in [0, 1, 15, 999_999, 1_000_000, 1_234_500] {
            assert_eq!(parse_dollars(&dollars(micro)), Some(micro));
        }
    }

    #[test]
    fn money_is_printed_without_needless_zeros() {
        assert_eq!(
            [1_500_000, 2_000_000, 15, 0, 1_234_500].map(dollars),
            ["1.50", "2.00", "0.000015", "0.00", "1.2345"]
        );
    }
}
