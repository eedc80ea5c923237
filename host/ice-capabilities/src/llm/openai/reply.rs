//! From the body of an answer to the port's reply, whole or put together from pieces. Pure.

use ice_core::ports::{Failure, Message, Role, ToolCall};
use ice_core::problem::Code;
use serde_json::Value;

use super::request::ToolNames;
use super::{Completion, OpenAi, failure};
use crate::llm::price::Tokens;

/// An answer, its tool calls still as the provider wrote them.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) content: String,
    pub(super) calls: Vec<WireCall>,
    pub(super) finish_reason: Option<String>,
    pub(super) refused: bool,
    pub(super) tokens: Option<Tokens>,
}

/// One tool call; in a stream it grows.
#[derive(Default)]
pub(super) struct WireCall {
    pub(super) index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Reply {
    /// Checks that the answer is whole and gives the port's form. X075, X076, X077.
    pub(super) fn complete(self, provider: &OpenAi, names: &ToolNames) -> Result<Completion, Failure> {
        let reason = self.finish_reason.unwrap_or_default();
        if self.refused || matches!(reason.as_str(), "content_filter" | "refusal") {
            return Err(failure::filtered(provider));
        }
        let mut tool_calls = Vec::new();
        for (position, call) in self.calls.into_iter().enumerate() {
            if call.name.is_empty() {
                return Err(failure::no_answer(provider, "it holds a tool call without name"));
            }
            let arguments = match call.arguments.trim() {
                "" => Value::Object(serde_json::Map::new()),
                // The text is the model's: where it was not cut off, the caller shows the model what is wrong with it.
                text => match serde_json::from_str(text) {
                    Ok(arguments) => arguments,
                    Err(_) if reason == "length" => {
                        return Err(failure::cut(provider, "inside a tool call", Code::X076));
                    }
                    Err(_) => Value::String(text.to_owned()),
                },
            };
            let id = if call.id.is_empty() { format!("call_{position}") } else { call.id };
            tool_calls.push(ToolCall { id, name: names.name(&call.name).to_owned(), arguments });
        }
        let finish_reason = match reason.as_str() {
            "" if tool_calls.is_empty() => "stop".to_owned(),
            "" | "stop" | "function_call" if !tool_calls.is_empty() => "tool_calls".to_owned(),
            word => failure::word(word),
        };
        let message = Message { role: Role::Assistant, content: self.content, tool_calls, answers: None };
        Ok(Completion { message, finish_reason, tokens: self.tokens })
    }
}

/// Reads a whole answer.
pub(super) fn read(provider: &OpenAi, body: &Value) -> Result<Reply, Failure> {
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Err(failure::in_answer(provider, error));
    }
    let choice = &body["choices"][0];
    let Some(message) = choice["message"].as_object() else {
        return Err(failure::no_answer(provider, "it holds no `choices[0].message`"));
    };
    let calls = message.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(Reply {
        content: content(message.get("content")),
        calls: calls.iter().map(call).collect(),
        finish_reason: choice["finish_reason"].as_str().map(str::to_owned),
        refused: message.get("refusal").and_then(Value::as_str).is_some_and(|text| !text.is_empty()),
        tokens: tokens(&body["usage"]),
    })
}

/// Text, or the text parts of a list.
pub(super) fn content(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// A tool call, or a piece of one.
pub(super) fn call(value: &Value) -> WireCall {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let function = &value["function"];
    let arguments = match &function["arguments"] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        // Some servers send the object itself.
        value => value.to_string(),
    };
    WireCall { index: value["index"].as_u64(), id: text(&value["id"]), name: text(&function["name"]), arguments }
}

/// The provider's count; `None` when there is none.
pub(super) fn tokens(usage: &Value) -> Option<Tokens> {
    let count = |names: [&str; 2]| names.iter().find_map(|name| usage[*name].as_u64());
    let input = count(["prompt_tokens", "input_tokens"])?;
    let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
    Some(Tokens {
        input,
        cached_input: cached.or_else(|| usage["prompt_cache_hit_tokens"].as_u64()).unwrap_or_default(),
        output: count(["completion_tokens", "output_tokens"]).unwrap_or_default(),
    })
}
