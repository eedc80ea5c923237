//! `ingestion_tool`: reads a document into memory, in pieces that can be cited.
//!
//! Steps, one file each: fetch and decode ([`source`]), make plain text of a format ([`extract`]), cut it into pieces
//! ([`chunk`]), and keep the pieces under keys that stay the same ([`keep`]).

mod chunk;
mod extract;
mod html;
mod keep;
mod source;

use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::chunk::Cut;
use self::keep::Document;

/// A piece holds at least this many characters: less is no context for an answer.
const CHUNK_CHARS_MIN: usize = 50;
/// Of four bytes each, which is the most text the host takes under one key (64 KiB).
const CHUNK_CHARS_MAX: usize = 16_000;

/// Where the document is.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceType {
    /// `source` is the text.
    Text,
    /// `source` is the content of a file, which the caller has read: a component has no files.
    File,
    /// `source` is an `http` or `https` URL. Needs a grant for its host.
    Url,
}

/// How `source` is written.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encoding {
    /// As it is.
    Plain,
    /// Bytes in base64, as a file that may not be UTF-8 is passed.
    Base64,
}

/// What to read, and how.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ingestion {
    /// Where the document is.
    source_type: SourceType,
    /// The text, the file's content, or the URL.
    source: String,
    /// How `source` is written; for `text` and `file`.
    #[serde(default = "plain")]
    encoding: Encoding,
    /// Name of the document, as citations show it. Reading a document of the same name again replaces it.
    /// Without one: the URL, or a name made of the content.
    name: Option<String>,
    /// `text/plain`, `text/markdown`, `text/html`, `text/csv` or `application/json`. Without one: found by content.
    media_type: Option<String>,
    /// The scope to write to.
    #[serde(default = "kb")]
    scope: String,
    /// Most characters of a piece.
    #[serde(default = "chunk_size")]
    #[schemars(range(min = 50, max = 16000))]
    chunk_size: usize,
    /// Characters a piece repeats of the one before; less than half of `chunk_size`.
    #[serde(default = "overlap")]
    overlap: usize,
    /// Kept beside every piece. A search can filter on `category` (text) and `tags` (list of texts).
    #[serde(default)]
    metadata: Map<String, Value>,
}

fn plain() -> Encoding {
    Encoding::Plain
}

fn kb() -> String {
    "kb".to_owned()
}

fn chunk_size() -> usize {
    1_000
}

fn overlap() -> usize {
    200
}

impl Serialize for Encoding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Plain => "plain",
            Self::Base64 => "base64",
        })
    }
}

/// What was read.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Ingested {
    /// The pieces that were written by this call; those that were there already are left out.
    ingested: Vec<Piece>,
    /// Name of the document.
    file: String,
    /// What it was read as.
    media_type: String,
    /// Number of pieces of the document.
    chunks: usize,
    /// Length of its text, in bytes of UTF-8 after Unicode normalisation.
    bytes: usize,
    /// Pieces that were there already, unchanged.
    skipped: usize,
    /// Pieces of an older, longer version that were removed.
    forgotten: usize,
}

/// One piece of the document.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Piece {
    /// The key it was written under.
    key: String,
    /// Which piece, from 0.
    chunk: usize,
    /// Where it begins in the document's text, in bytes.
    start: usize,
    /// Where it ends, in bytes.
    end: usize,
}

/// Reads a document into memory: takes the text out of its format, normalises it (Unicode NFKC) and keeps it in
/// overlapping pieces that end where paragraphs or sentences do. Reading the same document again changes nothing.
#[tool(tags("memory", "ingestion"))]
pub(crate) fn ingestion_tool(input: Ingestion) -> Result<Ingested, ToolError> {
    check(&input)?;
    let raw = source::load(&input)?;
    let (media_type, text) = extract::text(&raw)?;
    if text.is_empty() {
        return Err(ToolError::invalid("source", "holds no text"));
    }
    let pieces = chunk::cut(&text, Cut { size: input.chunk_size, overlap: input.overlap });
    let kept = keep::keep(&Document {
        scope: &input.scope,
        name: &raw.name,
        media_type,
        text: &text,
        pieces: &pieces,
        metadata: &input.metadata,
    })?;
    Ok(Ingested {
        skipped: pieces.len() - kept.written.len(),
        ingested: kept.written,
        file: raw.name,
        media_type: media_type.to_owned(),
        chunks: pieces.len(),
        bytes: text.len(),
        forgotten: kept.forgotten,
    })
}

fn check(input: &Ingestion) -> Result<(), ToolError> {
    if !(CHUNK_CHARS_MIN..=CHUNK_CHARS_MAX).contains(&input.chunk_size) {
        let message = format!("must be {CHUNK_CHARS_MIN} to {CHUNK_CHARS_MAX}");
        return Err(ToolError::invalid("chunk_size", message));
    }
    if input.overlap * 2 >= input.chunk_size {
        return Err(ToolError::invalid("overlap", "must be less than half of `chunk_size`"));
    }
    if input.name.as_deref().is_some_and(|name| name.trim().is_empty()) {
        return Err(ToolError::invalid("name", "is empty"));
    }
    Ok(())
}
