//! `memory_search_tool`: finds texts by meaning and words, as far as the host can.

use ice_sdk::memory::{self, Filter, Hit, LIMIT_MAX};
use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// What was found.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Found {
    /// The best answers, best first.
    results: Vec<FoundText>,
    /// How the host searched: `keyword`, `vector`, `hybrid`, or `none` when nothing was found.
    retrieval: String,
}

/// One text that was found. File, chunk, start, end and line are there for pieces of documents, and say what to cite.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct FoundText {
    /// Its key within the scope.
    key: String,
    /// The text.
    text: String,
    /// Higher is better; comparable within this answer only.
    score: f32,
    /// How it was found: `keyword`, `vector` or `hybrid`.
    source: String,
    /// What was kept beside it.
    metadata: Map<String, Value>,
    /// The document it is a piece of.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Which piece, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<u64>,
    /// Where the piece begins in the text of the document, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    /// Where it ends, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
    /// The line it begins on, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

/// Finds remembered texts that answer a query, best first. Results say where they are from, so that answers can cite.
#[tool(tags("memory", "search"))]
pub(crate) fn memory_search_tool(
    /// What to look for, in words.
    query: String,
    /// The scope to look in.
    #[arg(default = "default")]
    scope: String,
    /// Most results to return, 1 to 100.
    #[arg(default = 10)]
    #[schemars(range(min = 1, max = 100))]
    limit: u32,
    /// Only texts whose metadata has this `category`.
    category: Option<String>,
    /// Only texts whose metadata has all of these `tags`.
    #[serde(default)]
    tags: Vec<String>,
) -> Result<Found, ToolError> {
    if query.trim().is_empty() {
        return Err(ToolError::invalid("query", "is empty"));
    }
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ToolError::invalid("limit", format!("must be 1 to {LIMIT_MAX}")));
    }
    let filter = Filter { category: category.filter(|text| !text.is_empty()), tags, key_prefix: None };
    let hits = memory::search(&scope, &query, &filter, limit)?;
    Ok(Found { retrieval: retrieval(&hits).to_owned(), results: hits.into_iter().map(FoundText::from).collect() })
}

fn retrieval(hits: &[Hit]) -> &'static str {
    let by = |source: &str| hits.iter().any(|hit| hit.source == source);
    match (by("hybrid"), by("vector"), by("keyword")) {
        (true, _, _) | (_, true, true) => "hybrid",
        (_, true, false) => "vector",
        (_, false, true) => "keyword",
        (false, false, false) => "none",
    }
}

impl From<Hit> for FoundText {
    fn from(hit: Hit) -> Self {
        let metadata = hit.item.metadata;
        let number = |name: &str| metadata.get(name).and_then(Value::as_u64);
        Self {
            file: metadata.get("file").and_then(Value::as_str).map(str::to_owned),
            chunk: number("chunk"),
            start: number("start"),
            end: number("end"),
            line: number("line"),
            key: hit.item.key,
            text: hit.item.text,
            score: hit.score,
            source: hit.source,
            metadata,
        }
    }
}
