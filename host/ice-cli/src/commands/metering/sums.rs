//! Sums over records: one a row of the table, and one of everything. Integers, so that they are exact.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::record::{Kind, Record};

/// What some records come to.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug, Default)]
pub(super) struct Totals {
    /// Calls of components.
    pub(super) calls: u64,
    /// Calls of models.
    pub(super) model_calls: u64,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) micro_usd: u64,
    /// Calls whose price is not known.
    pub(super) unpriced_calls: u64,
    pub(super) cpu_us: u64,
    pub(super) http_requests: u64,
    pub(super) egress_bytes: u64,
}

impl Totals {
    /// Adds a record, saturating: a provider's number can be anything.
    pub(super) fn add(&mut self, record: &Record) {
        let calls = match record.kind {
            Kind::Component => &mut self.calls,
            Kind::Model => &mut self.model_calls,
        };
        *calls = calls.saturating_add(record.calls.into());
        self.prompt_tokens = self.prompt_tokens.saturating_add(record.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(record.completion_tokens);
        self.micro_usd = self.micro_usd.saturating_add(record.micro_usd);
        self.unpriced_calls = self.unpriced_calls.saturating_add(record.unpriced_calls.into());
        self.cpu_us = self.cpu_us.saturating_add(record.cpu_us);
        self.http_requests = self.http_requests.saturating_add(record.http_requests.into());
        self.egress_bytes = self.egress_bytes.saturating_add(record.egress_bytes);
    }

    fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    fn usd(&self) -> String {
        format!("{}.{:06}", self.micro_usd / 1_000_000, self.micro_usd % 1_000_000)
    }

    fn cpu_seconds(&self) -> String {
        format!("{}.{:03}", self.cpu_us / 1_000_000, self.cpu_us / 1_000 % 1_000)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, model_calls, unpriced_calls, .. } = self;
        let (tokens, usd, cpu) = (self.tokens(), self.usd(), self.cpu_seconds());
        write!(f, "{calls} component calls, {model_calls} model calls, {tokens} tokens, {usd} USD, {cpu} s of CPU")?;
        match unpriced_calls {
            0 => Ok(()),
            count => write!(f, "; the price of {count} calls is not known"),
        }
    }
}

/// One row of the table.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    org: &'a str,
    plugin: Option<&'a str>,
    component: Option<&'a str>,
    #[serde(flatten)]
    totals: &'a Totals,
}

/// Org, plugin, component.
type Key = (String, Option<String>, Option<String>);

/// Sums by org, plugin and component.
#[derive(Default)]
pub(super) struct Sums {
    by_key: BTreeMap<Key, Totals>,
    all: Totals,
}

impl Sums {
    pub(super) fn add(&mut self, record: &Record) {
        let key = (record.org.clone(), record.plugin.clone(), record.component.clone());
        self.by_key.entry(key).or_default().add(record);
        self.all.add(record);
    }

    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let entries = self.by_key.iter();
        let row = |(key, totals)| {
            let (org, plugin, component): &Key = key;
            Row { org, plugin: plugin.as_deref(), component: component.as_deref(), totals }
        };
        entries.map(row).collect()
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.all
    }

    /// The rows for a person, each column as wide as its widest cell.
    pub(super) fn table(&self) -> Vec<String> {
        let head = ["org", "plugin", "component", "calls", "model calls", "tokens", "USD", "CPU s"].map(str::to_owned);
        let cells = |row: &Row<'_>| {
            let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
            let totals = row.totals;
            [
                row.org.to_owned(),
                or_dash(row.plugin),
                or_dash(row.component),
                totals.calls.to_string(),
                totals.model_calls.to_string(),
                totals.tokens().to_string(),
                totals.usd(),
                totals.cpu_seconds(),
            ]
        };
        let rows: Vec<[String; 8]> = std::iter::once(head).chain(self.rows().iter().map(cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..8).map(width).collect();
        let line = |row: &[String; 8]| {
            let cell = |(column, text): (usize, &String)| match column {
                // Names begin at the left, numbers end at the right.
                0..3 => format!("{text:<width$}", width = widths[column]),
                _ => format!("{text:>width$}", width = widths[column]),
            };
            row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ")
        };
        rows.iter().map(line).collect()
    }
}
