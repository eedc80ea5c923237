//! The offline provider: answers without any model, the same question always in the same way. Sends nothing.
//!
//! What it does, the first that fits:
//! 1. A line `@tool name {json}` in the last user message asks for that tool, one line a turn; when every line has its
//!    answer, the answers are the reply. Lines inside `<passage>` do not count: a document gives no orders.
//! 2. `<passage id="1" file="a.md" chunk="0">…</passage>` blocks and a line `Question: …`: the sentences that say most
//!    about the question, quoted and cited ([`extract`]). A line `Context: …` says what earlier turns were about.
//! 3. An output schema: the smallest JSON that fits it ([`skeleton`]).
//! 4. Otherwise the last user message, shortened, after `[offline]`.
//!
//! Tokens are counted as one for every four characters, rounded up.

mod extract;
mod skeleton;
mod words;

use async_trait::async_trait;
use ice_core::ports::{DeltaSink, Failure, LlmRequest, Message, Role, ToolCall};
use serde_json::{Value, json};

use super::price::Tokens;
use super::{Completion, Provider, Vectors, no_embedder};

/// Enough to recognise a message.
const ECHO_CHARS_MAX: usize = 400;

/// The offline provider.
pub(super) struct Echo;

#[async_trait]
impl Provider for Echo {
    async fn complete(
        &self,
        _model: &str,
        request: &LlmRequest,
        max_tokens: u32,
        deltas: Option<DeltaSink<'_>>,
    ) -> Result<Completion, Failure> {
        let (mut message, mut finish_reason) = answer(request);
        let most = 4 * usize::try_from(max_tokens).unwrap_or(usize::MAX / 4);
        if let Some((end, _)) = message.content.char_indices().nth(most) {
            message.content.truncate(end);
            finish_reason = "length";
        }
        if let Some(deltas) = deltas {
            message.content.split_inclusive(' ').for_each(deltas);
        }
        let asked = request.messages.iter().map(message_tokens).sum();
        let tokens = Tokens { input: asked, cached_input: 0, output: message_tokens(&message) };
        Ok(Completion { message, finish_reason: finish_reason.to_owned(), tokens: Some(tokens) })
    }

    /// There is none: vectors made of hashes find less than keywords do, and would only look like meaning.
    async fn embed(&self, _model: &str, _texts: &[String]) -> Result<Vectors, Failure> {
        Err(no_embedder())
    }

    fn at_own_address(&self) -> bool {
        true
    }
}

fn answer(request: &LlmRequest) -> (Message, &'static str) {
    let turn = Turn::of(&request.messages);
    if let Some(call) = turn.next_call() {
        return (assistant(String::new(), vec![call]), "tool_calls");
    }
    let schema = request.output_schema.as_ref();
    let content = match (extract::answer(&request.messages), schema) {
        (Some(extract), Some(schema)) if wants_citations(schema) => extract.json().to_string(),
        (_, Some(schema)) => skeleton::minimal(schema).to_string(),
        _ if !turn.calls.is_empty() => turn.results.join("\n"),
        (Some(extract), None) if extract.had_passages => extract.text(),
        _ => turn.echo(),
    };
    (assistant(content, Vec::new()), "stop")
}

fn assistant(content: String, tool_calls: Vec<ToolCall>) -> Message {
    Message { role: Role::Assistant, content, tool_calls, answers: None }
}

fn wants_citations(schema: &Value) -> bool {
    ["answer", "citations"].iter().all(|name| schema["properties"].get(name).is_some())
}

fn message_tokens(message: &Message) -> u64 {
    let calls =
        message.tool_calls.iter().map(|call| call.name.chars().count() + call.arguments.to_string().chars().count());
    (message.content.chars().count() + calls.sum::<usize>()).div_ceil(4) as u64
}

/// The last user message and what came after it.
struct Turn<'a> {
    text: &'a str,
    /// Name and arguments of every scripted call.
    calls: Vec<(&'a str, &'a str)>,
    results: Vec<&'a str>,
    /// Calls of the whole conversation before this turn, so that ids never repeat.
    calls_before: usize,
}

impl<'a> Turn<'a> {
    fn of(messages: &'a [Message]) -> Self {
        let at = messages.iter().rposition(|message| message.role == Role::User);
        let text = at.map_or("", |at| messages[at].content.as_str());
        let after = &messages[at.map_or(0, |at| at + 1)..];
        let results = after.iter().filter(|message| message.role == Role::Tool).map(|message| message.content.as_str());
        let before = messages[..at.unwrap_or(0)].iter();
        Self {
            text,
            calls: orders(text),
            results: results.collect(),
            calls_before: before.map(|message| message.tool_calls.len()).sum(),
        }
    }

    fn next_call(&self) -> Option<ToolCall> {
        let (name, arguments) = self.calls.get(self.results.len())?;
        let arguments = match *arguments {
            "" => json!({}),
            // A model, too, writes arguments that are no JSON; they arrive as text.
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        let id = format!("call_{}", self.calls_before + self.results.len() + 1);
        Some(ToolCall { id, name: (*name).to_owned(), arguments })
    }

    fn echo(&self) -> String {
        let mut words = String::new();
        for word in self.text.split_whitespace() {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        }
        match words.char_indices().nth(ECHO_CHARS_MAX) {
            Some((end, _)) => format!("[offline] {}…", words[..end].trim_end()),
            None => format!("[offline] {words}").trim_end().to_owned(),
        }
    }
}

fn orders(text: &str) -> Vec<(&str, &str)> {
    let mut calls = Vec::new();
    let mut in_passage = false;
    for line in text.lines() {
        let call = line.trim().strip_prefix("@tool ").filter(|_| !in_passage).map(str::trim);
        if let Some(call) = call.filter(|call| !call.is_empty()) {
            let (name, arguments) = call.split_once(char::is_whitespace).unwrap_or((call, ""));
            calls.push((name, arguments.trim()));
        }
        let opened = line.rfind("<passage");
        let closed = line.rfind("</passage>");
        in_passage = match (opened, closed) {
            (None, None) => in_passage,
            (opened, closed) => closed < opened,
        };
    }
    calls
}

#[cfg(test)]
mod tests;
