//! Positions in a text that is JSON. The value itself is read by serde_json.
//!
//! YAML readers do not take all of JSON: characters outside the basic plane as two escapes, tabs, long keys. What is
//! not JSON is not read here: then the text is YAML, and its reader says what is wrong.

use std::collections::HashSet;

use serde_json::Value;

use super::positions::{Children, Position, Spot};

/// A key that stands a second time in its object, and where.
pub(super) type Duplicate = (String, Position);

/// Reads a text that is JSON, with the positions of its values. `None` when it is not an object or array of JSON.
pub(super) fn read(text: &str) -> Option<(Value, Spot, Vec<Duplicate>)> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let value = serde_json::from_str(text).ok()?;
    let mut scan = Scan { text, at: 0, line: 1, column: 1, counted: 0, duplicates: Vec::new() };
    let spot = scan.value();
    Some((value, spot, scan.duplicates))
}

/// Walks over text that is known to be JSON, not deeper than serde_json reads.
struct Scan<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    /// Column of `counted`. Counted on from there, so that one long line costs no more than many short ones.
    column: u32,
    counted: usize,
    duplicates: Vec<Duplicate>,
}

impl Scan<'_> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(b']')
    }

    /// Skips blanks, commas and colons, and returns where the next token is.
    fn next(&mut self) -> Position {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n' | b',' | b':') {
            if self.peek() == b'\n' {
                self.line += 1;
                self.column = 1;
                self.counted = self.at + 1;
            }
            self.at += 1;
        }
        let passed = self.text[self.counted..self.at].chars().count();
        self.column += u32::try_from(passed).unwrap_or(u32::MAX);
        self.counted = self.at;
        (self.line, self.column)
    }

    fn value(&mut self) -> Spot {
        let at = self.next();
        let children = match self.peek() {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => {
                self.string();
                Children::None
            }
            _ => {
                let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                self.at += self.text.as_bytes()[self.at..].iter().take_while(|byte| token(byte)).count();
                Children::None
            }
        };
        Spot { at, children }
    }

    fn array(&mut self) -> Children {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.next();
            if self.peek() == b']' {
                self.at += 1;
                return Children::Items(items);
            }
            items.push(self.value());
        }
    }

    /// serde_json keeps a key where it stood first, with the value it had last.
    fn object(&mut self) -> Children {
        self.at += 1;
        let mut fields = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let at = self.next();
            if self.peek() != b'"' {
                self.at += 1;
                return Children::Fields(fields);
            }
            let key: String = serde_json::from_str(self.string()).unwrap_or_default();
            let spot = self.value();
            if seen.insert(key.clone()) {
                fields.push((at, spot));
            } else {
                self.duplicates.push((key, at));
            }
        }
    }

    /// Passes a string and returns it with its quotes.
    fn string(&mut self) -> &str {
        let (open, bytes) = (self.at, self.text.as_bytes());
        self.at += 1;
        while self.at < bytes.len() && bytes[self.at] != b'"' {
            self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(bytes.len());
        &self.text[open..self.at]
    }
}
