//! Takes a file for a blueprint: bounds it, finds out what it is by its content, decodes text. Extraction from PDF and
//! DOCX runs in a kit, where a parser's crash is a failed file; this side hands over the bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};

/// The largest file taken, in bytes: it is held whole, more than once.
pub const FILE_BYTES_MAX: usize = 25 << 20;

/// How much of a file is looked at to find out what it is.
const LOOK_BYTES: usize = 8 << 10;

/// A file that a kit can read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Document {
    /// The last part of the file's path.
    pub name: String,
    /// For example `text/markdown`, found by content; the name decides among kinds of text only.
    pub media_type: String,
    /// What is in it.
    #[serde(flatten)]
    pub content: Content,
}

/// Text, or bytes for a kit that extracts text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Decoded, without byte order mark; line ends as they were.
    Text(String),
    /// Standard base64 with padding.
    Base64(String),
}

/// How a binary file begins, what it is, and whether some kit reads it.
const MAGIC: &[(&[u8], &str, bool)] = &[
    (b"%PDF-", "application/pdf", true),
    (b"\x89PNG\r\n\x1a\n", "image/png", false),
    (b"\xff\xd8\xff", "image/jpeg", false),
    (b"GIF8", "image/gif", false),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/msword", false),
    (b"\x1f\x8b", "application/gzip", false),
    (b"\x7fELF", "application/x-executable", false),
    (b"\0asm", "application/wasm", false),
    (b"SQLite format 3\0", "application/vnd.sqlite3", false),
    (b"{\\rtf", "application/rtf", false),
];

const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

/// Kinds of text by the end of the name.
const ENDINGS: &[(&str, &str)] = &[
    ("md", "text/markdown"),
    ("markdown", "text/markdown"),
    ("csv", "text/csv"),
    ("tsv", "text/tab-separated-values"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("xhtml", "text/html"),
    ("json", "application/json"),
    ("jsonl", "application/jsonl"),
    ("ndjson", "application/jsonl"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];

/// Reads a file's bytes. C023 when it is too large, empty, or of a kind that no kit reads. `name` may be a path.
pub fn read_document(name: &str, bytes: &[u8]) -> Result<Document, Problem> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(255).collect();
    let refuse =
        |what: String, help: &str| Err(Problem::new(Code::C023, what).help(help.to_owned()).file(name.clone()));
    if FILE_BYTES_MAX < bytes.len() {
        return refuse(format!("the file has {} bytes; at most 25 MiB are read", bytes.len()), "split the file");
    }
    if bytes.is_empty() {
        return refuse("the file is empty".into(), "choose a file with content");
    }
    let binary = MAGIC.iter().find(|(start, ..)| bytes.starts_with(start)).map(|(_, kind, read)| (*kind, *read));
    match binary.or_else(|| zip_kind(bytes)) {
        Some((media_type, true)) => {
            let content = Content::Base64(STANDARD.encode(bytes));
            return Ok(Document { name, media_type: media_type.to_owned(), content });
        }
        Some((media_type, false)) => {
            let help = "use text, Markdown, HTML, CSV or JSON";
            return refuse(format!("the file is `{media_type}`, which no kit reads"), help);
        }
        None => {}
    }
    let Some(text) = decode(bytes) else {
        return refuse("the file is neither text nor PDF or DOCX".into(), "use text, Markdown, HTML, CSV or JSON");
    };
    let media_type = text_kind(&name, &text).to_owned();
    Ok(Document { name, media_type, content: Content::Text(text) })
}

/// A zip archive is a Word document when it holds `word/document.xml`; entry names stand uncompressed in it.
fn zip_kind(bytes: &[u8]) -> Option<(&'static str, bool)> {
    if !bytes.starts_with(b"PK\x03\x04") && !bytes.starts_with(b"PK\x05\x06") {
        return None;
    }
    let wanted = b"word/document.xml";
    let holds = bytes.windows(wanted.len()).any(|window| window == wanted);
    Some(if holds { (DOCX, true) } else { ("application/zip", false) })
}

/// By byte order mark, else UTF-8, else UTF-16 by its zeros, else Windows-1252. `None` for bytes that are no text.
fn decode(bytes: &[u8]) -> Option<String> {
    let (encoding, mark) = Encoding::for_bom(bytes).or_else(|| Some((guess(bytes)?, 0)))?;
    let (text, _) = encoding.decode_without_bom_handling(&bytes[mark..]);
    let odd = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b')) || c == '\u{fffd}';
    let odds = text.chars().filter(|c| odd(*c)).count();
    // A few odd characters are a damaged text, many are not text.
    (odds * 50 <= text.chars().count() && !text.contains('\0')).then(|| text.into_owned())
}

fn guess(bytes: &[u8]) -> Option<&'static Encoding> {
    let look = &bytes[..bytes.len().min(LOOK_BYTES)];
    let zeros = |parity: usize| look.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    match (even, odd) {
        (0, 0) if std::str::from_utf8(bytes).is_ok() => Some(UTF_8),
        (0, 0) => Some(WINDOWS_1252),
        // Latin letters in UTF-16 have a zero byte each, always on the same side.
        _ if look.len() / 4 < odd && even * 8 < odd => Some(UTF_16LE),
        _ if look.len() / 4 < even && odd * 8 < even => Some(UTF_16BE),
        _ => None,
    }
}

fn text_kind(name: &str, text: &str) -> &'static str {
    let start = text.trim_start();
    let head: String = start.chars().take(64).collect::<String>().to_ascii_lowercase();
    if head.starts_with("<!doctype html") || head.starts_with("<html") {
        return "text/html";
    }
    if start.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return "application/json";
    }
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let by_name = ENDINGS.iter().find(|(known, _)| ending.as_deref() == Some(*known)).map(|(_, kind)| *kind);
    match by_name {
        // A file that only claims to be JSON is text; a reader of JSON would fail on it.
        Some("application/json") | None => "text/plain",
        Some(kind) => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8]) -> (String, String) {
        let document = read_document(name, bytes).unwrap();
        match document.content {
            Content::Text(text) => (document.media_type, text),
            Content::Base64(text) => (document.media_type, format!("base64:{text}")),
        }
    }

    #[test]
    fn finds_the_kind_by_content_first() {
        let table: &[(&str, &[u8], &str)] = &[
            ("a.txt", b"%PDF-1.7\n", "application/pdf"),
            ("a.pdf", b"plain words", "text/plain"),
            ("a.md", b"# Title", "text/markdown"),
            ("A.CSV", b"a,b\n1,2\n", "text/csv"),
            ("a", b"{\"a\": 1}", "application/json"),
            ("a.json", b"{broken", "text/plain"),
            ("a.txt", b"  <!DOCTYPE html><p>x", "text/html"),
            ("a.zip", b"PK\x03\x04....word/document.xml..", DOCX),
            ("README", b"hello", "text/plain"),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(read(name, bytes).0, *expected, "{name}");
        }
    }

    #[test]
    fn decodes_the_usual_encodings() {
        let utf16 = |swap: bool| {
            let units = "Grüße, Welt".encode_utf16();
            units.flat_map(|unit| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect::<Vec<_>>()
        };
        let marked = [&[0xff, 0xfe][..], &utf16(false)].concat();
        for bytes in [
            "Grüße, Welt".as_bytes(),
            b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe, Welt",
            b"Gr\xfc\xdfe, Welt",
            &utf16(false),
            &utf16(true),
            &marked,
        ] {
            assert_eq!(read("a.txt", bytes).1, "Grüße, Welt");
        }
    }

    #[test]
    fn refuses_what_no_kit_reads() {
        let large = vec![b'a'; FILE_BYTES_MAX + 1];
        let noise: Vec<u8> = (0..=255).cycle().take(4096).collect();
        let table: &[(&str, &[u8])] = &[
            ("a.png", b"\x89PNG\r\n\x1a\n"),
            ("a.zip", b"PK\x03\x04"),
            ("a.txt", b""),
            ("a.bin", &noise),
            ("a.txt", &large),
            ("a.wasm", b"\0asm\x01\0\0\0"),
        ];
        for (name, bytes) in table {
            assert_eq!(read_document(name, bytes).unwrap_err().code, Code::C023, "{name}");
        }
    }

    #[test]
    fn keeps_the_last_part_of_the_name_only() {
        assert_eq!(read_document("../../etc/pass\nwd", b"x").unwrap().name, "passwd");
        assert_eq!(read_document("C:\\docs\\a.txt", b"x").unwrap().name, "a.txt");
    }
}
