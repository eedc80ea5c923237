//! The port to language models, and the words of a conversation with one.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Failure;
use crate::budget::Usage;

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
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

/// One call a model asks for.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ToolCall {
    /// Names this call in the answer that goes back.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Arguments as the model wrote them: JSON, not checked against the tool's schema.
    pub arguments: Value,
}

/// One turn.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
    /// Calls the assistant asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For role `tool`: the call this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
}

/// A tool a model may ask for.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// For the model.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
}

/// One question to a model.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug, Default)]
#[serde(default)]
pub struct LlmRequest {
    /// Provider name; empty when `model` says it, or for the host's default.
    pub provider: String,
    /// `model` or `provider/model`; empty for the host's default.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Tools the model may ask for.
    pub tools: Vec<ToolSpec>,
    /// When set, the reply's content is JSON that fits this schema.
    pub output_schema: Option<Value>,
    /// Most tokens to write.
    pub max_tokens: Option<u32>,
    /// 0 to 2.
    pub temperature: Option<f32>,
    /// Further provider parameters (`top_p`, `stop`, …), passed through.
    pub extra: serde_json::Map<String, Value>,
}

/// A model's answer.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct LlmReply {
    /// The assistant's turn.
    pub message: Message,
    /// `provider/model` that answered.
    pub model: String,
    /// As counted by the provider, priced by the host.
    pub usage: Usage,
    /// Whether the host's offline provider answered.
    pub offline: bool,
    /// Why the model stopped: `stop`, `length`, `tool_calls`, or the provider's own word.
    pub finish_reason: String,
}

/// What the host knows about a model before asking it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ModelInfo {
    /// The provider.
    pub provider: String,
    /// The model's name at the provider.
    pub model: String,
    /// The most one such request can cost; `unpriced_calls` is 1 when the price is not known.
    pub estimate: Usage,
}

/// One vector per text.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Embeddings {
    /// In the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// Name of the embedder; vectors of two embedders never mix.
    pub model: String,
    /// As counted by the provider, priced by the host.
    pub usage: Usage,
}

/// Where pieces of a streamed answer go.
pub type DeltaSink<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Language models. Implemented by ice-capabilities.
#[async_trait]
pub trait Llm: Send + Sync {
    /// Says who would answer and what it may cost, without asking. Fails when no provider serves the model.
    fn resolve(&self, request: &LlmRequest) -> Result<ModelInfo, Failure>;

    /// Asks. Text is passed to `deltas` as it comes, when the provider streams.
    async fn complete(&self, request: &LlmRequest, deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure>;

    /// The most that vectors of texts of so many bytes together can cost; `unpriced_calls` is 1 when the price is not
    /// known. The empty model is the host's embedder. Fails like [`Llm::embed`] where nobody serves the model.
    fn embedding(&self, _model: &str, _bytes: usize) -> Result<Usage, Failure> {
        Ok(Usage::default())
    }

    /// Turns texts into vectors; the empty model is the host's embedder. Fails when there is none.
    async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, Failure>;
}
