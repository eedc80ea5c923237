//! One row at a time, from RFC 4180 text. A malformed row is an error, and reading goes on behind it.
//!
//! A quote that is never closed swallows the rows behind it, up to the next quote or the end. So a row whose quotes do
//! not match ends at its first line, and the next line is a row of its own.

use crate::RowError;

/// As much of a malformed row as helps to find it.
const RAW_CHARS_MAX: usize = 200;

/// A row that could be read.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
}

/// The rows of a text.
pub(crate) struct Rows<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    delimiter: u8,
    width: Option<usize>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(text: &'a str, delimiter: u8) -> Self {
        Self { text, at: 0, line: 1, delimiter, width: None }
    }

    /// Rows with another number of cells are malformed from now on.
    pub(crate) fn expect(&mut self, width: usize) {
        self.width = Some(width);
    }

    fn skip_blank_lines(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
            // White space between delimiters is a row of empty cells when the delimiter itself is white space.
            let blank = rest[..end].trim_matches(['\r', '\n']).is_empty()
                || rest[..end].trim_matches(['\r', '\n', ' ']).is_empty();
            if end == 0 || !blank {
                return;
            }
            self.advance(end);
        }
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.text[self.at..self.at + bytes];
        self.line += passed.bytes().filter(|&byte| byte == b'\n').count();
        self.at += bytes;
    }

    /// Returns the cells of the row that begins at `rest`, and its length in bytes.
    fn parse(&self, rest: &str) -> Result<(Vec<String>, usize), String> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(rest.as_bytes());
        let mut record = csv::StringRecord::new();
        let found = reader.read_record(&mut record).map_err(|error| error.to_string())?;
        let length = if found { reader.position().byte() } else { rest.len() as u64 };
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        // The reader leaves the `\n` of a `\r\n` to the next row.
        let length =
            if rest[..length].ends_with('\r') && rest[length..].starts_with('\n') { length + 1 } else { length };
        Ok((record.iter().map(|cell| cell.trim().to_owned()).collect(), length))
    }

    fn refuse(&mut self, message: String, bytes: usize) -> RowError {
        let rest = &self.text[self.at..];
        let line = rest.lines().next().unwrap_or_default();
        let error = RowError { line: self.line, message, raw: line.chars().take(RAW_CHARS_MAX).collect() };
        self.advance(bytes);
        error
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blank_lines();
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let first_line = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let (cells, length) = match self.parse(rest) {
            Ok(row) => row,
            Err(message) => return Some(Err(self.refuse(message, first_line))),
        };
        if let Some(message) = quoting_fault(&rest[..length], self.delimiter) {
            return Some(Err(self.refuse(message.to_owned(), first_line)));
        }
        match self.width {
            Some(width) if width != cells.len() => {
                let message = format!("has {} cells, the columns are {width}", cells.len());
                Some(Err(self.refuse(message, length)))
            }
            _ => {
                self.advance(length);
                Some(Ok(Row { cells }))
            }
        }
    }
}

/// Returns what is wrong with the quotes of a row: a quoted cell must end with a quote, and only a delimiter or the
/// end may follow. A quote inside a cell that is not quoted is an ordinary character.
fn quoting_fault(row: &str, delimiter: u8) -> Option<&'static str> {
    let bytes = row.trim_end_matches(['\r', '\n']).as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'"' {
            at += bytes[at..].iter().position(|&byte| byte == delimiter)? + 1;
            continue;
        }
        at += 1;
        loop {
            let Some(quote) = bytes[at..].iter().position(|&byte| byte == b'"') else {
                return Some("has a quote that is never closed");
            };
            at += quote + 1;
            if bytes.get(at) != Some(&b'"') {
                break;
            }
            at += 1;
        }
        match bytes.get(at) {
            None => return None,
            Some(&byte) if byte == delimiter => at += 1,
            Some(_) => {
                return Some("has text behind a closing quote; write a quote inside quotes twice");
            }
        }
    }
    None
}
