//! Whether a passage has any word to do with a question. Coarse on purpose: it only stops a model from being asked
//! about passages that share no more than `the` and `is` with the question.

use std::collections::BTreeSet;

/// Words of English questions that are in every text. In another language nothing is taken out, and more passes.
const COMMON: &[&str] = &[
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "but", "by", "can", "could", "did", "do", "does", "for",
    "from", "had", "has", "have", "how", "i", "if", "in", "is", "it", "its", "many", "me", "much", "my", "no", "not",
    "of", "on", "or", "so", "tell", "than", "that", "the", "their", "them", "then", "there", "they", "this", "to",
    "was", "we", "were", "what", "when", "where", "which", "who", "whom", "whose", "why", "will", "with", "would",
    "you", "your",
];
/// `cost` and `costs`, `visit` and `visiting`: words that begin alike and differ by at most this many letters.
const ENDING_CHARS_MAX: usize = 3;
/// Shorter beginnings are alike by accident.
const STEM_CHARS_MIN: usize = 4;

/// The words of a question that can be looked for.
pub(crate) struct Words(BTreeSet<String>);

impl Words {
    /// The words of all texts together.
    pub(crate) fn of(texts: &[&str]) -> Self {
        let words = texts.iter().flat_map(|text| split(text));
        Self(words.filter(|word| !COMMON.contains(&word.as_str())).collect())
    }

    /// Whether one of the words stands in `text`, in this or a similar form. True when there is no word to look for.
    pub(crate) fn meet(&self, text: &str) -> bool {
        self.0.is_empty() || split(text).iter().any(|have| self.0.iter().any(|want| alike(want, have)))
    }
}

/// Words in lower case. Where a script writes no spaces, every pair of characters counts as a word.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let letters: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
        if letters.iter().any(|&letter| is_unspaced(letter)) {
            words.extend(letters.windows(2).map(|pair| pair.iter().collect::<String>()));
        } else {
            words.push(letters.into_iter().collect());
        }
    }
    words
}

/// Kana, CJK ideographs and Thai (Unicode blocks).
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{0e00}'..='\u{0e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}')
}

fn alike(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let common = short.chars().zip(long.chars()).take_while(|(a, b)| a == b).count();
    let (short, long) = (short.chars().count(), long.chars().count());
    a == b || (common >= STEM_CHARS_MIN && common + 1 >= short && long - common <= ENDING_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_word_counts_in_any_form_and_a_common_word_does_not() {
        let words = Words::of(&["How much does the TICKET cost?"]);
        assert!(words.meet("Tickets are sold at the gate."));
        assert!(words.meet("it costs 12 euros"));
        assert!(!words.meet("How the tower was built, and what it does."));
        assert!(!words.meet("a coast and its rocks"));
        assert!(Words::of(&["When may I visit?"]).meet("Visiting hours"));
        assert!(Words::of(&["and why is it?"]).meet("anything"), "no word to look for");
    }

    #[test]
    fn scripts_without_spaces_are_compared_by_pairs() {
        let words = Words::of(&["日本の首都はどこですか"]);
        assert!(words.meet("東京は日本の首都です。"));
        assert!(!words.meet("猫が好き。"));
    }
}
