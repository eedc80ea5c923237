//! One line of a grant as an operator types it: `http=GET https://api.example.com/*`, `limits.memory_mb=256`.

use super::{Grant, HttpRule, LlmGrant, http, pattern};
use crate::problem::{Code, Problem};

/// Every key a setting may have, with what stands after the `=`.
pub const SETTINGS: &[(&str, &str)] = &[
    ("llm", "MODEL[,MODEL…]"),
    ("llm.max_tokens_per_call", "N"),
    ("llm.usd_per_execution", "USD"),
    ("http", "METHOD scheme://host[:port][/path*]"),
    ("memory", "SCOPE[,SCOPE…]"),
    ("memory.read", "SCOPE[,SCOPE…]"),
    ("memory.write", "SCOPE[,SCOPE…]"),
    ("secrets.NAME", "HOST[,HOST…]"),
    ("tools", "TOOL[,TOOL…]"),
    ("executions", "true|false"),
    ("limits.memory_mb", "N"),
    ("limits.timeout_seconds", "N"),
    ("limits.cpu_seconds", "N"),
    ("limits.log_kb", "N"),
    ("limits.host_calls", "N"),
    ("limits.egress_bytes", "N"),
];

impl Grant {
    /// Adds one setting, `key=value`. Patterns and rules are added to what is there, bounds replace it; the value
    /// `none` clears a bound, and the empty value clears a list. Changes nothing when it fails (G002).
    pub fn set(&mut self, setting: &str) -> Result<(), Problem> {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(Problem::new(Code::G002, format!("`{setting}` has no `=`")).help(keys()));
        };
        let (key, value) = (key.trim(), value.trim());
        let mut next = self.clone();
        if let Some(name) = key.strip_prefix("secrets.") {
            next.set_secret(name, value)?;
        } else if let Some(limit) = key.strip_prefix("limits.") {
            next.set_limit(limit, value).ok_or_else(|| refuse(key, value))??;
        } else {
            next.set_member(key, value).ok_or_else(|| refuse(key, value))??;
        }
        *self = next;
        Ok(())
    }

    /// `None` when there is no such key.
    fn set_member(&mut self, key: &str, value: &str) -> Option<Result<(), Problem>> {
        Some(match key {
            "llm" => extend(&mut self.llm.get_or_insert_default().models, value),
            "llm.max_tokens_per_call" => bound(key, value).map(|n| self.llm_mut().max_tokens_per_call = n),
            "llm.usd_per_execution" => bound::<f64>(key, value).and_then(|usd| match usd {
                Some(usd) if !usd.is_finite() || usd < 0.0 => Err(refuse(key, value)),
                usd => {
                    self.llm_mut().usd_per_execution = usd;
                    Ok(())
                }
            }),
            "http" if value.is_empty() => {
                self.http.clear();
                Ok(())
            }
            "http" => HttpRule::parse(value).map(|rule| push(&mut self.http, rule.to_string())),
            "memory" => {
                let memory = self.memory.get_or_insert_default();
                extend(&mut memory.read, value).and_then(|()| extend(&mut memory.write, value))
            }
            "memory.read" => extend(&mut self.memory.get_or_insert_default().read, value),
            "memory.write" => extend(&mut self.memory.get_or_insert_default().write, value),
            "tools" => extend(&mut self.tools, value),
            "executions" => match value {
                "true" | "false" => {
                    self.executions = value == "true";
                    Ok(())
                }
                _ => Err(refuse(key, value)),
            },
            _ => return None,
        })
    }

    /// `None` when there is no such limit.
    fn set_limit(&mut self, limit: &str, value: &str) -> Option<Result<(), Problem>> {
        let limits = &mut self.limits;
        let slot = match limit {
            "memory_mb" => &mut limits.memory_mb,
            "timeout_seconds" => &mut limits.timeout_seconds,
            "cpu_seconds" => &mut limits.cpu_seconds,
            "log_kb" => &mut limits.log_kb,
            "host_calls" => &mut limits.host_calls,
            "egress_bytes" => {
                return Some(bound("limits.egress_bytes", value).map(|n| limits.egress_bytes = n));
            }
            _ => return None,
        };
        Some(bound(&format!("limits.{limit}"), value).map(|n| *slot = n))
    }

    fn set_secret(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        if !pattern::is_secret_name(name) {
            return Err(refuse(&format!("secrets.{name}"), value));
        }
        if value.is_empty() {
            self.secrets.remove(name);
            return Ok(());
        }
        let hosts = self.secrets.entry(name.to_owned()).or_default();
        for host in value.split(',').map(str::trim) {
            http::check_host(host)?;
            push(hosts, host.to_ascii_lowercase());
        }
        Ok(())
    }

    fn llm_mut(&mut self) -> &mut LlmGrant {
        self.llm.get_or_insert_default()
    }
}

fn extend(patterns: &mut Vec<String>, value: &str) -> Result<(), Problem> {
    if value.is_empty() {
        patterns.clear();
        return Ok(());
    }
    for text in value.split(',').map(str::trim) {
        pattern::check(text)?;
        push(patterns, text.to_owned());
    }
    Ok(())
}

fn push(texts: &mut Vec<String>, text: String) {
    if !texts.contains(&text) {
        texts.push(text);
    }
}

fn bound<T: std::str::FromStr>(key: &str, value: &str) -> Result<Option<T>, Problem> {
    if value == "none" {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| refuse(key, value))
}

fn refuse(key: &str, value: &str) -> Problem {
    let known =
        SETTINGS.iter().find(|(known, _)| *known == key || (*known == "secrets.NAME" && key.starts_with("secrets.")));
    match known {
        Some((key, form)) => Problem::new(Code::G002, format!("`{value}` is not a value for `{key}`"))
            .help(format!("write `{key}={form}`")),
        None => Problem::new(Code::G002, format!("a grant has no `{key}`")).help(keys()),
    }
}

fn keys() -> String {
    let all: Vec<String> = SETTINGS.iter().map(|(key, form)| format!("`{key}={form}`")).collect();
    format!("write one of {}", all.join(", "))
}
