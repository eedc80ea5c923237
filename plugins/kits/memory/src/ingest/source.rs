//! The bytes of a document, and the text they spell.

use base64::Engine;
use ice_sdk::ToolError;
use ice_sdk::http;

use super::{Encoding, Ingestion, SourceType};
use crate::digest;

/// A larger page is refused: 8 MiB of text are more than two thousand pages of a book.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// A document before its format is known.
pub(super) struct Raw {
    pub(super) name: String,
    /// What the caller or the server says it is, in lower case and without parameters.
    pub(super) declared: Option<String>,
    pub(super) text: String,
}

/// Returns the document. Fails with the field that is wrong, or as the request for a URL fails.
pub(super) fn load(input: &Ingestion) -> Result<Raw, ToolError> {
    let declared = input.media_type.as_deref().map(essence).filter(|kind| !kind.is_empty());
    match input.source_type {
        SourceType::Url => load_url(input, declared),
        SourceType::Text | SourceType::File => {
            let text = match input.encoding {
                Encoding::Plain => refuse_binary(input.source.strip_prefix('\u{feff}').unwrap_or(&input.source))?,
                Encoding::Base64 => {
                    let bytes = base64::engine::general_purpose::STANDARD
                        .decode(input.source.trim())
                        .map_err(|error| ToolError::invalid("source", format!("is not base64: {error}")))?;
                    decode(&bytes, None)?
                }
            };
            let name = match &input.name {
                Some(name) => name.trim().to_owned(),
                None => format!("text-{}", digest::short(&[&text])),
            };
            Ok(Raw { name, declared, text })
        }
    }
}

fn load_url(input: &Ingestion, declared: Option<String>) -> Result<Raw, ToolError> {
    let mut request = http::Request::get(input.source.trim())
        .header("accept", "text/html, text/markdown, text/plain, text/csv, application/json");
    request.body_bytes_max = PAGE_BYTES_MAX;
    let response = request
        .send()
        .map_err(|error| match error {
            http::Error::InvalidRequest(text) => ToolError::invalid("source", text),
            other => other.into(),
        })?
        .into_success()?;
    let content_type = response.header("content-type").unwrap_or_default();
    let charset = content_type.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("charset="));
    let served = Some(essence(content_type)).filter(|kind| !kind.is_empty());
    Ok(Raw {
        text: decode(&response.body, charset)?,
        name: input.name.clone().unwrap_or_else(|| input.source.trim().to_owned()),
        declared: declared.or(served),
    })
}

/// `text/html` of `Text/HTML; charset=utf-8`.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns the text of bytes: UTF-8, UTF-16 with a byte order mark, or Latin-1 where a server says so.
fn decode(bytes: &[u8], charset: Option<&str>) -> Result<String, ToolError> {
    let utf16 = |read: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| read([pair[0], pair[1]]));
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    let charset = charset.unwrap_or_default().trim_matches('"').to_ascii_lowercase();
    let text: String = match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest)?,
        _ if charset == "iso-8859-1" || charset == "latin1" => bytes.iter().map(|&byte| char::from(byte)).collect(),
        _ => utf8(bytes)?,
    };
    refuse_binary(&text)
}

fn utf8(bytes: &[u8]) -> Result<String, ToolError> {
    if bytes.starts_with(b"%PDF-") {
        return Err(ToolError::invalid("source", "is a PDF, not text; take its text out first"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let message = format!("is not UTF-8 text: byte {} cannot be read; convert it first", error.valid_up_to());
            Err(ToolError::invalid("source", message))
        }
    }
}

fn refuse_binary(text: &str) -> Result<String, ToolError> {
    if text.starts_with("%PDF-") {
        return Err(ToolError::invalid("source", "is a PDF, not text; take its text out first"));
    }
    if text.contains('\0') {
        return Err(ToolError::invalid("source", "holds zero bytes: it is not text"));
    }
    Ok(text.to_owned())
}
