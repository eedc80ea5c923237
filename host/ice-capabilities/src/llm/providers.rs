//! The providers this host knows, and what an operator may set about them. Data only.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::secrets::Secret;

/// The provider that is always there.
pub const OFFLINE: &str = "echo";

/// How a provider is told that the answer must be JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Structured {
    /// It takes a JSON Schema and follows it.
    Schema,
    /// It promises JSON, not its form: the schema goes into the instructions.
    Object,
    /// It promises nothing: the schema goes into the instructions.
    Prompt,
}

/// One provider that this host knows. All of them speak the chat-completions format but the offline one.
#[derive(Clone, Copy, Debug)]
pub struct ProviderRow {
    /// Its name in `provider/model`.
    pub name: &'static str,
    /// The environment variable its key is commonly kept in; empty when it needs none.
    pub key_variable: &'static str,
    /// The environment variable that names another address; empty when it has none.
    pub base_url_variable: &'static str,
    /// Its own address; the paths of the API follow.
    pub base_url: &'static str,
    /// The model when nobody names one.
    pub default_model: &'static str,
    /// Models whose name starts with one of these are its own.
    pub prefixes: &'static [&'static str],
    /// What it does for structured output.
    pub structured: Structured,
}

/// Every provider, the first configured one is the default. Addresses are those of the providers' documentation.
pub const PROVIDERS: &[ProviderRow] = &[
    ProviderRow {
        name: "openai",
        key_variable: "OPENAI_API_KEY",
        base_url_variable: "OPENAI_BASE_URL",
        base_url: "https://api.openai.com/v1",
        default_model: "gpt-4o-mini",
        prefixes: &["gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-"],
        structured: Structured::Schema,
    },
    ProviderRow {
        name: "anthropic",
        key_variable: "ANTHROPIC_API_KEY",
        base_url_variable: "ANTHROPIC_BASE_URL",
        base_url: "https://api.anthropic.com/v1",
        default_model: "claude-sonnet-4-5",
        prefixes: &["claude-"],
        structured: Structured::Prompt,
    },
    ProviderRow {
        name: "deepseek",
        key_variable: "DEEPSEEK_API_KEY",
        base_url_variable: "DEEPSEEK_BASE_URL",
        base_url: "https://api.deepseek.com",
        default_model: "deepseek-chat",
        prefixes: &["deepseek-"],
        structured: Structured::Object,
    },
    ProviderRow {
        name: OFFLINE,
        key_variable: "",
        base_url_variable: "",
        base_url: "",
        default_model: "extractive",
        prefixes: &[],
        structured: Structured::Schema,
    },
];

/// What an operator may set about one provider.
#[derive(Clone, Debug, Default)]
pub struct ProviderOptions {
    /// The key. Default: none, which only an address of one's own accepts.
    pub key: Option<Secret>,
    /// Another address that speaks the chat-completions format, such as `http://localhost:11434/v1`. It may be a
    /// private one. Default: the provider's own.
    pub base_url: Option<String>,
    /// The model when a request names only the provider. Default: that of the table.
    pub default_model: Option<String>,
}

/// What an operator may set about language models.
#[derive(Clone, Debug)]
pub struct LlmOptions {
    /// By name. One that [`PROVIDERS`] does not hold needs a `base_url`. Default: none, which leaves `echo`.
    pub providers: BTreeMap<String, ProviderOptions>,
    /// `provider/model` when a request names none. Default: that of the first configured provider, else `echo`.
    pub default_model: Option<String>,
    /// `provider/model` that turns texts into vectors. Default: none, and search is by keyword.
    pub embedder: Option<String>,
    /// Prices of the operator, TOML with `[[price]]` tables; they win over the built-in ones. Default: none.
    pub prices_toml: Option<String>,
    /// Most output tokens of a request that says no number. Default: 4096.
    pub max_tokens: u32,
    /// Longest wait for the head of an answer. Default: 120 s, as models think before they write.
    pub first_byte: Duration,
    /// Longest wait for the next piece of an answer. Default: 60 s.
    pub idle: Duration,
    /// Longest time of one request. Default: 600 s.
    pub total: Duration,
}

impl Default for LlmOptions {
    fn default() -> Self {
        Self {
            providers: BTreeMap::new(),
            default_model: None,
            embedder: None,
            prices_toml: None,
            max_tokens: 4096,
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}
