//! `memory_write_tool`: keeps one text under a key.

use ice_sdk::memory::{self, Item};
use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::digest;

/// What was written.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Written {
    /// Always true: a text that was not written is an error.
    ok: bool,
    /// The key it is under.
    key: String,
    /// The scope it is in.
    scope: String,
    /// SHA-256 of the content.
    content_hash: String,
}

/// Remembers a text under a key, in place of what was there. The text can be found again by memory_search_tool.
#[tool(tags("memory"))]
pub(crate) fn memory_write_tool(
    /// Names the text within its scope; at most 256 bytes.
    key: String,
    /// The text; at most 64 KiB.
    content: String,
    /// The scope to write to.
    #[arg(default = "default")]
    scope: String,
    /// Kept beside the text; at most 16 KiB. A search can filter on `category` (text) and `tags` (list of texts).
    #[serde(default)]
    metadata: Map<String, Value>,
) -> Result<Written, ToolError> {
    let content_hash = digest::of(&[&content]);
    let item = Item { key, text: content, metadata };
    memory::write(&scope, &item).map_err(|error| match error {
        memory::Error::TooLarge(text) | memory::Error::Invalid(text) => ToolError::invalid("input", text),
        other => other.into(),
    })?;
    Ok(Written { ok: true, key: item.key, scope, content_hash })
}
