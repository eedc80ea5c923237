//! Text for the word index: the form in which words are kept, and what a question asks for.
//!
//! Both sides go through the same form. SQLite's end in FTS5's own tokenizer (`porter unicode61`); for Postgres the
//! words are cut here, because what its parser takes for a word depends on the language of the database. Stems are the
//! database's. A question is data: it becomes quoted terms only, so nothing in it is ever an operator. Pure.

use ice_core::id::{Digest, Identity};
use unicode_normalization::UnicodeNormalization;

/// A question asks for at most so many different terms: more would slow the search down and sharpen nothing.
const TERMS_MAX: usize = 64;

/// Words that stand in nearly every English text and tell nothing about it. Sorted.
const STOP_WORDS: &[&str] = &[
    "a", "about", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does",
    "for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is", "it", "its", "me",
    "my", "no", "not", "of", "on", "or", "our", "she", "should", "so", "such", "than", "that", "the", "their", "them",
    "then", "there", "these", "they", "this", "to", "was", "we", "were", "what", "when", "where", "which", "who",
    "why", "will", "with", "would", "you", "your",
];

/// The form in which a text is indexed: compatibility characters resolved (`ﬃ` is `ffi`, `①` is `1`), and a space
/// around every character of a script that writes no spaces, which the tokenizer would take for one endless word.
pub(crate) fn index_form(text: &str) -> String {
    let mut form = String::with_capacity(text.len() + text.len() / 8);
    for character in text.nfkc() {
        if is_spaceless(character) {
            form.extend([' ', character, ' ']);
        } else {
            form.push(character);
        }
    }
    form
}

/// Han, kana and bopomofo with their extensions, by Unicode block. Hangul is written with spaces.
fn is_spaceless(character: char) -> bool {
    matches!(u32::from(character),
        0x3005..=0x3007 | 0x3040..=0x30FF | 0x3100..=0x312F | 0x31A0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// The FTS5 expression that finds the rows of one tenant holding any term of `question`;
/// `None` when the question has no terms.
pub(crate) fn match_expression(who: &Identity, scope: &str, question: &str) -> Option<String> {
    let terms = terms(question);
    if terms.is_empty() {
        return None;
    }
    let any: Vec<String> = terms.iter().map(|term| format!("\"{term}\"")).collect();
    Some(format!("tenant : \"{}\" AND words : ({})", tenant(who, scope), any.join(" OR ")))
}

/// Postgres keeps no lexeme beyond 2,046 bytes; what is longer than this is no word that anybody asks for. Both sides
/// are cut alike.
const WORD_CHARS_MAX: usize = 200;

/// A `tsvector` holds at most 1 MB: of a longer text, so many bytes of words are found.
const WORDS_BYTES_MAX: usize = 256 << 10;

/// The words of a text in their order, for Postgres: lower case, without accents, characters of scripts without
/// spaces alone.
pub(crate) fn index_words(text: &str) -> Vec<String> {
    let form = plain(text);
    let mut words = Vec::new();
    let mut bytes = 0;
    for word in form.split(|c: char| !is_word(c)).filter(|word| word.chars().any(char::is_alphanumeric)) {
        let characters: Vec<char> = word.chars().collect();
        for run in characters.chunk_by(|a, b| is_spaceless(*a) == is_spaceless(*b)) {
            let length = if run.first().is_some_and(|first| is_spaceless(*first)) { 1 } else { run.len() };
            words.extend(run.chunks(length).map(cut));
        }
        bytes += word.len();
        if bytes >= WORDS_BYTES_MAX {
            break;
        }
    }
    words
}

/// The different terms of a question, each as the words that have to follow each other; in the form of
/// [`index_words`].
pub(crate) fn asked_words(question: &str) -> Vec<Vec<String>> {
    let words = |term: String| term.split(' ').map(|word| cut(&word.chars().collect::<Vec<char>>())).collect();
    terms(&plain(question)).into_iter().map(words).collect()
}

fn cut(word: &[char]) -> String {
    word.iter().take(WORD_CHARS_MAX).collect()
}

/// Lower case, compatibility characters resolved, and the accents of Latin, Greek and Cyrillic letters left out: what
/// FTS5 does by `remove_diacritics`. Marks of other scripts are letters of their words and stay.
fn plain(text: &str) -> String {
    let bare = text.nfkd().filter(|character| !matches!(u32::from(*character), 0x0300..=0x036F));
    bare.flat_map(char::to_lowercase)
        .nfc()
        .filter(|character| !matches!(u32::from(*character), 0x0300..=0x036F))
        .collect()
}

/// One token for org, user and scope; the JSON list keeps their borders apart.
pub(crate) fn tenant(who: &Identity, scope: &str) -> String {
    let digest = Digest::of_json(&serde_json::json!([who.org, who.user, scope]));
    format!("k{}", &digest.hex()[..32])
}

/// The different terms of a question, in order, without stop words; when it has nothing else, with them.
fn terms(question: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let form: String = question.nfkc().flat_map(char::to_lowercase).collect();
    for word in form.split(|c: char| !is_word(c)).filter(|word| word.chars().any(char::is_alphanumeric)) {
        for term in split_spaceless(word) {
            if !all.contains(&term) {
                all.push(term);
            }
        }
        if all.len() >= TERMS_MAX * 4 {
            break;
        }
    }
    let mut telling: Vec<String> =
        all.iter().filter(|term| STOP_WORDS.binary_search(&term.as_str()).is_err()).cloned().collect();
    if telling.is_empty() {
        telling = all;
    }
    telling.truncate(TERMS_MAX);
    telling
}

/// Letters, digits, and whatever is beyond ASCII and no space: marks that belong to a letter stay with it, and what
/// the tokenizer splits it will split alike on both sides. Quotes and operators are never part of a word.
fn is_word(character: char) -> bool {
    character.is_alphanumeric()
        || (!character.is_ascii()
            && !character.is_whitespace()
            && !matches!(u32::from(character), 0x2000..=0x206F | 0x3000..=0x3004 | 0x3008..=0x303F))
}

/// A word, cut where the script changes; runs of a script without spaces become pairs of neighbours, each a phrase.
fn split_spaceless(word: &str) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    let mut terms = Vec::new();
    for run in characters.chunk_by(|a, b| is_spaceless(*a) == is_spaceless(*b)) {
        match run {
            [first, _, ..] if is_spaceless(*first) => {
                terms.extend(run.windows(2).map(|pair| format!("{} {}", pair[0], pair[1])));
            }
            _ => terms.push(run.iter().collect()),
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(question: &str, expected: &[&str]) {
        assert_eq!(terms(question), expected, "{question:?}");
    }

    #[test]
    fn a_question_becomes_its_telling_terms() {
        check("What is the price of a Red-Bicycle?", &["price", "red", "bicycle"]);
        check("price PRICE Price", &["price"]);
        check("to be or not to be", &["to", "be", "or", "not"]);
        check("", &[]);
        check(" \t\n?!… — ", &[]);
    }

    #[test]
    fn quotes_operators_and_columns_are_only_words() {
        check("\"quoted\" NEAR(alpha*, 3) AND tenant:x", &["quoted", "near", "alpha", "3", "tenant", "x"]);
        check("a\"b\0c", &["b", "c"]);
    }

    #[test]
    fn compatibility_characters_are_resolved_on_both_sides() {
        check("o\u{FB03}ce", &["office"]);
        assert_eq!(index_form("o\u{FB03}ce №①"), "office No1");
    }

    #[test]
    fn scripts_without_spaces_are_found_by_neighbours() {
        assert_eq!(index_form("東京の天気").split_whitespace().collect::<Vec<_>>(), ["東", "京", "の", "天", "気"]);
        check("東京の天気", &["東 京", "京 の", "の 天", "天 気"]);
        check("iPhone価格", &["iphone", "価 格"]);
    }

    #[test]
    fn words_for_postgres_are_cut_alike_on_both_sides() {
        let words = index_words("The Café's №① o\u{FB03}ce, 東京の天気 — re\u{0301}sume\u{0301}\u{0}İx 🎉");
        assert_eq!(words, ["the", "cafe", "s", "no1", "office", "東", "京", "の", "天", "気", "resume", "ix"]);
        assert_eq!(asked_words("RÉSUMÉ of Tōkyō 東京"), [vec!["resume"], vec!["tokyo"], vec!["東", "京"]]);
        let long = "x".repeat(3000);
        assert_eq!(vec![index_words(&long)], asked_words(&long));
        assert_eq!(index_words(&long)[0].len(), WORD_CHARS_MAX);
        assert!(index_words(&"word ".repeat(1_000_000)).len() <= WORDS_BYTES_MAX);
    }

    #[test]
    fn a_question_has_a_bounded_number_of_terms() {
        let long: Vec<String> = (0..10_000).map(|n| format!("w{n}")).collect();
        assert_eq!(terms(&long.join(" ")).len(), TERMS_MAX);
    }

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn tenants_with_shifted_borders_have_other_tokens() {
        let who = |org: &str, user: &str| Identity { org: org.into(), user: user.into(), session: None };
        assert_ne!(tenant(&who("a", "bc"), "d"), tenant(&who("ab", "c"), "d"));
    }
}
