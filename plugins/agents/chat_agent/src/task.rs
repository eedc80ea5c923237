//! What the agent is asked, what a model is asked, and what comes back.

use ice_sdk::llm::{Message, Role};
use ice_sdk::prompt::NOT_THERE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A question, and what to answer it from.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    /// The question.
    pub(crate) query: String,
    /// Where to answer from, best first, as memory_search_tool returns them.
    #[serde(default)]
    pub(crate) passages: Vec<Passage>,
    /// Earlier turns of the conversation, oldest first.
    #[serde(default)]
    pub(crate) history: Vec<Turn>,
    /// The model that answers; empty or absent for the host's default.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Most tokens of the answer.
    #[serde(default)]
    pub(crate) max_tokens: Option<u32>,
    /// Passages with a lower score are left out. Scores compare within one search only, so there is no default.
    #[serde(default)]
    pub(crate) min_score: Option<f32>,
}

/// A text to answer from. Where it is from may stand beside the text or inside `metadata`.
#[derive(Deserialize, JsonSchema, Debug)]
pub(crate) struct Passage {
    /// The text.
    pub(crate) text: String,
    /// The document.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// Which piece of the document, from 0.
    #[serde(default)]
    pub(crate) chunk: Option<u64>,
    /// Where the text begins in the document, in bytes.
    #[serde(default)]
    pub(crate) start: Option<u64>,
    /// The line it begins on, from 1.
    #[serde(default)]
    pub(crate) line: Option<u64>,
    /// Its key in memory, which stands for the document where no file is named.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// How well it fits, higher is better.
    #[serde(default)]
    pub(crate) score: Option<f32>,
    /// How it was found: `keyword`, `vector` or `hybrid`.
    #[serde(default)]
    pub(crate) source: Option<String>,
    /// May hold `file`, `chunk`, `start` and `line`.
    #[serde(default)]
    pub(crate) metadata: Map<String, Value>,
}

impl Passage {
    /// The document, by the best name there is.
    pub(crate) fn file(&self) -> String {
        let names = [self.file.as_deref(), self.metadata.get("file").and_then(Value::as_str), self.key.as_deref()];
        names.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or("passage").to_owned()
    }

    /// A number that stands beside the text, or inside the metadata.
    pub(crate) fn number(&self, name: &str, beside: Option<u64>) -> Option<u64> {
        beside.or_else(|| self.metadata.get(name).and_then(Value::as_u64))
    }
}

/// One turn of the conversation: a message, or a question with its answer.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(untagged)]
pub(crate) enum Turn {
    /// What one side said.
    Message {
        /// `user` or `assistant`.
        role: Speaker,
        /// What was said.
        content: String,
    },
    /// A question and its answer.
    Exchange {
        /// What was asked.
        question: String,
        /// What was answered.
        answer: String,
    },
}

/// Who said it.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Speaker {
    /// The person.
    User,
    /// The agent.
    Assistant,
}

impl Turn {
    /// What the person asked in this turn.
    pub(crate) fn question(&self) -> Option<&str> {
        match self {
            Self::Message { role: Speaker::User, content } => Some(content),
            Self::Message { role: Speaker::Assistant, .. } => None,
            Self::Exchange { question, .. } => Some(question),
        }
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        match self {
            Self::Message { role: Speaker::User, content } => vec![Message::new(Role::User, content)],
            Self::Message { role: Speaker::Assistant, content } => vec![Message::new(Role::Assistant, content)],
            Self::Exchange { question, answer } => {
                vec![Message::new(Role::User, question), Message::new(Role::Assistant, answer)]
            }
        }
    }
}

/// What a model is asked for.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// The answer, in a few sentences.
    pub(crate) answer: String,
    /// What the answer is from; empty when the passages do not hold it.
    pub(crate) citations: Vec<DraftCitation>,
}

/// One citation as the model gives it.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct DraftCitation {
    /// Id of the passage.
    pub(crate) id: usize,
    /// A piece of the passage, copied letter by letter.
    pub(crate) quote: String,
}

/// An answer, and where it is from.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Answer {
    /// The answer; `That is not in your documents.` when the passages do not hold it.
    pub(crate) answer: String,
    /// What the answer is from. Every quote stands in its document, exactly there.
    pub(crate) citations: Vec<Citation>,
    /// Quotes the model gave that do not stand in their passage, and are left out.
    pub(crate) dropped_citations: usize,
    /// Whether at least one citation holds. Without one, nothing shows where the answer is from.
    pub(crate) grounded: bool,
    /// Whether the host's offline provider answered, by quoting, instead of a model.
    pub(crate) offline: bool,
    /// The model that answered; null when none was asked.
    pub(crate) model: Option<String>,
}

/// One citation that was checked.
#[derive(Serialize, JsonSchema, PartialEq, Eq, Debug)]
pub(crate) struct Citation {
    /// The document.
    pub(crate) file: String,
    /// Which piece of the document, from 0.
    pub(crate) chunk: u64,
    /// Where the quote begins in the document's text, in bytes.
    pub(crate) start: u64,
    /// Where it ends, in bytes.
    pub(crate) end: u64,
    /// The line it begins on, from 1; null where the passage's line is not known.
    pub(crate) line: Option<u64>,
    /// The quote, as it stands in the document.
    pub(crate) quote: String,
}

impl Answer {
    /// What is said without asking a model.
    pub(crate) fn not_there() -> Self {
        Self {
            answer: NOT_THERE.to_owned(),
            citations: Vec::new(),
            dropped_citations: 0,
            grounded: false,
            offline: false,
            model: None,
        }
    }
}
