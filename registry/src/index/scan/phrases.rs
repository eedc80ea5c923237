//! Texts that speak to the model instead of about the tool. A table: words in this order, close together.
//!
//! Finds the well-known forms, in plain letters or full-width ones. Other words for the same will pass: what stops them
//! is that a description gives no rights.

use ice_core::manifest::printable;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use super::Severity;

/// Words that may stand between two words of a phrase: `ignore all of the previous instructions`.
const GAP_MAX: usize = 4;
/// A report, not a copy of the text.
const FOUND_MAX: usize = 20;

/// Words of each phrase, and what it means to find them. `a|b` is either.
const PHRASES: &[(&str, Severity)] = &[
    (
        "ignore|disregard|forget|override previous|prior|preceding|earlier|above|system instruction|instructions|prompt|prompts",
        Severity::Reject,
    ),
    ("do|must|should not tell|inform|alert the|your user", Severity::Reject),
    ("don t tell|inform|alert the|your user", Severity::Reject),
    ("never tell|inform|alert the|your user", Severity::Reject),
    ("without telling|informing|alerting the|your user", Severity::Reject),
    ("reveal|print|output|repeat|leak your|the system prompt", Severity::Reject),
    ("ignore|disregard|forget all|any|your instructions|rules", Severity::Warn),
    ("new|updated|real system instructions|prompt", Severity::Warn),
    ("not|never|without show|mention|reveal|asking user", Severity::Warn),
    ("send|forward|include|append|pass conversation|history|credentials|secrets|passwords", Severity::Warn),
    ("before|instead using|calling|use any|other tool|tools", Severity::Warn),
    ("always|must call|use|invoke|prefer this tool|function", Severity::Warn),
    ("you are|act now|as", Severity::Warn),
    ("system prompt", Severity::Warn),
    ("assistant|model must|should|shall", Severity::Warn),
    ("important assistant|model|agent|llm", Severity::Warn),
    ("jailbreak", Severity::Warn),
];

/// Marks of chat formats: nothing that describes a tool has them.
const MARKS: &[(&str, Severity)] = &[
    ("<|im_start|>", Severity::Reject),
    ("<|system|>", Severity::Reject),
    ("[inst]", Severity::Reject),
    ("<<sys>>", Severity::Reject),
    ("<system>", Severity::Reject),
    ("<important>", Severity::Reject),
    ("### system", Severity::Warn),
];

/// A phrase in a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// JSON pointer of the text.
    pub pointer: String,
    /// The phrase, by the first of its words: `ignore … previous … instruction`.
    pub phrase: String,
    /// What it means.
    pub severity: Severity,
}

/// Looks through every text and member name of a document, which is bounded in size and depth.
pub fn find(document: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    walk(document, "", &mut found);
    found
}

fn walk(value: &Value, pointer: &str, found: &mut Vec<Found>) {
    match value {
        Value::String(text) => look(text, pointer, found),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                look(name, pointer, found);
                walk(member, &format!("{pointer}/{}", printable(name).replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn look(text: &str, pointer: &str, found: &mut Vec<Found>) {
    let plain: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let words: Vec<&str> =
        plain.split(|character: char| !character.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let phrases = PHRASES.iter().filter(|(phrase, _)| says(&words, phrase));
    let marks = MARKS.iter().filter(|(mark, _)| plain.contains(mark));
    for (phrase, severity) in phrases.chain(marks) {
        if found.len() < FOUND_MAX {
            let first = |part: &'static str| part.split('|').find(|word| !word.is_empty()).unwrap_or(part);
            let phrase = phrase.split(' ').map(first).collect::<Vec<_>>().join(" … ");
            found.push(Found { pointer: pointer.to_owned(), phrase, severity: *severity });
        }
    }
}

/// Whether the words of the phrase stand in `words` in order, each at most [`GAP_MAX`] words after the one before.
fn says(words: &[&str], phrase: &str) -> bool {
    let parts: Vec<Vec<&str>> = phrase.split(' ').map(|part| part.split('|').collect()).collect();
    // Where the phrase can have come to so far: the first part anywhere, the next ones close behind.
    let mut ends: Vec<usize> = (0..words.len()).filter(|at| parts[0].contains(&words[*at])).collect();
    for part in &parts[1..] {
        let close = |end: usize| end + 1..(end + 2 + GAP_MAX).min(words.len());
        let mut next: Vec<usize> = ends.into_iter().flat_map(close).filter(|at| part.contains(&words[*at])).collect();
        next.dedup();
        ends = next;
    }
    !ends.is_empty()
}
