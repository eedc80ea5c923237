//! Words of a text as a search compares them: lower case, without common ones, without endings. Pure.

use unicode_normalization::UnicodeNormalization as _;

/// English words that say nothing about what a sentence is about.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "after",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "been",
    "before",
    "being",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "document",
    "documents",
    "does",
    "doing",
    "done",
    "each",
    "for",
    "from",
    "get",
    "give",
    "got",
    "had",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "him",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "just",
    "know",
    "let",
    "many",
    "may",
    "me",
    "might",
    "mine",
    "more",
    "most",
    "much",
    "must",
    "my",
    "no",
    "nor",
    "not",
    "of",
    "off",
    "on",
    "one",
    "only",
    "or",
    "other",
    "our",
    "ours",
    "out",
    "over",
    "own",
    "please",
    "question",
    "say",
    "says",
    "shall",
    "she",
    "should",
    "so",
    "some",
    "such",
    "tell",
    "than",
    "that",
    "the",
    "their",
    "theirs",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "to",
    "too",
    "under",
    "up",
    "us",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "would",
    "you",
    "your",
    "yours",
];

/// Words that stand for something said before.
const STANDING_FOR: &[&str] = &[
    "he", "her", "him", "his", "it", "its", "she", "that", "their", "them", "there", "these", "they", "this", "those",
];

/// The words that matter, in order, with repetitions.
pub(super) fn of(text: &str) -> Vec<String> {
    plain(text)
        .into_iter()
        .filter(|word| STOP_WORDS.binary_search(&word.as_str()).is_err())
        .map(|word| stem(&word))
        .collect()
}

/// Whether the text leans on something said before.
pub(super) fn leans_on_earlier(text: &str) -> bool {
    plain(text).iter().any(|word| STANDING_FOR.contains(&word.as_str()))
}

fn plain(text: &str) -> Vec<String> {
    // Compatibility forms first: a ligature from a PDF has to meet the word from a keyboard.
    let text: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’');
    let words = words.map(|word| word.split(['\'', '’']).next().unwrap_or_default());
    words
        .filter(|word| word.chars().count() > 1 || word.chars().any(|c| !c.is_ascii_alphabetic()))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Endings and what takes their place, the longest first. Light on purpose: `prices`, `priced` and `pricing` meet,
/// and words that are different mostly stay so.
const ENDINGS: &[(&str, &str)] = &[
    ("ations", ""),
    ("ation", ""),
    ("ingly", ""),
    ("edly", ""),
    ("ments", ""),
    ("ment", ""),
    ("ness", ""),
    ("ions", ""),
    ("ing", ""),
    ("ies", "y"),
    ("ied", "y"),
    ("ion", ""),
    ("est", ""),
    ("ers", ""),
    ("ed", ""),
    ("es", ""),
    ("er", ""),
    ("ly", ""),
    ("s", ""),
    ("e", ""),
];

fn stem(word: &str) -> String {
    if word.ends_with("ss") || !word.is_ascii() {
        return word.to_owned();
    }
    for (ending, instead) in ENDINGS {
        if let Some(start) = word.strip_suffix(ending).filter(|start| start.len() >= 3) {
            let mut stem = format!("{start}{instead}");
            let bytes = stem.as_bytes();
            // `shipping` and `ship`: the doubled consonant belonged to the ending.
            if let [.., a, b] = bytes
                && a == b
                && !b"aeiouls".contains(a)
                && stem.len() > 3
            {
                stem.pop();
            }
            return stem;
        }
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_stop_words_is_sorted() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn forms_of_a_word_meet() {
        for family in [
            &["price", "prices", "priced", "pricing"][..],
            &["ship", "ships", "shipped", "shipping"],
            &["delivery", "deliveries"],
            &["warranty", "warranties"],
            &["refund", "refunds", "refunded", "refunding"],
            &["install", "installs", "installed", "installation"],
            &["Office", "o\u{fb03}ce", "OFFICES"],
        ] {
            let stems: Vec<_> = family.iter().flat_map(|word| of(word)).collect();
            assert!(stems.windows(2).all(|pair| pair[0] == pair[1]), "{family:?} → {stems:?}");
        }
    }

    #[test]
    fn different_words_stay_apart() {
        for (a, b) in [("class", "clash"), ("price", "prize"), ("war", "warranty"), ("pass", "past")] {
            assert_ne!(of(a), of(b));
        }
    }

    #[test]
    fn drops_stop_words_and_keeps_numbers() {
        assert_eq!(of("What is the A4 width of it, in 3 documents?"), ["a4", "width", "3"]);
        assert!(of("Who are you? It's me!").is_empty());
        assert!(leans_on_earlier("and how much is it?"));
        assert!(!leans_on_earlier("how much is the blue lamp?"));
    }
}
