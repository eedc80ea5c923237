//! Capabilities and grants: what a component may ask the host for, and what an operator lets it have.
//!
//! Pure: [`Grant::allows_http`] and its siblings answer yes or no about one use, [`Grant::covers`] about every
//! possible one. Counting calls, tokens and bytes belongs to the gate.

mod http;
mod order;
mod pattern;
mod setting;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use http::HttpRule;
pub use order::widens;
pub use setting::SETTINGS;

use crate::problem::{Code, Problem};

/// Something the host can do for a guest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// `ice:log`: always granted.
    Log,
    /// `ice:llm/chat` and `ice:llm/embeddings`.
    Llm,
    /// `ice:memory`.
    Memory,
    /// `wasi:http/outgoing-handler`.
    Http,
    /// `ice:secrets`.
    Secrets,
    /// `ice:orchestrator/tools`.
    Tools,
    /// `ice:orchestrator/executions`.
    Executions,
}

impl Capability {
    /// Every capability, in the order they are shown.
    pub const ALL: [Capability; 7] =
        [Self::Log, Self::Llm, Self::Memory, Self::Http, Self::Secrets, Self::Tools, Self::Executions];

    /// The word a grant, a manifest and a message use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Llm => "llm",
            Self::Memory => "memory",
            Self::Http => "http",
            Self::Secrets => "secrets",
            Self::Tools => "tools",
            Self::Executions => "executions",
        }
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one component may use. The empty grant allows `ice:log` and nothing else.
/// The same shape is a manifest's request and an operator's permission.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// Language models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmGrant>,
    /// Outgoing HTTP: `METHOD scheme://host[:port][/path*]`, for example `GET https://api.example.com/v1/*`.
    /// `*` as method means any; `*.example.com` matches whole labels; no rule means no request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
    /// Memory scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryGrant>,
    /// Secret name → hosts it may be sent to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Vec<String>>,
    /// Tools an agent may call: names, or a prefix and `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Whether an agent may start child executions.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub executions: bool,
    /// Limits of one call; what is not set is the host's default.
    #[serde(skip_serializing_if = "LimitSettings::is_default")]
    pub limits: LimitSettings,
}

/// Which models, how much.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct LlmGrant {
    /// `model`, `provider/model`, or a prefix and `*`; `*` alone is every model. `default` is the host's default model.
    pub models: Vec<String>,
    /// Most output tokens of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_per_call: Option<u32>,
    /// Most money of one execution, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_execution: Option<f64>,
}

/// Which scopes, and how. Scope patterns are names, or a prefix and `*`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryGrant {
    /// Scopes that may be read and searched.
    pub read: Vec<String>,
    /// Scopes that may be written and forgotten.
    pub write: Vec<String>,
}

/// Limits of one call, as a grant or a setting writes them.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// All memories and tables together, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Processor time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u32>,
    /// Log text, KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_kb: Option<u32>,
    /// Calls into the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u32>,
    /// Bytes sent through http.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_bytes: Option<u64>,
}

impl LimitSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Grant {
    /// Whether anything of `capability` is allowed. `ice:log` always is.
    pub fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Log => true,
            Capability::Llm => self.llm.as_ref().is_some_and(|llm| !llm.models.is_empty()),
            Capability::Memory => {
                self.memory.as_ref().is_some_and(|memory| !memory.read.is_empty() || !memory.write.is_empty())
            }
            Capability::Http => !self.http.is_empty(),
            Capability::Secrets => !self.secrets.is_empty(),
            Capability::Tools => !self.tools.is_empty(),
            Capability::Executions => self.executions,
        }
    }

    /// Every capability of which something is allowed; always holds `Log`.
    pub fn capabilities(&self) -> BTreeSet<Capability> {
        Capability::ALL.into_iter().filter(|capability| self.has(*capability)).collect()
    }

    /// Whether `model` at `provider` may be asked. A pattern with a `/` is compared with `provider/model`, any other
    /// with the model's name at every provider. The host's default model is asked for as model `default`.
    pub fn allows_model(&self, provider: &str, model: &str) -> bool {
        let patterns = self.llm.iter().flat_map(|llm| &llm.models);
        patterns.into_iter().any(|pattern| pattern::model_matches(pattern, provider, model))
    }

    /// Whether a request may be sent. `url` is absolute, its host in ASCII; a URL that cannot be read, holds a user
    /// name, or hides the meaning of its path (`..`, `%2f`, `%5c`) is allowed by no rule with a path.
    pub fn allows_http(&self, method: &str, url: &str) -> bool {
        let Some(target) = http::Target::parse(url) else {
            return false;
        };
        let mut rules = self.http.iter().filter_map(|rule| HttpRule::parse(rule).ok());
        rules.any(|rule| rule.allows(method, &target))
    }

    /// Whether `scope` may be read, or written when `write`.
    pub fn allows_memory(&self, scope: &str, write: bool) -> bool {
        let patterns = self.memory.iter().flat_map(|memory| if write { &memory.write } else { &memory.read });
        patterns.into_iter().any(|pattern| pattern::matches(pattern, scope))
    }

    /// Whether an agent may call the tool `name`.
    pub fn allows_tool(&self, name: &str) -> bool {
        self.tools.iter().any(|pattern| pattern::matches(pattern, name))
    }

    /// Whether the secret `name` may be sent to `host` (no port). Hosts are patterns as in an http rule.
    pub fn allows_secret(&self, name: &str, host: &str) -> bool {
        let patterns = self.secrets.get(name).into_iter().flatten();
        patterns.into_iter().any(|pattern| http::host_matches(pattern, host))
    }

    /// Whether the component may know that the secret `name` is set.
    pub fn knows_secret(&self, name: &str) -> bool {
        self.secrets.contains_key(name)
    }

    /// Returns everything in this grant that is not in its grammar. A rule that is not allows nothing.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut patterns = |pointer: &str, patterns: &[String]| {
            for (index, text) in patterns.iter().enumerate() {
                let problem = pattern::check(text).err();
                problems.extend(problem.map(|problem| problem.pointer(format!("{pointer}/{index}"))));
            }
        };
        patterns("/llm/models", self.llm.as_ref().map_or(&[], |llm| &llm.models));
        patterns("/memory/read", self.memory.as_ref().map_or(&[], |memory| &memory.read));
        patterns("/memory/write", self.memory.as_ref().map_or(&[], |memory| &memory.write));
        patterns("/tools", &self.tools);
        for (index, rule) in self.http.iter().enumerate() {
            let problem = HttpRule::parse(rule).err();
            problems.extend(problem.map(|problem| problem.pointer(format!("/http/{index}"))));
        }
        for (name, hosts) in &self.secrets {
            if !pattern::is_secret_name(name) {
                let problem = Problem::new(Code::G002, format!("`{name}` is not the name of a secret"));
                problems.push(problem.help("use letters, digits and `_`").pointer(format!("/secrets/{name}")));
            }
            for (index, host) in hosts.iter().enumerate() {
                let problem = http::check_host(host).err();
                problems.extend(problem.map(|problem| problem.pointer(format!("/secrets/{name}/{index}"))));
            }
        }
        let money = self.llm.as_ref().and_then(|llm| llm.usd_per_execution);
        if money.is_some_and(|usd| !usd.is_finite() || usd < 0.0) {
            let problem = Problem::new(Code::G002, "`usd_per_execution` is not an amount of money");
            problems.push(problem.help("write a number of US dollars, 0 or more").pointer("/llm/usd_per_execution"));
        }
        problems
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
