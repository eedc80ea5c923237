//! The order of grants: which one allows more, by what, and what two of them allow together.
//!
//! A bound that is not set is the host's own, so it is the widest. Every answer is exact about single rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::{Grant, HttpRule, LimitSettings, LlmGrant, MemoryGrant, http, pattern};

impl Grant {
    /// Whether everything `requested` allows is allowed by this grant.
    pub fn covers(&self, requested: &Grant) -> bool {
        widens(self, requested).is_empty()
    }

    /// What both allow: the part of a request that was granted. Rules that are not in the grammar allow nothing and
    /// are dropped.
    #[must_use]
    pub fn intersect(&self, other: &Grant) -> Grant {
        let (rules, others) = (read_rules(&self.http), read_rules(&other.http));
        let http = rules.iter().flat_map(|rule| others.iter().filter_map(|other| rule.meet(other)));
        let http = widest(http, HttpRule::covers);
        let secrets = (self.secrets.iter())
            .filter_map(|(name, hosts)| {
                let both = meets(hosts, other.secrets.get(name)?, http::host_meet, http::host_covers);
                Some((name.clone(), both))
            })
            .collect::<BTreeMap<_, _>>();
        Grant {
            llm: self.llm.as_ref().zip(other.llm.as_ref()).map(|(a, b)| intersect_llm(a, b)),
            http: http.iter().map(HttpRule::to_string).collect(),
            memory: self.memory.as_ref().zip(other.memory.as_ref()).map(|(a, b)| MemoryGrant {
                read: meets(&a.read, &b.read, pattern::meet, pattern::covers),
                write: meets(&a.write, &b.write, pattern::meet, pattern::covers),
            }),
            secrets,
            tools: meets(&self.tools, &other.tools, pattern::meet, pattern::covers),
            executions: self.executions && other.executions,
            limits: self.limits.tighter(&other.limits),
        }
    }
}

impl LimitSettings {
    /// The tighter bound of each kind.
    #[must_use]
    pub fn tighter(&self, other: &LimitSettings) -> LimitSettings {
        LimitSettings {
            memory_mb: least(self.memory_mb, other.memory_mb),
            timeout_seconds: least(self.timeout_seconds, other.timeout_seconds),
            cpu_seconds: least(self.cpu_seconds, other.cpu_seconds),
            log_kb: least(self.log_kb, other.log_kb),
            host_calls: least(self.host_calls, other.host_calls),
            egress_bytes: least(self.egress_bytes, other.egress_bytes),
        }
    }
}

/// Says, one line each, what `new` allows and `old` does not. Empty exactly when `old` covers `new`.
/// Lines read like settings of `ice plugins grant`: `http=GET https://api.example.com/*`.
pub fn widens(old: &Grant, new: &Grant) -> Vec<String> {
    let mut lines = Vec::new();
    let empty_llm = LlmGrant { models: Vec::new(), max_tokens_per_call: None, usd_per_execution: None };
    if let Some(llm) = &new.llm {
        let before = old.llm.as_ref().unwrap_or(&empty_llm);
        add(&mut lines, "llm", &before.models, &llm.models, pattern::model_covers);
        add_bound(&mut lines, "llm.max_tokens_per_call", before.max_tokens_per_call, llm.max_tokens_per_call);
        add_bound(&mut lines, "llm.usd_per_execution", before.usd_per_execution, llm.usd_per_execution);
    }
    widen_http(&mut lines, &old.http, &new.http);
    if let Some(memory) = &new.memory {
        let empty = MemoryGrant::default();
        let before = old.memory.as_ref().unwrap_or(&empty);
        add(&mut lines, "memory.read", &before.read, &memory.read, pattern::covers);
        add(&mut lines, "memory.write", &before.write, &memory.write, pattern::covers);
    }
    for (name, hosts) in &new.secrets {
        match old.secrets.get(name) {
            None if hosts.is_empty() => lines.push(format!("secrets.{name}=")),
            before => {
                let before = before.map_or(&[][..], Vec::as_slice);
                add(&mut lines, &format!("secrets.{name}"), before, hosts, http::host_covers);
            }
        }
    }
    add(&mut lines, "tools", &old.tools, &new.tools, pattern::covers);
    if new.executions && !old.executions {
        lines.push("executions=true".to_owned());
    }
    widen_limits(&mut lines, &old.limits, &new.limits);
    lines
}

/// The rules that are in the grammar; the others allow nothing.
fn read_rules(rules: &[String]) -> Vec<HttpRule> {
    rules.iter().filter_map(|rule| HttpRule::parse(rule).ok()).collect()
}

fn widen_http(lines: &mut Vec<String>, old: &[String], new: &[String]) {
    let before = read_rules(old);
    let covered = |rule: HttpRule| rule.by_method().iter().all(|rule| before.iter().any(|wide| wide.covers(rule)));
    let fresh = |text: &&String| !old.contains(text) && !HttpRule::parse(text).is_ok_and(covered);
    lines.extend(new.iter().filter(fresh).map(|text| format!("http={text}")));
}

fn widen_limits(lines: &mut Vec<String>, old: &LimitSettings, new: &LimitSettings) {
    add_bound(lines, "limits.memory_mb", old.memory_mb, new.memory_mb);
    add_bound(lines, "limits.timeout_seconds", old.timeout_seconds, new.timeout_seconds);
    add_bound(lines, "limits.cpu_seconds", old.cpu_seconds, new.cpu_seconds);
    add_bound(lines, "limits.log_kb", old.log_kb, new.log_kb);
    add_bound(lines, "limits.host_calls", old.host_calls, new.host_calls);
    add_bound(lines, "limits.egress_bytes", old.egress_bytes, new.egress_bytes);
}

fn add(lines: &mut Vec<String>, key: &str, old: &[String], new: &[String], covers: impl Fn(&str, &str) -> bool) {
    let fresh = |text: &&String| !old.iter().any(|before| before == *text || covers(before, text));
    lines.extend(new.iter().filter(fresh).map(|text| format!("{key}={text}")));
}

/// No old bound covers every new one; an old bound covers what is not above it.
fn add_bound<T: PartialOrd + Display + Copy>(lines: &mut Vec<String>, key: &str, old: Option<T>, new: Option<T>) {
    match (old, new) {
        (Some(old), Some(new)) if new > old => lines.push(format!("{key}={new}")),
        (Some(_), None) => lines.push(format!("{key}=none")),
        _ => {}
    }
}

fn intersect_llm(a: &LlmGrant, b: &LlmGrant) -> LlmGrant {
    LlmGrant {
        models: meets(&a.models, &b.models, pattern::model_meet, pattern::model_covers),
        max_tokens_per_call: least(a.max_tokens_per_call, b.max_tokens_per_call),
        usd_per_execution: least(a.usd_per_execution, b.usd_per_execution),
    }
}

fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b < a { b } else { a }),
        (bound, None) | (None, bound) => bound,
    }
}

/// What both lists match. Both tests are of one kind of pattern.
fn meets(
    a: &[String],
    b: &[String],
    meet: impl Fn(&str, &str) -> Option<String>,
    covers: impl Fn(&str, &str) -> bool,
) -> Vec<String> {
    let meet = &meet;
    let both = a.iter().flat_map(|a| b.iter().filter_map(move |b| meet(a, b)));
    widest(both, |wide: &String, narrow: &String| covers(wide, narrow))
}

/// Sorted, without repeats and without what another one covers, so that equal grants read the same.
fn widest<T: Ord>(items: impl Iterator<Item = T>, covers: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let items: BTreeSet<T> = items.collect();
    let (mut kept, mut rest): (Vec<T>, Vec<T>) = (Vec::new(), items.into_iter().rev().collect());
    while let Some(item) = rest.pop() {
        if !kept.iter().chain(&rest).any(|other| covers(other, &item)) {
            kept.push(item);
        }
    }
    kept
}
