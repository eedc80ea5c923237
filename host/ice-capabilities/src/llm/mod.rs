//! Language models: who answers for a model's name, what it may cost, and the asking.
//!
//! [`PROVIDERS`] is the table; a provider is an entry, and its wire format a file beside this one ([`openai`], [`echo`]).
//! [`Models`] asks once. Checking an answer against a schema and asking again is the caller's ([`Patient`] does it for
//! components), budgets are the engine's.

mod echo;
mod openai;
mod patient;
mod price;
mod providers;
mod sse;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use ice_core::budget::Usage;
use ice_core::ports::{DeltaSink, Embeddings, Failure, Llm, LlmReply, LlmRequest, Message, ModelInfo};
use ice_core::problem::{Code, Problem};

use crate::http::Egress;
use openai::OpenAi;
pub use patient::Patient;
pub use price::{Price, PriceRow, price_table};
use price::{Prices, Tokens};
pub use providers::{LlmOptions, OFFLINE, PROVIDERS, ProviderOptions, ProviderRow, Structured};

/// Models that this host does not ask: superseded by cheaper and better ones of the same provider.
const REFUSED_MODELS: &[&str] = &["gpt-3.5"];
/// What a grant calls the host's default model.
const DEFAULT: &str = "default";
/// No larger question is sent: a guest writes it, the host holds it several times.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Texts of one call to an embedder, as in `ice:llm/embeddings`.
const TEXTS_MAX: usize = 256;

/// What a provider's file gives back; this file adds price and names.
struct Completion {
    message: Message,
    finish_reason: String,
    /// `None` when the provider did not count.
    tokens: Option<Tokens>,
}

/// Vectors as a provider gave them.
struct Vectors {
    vectors: Vec<Vec<f32>>,
    tokens: Option<Tokens>,
}

/// One wire format, with address and key.
#[async_trait]
trait Provider: Send + Sync {
    async fn complete(
        &self,
        model: &str,
        request: &LlmRequest,
        max_tokens: u32,
        deltas: Option<DeltaSink<'_>>,
    ) -> Result<Completion, Failure>;

    async fn embed(&self, model: &str, texts: &[String]) -> Result<Vectors, Failure>;

    /// Whether built-in prices hold there.
    fn at_own_address(&self) -> bool;
}

struct Configured {
    provider: Box<dyn Provider>,
    default_model: String,
}

/// All models of this host: implements the port.
pub struct Models {
    providers: BTreeMap<String, Configured>,
    // Invariant: names a configured provider, when it has one.
    default: (String, String),
    embedder: Option<(String, String)>,
    prices: Prices,
    max_tokens: u32,
}

impl Models {
    /// Prepares every configured provider. C022 for every setting that is wrong.
    pub fn new(options: LlmOptions, egress: Arc<Egress>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut providers = BTreeMap::from([(OFFLINE.to_owned(), offline())]);
        for (name, settings) in &options.providers {
            match configure(name, settings, &options, &egress) {
                Ok(Some(configured)) => drop(providers.insert(name.clone(), configured)),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        let prices = Prices::new(options.prices_toml.as_deref()).map_err(|problem| problems.push(problem));
        let Ok(prices) = prices else {
            return Err(problems);
        };
        let default = first_configured(&providers);
        let mut models = Self { providers, default, embedder: None, prices, max_tokens: options.max_tokens.max(1) };
        for (setting, slot) in [("default_model", &options.default_model), ("embedder", &options.embedder)] {
            let Some(name) = slot.as_deref().filter(|name| !name.is_empty()) else {
                continue;
            };
            match models.route("", name) {
                Ok(route) if setting == "embedder" => models.embedder = Some(route),
                Ok(route) => models.default = route,
                Err(failure) => {
                    let message = format!("`{setting}` cannot be used: {}", failure.problem.message);
                    problems.push(Problem { code: Code::C022, message, ..failure.problem });
                }
            }
        }
        if problems.is_empty() { Ok(models) } else { Err(problems) }
    }

    /// `provider/model` that answers when nobody names one.
    pub fn default_model(&self) -> String {
        format!("{}/{}", self.default.0, self.default.1)
    }

    /// `provider/model` that turns texts into vectors, if there is one.
    pub fn embedder(&self) -> Option<String> {
        self.embedder.as_ref().map(|(provider, model)| format!("{provider}/{model}"))
    }

    /// Whether the default is the offline provider: then no request leaves this machine unless it names a model.
    pub fn offline(&self) -> bool {
        self.default.0 == OFFLINE
    }

    /// Names of the configured providers, sorted; `echo` is always among them.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }

    /// Finds provider and model for what a request names. X070 and X071.
    fn route(&self, provider: &str, model: &str) -> Result<(String, String), Failure> {
        if 200 < model.len() || model.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("the model's name is longer than 200 bytes or holds white space"));
        }
        let named = |model: &str| match model {
            "" | DEFAULT => None,
            model => Some(model.to_owned()),
        };
        let route = if provider.is_empty() { self.route_by_model(model)? } else { (provider.to_owned(), named(model)) };
        let (provider, model) = route;
        // `provider: openai, model: openai/gpt-4o` says the same thing twice.
        let model = model.map(|model| model.strip_prefix(&format!("{provider}/")).map_or(model.clone(), str::to_owned));
        let configured = self.providers.get(&provider).ok_or_else(|| not_configured(&provider, model.as_deref()))?;
        let model = match model {
            Some(model) => model,
            None if provider == self.default.0 => self.default.1.clone(),
            None => configured.default_model.clone(),
        };
        if REFUSED_MODELS.iter().any(|refused| model.starts_with(refused)) {
            let problem = Problem::new(Code::X071, format!("the model `{model}` is not used by this host"));
            return Err(Failure::never(problem.help("name a newer model, for example `gpt-4o-mini`")));
        }
        Ok((provider, model))
    }

    fn route_by_model(&self, model: &str) -> Result<(String, Option<String>), Failure> {
        if matches!(model, "" | DEFAULT) {
            return Ok((self.default.0.clone(), Some(self.default.1.clone())));
        }
        let known = |name: &str| self.providers.contains_key(name) || PROVIDERS.iter().any(|row| row.name == name);
        if let Some((provider, rest)) = model.split_once('/').filter(|(provider, _)| known(provider)) {
            return Ok((provider.to_owned(), Some(rest.to_owned()).filter(|rest| !rest.is_empty())));
        }
        if known(model) {
            return Ok((model.to_owned(), None));
        }
        let owner = PROVIDERS.iter().find(|row| row.prefixes.iter().any(|prefix| model.starts_with(prefix)));
        let own_server = self.providers.get(&self.default.0).is_some_and(|it| !it.provider.at_own_address());
        match owner {
            Some(row) if self.providers.contains_key(row.name) || !own_server => {
                Ok((row.name.to_owned(), Some(model.to_owned())))
            }
            // A server of one's own serves models of any name; a provider's own address does not.
            _ if own_server => Ok((self.default.0.clone(), Some(model.to_owned()))),
            _ => Err(not_configured("", Some(model))),
        }
    }

    /// Provider and model that make vectors; the empty name is the host's embedder.
    fn embedder_of(&self, model: &str) -> Result<(String, String), Failure> {
        match (model, &self.embedder) {
            ("" | DEFAULT, Some(embedder)) => Ok(embedder.clone()),
            ("" | DEFAULT, None) => Err(no_embedder()),
            (model, _) => self.route("", model),
        }
    }

    fn configured(&self, provider: &str) -> &dyn Provider {
        self.providers[provider].provider.as_ref()
    }

    fn usage(&self, provider: &str, model: &str, tokens: Tokens) -> Usage {
        let own_address = self.configured(provider).at_own_address();
        if provider == OFFLINE {
            // Nobody is paid, unless the operator's table says so.
            let price = self.prices.find(provider, model, false);
            return Usage { unpriced_calls: 0, ..price::usage(price, tokens) };
        }
        price::usage(self.prices.find(provider, model, own_address), tokens)
    }

    fn most_tokens(&self, request: &LlmRequest) -> u32 {
        request.max_tokens.unwrap_or(self.max_tokens)
    }
}

#[async_trait]
impl Llm for Models {
    fn resolve(&self, request: &LlmRequest) -> Result<ModelInfo, Failure> {
        let (provider, model) = self.route(&request.provider, &request.model)?;
        let input = price::input_estimate(request);
        let output = u64::from(self.most_tokens(request));
        let estimate = self.usage(&provider, &model, Tokens { input, cached_input: 0, output });
        Ok(ModelInfo { provider, model, estimate })
    }

    async fn complete(&self, request: &LlmRequest, deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        check(request)?;
        let (provider, model) = self.route(&request.provider, &request.model)?;
        let most = self.most_tokens(request);
        let configured = self.configured(&provider);
        let completion = configured.complete(&model, request, most, deltas).await?;
        let usage = match completion.tokens {
            Some(tokens) => self.usage(&provider, &model, tokens),
            // Nobody counted: the estimate is the honest upper bound.
            None => {
                let input = price::input_estimate(request);
                let output = price::tokens_of_bytes(completion.message.content.len());
                self.usage(&provider, &model, Tokens { input, cached_input: 0, output })
            }
        };
        Ok(LlmReply {
            message: completion.message,
            model: format!("{provider}/{model}"),
            usage,
            offline: provider == OFFLINE,
            finish_reason: completion.finish_reason,
        })
    }

    fn embedding(&self, model: &str, bytes: usize) -> Result<Usage, Failure> {
        let (provider, model) = self.embedder_of(model)?;
        let input = price::tokens_of_bytes(bytes).saturating_add(1);
        Ok(self.usage(&provider, &model, Tokens { input, cached_input: 0, output: 0 }))
    }

    async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, Failure> {
        let (provider, model) = self.embedder_of(model)?;
        let bytes: usize = texts.iter().map(String::len).sum();
        if texts.is_empty() || TEXTS_MAX < texts.len() || REQUEST_BYTES_MAX < bytes {
            return Err(invalid("an embedder takes 1 to 256 texts, at most 8 MiB together"));
        }
        if texts.iter().any(String::is_empty) {
            return Err(invalid("an empty text has no vector"));
        }
        let Vectors { vectors, tokens } = self.configured(&provider).embed(&model, texts).await?;
        let usage = match tokens {
            Some(tokens) => self.usage(&provider, &model, tokens),
            None => {
                let input = price::tokens_of_bytes(bytes);
                self.usage(&provider, &model, Tokens { input, cached_input: 0, output: 0 })
            }
        };
        Ok(Embeddings { vectors, model: format!("{provider}/{model}"), usage })
    }
}

fn offline() -> Configured {
    let row = PROVIDERS.iter().find(|row| row.name == OFFLINE).expect("the table holds the offline provider");
    Configured { provider: Box::new(echo::Echo), default_model: row.default_model.to_owned() }
}

/// `None` for a provider that has neither key nor address: it is as if nobody had named it.
fn configure(
    name: &str,
    settings: &ProviderOptions,
    options: &LlmOptions,
    egress: &Arc<Egress>,
) -> Result<Option<Configured>, Problem> {
    let shown = name.escape_debug();
    let good =
        !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !good || name == OFFLINE {
        return Err(Problem::new(Code::C022, format!("`{shown}` is not a name for a provider with settings"))
            .help("use letters, digits, `-`, `_` and `.`; `echo` has no settings"));
    }
    let key = settings.key.clone().filter(|key| !key.is_empty());
    let base_url = settings.base_url.as_deref().filter(|url| !url.is_empty());
    let row = PROVIDERS.iter().find(|row| row.name == name);
    if row.is_some() && key.is_none() && base_url.is_none() {
        return Ok(None);
    }
    let provider = OpenAi::new(name, row, key, base_url, options, Arc::clone(egress))?;
    let default_model = (settings.default_model.clone()).or_else(|| row.map(|row| row.default_model.to_owned()));
    Ok(Some(Configured {
        provider: Box::new(provider),
        default_model: default_model.unwrap_or_else(|| name.to_owned()),
    }))
}

fn first_configured(providers: &BTreeMap<String, Configured>) -> (String, String) {
    let in_table = PROVIDERS.iter().filter(|row| row.name != OFFLINE).map(|row| row.name);
    let others = providers.keys().map(String::as_str).filter(|name| *name != OFFLINE);
    let first = in_table.chain(others).find(|name| providers.contains_key(*name)).unwrap_or(OFFLINE);
    (first.to_owned(), providers[first].default_model.clone())
}

fn check(request: &LlmRequest) -> Result<(), Failure> {
    if request.messages.is_empty() {
        return Err(invalid("the question to the model has no message"));
    }
    if request.max_tokens == Some(0) {
        return Err(invalid("`max_tokens` is 0"));
    }
    if request.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        return Err(invalid("`temperature` is not between 0 and 2"));
    }
    if REQUEST_BYTES_MAX as u64 / 3 < price::input_estimate(request) {
        return Err(invalid("the question to the model is larger than 8 MiB"));
    }
    Ok(())
}

fn invalid(what: &str) -> Failure {
    Failure::never(Problem::new(Code::X078, what))
}

fn no_embedder() -> Failure {
    Failure::never(
        Problem::new(Code::X079, "this host has no embedder")
            .help("set `llm.embedder` in `ice.toml`, for example to `openai/text-embedding-3-small`"),
    )
}

/// Nobody serves the model; says what would change that.
fn not_configured(provider: &str, model: Option<&str>) -> Failure {
    let row = PROVIDERS.iter().find(|row| row.name == provider);
    let message = match (model, provider) {
        (Some(model), "") => format!("no provider on this host serves the model `{model}`"),
        (Some(model), _) => {
            format!("the provider `{provider}` of the model `{model}` is not configured")
        }
        (None, _) => format!("the provider `{provider}` is not configured"),
    };
    let help = match row {
        Some(row) => format!("set `{}`, or name the offline provider `{OFFLINE}`", row.key_variable),
        None if provider.is_empty() => {
            let names: Vec<_> = PROVIDERS.iter().map(|row| format!("`{}/…`", row.name)).collect();
            format!("write the provider before the model ({}), and set its key", names.join(", "))
        }
        None => format!("set `llm.base_urls.{provider}` in `ice.toml`"),
    };
    Failure::never(Problem::new(Code::X070, message).help(help))
}

#[cfg(test)]
mod tests;
