//! What can be read off a template's text without compiling it: its form, its filters, a plain path.

use super::Reference;

/// What a name in a template is looked up as.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Named {
    Filter,
    Test,
}

/// Whether there is anything to render in `text`.
pub(super) fn is_template(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

/// Returns the expression of a string that is one `{{ … }}` with nothing but spaces around it. Whether what is
/// between the braces is one expression is for the compiler to say.
pub(super) fn single_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner).trim())
}

/// Reads `name`, `name.field` and `name.a.b`; anything else is not a plain path.
pub(super) fn path(text: &str) -> Option<Reference> {
    let mut names = text.trim().split('.').map(str::trim);
    let is_name = |name: &str| {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let root = names.next().filter(|name| is_name(name))?.to_owned();
    let path = names.map(|name| is_name(name).then(|| name.to_owned())).collect::<Option<Vec<_>>>()?;
    Some(Reference { root, path })
}

/// Lists the names after `|` and after `is` inside `{{ … }}` and `{% … %}`, outside of quotes.
pub(super) fn filters_and_tests(text: &str) -> Vec<(Named, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let close = if rest[start..].starts_with("{{") { "}}" } else { "%}" };
        rest = &rest[start + 2..];
        rest = &rest[names_until(rest, close, &mut found)..];
    }
    found.sort();
    found.dedup();
    found
}

/// Reads up to `close` and returns the position after it.
fn names_until(text: &str, close: &str, found: &mut Vec<(Named, String)>) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut expected) = (0, None);
    while at < bytes.len() {
        let byte = bytes[at];
        if text.get(at..).is_some_and(|rest| rest.starts_with(close)) {
            return at + close.len();
        }
        if byte == b'"' || byte == b'\'' {
            at = after_quote(bytes, at);
            expected = None;
        } else if byte.is_ascii_alphabetic() || byte == b'_' {
            let end = (at..bytes.len()).find(|&i| !is_word(bytes[i])).unwrap_or(bytes.len());
            expected = word(&text[at..end], expected, found);
            at = end;
        } else {
            if byte == b'|' {
                expected = Some(Named::Filter);
            } else if !byte.is_ascii_whitespace() {
                expected = None;
            }
            // A word glued to a digit or a dot is an attribute, not the word `is`.
            at += if byte == b'.' { skip_attribute(bytes, at) } else { 1 };
        }
    }
    bytes.len()
}

fn word(word: &str, expected: Option<Named>, found: &mut Vec<(Named, String)>) -> Option<Named> {
    match (expected, word) {
        (Some(Named::Test), "not") => Some(Named::Test),
        (Some(kind), _) => {
            found.push((kind, word.to_owned()));
            None
        }
        (None, "is") => Some(Named::Test),
        (None, _) => None,
    }
}

fn skip_attribute(bytes: &[u8], dot: usize) -> usize {
    let end = (dot + 1..bytes.len()).find(|&i| !is_word(bytes[i])).unwrap_or(bytes.len());
    end - dot
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn after_quote(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == bytes[open] => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}
