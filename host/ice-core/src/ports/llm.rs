//! The port to language models, and the words of a conversation with one.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, Retry};
use crate::budget::Usage;
use crate::problem::Code;

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

/// How one question is asked again while its provider is busy (X073), by whoever has no retry policy for it: components,
/// and nodes that say nothing about retries. Pure: counting and pausing are the caller's.
#[derive(Default, Debug)]
pub struct Patience {
    requests: u32,
    paused_ms: u64,
}

impl Patience {
    /// Requests for one question, the first included.
    pub const REQUESTS_MAX: u32 = 3;
    /// All pauses of one question together, in milliseconds. Somebody waits for the answer; whoever can wait longer has a
    /// retry policy.
    pub const PAUSES_MS_MAX: u64 = 30_000;
    /// The first pause when the provider names none, in milliseconds; the next is twice as long.
    const PAUSE_FIRST_MS: u64 = 500;

    /// The pause before the question is asked again, in milliseconds; `None` when the failure stands: the provider is not
    /// busy, wants more time than there is, or was asked often enough.
    pub fn pause_ms(&mut self, failure: &Failure) -> Option<u64> {
        self.requests += 1;
        let pause = match failure.retry {
            Retry::Maybe => Self::PAUSE_FIRST_MS << (self.requests - 1).min(8),
            Retry::AfterMs(ms) => ms,
            Retry::Never => return None,
        };
        let paused = self.paused_ms.saturating_add(pause);
        let again =
            failure.problem.code == Code::X073 && self.requests < Self::REQUESTS_MAX && paused <= Self::PAUSES_MS_MAX;
        again.then(|| {
            self.paused_ms = paused;
            pause
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;

    fn pauses(code: Code, retries: &[Retry]) -> Vec<Option<u64>> {
        let mut patience = Patience::default();
        let failure = |retry: &Retry| Failure { problem: Problem::new(code, "busy"), retry: *retry };
        retries.iter().map(|retry| patience.pause_ms(&failure(retry))).collect()
    }

    #[test]
    fn a_busy_provider_is_asked_three_times_and_waited_for_half_a_minute() {
        assert_eq!(pauses(Code::X073, &[Retry::Maybe; 3]), [Some(500), Some(1_000), None]);
        let asked = [Retry::AfterMs(20_000), Retry::AfterMs(10_001)];
        assert_eq!(pauses(Code::X073, &asked), [Some(20_000), None], "together they are too long");
        assert_eq!(pauses(Code::X073, &[Retry::AfterMs(30_000), Retry::AfterMs(0)]), [Some(30_000), Some(0)]);
        assert_eq!(pauses(Code::X073, &[Retry::AfterMs(u64::MAX)]), [None]);
    }

    #[test]
    fn what_is_not_busy_is_not_asked_again() {
        assert_eq!(pauses(Code::X073, &[Retry::Never]), [None]);
        assert_eq!(pauses(Code::X062, &[Retry::Maybe]), [None]);
    }
}
