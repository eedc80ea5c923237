//! Answers a question with sentences of the passages it came with: nothing is made up, everything is quoted. Pure.
//!
//! Sentences are ranked by BM25 (k1 1.2, b 0.5) over the words of the question. Where the question leans on something
//! said before ("how much is it?"), the words of the `Context:` lines count as well, for less.

use std::collections::{BTreeMap, BTreeSet};

use ice_core::ports::{Message, Role};
use serde_json::{Value, json};

use super::words;

/// What is said when no sentence shares a word with the question.
const NOT_THERE: &str = "That is not in your documents.";
const SENTENCES_MAX: usize = 3;
/// Further sentences have to be about as good as the best one.
const SHARE_OF_BEST: f64 = 0.6;
/// Longer sentences are tables or code; they are cut at a word.
const QUOTE_BYTES_MAX: usize = 600;
const K1: f64 = 1.2;
const B: f64 = 0.5;
/// A word of an earlier turn, against one of the question.
const WEIGHT_OF_CONTEXT: f64 = 0.4;

/// An answer and where it stands.
pub(super) struct Extract<'a> {
    quotes: Vec<Quote<'a>>,
    /// Whether there was anything to search.
    pub(super) had_passages: bool,
}

/// A piece of a passage, exactly as it stands there.
#[derive(Clone, Copy)]
struct Quote<'a> {
    passage: &'a str,
    text: &'a str,
}

impl Extract<'_> {
    /// For a reader.
    pub(super) fn text(&self) -> String {
        if self.quotes.is_empty() {
            return NOT_THERE.to_owned();
        }
        format!("Offline answer (no model is configured), quoted from your documents: {}", self.sentences())
    }

    /// For a caller whose schema has `answer` and `citations`. Ids are numbers where the passages have numbers.
    pub(super) fn json(&self) -> Value {
        let id = |id: &str| id.parse::<u64>().map_or_else(|_| Value::from(id), Value::from);
        let citations = self.quotes.iter().map(|quote| json!({"id": id(quote.passage), "quote": quote.text}));
        json!({"answer": self.text(), "citations": citations.collect::<Vec<_>>()})
    }

    fn sentences(&self) -> String {
        let one = |quote: &Quote<'_>| {
            let words: Vec<&str> = quote.text.split_whitespace().collect();
            format!("{} [{}]", words.join(" "), quote.passage)
        };
        self.quotes.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// Answers the newest question from the newest passages. `None` when no message has a question.
pub(super) fn answer(messages: &[Message]) -> Option<Extract<'_>> {
    let asked = || messages.iter().rev().filter(|message| matches!(message.role, Role::User | Role::System));
    let question = asked().find_map(|message| lines(&message.content, "Question: ").last().copied())?;
    let passages = asked().map(|message| passages(&message.content)).find(|passages| !passages.is_empty());
    let passages = passages.unwrap_or_default();
    let sentences: Vec<Quote<'_>> = (passages.iter())
        .flat_map(|(id, text)| sentences(text).into_iter().map(|text| Quote { passage: id, text }))
        .collect();

    let mut weights: BTreeMap<String, f64> = BTreeMap::new();
    if words::leans_on_earlier(question) || words::of(question).is_empty() {
        for line in asked().flat_map(|message| lines(&message.content, "Context: ")) {
            weights.extend(words::of(line).into_iter().map(|word| (word, WEIGHT_OF_CONTEXT)));
        }
    }
    weights.extend(words::of(question).into_iter().map(|word| (word, 1.0)));
    Some(Extract { quotes: best(&sentences, &weights), had_passages: !passages.is_empty() })
}

/// What follows `start` on every line that begins with it, outside of passages.
fn lines<'a>(text: &'a str, start: &'static str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (outside, after) = match rest.find("<passage") {
            Some(at) => (&rest[..at], rest[at..].split_once("</passage>").map(|(_, after)| after)),
            None => (rest, None),
        };
        found.extend(outside.lines().filter_map(|line| line.trim_start().strip_prefix(start)).map(str::trim));
        match after {
            Some(after) => rest = after,
            None => return found,
        }
    }
}

/// Id and text of every passage.
fn passages(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("<passage ") {
        let Some((attributes, after)) = rest[at + "<passage ".len()..].split_once('>') else {
            break;
        };
        let Some((body, after)) = after.split_once("</passage>") else {
            break;
        };
        let id = attributes.split_once("id=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(id, _)| id);
        found.push((id.unwrap_or("?"), body));
        rest = after;
    }
    found
}

const CLOSERS: [char; 6] = ['"', '\'', ')', ']', '”', '’'];

/// Splits a passage where a sentence, paragraph, list item, heading or table row ends. Every part is a piece of `text`.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut line_start = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| !CLOSERS.contains(c)) {
        // Closing quotes and brackets belong to the sentence that they close.
        let after = &text[at + c.len_utf8()..];
        let rest = if c == '\n' { after } else { after.trim_start_matches(CLOSERS) };
        let end = text.len() - rest.len();
        let ends = match c {
            '.' | '!' | '?' => ends_sentence(&text[start..at], rest),
            '。' | '！' | '？' => true,
            '\n' => {
                let line = text[line_start..at].trim();
                line_start = end;
                line.is_empty() || line.starts_with(['#', '|']) || begins_block(rest)
            }
            _ => false,
        };
        if ends {
            found.push(&text[start..end]);
            start = end;
        }
    }
    found.push(&text[start..]);
    let worth = |text: &&str| text.chars().any(char::is_alphanumeric);
    found.into_iter().map(|text| shorten(text.trim())).filter(worth).collect()
}

/// Whether a full stop ends a sentence: white space and no small letter follow, and no abbreviation stands before.
fn ends_sentence(before: &str, rest: &str) -> bool {
    const ABBREVIATIONS: &[&str] =
        &["e.g", "i.e", "etc", "mr", "mrs", "ms", "dr", "no", "vs", "fig", "approx", "inc", "st"];
    let word =
        before.rsplit(char::is_whitespace).next().unwrap_or_default().trim_start_matches('(').to_ascii_lowercase();
    let numbered =
        !word.is_empty() && word.len() <= 3 && word.chars().all(|c| c.is_ascii_digit()) && before.trim() == word;
    let next = rest.trim_start().chars().next();
    rest.starts_with(char::is_whitespace)
        && !numbered
        && !ABBREVIATIONS.contains(&word.as_str())
        && !next.is_some_and(char::is_lowercase)
}

/// Whether the next line begins something of its own: an empty line, a list item, a heading, a table row.
fn begins_block(rest: &str) -> bool {
    let line = rest.lines().next().unwrap_or_default().trim_start();
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    line.is_empty()
        || line.starts_with(['#', '|', '>'])
        || ["- ", "* ", "+ ", "• ", "```"].iter().any(|mark| line.starts_with(mark))
        || (number.len() < line.len() && (number.starts_with(". ") || number.starts_with(") ")))
}

fn shorten(text: &str) -> &str {
    if text.len() <= QUOTE_BYTES_MAX {
        return text;
    }
    let end = (0..=QUOTE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let text = &text[..end];
    text.rfind(char::is_whitespace).map_or(text, |at| text[..at].trim_end())
}

/// The best sentences, best first; among equals the earlier one.
fn best<'a>(sentences: &[Quote<'a>], weights: &BTreeMap<String, f64>) -> Vec<Quote<'a>> {
    let documents: Vec<Vec<String>> = sentences.iter().map(|quote| words::of(quote.text)).collect();
    let count = documents.len() as f64;
    let mean = documents.iter().map(Vec::len).sum::<usize>() as f64 / count.max(1.0);
    let mut found: BTreeMap<&str, f64> = BTreeMap::new();
    for document in &documents {
        for word in document.iter().collect::<BTreeSet<_>>() {
            *found.entry(word.as_str()).or_default() += 1.0;
        }
    }
    let score = |document: &Vec<String>| -> f64 {
        let of_word = |(word, weight): (&String, &f64)| {
            let times = document.iter().filter(|it| *it == word).count() as f64;
            let holding = found.get(word.as_str()).copied().unwrap_or_default();
            let rarity = (1.0 + (count - holding + 0.5) / (holding + 0.5)).ln();
            let length = 1.0 - B + B * document.len() as f64 / mean.max(1.0);
            weight * rarity * times * (K1 + 1.0) / (times + K1 * length)
        };
        weights.iter().map(of_word).sum()
    };
    // What an earlier turn was about only decides among sentences that say something about this one, if any does.
    let own =
        |document: &Vec<String>| document.iter().any(|word| weights.get(word).is_some_and(|weight| *weight >= 1.0));
    let any_own = documents.iter().any(own);
    let mut ranked: Vec<(f64, usize)> = (documents.iter().zip(0..))
        .filter(|(document, _)| !any_own || own(document))
        .map(|(document, at)| (score(document), at))
        .filter(|(score, _)| *score > 0.0)
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let threshold = ranked.first().map_or(0.0, |(score, _)| score * SHARE_OF_BEST);
    let mut chosen: Vec<Quote<'a>> = Vec::new();
    for (score, at) in ranked {
        // Chunks overlap: the same sentence may stand in two passages.
        let again = chosen.iter().any(|quote| quote.text == sentences[at].text);
        if score >= threshold && !again && chosen.len() < SENTENCES_MAX {
            chosen.push(sentences[at]);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_sentences_and_keeps_every_one_a_piece_of_the_text() {
        let text = "# Returns\nYou may return goods within 30 days,\nunopened. Costs are e.g. $3.50 each! 1. No refunds.\n\
                    - First item\n- Second item\n\n| a | b |\n| c | d |\nDr. Who agrees (really). “Yes.” Next";
        let parts = sentences(text);
        assert!(parts.iter().all(|part| text.contains(part)));
        assert_eq!(
            parts,
            [
                "# Returns",
                "You may return goods within 30 days,\nunopened.",
                "Costs are e.g. $3.50 each!",
                "1. No refunds.",
                "- First item",
                "- Second item",
                "| a | b |",
                "| c | d |",
                "Dr. Who agrees (really).",
                "“Yes.”",
                "Next",
            ]
        );
    }

    #[test]
    fn cuts_endless_sentences_at_a_word() {
        let text = "wörd ".repeat(500);
        let parts = sentences(&text);
        assert!(parts[0].len() <= QUOTE_BYTES_MAX && parts[0].ends_with("wörd"));
        assert_eq!(sentences(&"x".repeat(2000))[0].len(), QUOTE_BYTES_MAX);
    }

    #[test]
    fn reads_passages_and_lines_outside_of_them() {
        let text = "Question: one\n<passage id=\"1\" file=\"a\" chunk=\"0\">Question: no\nx</passage>\n\
                    <passage id=\"b\">y</passage>\n Question: two \n<passage id=\"9\">never closed";
        assert_eq!(passages(text), [("1", "Question: no\nx"), ("b", "y")]);
        assert_eq!(lines(text, "Question: "), ["one", "two"]);
    }
}
