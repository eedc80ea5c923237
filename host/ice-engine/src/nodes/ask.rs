//! Asking a model, as llm nodes and agents do: the request from its settings, structured answers, what an answer cost.

use ice_core::budget::Usage;
use ice_core::ports::{Failure, LlmReply, LlmRequest, Message, Role};
use ice_core::problem::{Code, Problem};
use ice_core::schema::Schema;
use serde_json::{Value, json};

use crate::calls::{self, Site, fits};
use crate::context::NodeRun;
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

/// Asks, within the time `llm_config.timeout` gives one request.
pub(super) async fn ask(
    cx: &NodeRun<'_>,
    request: &LlmRequest,
    ordinal: u32,
    site: &Site,
    config: &LlmConfig,
) -> Result<LlmReply, Failure> {
    let asked = calls::model(cx.run(), request, ordinal, site);
    let Some(ms) = config.timeout_ms else { return asked.await };
    tokio::select! {
        biased;
        reply = asked => reply,
        () = cx.run().clock().sleep(ms) => {
            let message = format!("model `{}` did not answer within {} s", request.model, ms.div_ceil(1_000));
            Err(Failure::maybe(Problem::new(Code::X003, message).help("raise `llm_config.timeout`")))
        }
    }
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
