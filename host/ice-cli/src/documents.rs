//! Files a person hands over with `--file`: read whole, sniffed, and passed to the blueprint as `inputs.files`.

use std::path::{Path, PathBuf};

use ice_capabilities::ingest::{Content, FILE_BYTES_MAX, read_document};
use ice_core::problem::{Code, Problem};
use serde_json::{Value, json};

/// Reads every file; every problem at once.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Value>, Vec<Problem>> {
    let mut documents = Vec::with_capacity(paths.len());
    let mut problems = Vec::new();
    for path in paths {
        match read_one(path) {
            Ok(document) => documents.push(document),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(documents) } else { Err(problems) }
}

fn read_one(path: &Path) -> Result<Value, Problem> {
    let place = path.display().to_string();
    let refuse = |error: std::io::Error| {
        Problem::new(Code::C002, format!("the file cannot be read: {error}")).file(place.clone())
    };
    // Asked before reading: a huge file must not be held first and refused then.
    if std::fs::metadata(path).map_err(refuse)?.len() > FILE_BYTES_MAX as u64 {
        let message = format!("the file is over {} MiB", FILE_BYTES_MAX >> 20);
        return Err(Problem::new(Code::C002, message).file(place).help("split it, or hand over the part that matters"));
    }
    let bytes = std::fs::read(path).map_err(refuse)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let document = read_document(&name, &bytes).map_err(|problem| problem.file(place.clone()))?;
    match document.content {
        Content::Text(text) => Ok(json!({ "name": document.name, "media_type": document.media_type, "text": text })),
        Content::Base64(_) => {
            let message = format!("the file is `{}`, and no first-party kit extracts its text", document.media_type);
            let help = "convert it to text, Markdown or HTML first, for example with `pdftotext` or `pandoc`";
            Err(Problem::new(Code::C023, message).file(path.display().to_string()).help(help))
        }
    }
}
