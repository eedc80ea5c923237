//! What a guest needs a grant for, and the setting that would give it.

use ice_core::grant::{Capability, Grant};

/// One thing a guest asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need<'a> {
    /// A language model. `asked` is what the guest wrote; empty for the host's default.
    Model { provider: &'a str, model: &'a str, asked: &'a str },
    /// More money than `usd_per_execution`: `next` would be spent.
    Money { usd: f64, next: f64 },
    /// A request to the outside.
    Http { method: &'a str, url: &'a str },
    /// More bytes to the outside than the limit.
    Egress { limit: u64 },
    /// A memory scope.
    Memory { scope: &'a str, write: bool },
    /// A tool, for an agent.
    Tool { name: &'a str },
    /// Child executions, for an agent.
    Executions,
}

impl Need<'_> {
    /// Whether `grant` gives it.
    pub(crate) fn covered(&self, grant: &Grant) -> bool {
        match *self {
            Self::Model { provider, model, asked } => {
                grant.allows_model(provider, model) || asked.is_empty() && grant.allows_model(provider, "default")
            }
            Self::Http { method, url } => grant.allows_http(method, url),
            Self::Memory { scope, write } => grant.allows_memory(scope, write),
            Self::Tool { name } => grant.allows_tool(name),
            Self::Executions => grant.executions,
            Self::Money { .. } | Self::Egress { .. } => false,
        }
    }

    /// Which capability it belongs to.
    pub(crate) fn capability(&self) -> Capability {
        match self {
            Self::Model { .. } | Self::Money { .. } => Capability::Llm,
            Self::Http { .. } | Self::Egress { .. } => Capability::Http,
            Self::Memory { .. } => Capability::Memory,
            Self::Tool { .. } => Capability::Tools,
            Self::Executions => Capability::Executions,
        }
    }

    /// The capability as grants spell it.
    pub(crate) fn word(&self) -> &'static str {
        match self.capability() {
            Capability::Log => "log",
            Capability::Llm => "llm",
            Capability::Memory => "memory",
            Capability::Http => "http",
            Capability::Secrets => "secrets",
            Capability::Tools => "tools",
            Capability::Executions => "executions",
        }
    }

    /// What was asked for, in words. Names come from the guest and are cut to a line.
    pub(crate) fn what(&self) -> String {
        let words = self.words();
        super::plain(super::clip(&words, WORDS_BYTES_MAX)).replace(['\n', '\t'], " ")
    }

    fn words(&self) -> String {
        match *self {
            Self::Model { asked: "", .. } => "the host's default model".to_owned(),
            Self::Model { asked, .. } => format!("model `{asked}`"),
            Self::Money { usd, next } => format!("{next:.4} USD in one execution, {usd} are granted"),
            Self::Http { method, url } => format!("{method} {}", without_query(url)),
            Self::Egress { limit } => format!("more than {limit} bytes sent in one call"),
            Self::Memory { scope, write: true } => format!("writing scope `{scope}`"),
            Self::Memory { scope, write: false } => format!("reading scope `{scope}`"),
            Self::Tool { name } => format!("tool `{name}`"),
            Self::Executions => "starting and following child executions".to_owned(),
        }
    }

    /// The setting that would allow it and nothing else, as `ice plugins grant` takes it. `None` when there is none:
    /// a guest must not get `memory.read=*` suggested by asking for a scope of that name.
    pub(crate) fn setting(&self) -> Option<String> {
        let names: &[&str] = match self {
            Self::Model { asked, .. } => &[asked],
            Self::Http { method, url } => &[method, origin(url)],
            Self::Memory { scope, .. } => &[scope],
            Self::Tool { name } => &[name],
            Self::Money { .. } | Self::Egress { .. } | Self::Executions => &[],
        };
        let odd = |c: char| matches!(c, '*' | ',') || c.is_whitespace() || c.is_control();
        let plain = names.iter().all(|name| name.len() <= WORDS_BYTES_MAX && !name.contains(odd));
        plain.then(|| self.text())
    }

    fn text(&self) -> String {
        match *self {
            Self::Model { asked: "", .. } => "llm=default".to_owned(),
            Self::Model { asked, .. } => format!("llm={asked}"),
            Self::Money { next, .. } => format!("llm.usd_per_execution={:.2}", (next * 100.0).ceil() / 100.0),
            Self::Http { method, url } => format!("http={method} {}/*", origin(url)),
            Self::Egress { limit } => format!("limits.egress_bytes={}", limit.saturating_mul(2)),
            Self::Memory { scope, write: true } => format!("memory.write={scope}"),
            Self::Memory { scope, write: false } => format!("memory.read={scope}"),
            Self::Tool { name } => format!("tools={name}"),
            Self::Executions => "executions=true".to_owned(),
        }
    }
}

/// Longest description of what was asked for.
const WORDS_BYTES_MAX: usize = 300;

/// `text` as one word of a shell, whatever it holds: people copy commands out of messages.
pub(crate) fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A query may hold what should not be in a log.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let Some(start) = url.find("://").map(|at| at + 3) else {
        return url;
    };
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_of_a_denial_grants_exactly_what_was_denied() {
        let needs = [
            Need::Http { method: "GET", url: "https://api.example.com:8443/v1/items?key=1" },
            Need::Memory { scope: "notes", write: true },
            Need::Memory { scope: "notes", write: false },
            Need::Tool { name: "csv_loader" },
            Need::Executions,
            Need::Model { provider: "openai", model: "gpt-4o", asked: "gpt-4o" },
            Need::Model { provider: "openai", model: "gpt-4o", asked: "openai/gpt-4o" },
            Need::Model { provider: "echo", model: "echo", asked: "" },
        ];
        for need in needs {
            let mut grant = Grant::default();
            assert!(!need.covered(&grant), "{need:?}");
            let setting = need.setting().unwrap();
            grant.set(&setting).unwrap();
            assert!(need.covered(&grant), "{need:?} by {setting}");
        }
    }

    #[test]
    fn a_guest_cannot_have_a_wider_setting_or_another_command_suggested() {
        let long = "x".repeat(1_000);
        for name in ["*", "a*", "a,b", "a\nb", "a b", long.as_str()] {
            assert_eq!(Need::Memory { scope: name, write: false }.setting(), None, "{name}");
            assert_eq!(Need::Tool { name }.setting(), None, "{name}");
            assert_eq!(Need::Model { provider: "", model: name, asked: name }.setting(), None, "{name}");
        }
        assert_eq!(Need::Http { method: "*", url: "https://a.example/" }.setting(), None);
        assert_eq!(Need::Http { method: "GET", url: "https://*.example/" }.setting(), None);
        assert_eq!(shell("tools=a'; rm -rf ~; '"), r"'tools=a'\''; rm -rf ~; '\'''");
        let what = Need::Tool { name: "\u{1b}[2Jgone\nerror: all is well" }.what();
        assert!(!what.contains(['\u{1b}', '\n']), "{what:?}");
    }

    #[test]
    fn a_denied_url_is_shown_without_its_query() {
        let need = Need::Http { method: "GET", url: "https://a.example/x?token=abc" };
        assert_eq!(need.what(), "GET https://a.example/x");
        assert_eq!(need.setting().unwrap(), "http=GET https://a.example/*");
    }
}
