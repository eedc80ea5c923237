//! From a format to plain text, normalised: one line break, no trailing space, Unicode NFKC.
//!
//! NFKC first and offsets after: `ﬁ` in a document must match `fi` in a question, and a citation must point into the
//! very text that was searched.

use ice_sdk::ToolError;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::html;
use super::source::Raw;

/// A format: its media type, other names for it, and how its text is read.
struct Format {
    media_type: &'static str,
    aliases: &'static [&'static str],
    read: fn(&str) -> Result<String, ToolError>,
}

const PLAIN: &str = "text/plain";
const MARKDOWN: &str = "text/markdown";
const HTML: &str = "text/html";
const CSV: &str = "text/csv";
const JSON: &str = "application/json";

const FORMATS: &[Format] = &[
    Format { media_type: PLAIN, aliases: &["text", "txt", "application/octet-stream"], read: as_it_is },
    // Markdown is written to be read as it is, and its headings are where a reader looks for a cited line.
    Format { media_type: MARKDOWN, aliases: &["text/x-markdown", "markdown", "md"], read: as_it_is },
    Format { media_type: HTML, aliases: &["application/xhtml+xml", "html"], read: |text| Ok(html::text(text)) },
    Format { media_type: CSV, aliases: &["application/csv", "csv"], read: csv_lines },
    Format { media_type: JSON, aliases: &["text/json", "application/x-ndjson", "json"], read: json_lines },
];

/// Returns the media type a document was read as, and its text. Fails when the media type is unknown, or the document
/// is not of it.
pub(super) fn text(raw: &Raw) -> Result<(&'static str, String), ToolError> {
    let wanted = match raw.declared.as_deref() {
        // Servers and callers say this when they do not know.
        None | Some("application/octet-stream") => sniff(raw),
        Some(declared) => declared,
    };
    let format = FORMATS
        .iter()
        .find(|format| format.media_type == wanted || format.aliases.contains(&wanted))
        .ok_or_else(|| {
            let known: Vec<&str> = FORMATS.iter().map(|format| format.media_type).collect();
            ToolError::invalid("media_type", format!("`{wanted}` cannot be read; known are {}", known.join(", ")))
        })?;
    Ok((format.media_type, normalise(&(format.read)(&raw.text)?)))
}

/// Tells the format by content; only where that says nothing, by the end of the name.
fn sniff(raw: &Raw) -> &'static str {
    let head = raw.text.trim_start();
    let start: String = head.chars().take(64).flat_map(char::to_lowercase).collect();
    if ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| start.starts_with(tag)) {
        return HTML;
    }
    if head.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(head).is_ok() {
        return JSON;
    }
    let name = raw.name.to_lowercase();
    let endings =
        [(".md", MARKDOWN), (".markdown", MARKDOWN), (".csv", CSV), (".html", HTML), (".htm", HTML), (".jsonl", JSON)];
    endings.iter().find(|(ending, _)| name.ends_with(ending)).map_or(PLAIN, |(_, media_type)| media_type)
}

fn as_it_is(text: &str) -> Result<String, ToolError> {
    Ok(text.to_owned())
}

/// One line a row, each value with the name of its column: a row is understood without the header.
fn csv_lines(text: &str) -> Result<String, ToolError> {
    let first = text.lines().next().unwrap_or_default();
    let delimiters = [b',', b';', b'\t', b'|'];
    let delimiter =
        delimiters.into_iter().max_by_key(|&mark| (first.bytes().filter(|&b| b == mark).count(), mark == b','));
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter.unwrap_or(b',')).flexible(true).from_reader(text.as_bytes());
    let refuse = |error: csv::Error| ToolError::invalid("source", format!("is not CSV: {error}"));
    let names = reader.headers().map_err(refuse)?.clone();
    let mut lines = String::new();
    for row in reader.records() {
        let row = row.map_err(refuse)?;
        let cells = row.iter().enumerate().filter(|(_, value)| !value.trim().is_empty());
        let named = cells.map(|(at, value)| match names.get(at).map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => format!("{name}: {}", value.trim()),
            None => value.trim().to_owned(),
        });
        lines.push_str(&named.collect::<Vec<_>>().join("; "));
        lines.push('\n');
    }
    Ok(lines)
}

/// One line a value, with its path: `items[0].name: Lamp`. Also for one JSON value a line.
fn json_lines(text: &str) -> Result<String, ToolError> {
    let mut lines = String::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| ToolError::invalid("source", format!("is not JSON: {error}")))?;
        flatten("", &value, &mut lines);
    }
    Ok(lines)
}

fn flatten(path: &str, value: &Value, lines: &mut String) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, field, lines);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), item, lines);
            }
        }
        Value::Null => {}
        Value::String(text) => line(path, text, lines),
        other => line(path, &other.to_string(), lines),
    }
}

fn line(path: &str, text: &str, lines: &mut String) {
    if !path.is_empty() {
        lines.push_str(path);
        lines.push_str(": ");
    }
    lines.push_str(text);
    lines.push('\n');
}

fn normalise(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut normal = String::with_capacity(text.len());
    for line in text.split('\n') {
        // Line by line, so that line numbers stay those of the document.
        normal.extend(line.trim_end().nfkc());
        normal.push('\n');
    }
    normal.trim_end().to_owned()
}
