//! Which model a node asks, and how: the `llm_config` of llm and agent nodes.

use ice_core::blueprint::NodeDoc;
use ice_core::problem::Code;
use ice_core::template::Template;
use serde_json::{Map, Value};

use super::PlanContext;

/// A model and its settings.
#[derive(Clone, PartialEq, Debug)]
pub struct LlmConfig {
    /// Provider name; none when the model's name says it, or for the host's default.
    pub provider: Option<Template>,
    /// `model` or `provider/model`.
    pub model: Template,
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// Most tokens of one answer.
    pub max_tokens: Option<u32>,
    /// Bound on one request, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Bound on the time until the first piece of an answer, in milliseconds.
    pub first_token_timeout_ms: Option<u64>,
    /// Bound on the time between two pieces of an answer, in milliseconds.
    pub idle_timeout_ms: Option<u64>,
    /// `provider/model`s that are asked in turn when the one before is not to be had.
    pub fallback: Vec<Template>,
    /// Parameters passed on to the provider: `top_p`, `stop`, …
    pub extra: Map<String, Value>,
}

impl LlmConfig {
    /// Whether the model is asked to give the same answer each time.
    pub fn is_repeatable(&self) -> bool {
        self.temperature == Some(0.0)
    }
}

/// Read here; every other key is passed on. `max_retries` is the node's `retry_policy`, and `max_context_tokens` and
/// the API versions are the provider's business: older documents carry them, and they mean nothing here.
const KEYS: &[&str] = &[
    "provider",
    "model",
    "temperature",
    "max_tokens",
    "timeout",
    "first_token_timeout",
    "idle_timeout",
    "fallback",
    "api_key",
    "base_url",
    "custom_parameters",
    "stop_sequences",
    "max_retries",
    "max_context_tokens",
    "openai_api_version",
    "anthropic_version",
];

/// Where an account and its address belong: a blueprint is passed around.
const OPERATOR_KEYS: &[&str] = &["api_key", "base_url"];

/// Each of them may cost; more than a few hide that nothing works.
const FALLBACKS_MAX: usize = 4;

/// Models that are refused, by the start of their name without the provider.
const BANNED: &[&str] = &["gpt-3.5"];

/// Reads `llm_config`, with `model`, `temperature` and `max_tokens` of the node itself where it leaves them out.
/// Reports a node that does not say which model it asks.
pub fn llm_config(cx: &mut PlanContext<'_>, doc: &NodeDoc) -> Option<LlmConfig> {
    let pointer = format!("{}/llm_config", doc.pointer);
    let help = "add `llm_config: {provider: openai, model: gpt-4o}`";
    let mut fields = cx.fields(doc);
    if fields.get("llm_config").is_none() {
        let message = format!("`{}` does not say which model it asks: `llm_config` is missing", doc.id);
        fields.problem_here(Code::B017, message, help);
        return None;
    }
    let map = fields.mapping("llm_config")?;
    let own_model = fields.text("model").map(str::to_owned);
    let own_temperature = fields.number("temperature", 0.0, 2.0);
    let own_tokens = fields.whole("max_tokens", 1, u32::MAX.into());
    let mut fields = cx.fields_at(map, &pointer);
    for key in OPERATOR_KEYS {
        if fields.get(key).is_some() {
            let help = "remove it here; the operator sets keys and addresses of providers on the host";
            fields.problem(Code::B005, key, format!("`{key}` does not belong in a blueprint"), help);
        }
    }
    let provider = fields.text("provider").map(str::to_owned);
    let model = fields.text("model").map(str::to_owned).or(own_model);
    let temperature = fields.number("temperature", 0.0, 2.0).or(own_temperature);
    let max_tokens = fields.whole("max_tokens", 1, u32::MAX.into()).or(own_tokens);
    let timeout_ms = fields.seconds("timeout");
    let first_token_timeout_ms = fields.seconds("first_token_timeout");
    let idle_timeout_ms = fields.seconds("idle_timeout");
    let fallback = fields.texts("fallback");
    if fallback.len() > FALLBACKS_MAX {
        let message = format!("`fallback` names {} models", fallback.len());
        fields.problem(Code::B005, "fallback", message, format!("name {FALLBACKS_MAX} at most"));
    }
    let mut extra = fields.mapping("custom_parameters").cloned().unwrap_or_default();
    if let Some(stop) = fields.get("stop_sequences") {
        extra.insert("stop".to_owned(), stop.clone());
    }
    let passed_on = map.iter().filter(|(key, value)| !KEYS.contains(&key.as_str()) && !value.is_null());
    extra.extend(passed_on.map(|(key, value)| (key.clone(), value.clone())));
    let Some(model) = model.filter(|model| !model.trim().is_empty()) else {
        let message = format!("`{}` does not say which model it asks: `llm_config.model` is missing", doc.id);
        cx.problem(Code::B017, &pointer, message, help);
        return None;
    };
    let model = named(cx, &model, &format!("{pointer}/model"))?;
    let stand_ins = fallback.iter().enumerate().map(|(at, name)| named(cx, name, &format!("{pointer}/fallback/{at}")));
    let fallback = stand_ins.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
    let provider = match provider {
        Some(provider) => Some(cx.template(&Value::String(provider), &format!("{pointer}/provider"), None)?),
        None => None,
    };
    let max_tokens = max_tokens.and_then(|count| count.try_into().ok());
    Some(LlmConfig {
        provider,
        model,
        temperature,
        max_tokens,
        timeout_ms,
        first_token_timeout_ms,
        idle_timeout_ms,
        fallback,
        extra,
    })
}

fn named(cx: &mut PlanContext<'_>, model: &str, pointer: &str) -> Option<Template> {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    if BANNED.iter().any(|banned| name.starts_with(banned)) {
        cx.problem(Code::B025, pointer, format!("the model `{model}` is not used here"), "use `gpt-4o`");
    }
    cx.template(&Value::String(model.to_owned()), pointer, None)
}
