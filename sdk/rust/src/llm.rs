//! Language models. Grant: `llm`, with the models a component may name.
//!
//! The host chooses the provider, holds the keys, retries, meters and bills; a guest asks and reads the answer.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{json, schema};

#[cfg(not(target_family = "wasm"))]
use crate::testing::llm as host;

#[cfg(target_family = "wasm")]
mod host;

/// Why a model call did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The grant does not cover this model, or not this many tokens; the text names what would allow it.
    Denied(String),
    /// No provider on this host serves the model.
    UnknownModel(String),
    /// The execution's budget would be exceeded; nothing was sent.
    OverBudget,
    /// The provider asks to wait this long before the next try.
    RateLimited(Duration),
    /// The request cannot be sent as it is.
    InvalidRequest(String),
    /// The provider answered with an error, or with something that is no answer.
    Provider(String),
    /// No answer came in time.
    Timeout,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "the model call was denied: {text}"),
            Self::UnknownModel(text) => write!(f, "unknown model: {text}"),
            Self::OverBudget => f.write_str("the execution's budget does not allow another model call"),
            Self::RateLimited(pause) => write!(f, "the model's provider asks to wait {} ms", pause.as_millis()),
            Self::InvalidRequest(text) => write!(f, "the model request is invalid: {text}"),
            Self::Provider(text) => write!(f, "the model's provider failed: {text}"),
            Self::Timeout => f.write_str("the model did not answer in time"),
        }
    }
}

impl std::error::Error for Error {}

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The answer of a tool.
    Tool,
}

/// One call the assistant asks for.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolCall {
    /// Names this call in the answer that goes back.
    pub id: String,
    /// The tool asked for.
    pub name: String,
    /// Arguments as the model wrote them: JSON, not checked against the tool's schema.
    pub arguments: Value,
}

/// One turn of the conversation.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// Whose turn it was.
    pub role: Role,
    /// What was said.
    pub content: String,
    /// Calls the assistant asked for.
    pub tool_calls: Vec<ToolCall>,
    /// For [`Role::Tool`]: the call this answers.
    pub answers: Option<String>,
}

impl Message {
    /// A turn of text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), answers: None }
    }
}

/// A tool the model may ask for.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolSpec {
    /// `[a-z][a-z0-9_]*`.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
}

/// One question to a model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Request {
    /// `model` or `provider/model`; empty for the host's default model.
    pub model: String,
    /// The conversation, oldest turn first.
    pub messages: Vec<Message>,
    /// What the model may ask for.
    pub tools: Vec<ToolSpec>,
    /// When set, the reply's content is JSON that fits this schema.
    pub output_schema: Option<Value>,
    /// Most tokens to write; the host caps it at the grant's `max_tokens_per_call`.
    pub max_tokens: Option<u32>,
    /// 0 to 2.
    pub temperature: Option<f32>,
}

impl Request {
    /// An empty request to `model`; the empty name is the host's default model.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }

    /// Adds instructions.
    #[must_use]
    pub fn system(self, content: impl Into<String>) -> Self {
        self.message(Message::new(Role::System, content))
    }

    /// Adds a turn of the person.
    #[must_use]
    pub fn user(self, content: impl Into<String>) -> Self {
        self.message(Message::new(Role::User, content))
    }

    /// Adds a turn of the model.
    #[must_use]
    pub fn assistant(self, content: impl Into<String>) -> Self {
        self.message(Message::new(Role::Assistant, content))
    }

    /// Adds a turn.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Asks for an answer that fits the JSON Schema of `T`.
    #[must_use]
    pub fn output<T: JsonSchema>(mut self) -> Self {
        self.output_schema = Some(schema::of_input::<T>());
        self
    }
}

/// What one call consumed, as the provider counted it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Tokens of the request.
    pub input_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Price in millionths of a US dollar, when the model's price is known.
    pub cost_micro_usd: Option<u64>,
}

/// The model's answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// The assistant's turn.
    pub message: Message,
    /// What the call consumed.
    pub usage: Usage,
    /// The model that answered, as `provider/model`.
    pub model: String,
    /// Whether the host's offline provider answered instead of a model.
    pub offline: bool,
}

impl Reply {
    /// Reads the content as a `T`. Fails with [`Error::Provider`] and the path of the field that does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        json::read(&self.message.content)
            .map_err(|invalid| Error::Provider(format!("`{}` answered with another shape: {invalid}", self.model)))
    }
}

/// Sends one request and waits for the whole reply. Metered against the execution's budget.
/// Fails with every case of [`Error`].
pub fn complete(request: &Request) -> Result<Reply, Error> {
    host::complete(request)
}

/// Turns at most 256 texts into vectors, one each, all of one dimension. The empty model is the host's embedder.
/// Fails with every case of [`Error`]; with [`Error::UnknownModel`] when the host has no embedder.
pub fn embed(model: &str, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
    host::embed(model, texts)
}
