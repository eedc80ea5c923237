//! The chat-completions format: spoken by OpenAI, DeepSeek, Anthropic's compatible endpoint, Ollama, vLLM, llama.cpp.
//!
//! One request at a time over the host's egress. Prices, names and defaults are `mod.rs`'s; nothing here retries.
//! No error holds text of the question, of the answer or the key: providers quote them in theirs.

mod embed;
mod failure;
mod reply;
mod request;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use ice_core::ports::{DeltaSink, Failure, LlmRequest};
use ice_core::problem::{Code, Problem};
use serde_json::Value;
use tokio::time::Instant;

use super::{Completion, LlmOptions, Provider, ProviderRow, Structured, Vectors};
use crate::http::{Answer, Authority, Egress, Headers, Hop, Limits, Target};
use crate::secrets::Secret;

/// No provider's answer is larger; a vector of 3,072 numbers is 60 KiB of JSON, and 256 of them may come at once.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// One provider of this format.
pub(super) struct OpenAi {
    /// For messages to the operator.
    name: String,
    /// Without final slash.
    base_url: String,
    origin: String,
    /// Whether the operator named the address, so that it may be a private one.
    own_server: bool,
    key: Option<Secret>,
    key_variable: &'static str,
    structured: Structured,
    first_byte: Duration,
    idle: Duration,
    total: Duration,
    egress: Arc<Egress>,
}

impl OpenAi {
    /// Prepares the provider. C022 when its address cannot be used.
    pub(super) fn new(
        name: &str,
        row: Option<&ProviderRow>,
        key: Option<Secret>,
        base_url: Option<&str>,
        options: &LlmOptions,
        egress: Arc<Egress>,
    ) -> Result<Self, Problem> {
        let refuse = |what: &str| {
            Problem::new(Code::C022, format!("the base URL of the provider `{name}` {what}"))
                .help("write the part before `/chat/completions`, for example `http://localhost:11434/v1`")
        };
        let address = base_url.or(row.map(|row| row.base_url)).ok_or_else(|| refuse("is not set"))?;
        let address = address.trim_end_matches('/');
        if address.contains(['?', '#']) {
            return Err(refuse("has a query or fragment"));
        }
        let target =
            Target::parse(address).map_err(|failure| refuse(&format!("is wrong: {}", failure.problem.message)))?;
        if key.as_ref().is_some_and(|key| !key.expose().bytes().all(|byte| (0x21..0x7f).contains(&byte))) {
            let message =
                format!("the key of the provider `{name}` holds a space, a line break or other odd characters");
            return Err(Problem::new(Code::C022, message));
        }
        Ok(Self {
            name: name.to_owned(),
            base_url: address.to_owned(),
            origin: target.origin(),
            own_server: base_url.is_some(),
            key,
            key_variable: row.map_or("", |row| row.key_variable),
            structured: row.map_or(Structured::Schema, |row| row.structured),
            first_byte: options.first_byte,
            idle: options.idle,
            total: options.total,
            egress,
        })
    }

    /// Posts `body` and returns the answer when its status says that it is one.
    async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        let headers: Vec<_> = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let hop = Hop {
            method: Method::POST,
            target: Target::parse(&format!("{}{path}", self.base_url))?,
            headers: Headers::parse(&headers)?,
            body: body.to_string().into(),
        };
        let limits = Limits {
            deadline: Instant::now() + self.total,
            first_byte: self.first_byte,
            idle: self.idle,
            body_bytes: ANSWER_BYTES_MAX,
        };
        let authority =
            Authority::Operator { origin: &self.origin, private: self.own_server, bearer: self.key.as_ref() };
        let mut answer = self.egress.open(&hop, authority, limits).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        // The reason is worth reading, but not worth failing over.
        let reason = answer.body.collect().await.unwrap_or_default();
        Err(failure::refused(self, answer.status, &answer.headers, &reason))
    }

    /// Reads the whole answer as JSON.
    async fn json(&self, answer: &mut Answer) -> Result<Value, Failure> {
        let media_type = answer.media_type();
        // Some local servers send no type; a web page is what a wrong address or a login wall answers.
        if !media_type.is_empty() && !media_type.contains("json") && media_type != "text/plain" {
            return Err(failure::no_answer(self, &format!("it sent `{}`", failure::word(&media_type))));
        }
        let bytes = answer.body.collect().await?;
        serde_json::from_slice(&bytes).map_err(|_| failure::no_answer(self, "it is not JSON"))
    }
}

#[async_trait]
impl Provider for OpenAi {
    async fn complete(
        &self,
        model: &str,
        request: &LlmRequest,
        max_tokens: u32,
        deltas: Option<DeltaSink<'_>>,
    ) -> Result<Completion, Failure> {
        let names = request::ToolNames::of(request);
        let body = request::body(self, model, request, max_tokens, &names, deltas.is_some())?;
        let mut answer = self.post("/chat/completions", &body).await?;
        let streamed = answer.media_type() == "text/event-stream";
        let reply = match deltas {
            // A server may answer in either form, whatever it was asked for.
            Some(deltas) if streamed => stream::read(self, &mut answer, deltas).await?,
            None if streamed => stream::read(self, &mut answer, &|_| {}).await?,
            _ => {
                let reply = reply::read(self, &self.json(&mut answer).await?)?;
                if let Some(deltas) = deltas.filter(|_| !reply.content.is_empty()) {
                    deltas(&reply.content);
                }
                reply
            }
        };
        reply.complete(self, &names)
    }

    async fn embed(&self, model: &str, texts: &[String]) -> Result<Vectors, Failure> {
        let mut answer = self.post("/embeddings", &embed::body(model, texts)).await?;
        embed::read(self, &self.json(&mut answer).await?, texts.len())
    }

    fn at_own_address(&self) -> bool {
        !self.own_server
    }
}
