//! A streamed answer: pieces go to the listener as they come, and together make the same reply as a whole answer.

use ice_core::ports::{DeltaSink, Failure};
use ice_core::problem::Code;
use serde_json::Value;

use super::reply::{self, Reply, WireCall};
use super::{OpenAi, failure};
use crate::http::Answer;
use crate::llm::sse::Events;

/// More calls in one turn are a model that repeats itself.
const CALLS_MAX: usize = 128;

/// Reads to the end. X076 when the stream ends before the answer does.
pub(super) async fn read(provider: &OpenAi, answer: &mut Answer, deltas: DeltaSink<'_>) -> Result<Reply, Failure> {
    let mut events = Events::default();
    let mut reply = Reply::default();
    let mut done = false;
    while !done {
        let piece = answer.body.next().await.map_err(|failure| match failure.problem.code {
            Code::X069 => failure::cut(provider, "by the end of the connection", Code::X076),
            _ => failure,
        })?;
        let ended = piece.is_none();
        let read = match piece {
            Some(bytes) => events.push(&bytes),
            None => events.finish(),
        };
        read.map_err(|_| failure::no_answer(provider, "it is not an event stream"))?;
        while let Some(data) = events.pop() {
            done |= data.trim() == "[DONE]";
            if !done {
                take(provider, &data, &mut reply, deltas)?;
            }
        }
        if ended {
            break;
        }
    }
    // Some servers forget `[DONE]`; without reason to finish, though, the answer was cut.
    if reply.finish_reason.is_none() {
        return Err(failure::cut(provider, "before its end", Code::X076));
    }
    Ok(reply)
}

fn take(provider: &OpenAi, data: &str, reply: &mut Reply, deltas: DeltaSink<'_>) -> Result<(), Failure> {
    let chunk: Value =
        serde_json::from_str(data).map_err(|_| failure::no_answer(provider, "a piece of the stream is not JSON"))?;
    if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
        return Err(failure::in_answer(provider, error));
    }
    // The last chunk has usage and no choice.
    if let Some(tokens) = reply::tokens(&chunk["usage"]) {
        reply.tokens = Some(tokens);
    }
    let choice = &chunk["choices"][0];
    let delta = &choice["delta"];
    let text = reply::content(delta.get("content"));
    if !text.is_empty() {
        deltas(&text);
        reply.content.push_str(&text);
    }
    reply.refused |= delta["refusal"].as_str().is_some_and(|text| !text.is_empty());
    for piece in delta["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default() {
        grow(provider, &mut reply.calls, reply::call(piece))?;
    }
    if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
        reply.finish_reason = Some(reason.to_owned());
    }
    Ok(())
}

/// Adds a piece to the call with its index; without index, a new id begins a new call.
fn grow(provider: &OpenAi, calls: &mut Vec<WireCall>, piece: WireCall) -> Result<(), Failure> {
    let known = match piece.index {
        Some(index) => calls.iter().position(|call| call.index == Some(index)),
        None => calls.len().checked_sub(1).filter(|last| piece.id.is_empty() || piece.id == calls[*last].id),
    };
    match known {
        Some(at) => {
            let call = &mut calls[at];
            call.arguments.push_str(&piece.arguments);
            if call.id.is_empty() {
                call.id = piece.id;
            }
            // The name comes once; a server that repeats it with every piece means the same call.
            if call.name.is_empty() {
                call.name = piece.name;
            }
        }
        None if calls.len() < CALLS_MAX => calls.push(piece),
        None => {
            return Err(failure::no_answer(provider, "it holds more than 128 tool calls"));
        }
    }
    Ok(())
}
