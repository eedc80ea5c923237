//! Asking a model, as llm nodes and agents do: the request from its settings, structured answers, what an answer cost.

use ice_core::budget::Usage;
use ice_core::event::Fact;
use ice_core::ports::{Failure, LlmReply, LlmRequest, Message, Patience, Retry, Role};
use ice_core::problem::{Code, Problem};
use ice_core::schema::Schema;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::calls::{self, Site, fits};
use crate::context::NodeRun;
use crate::estimate::Times;
use crate::plan::LlmConfig;

/// The request that settings describe, with nothing said yet.
pub(super) fn request(cx: &NodeRun<'_>, config: &LlmConfig) -> Result<LlmRequest, Failure> {
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let provider = match &config.provider {
        Some(provider) => text(cx.render(provider, "llm_config/provider")?),
        None => String::new(),
    };
    let model = text(cx.render(&config.model, "llm_config/model")?);
    Ok(LlmRequest { provider, model, ..settings(config) })
}

/// The part of a request that needs no rendering.
pub(super) fn settings(config: &LlmConfig) -> LlmRequest {
    #[expect(clippy::cast_possible_truncation, reason = "a temperature has few digits")]
    let temperature = config.temperature.map(|temperature| temperature as f32);
    LlmRequest { max_tokens: config.max_tokens, temperature, extra: config.extra.clone(), ..LlmRequest::default() }
}

/// For estimates: the request so often, and at worst the same to the models that stand in for its own.
pub(super) fn with_stand_ins(request: LlmRequest, config: &LlmConfig, times: Times) -> Vec<(LlmRequest, Times)> {
    let named = config.fallback.iter().filter_map(|model| model.source().as_str().filter(|_| model.is_literal()));
    let others = named.map(|model| LlmRequest { provider: String::new(), model: model.to_owned(), ..request.clone() });
    let others: Vec<LlmRequest> = others.collect();
    let others = others.into_iter().map(|request| (request, Times::at_worst(times.high)));
    std::iter::once((request, times)).chain(others).collect()
}

/// One turn of somebody.
pub(super) fn turn(role: Role, content: impl Into<String>) -> Message {
    Message { role, content: content.into(), tool_calls: Vec::new(), answers: None }
}

/// What a template rendered to, as text for a model: text as it is, anything else as JSON.
pub(super) fn words(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Asks, within the times `llm_config` gives one request. When the model's provider is not to be had, the models of
/// `llm_config.fallback` are asked in turn; an answer that any of them gave before a crash is taken as it is.
pub(super) async fn ask(
    cx: &NodeRun<'_>,
    request: &LlmRequest,
    ordinal: u32,
    site: &Site,
    config: &LlmConfig,
) -> Result<LlmReply, Failure> {
    if config.fallback.is_empty() {
        return match calls::recorded(cx.run(), request, ordinal, site) {
            Some(reply) => Ok(reply),
            None => patiently(cx, request, ordinal, site, config).await,
        };
    }
    let mut candidates = vec![request.clone()];
    for (index, model) in config.fallback.iter().enumerate() {
        let model = words(cx.render(model, &format!("llm_config/fallback/{index}"))?);
        candidates.push(LlmRequest { provider: String::new(), model, ..request.clone() });
    }
    if let Some(reply) = candidates.iter().find_map(|request| calls::recorded(cx.run(), request, ordinal, site)) {
        return Ok(reply);
    }
    let (last, others) = candidates.split_last().expect("the first is always there");
    for candidate in others {
        match one(cx, candidate, ordinal, site, config).await {
            Err(failure) if is_absent(&failure) && site.stop.why().is_none() => {
                let message = format!("model `{}` is passed over: {}", candidate.model, failure.problem.message);
                cx.run().push(&site.path, site.attempt, Fact::Logged { level: "warn".into(), message });
            }
            answered => return answered,
        }
    }
    patiently(cx, last, ordinal, site, config).await
}

/// Asks a busy provider again, within the bounds of [`Patience`]. A llm node that has a retry policy is asked once an
/// attempt: its policy says how often and when. An agent's questions are asked again here whatever its policy is, because
/// another attempt of the agent would pay for all its answers again.
async fn patiently(
    cx: &NodeRun<'_>,
    request: &LlmRequest,
    ordinal: u32,
    site: &Site,
    config: &LlmConfig,
) -> Result<LlmReply, Failure> {
    let mut patience = Patience::default();
    let has_policy = cx.node.kind == "llm" && cx.node.retry.max_attempts > 1;
    loop {
        let failure = match one(cx, request, ordinal, site, config).await {
            Err(failure) if !has_policy => failure,
            answered => return answered,
        };
        let Some(ms) = patience.pause_ms(&failure) else { return Err(failure) };
        let message = format!("model `{}` is asked again in {ms} ms: {}", request.model, failure.problem.message);
        cx.run().push(&site.path, site.attempt, Fact::Logged { level: "warn".into(), message });
        tokio::select! {
            biased;
            why = site.stop.tripped() => return Err(Failure::never(why.clone())),
            () = cx.run().clock().sleep(ms) => {}
        }
    }
}

/// Whether another provider may do better: this one is away, busy, slow, or not set up here. A question that is wrong,
/// or that the budget does not allow, is so everywhere.
fn is_absent(failure: &Failure) -> bool {
    failure.retry != Retry::Never || matches!(failure.problem.code, Code::X070 | Code::X072)
}

async fn one(
    cx: &NodeRun<'_>,
    request: &LlmRequest,
    ordinal: u32,
    site: &Site,
    config: &LlmConfig,
) -> Result<LlmReply, Failure> {
    let heard = Notify::new();
    let asked = calls::model(cx.run(), request, ordinal, site, &heard);
    let whole = async {
        match config.timeout_ms {
            Some(ms) => cx.run().clock().sleep(ms).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        reply = asked => reply,
        (ms, said) = silence(cx, config, &heard) => {
            let (what, setting) = if said {
                ("said nothing more for", "idle_timeout")
            } else {
                ("did not begin to answer within", "first_token_timeout")
            };
            Err(late(request, what, ms, setting))
        }
        () = whole => {
            Err(late(request, "did not answer within", config.timeout_ms.unwrap_or_default(), "timeout"))
        }
    }
}

/// Returns how long the model was silent when that was too long, and whether it had said something before.
async fn silence(cx: &NodeRun<'_>, config: &LlmConfig, heard: &Notify) -> (u64, bool) {
    let mut said = false;
    loop {
        let limit = if said { config.idle_timeout_ms } else { config.first_token_timeout_ms };
        let Some(ms) = limit else {
            heard.notified().await;
            said = true;
            continue;
        };
        tokio::select! {
            biased;
            () = heard.notified() => said = true,
            () = cx.run().clock().sleep(ms) => return (ms, said),
        }
    }
}

fn late(request: &LlmRequest, what: &str, ms: u64, setting: &str) -> Failure {
    let message = format!("model `{}` {what} {} s", request.model, ms.div_ceil(1_000));
    Failure::maybe(Problem::new(Code::X003, message).help(format!("raise `llm_config.{setting}`")))
}

/// Reads a structured answer: JSON as it is, in a code fence, or with words around it; it must fit the schema.
pub(super) fn structured(text: &str, schema: &Schema) -> Result<Value, Problem> {
    let value = parse(text).ok_or_else(|| Problem::new(Code::X007, "the model's answer is not JSON"))?;
    fits(schema, &value, Code::X007, "the model's answer")?;
    Ok(value)
}

/// JSON as it is, in a code fence, or with words around it.
pub(super) fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let start = text.find(['{', '['])?;
    // What follows the value, a closing fence or a remark, is not read.
    serde_json::Deserializer::from_str(&text[start..]).into_iter().next()?.ok()
}

/// `usage` of an output.
pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens(),
    })
}

/// `cost_usd` of an output.
pub(super) fn dollars(usage: &Usage) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "exact up to nine billion dollars")]
    let dollars = usage.cost_micro_usd as f64 / 1e6;
    dollars.into()
}

#[cfg(test)]
mod tests {
    use ice_core::schema::Direction;

    use super::*;

    #[test]
    fn an_answer_is_found_in_fences_and_among_words() {
        let schema = Schema::compile(&json!({ "n": "int" }), Direction::Input).expect("a schema");
        for text in ["{\"n\": 1}", "```json\n{\"n\": 1}\n```", "Here you are: {\"n\": 1}. Anything else?"] {
            assert_eq!(structured(text, &schema), Ok(json!({ "n": 1 })), "{text}");
        }
        assert_eq!(structured("no", &schema).expect_err("no JSON").code, Code::X007);
        assert_eq!(structured("{\"n\": \"x\"}", &schema).expect_err("wrong type").code, Code::X007);
    }
}
