//! `ice:llm`: chat and embeddings.

use ice_core::budget::Usage;
use ice_core::grant::Capability;
use ice_core::ports::{Failure, LlmReply, LlmRequest, Message, Retry, Role, ToolCall, ToolSpec};
use ice_core::problem::Code;

use super::{json, words};
use crate::bindings::imports::ice::llm::{chat, embeddings, types};
use crate::call::Guest;
use crate::gate::{Gate, Need, Pass, Refusal, digest};

/// Bytes of text in a token: fewer than in any language's average, so that an estimate is rarely too low.
const TOKEN_BYTES: u64 = 3;

/// Texts of one call to `embed`, as the WIT says.
const TEXTS_MAX: usize = 256;

impl types::Host for Guest {}

impl chat::Host for Guest {
    async fn complete(&mut self, request: chat::Request) -> wasmtime::Result<Result<chat::Reply, types::Error>> {
        self.gate.enter()?;
        Ok(match request_from(request) {
            Ok(request) => complete(&self.gate, request).await,
            Err(text) => Err(types::Error::InvalidRequest(text)),
        })
    }
}

impl embeddings::Host for Guest {
    async fn embed(
        &mut self,
        model: String,
        texts: Vec<String>,
    ) -> wasmtime::Result<Result<embeddings::Vectors, types::Error>> {
        self.gate.enter()?;
        if texts.len() > TEXTS_MAX {
            let text = format!("{} texts are more than {TEXTS_MAX} in one call", texts.len());
            return Ok(Err(types::Error::InvalidRequest(text)));
        }
        let gate = &self.gate;
        // An embedder is granted by its name; the empty name is the host's choice, like the default model.
        let (provider, name) = model.split_once('/').unwrap_or(("", &model));
        let bytes: usize = texts.iter().map(String::len).sum();
        let pass = Pass {
            need: Need::Model { provider, model: name, asked: &model },
            operation: format!("embed {} texts", texts.len()),
            turn: gate.turn(),
            request: digest(&("embed", &model, &texts)),
            estimate: Some(embedding_estimate(gate, &model, bytes)),
        };
        let answer = gate
            .pass(pass, async {
                let embeddings = gate.ports.llm.embed(&model, &texts).await?;
                let usage = embeddings.usage;
                Ok((embeddings, usage))
            })
            .await;
        Ok(answer
            .map(|embeddings| embeddings::Vectors { usage: usage_into(&embeddings.usage), vectors: embeddings.vectors })
            .map_err(error_into))
    }
}

/// The most that vectors can cost. A model that is not to be had says so when it is asked.
fn embedding_estimate(gate: &Gate, model: &str, bytes: usize) -> Usage {
    let estimate = gate.ports.llm.embedding(model, bytes).unwrap_or_default();
    Usage { input_tokens: estimate.input_tokens.max(bytes as u64 / TOKEN_BYTES + 1), ..estimate }
}

async fn complete(gate: &Gate, mut request: LlmRequest) -> Result<chat::Reply, types::Error> {
    let asked = request.model.clone();
    if !gate.caller.grant.has(Capability::Llm) {
        // Whoever has no grant does not learn which models this host knows.
        let text = gate.deny(&Need::Model { provider: "", model: &asked, asked: &asked });
        return Err(types::Error::Denied(text));
    }
    let most = gate.caller.grant.llm.as_ref().and_then(|llm| llm.max_tokens_per_call);
    request.max_tokens = match (request.max_tokens, most) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (asked, most) => asked.or(most),
    };
    let model = gate.ports.llm.resolve(&request).map_err(|failure| error_into(Refusal::Failed(failure)))?;
    let pass = Pass {
        need: Need::Model { provider: &model.provider, model: &model.model, asked: &asked },
        operation: format!("complete {}/{}", model.provider, model.model),
        turn: gate.turn(),
        request: digest(&("complete", &request)),
        estimate: Some(model.estimate),
    };
    let answer = gate.pass(pass, async {
        let deltas = |text: &str| gate.scope.delta(text);
        let reply = gate.ports.llm.complete(&request, Some(&deltas)).await?;
        let usage = reply.usage;
        Ok((reply, usage))
    });
    answer.await.map(reply_into).map_err(error_into)
}

fn request_from(request: chat::Request) -> Result<LlmRequest, String> {
    let messages = request.messages.into_iter().map(message_from).collect::<Result<_, _>>()?;
    let tools = request.tools.into_iter().map(|tool| {
        let input_schema = json(&tool.input_schema, &format!("the input schema of tool `{}`", tool.name))?;
        Ok::<_, String>(ToolSpec { name: tool.name, description: tool.description, input_schema })
    });
    Ok(LlmRequest {
        model: request.model,
        messages,
        tools: tools.collect::<Result<_, _>>()?,
        output_schema: request.output_schema.map(|schema| json(&schema, "the output schema")).transpose()?,
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        ..LlmRequest::default()
    })
}

fn message_from(message: chat::Message) -> Result<Message, String> {
    let role = match message.role {
        chat::Role::System => Role::System,
        chat::Role::User => Role::User,
        chat::Role::Assistant => Role::Assistant,
        chat::Role::Tool => Role::Tool,
    };
    let tool_calls = message.tool_calls.into_iter().map(|call| {
        let arguments = json(&call.arguments, &format!("the arguments of tool call `{}`", call.id))?;
        Ok::<_, String>(ToolCall { id: call.id, name: call.name, arguments })
    });
    Ok(Message {
        role,
        content: message.content,
        tool_calls: tool_calls.collect::<Result<_, _>>()?,
        answers: message.answers,
    })
}

fn reply_into(reply: LlmReply) -> chat::Reply {
    let role = match reply.message.role {
        Role::System => chat::Role::System,
        Role::User => chat::Role::User,
        Role::Assistant => chat::Role::Assistant,
        Role::Tool => chat::Role::Tool,
    };
    let tool_calls = reply.message.tool_calls.into_iter().map(|call| chat::ToolCall {
        id: call.id,
        name: call.name,
        arguments: call.arguments.to_string(),
    });
    chat::Reply {
        message: chat::Message {
            role,
            content: reply.message.content,
            tool_calls: tool_calls.collect(),
            answers: reply.message.answers,
        },
        usage: usage_into(&reply.usage),
        model: reply.model,
        offline: reply.offline,
    }
}

fn usage_into(usage: &Usage) -> types::Usage {
    let tokens = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    types::Usage {
        input_tokens: tokens(usage.input_tokens),
        output_tokens: tokens(usage.output_tokens),
        cost_micro_usd: (usage.unpriced_calls == 0).then_some(usage.cost_micro_usd),
    }
}

fn error_into(refusal: Refusal) -> types::Error {
    let Failure { problem, retry } = match refusal {
        Refusal::Denied(text) => return types::Error::Denied(text),
        Refusal::Failed(failure) => failure,
    };
    match (problem.code, retry) {
        (Code::X070 | Code::X071 | Code::X079, _) => types::Error::UnknownModel(words(&problem)),
        (Code::X078, _) => types::Error::InvalidRequest(words(&problem)),
        (Code::X064, _) => types::Error::Timeout,
        (Code::X073, Retry::AfterMs(ms)) => types::Error::RateLimited(u32::try_from(ms).unwrap_or(u32::MAX)),
        // Payment required: the budget of the execution, whichever code the engine gives it.
        (code, _) if code.http() == 402 => types::Error::OverBudget,
        _ => types::Error::Provider(words(&problem)),
    }
}
