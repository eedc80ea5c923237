//! `recent_session_tool`: the last turns of a conversation.

use ice_sdk::memory::{self, Item, LIMIT_MAX};
use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The last turns.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Session {
    /// The turns, newest first.
    items: Vec<Turn>,
    /// How many turns the session has; the next one is number `total + 1`.
    total: u64,
}

/// One turn, as it was written.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Turn {
    /// `chat:<session>:<number>`.
    key: String,
    /// The text.
    text: String,
    /// What was kept beside it.
    metadata: Map<String, Value>,
}

/// Returns the last turns of a conversation, newest first: the texts that were written under `chat:<session_id>:…`.
#[tool(tags("memory", "chat"))]
pub(crate) fn recent_session_tool(
    /// Names the conversation. Without a colon, which ends the name inside a key.
    session_id: String,
    /// The scope its turns are in.
    #[arg(default = "kb")]
    scope: String,
    /// Most turns to return, 1 to 100.
    #[arg(default = 5)]
    #[schemars(range(min = 1, max = 100))]
    limit: u32,
) -> Result<Session, ToolError> {
    if session_id.is_empty() || session_id.contains(':') {
        return Err(ToolError::invalid("session_id", "must not be empty and must not hold `:`"));
    }
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ToolError::invalid("limit", format!("must be 1 to {LIMIT_MAX}")));
    }
    let prefix = format!("chat:{session_id}:");
    let newest = memory::recent(&scope, &prefix, LIMIT_MAX)?;
    let total = total(&newest, &prefix);
    let items = newest.into_iter().take(limit as usize).map(Turn::from).collect();
    Ok(Session { items, total })
}

/// A listing is capped, so its length is not the number of turns of a long session; the newest number is.
fn total(newest: &[Item], prefix: &str) -> u64 {
    let number = |item: &Item| item.key.strip_prefix(prefix)?.split(':').next()?.parse::<u64>().ok();
    newest.iter().filter_map(number).max().unwrap_or(0).max(newest.len() as u64)
}

impl From<Item> for Turn {
    fn from(item: Item) -> Self {
        Self { key: item.key, text: item.text, metadata: item.metadata }
    }
}
