//! Which characters a text that a person or a model reads may hold.
//!
//! Refused is what cannot be seen and still changes what is read: it is how instructions are hidden from the person
//! and shown to the model. Meaning is not judged here.

use serde_json::Value;

use crate::problem::{Code, Problem};

/// Ranges of refused code points, each with the reason.
const HIDDEN: &[(u32, u32, &str)] = &[
    (0x0000, 0x0008, "a control character"),
    (0x000b, 0x001f, "a control character"),
    (0x007f, 0x009f, "a control character"),
    (0x00ad, 0x00ad, "a soft hyphen"),
    (0x034f, 0x034f, "an invisible joiner"),
    (0x061c, 0x061c, "a bidirectional control"),
    (0x115f, 0x1160, "an invisible filler"),
    (0x17b4, 0x17b5, "an invisible vowel"),
    (0x180b, 0x180f, "a zero-width character"),
    (0x200b, 0x200d, "a zero-width character"),
    (0x200e, 0x200f, "a bidirectional control"),
    (0x2028, 0x2029, "a line separator"),
    (0x202a, 0x202e, "a bidirectional control"),
    (0x2060, 0x2065, "a zero-width character"),
    (0x2066, 0x2069, "a bidirectional control"),
    (0x206a, 0x206f, "a deprecated format character"),
    (0x3164, 0x3164, "an invisible filler"),
    (0xfe00, 0xfe0e, "a variation selector"),
    (0xfeff, 0xfeff, "a zero-width character"),
    (0xffa0, 0xffa0, "an invisible filler"),
    (0xfff0, 0xfffb, "an interlinear annotation"),
    (0x1d173, 0x1d17a, "an invisible musical control"),
    (0xe0000, 0xe0fff, "a tag character"),
    (0xf0000, 0x0010_ffff, "a private-use character"),
];

/// The picture selector that emoji end with. One after a visible character is fine; a row of them can carry bytes.
const EMOJI_SELECTOR: char = '\u{fe0f}';

/// Returns the first character of `text` that must not be there, with the reason.
pub fn hidden(text: &str) -> Option<(char, &'static str)> {
    let mut before = None;
    for character in text.chars() {
        let point = u32::from(character);
        let range = HIDDEN.iter().find(|(first, last, _)| (*first..=*last).contains(&point));
        if let Some((_, _, reason)) = range {
            return Some((character, reason));
        }
        let alone = before.is_none_or(|before: char| before == EMOJI_SELECTOR || before.is_whitespace());
        if character == EMOJI_SELECTOR && alone {
            return Some((character, "a variation selector"));
        }
        before = Some(character);
    }
    None
}

/// Returns a T016 for every text and member name in `document` with such a character, at its JSON pointer.
pub fn check_texts(document: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(document, &mut String::new(), &mut problems);
    problems
}

fn walk(value: &Value, pointer: &mut String, problems: &mut Vec<Problem>) {
    let length = pointer.len();
    match value {
        Value::String(text) => check(text, pointer, problems),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{index}"));
                walk(item, pointer, problems);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                check(name, pointer, problems);
                pointer.push('/');
                pointer.push_str(&printable(name).replace('~', "~0").replace('/', "~1"));
                walk(member, pointer, problems);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check(text: &str, pointer: &str, problems: &mut Vec<Problem>) {
    if let Some((character, reason)) = hidden(text) {
        let message = format!("the text holds {reason}, U+{:04X}", u32::from(character));
        problems.push(Problem::new(Code::T016, message).pointer(pointer).help("remove it; plain text needs none"));
    }
}

/// `text` without what must not be printed, at most 120 characters: foreign text on its way into a message.
pub fn printable(text: &str) -> String {
    text.chars().filter(is_shown).take(120).collect()
}

/// The lines of `text` without what must not be printed, whole: what a person has to see all of before saying yes.
pub fn printable_lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.chars().filter(is_shown).collect()).collect()
}

fn is_shown(character: &char) -> bool {
    hidden(character.encode_utf8(&mut [0; 4])).is_none() && *character != '\n' && *character != '\t'
}
