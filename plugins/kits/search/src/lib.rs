//! Kit `search`: shortens notes to a line, and looks notes up in memory. Reads memory, writes nothing.

use ice_sdk::memory::{self, Filter};
use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;

ice_sdk::kit!(writer_tool, lookup_tool);

/// A shorter summary would be cut before its first word.
const SUMMARY_CHARS_MIN: usize = 50;
/// Notes are a line each in the joined text; the whole text is in `results`.
const NOTE_CHARS_MAX: usize = 280;

/// Notes in short.
#[derive(Serialize, JsonSchema, Debug)]
pub struct Written {
    /// `[style] ` and the beginning of the notes.
    summary: String,
}

/// Shortens notes to one line of bounded length, marked with the style they are to be read in. Uses no model.
#[tool(tags("text"))]
pub fn writer_tool(
    /// The notes.
    notes: String,
    /// What the line is marked with, for example `concise`.
    #[arg(default = "concise")]
    style: String,
    /// Most characters of the summary, the mark included; at least 50.
    #[arg(default = 280)]
    #[schemars(range(min = 50))]
    max_chars: usize,
) -> Result<Written, ToolError> {
    if max_chars < SUMMARY_CHARS_MIN {
        return Err(ToolError::invalid("max_chars", format!("must be at least {SUMMARY_CHARS_MIN}")));
    }
    Ok(Written { summary: shorten(&format!("[{style}] {}", one_line(&notes)), max_chars) })
}

/// What was looked up.
#[derive(Serialize, JsonSchema, Debug)]
pub struct LookedUp {
    /// The notes that were found, one a line, best first; empty when there are none.
    notes: String,
    /// The same notes in full, with where they are kept.
    results: Vec<Note>,
}

/// One note.
#[derive(Serialize, JsonSchema, Debug)]
pub struct Note {
    /// Its key within the scope.
    key: String,
    /// The note.
    text: String,
    /// Higher is better; comparable within this answer only.
    score: f32,
}

/// Looks up notes in memory that answer a query. It knows nothing by itself: what was never written is not found.
#[tool(tags("search", "memory"))]
pub fn lookup_tool(
    /// What to look for, in words.
    query: String,
    /// The scope of memory to look in.
    #[arg(default = "kb")]
    scope: String,
    /// Most notes to return, 1 to 100.
    #[arg(default = 5)]
    #[schemars(range(min = 1, max = 100))]
    limit: u32,
) -> Result<LookedUp, ToolError> {
    if query.trim().is_empty() {
        return Err(ToolError::invalid("query", "is empty"));
    }
    if !(1..=memory::LIMIT_MAX).contains(&limit) {
        return Err(ToolError::invalid("limit", format!("must be 1 to {}", memory::LIMIT_MAX)));
    }
    let hits = memory::search(&scope, &query, &Filter::default(), limit)?;
    let lines: Vec<String> = hits.iter().map(|hit| shorten(&one_line(&hit.item.text), NOTE_CHARS_MAX)).collect();
    let results = hits.into_iter().map(|hit| Note { key: hit.item.key, text: hit.item.text, score: hit.score });
    Ok(LookedUp { notes: lines.join("\n"), results: results.collect() })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns at most `limit` characters; what was cut ends with `…`.
fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice_sdk::memory::Item;
    use ice_sdk::testing::{self, Host};
    use serde_json::json;

    #[test]
    fn notes_become_one_marked_line() {
        let written = testing::call(&KIT, "writer_tool", &json!({ "notes": "hello\n bob" })).unwrap();
        assert_eq!(written, json!({ "summary": "[concise] hello bob" }));
    }

    #[test]
    fn a_summary_is_cut_between_characters() {
        let input = json!({ "notes": "ä".repeat(100), "max_chars": 50, "style": "x" });
        let summary = testing::call(&KIT, "writer_tool", &input).unwrap()["summary"].as_str().unwrap().to_owned();
        assert_eq!(summary.chars().count(), 50);
        assert!(summary.ends_with("ä…"));
        let error = testing::call(&KIT, "writer_tool", &json!({ "notes": "x", "max_chars": 10 })).unwrap_err();
        assert_eq!(error.to_string(), "max_chars: must be at least 50");
    }

    #[test]
    fn lookup_finds_what_was_written_and_nothing_else() {
        let _host = Host::install();
        let note = Item { key: "n1".into(), text: "renewable energy\nis growing".into(), ..Item::default() };
        memory::write("kb", &note).unwrap();
        let found = testing::call(&KIT, "lookup_tool", &json!({ "query": "energy" })).unwrap();
        assert_eq!(found["notes"], "renewable energy is growing");
        assert_eq!(found["results"][0]["key"], "n1");
        let nothing = testing::call(&KIT, "lookup_tool", &json!({ "query": "cheese" })).unwrap();
        assert_eq!(nothing, json!({ "notes": "", "results": [] }));
        assert!(testing::call(&KIT, "lookup_tool", &json!({ "query": " " })).is_err());
    }

    #[test]
    fn every_tool_is_documented() {
        assert_eq!(testing::undocumented(&KIT.describe()), Vec::<String>::new());
    }
}
