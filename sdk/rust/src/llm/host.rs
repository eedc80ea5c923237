//! The model calls of a component: `ice:llm/chat` and `ice:llm/embeddings`.

use std::time::Duration;

use serde_json::Value;

use super::{Error, Message, Reply, Request, Role, ToolCall, Usage};
use crate::bindings::agent::ice::llm::{chat, embeddings, types};

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(text) => Self::Denied(text),
            types::Error::UnknownModel(text) => Self::UnknownModel(text),
            types::Error::OverBudget => Self::OverBudget,
            types::Error::RateLimited(ms) => Self::RateLimited(Duration::from_millis(ms.into())),
            types::Error::InvalidRequest(text) => Self::InvalidRequest(text),
            types::Error::Provider(text) => Self::Provider(text),
            types::Error::Timeout => Self::Timeout,
        }
    }
}

const ROLES: [(Role, chat::Role); 4] = [
    (Role::System, chat::Role::System),
    (Role::User, chat::Role::User),
    (Role::Assistant, chat::Role::Assistant),
    (Role::Tool, chat::Role::Tool),
];

fn message_out(message: &Message) -> chat::Message {
    let role = ROLES.iter().find(|(ours, _)| *ours == message.role).map_or(chat::Role::User, |(_, theirs)| *theirs);
    let calls = message.tool_calls.iter().map(|call| chat::ToolCall {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: call.arguments.to_string(),
    });
    chat::Message {
        role,
        content: message.content.clone(),
        tool_calls: calls.collect(),
        answers: message.answers.clone(),
    }
}

fn message_in(message: chat::Message) -> Message {
    let role = ROLES.iter().find(|(_, theirs)| *theirs == message.role).map_or(Role::Assistant, |(ours, _)| *ours);
    let calls = message.tool_calls.into_iter().map(|call| ToolCall {
        id: call.id,
        name: call.name,
        // The host has checked that it is JSON.
        arguments: serde_json::from_str(&call.arguments).unwrap_or(Value::Null),
    });
    Message { role, content: message.content, tool_calls: calls.collect(), answers: message.answers }
}

pub(super) fn complete(request: &Request) -> Result<Reply, Error> {
    let tools = request.tools.iter().map(|tool| chat::ToolSpec {
        name: tool.name.clone(),
        description: tool.description.clone(),
        input_schema: tool.input_schema.to_string(),
    });
    let reply = chat::complete(&chat::Request {
        model: request.model.clone(),
        messages: request.messages.iter().map(message_out).collect(),
        tools: tools.collect(),
        output_schema: request.output_schema.as_ref().map(Value::to_string),
        max_tokens: request.max_tokens,
        temperature: request.temperature,
    })?;
    Ok(Reply {
        message: message_in(reply.message),
        usage: Usage {
            input_tokens: reply.usage.input_tokens,
            output_tokens: reply.usage.output_tokens,
            cost_micro_usd: reply.usage.cost_micro_usd,
        },
        model: reply.model,
        offline: reply.offline,
    })
}

pub(super) fn embed(model: &str, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
    Ok(embeddings::embed(model, texts)?.vectors)
}
