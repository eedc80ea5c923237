//! BM25 over four fields: name (A), tags and components (B), descriptions (C), schema properties and examples (D).
//!
//! Counts of the fields are weighted and put together before they saturate, so a word in a name counts as a word that
//! stands in the description five times.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization as _;

use crate::index::row::Row;

const FIELDS: usize = 4;
const WEIGHTS: [f64; FIELDS] = [10.0, 4.0, 2.0, 1.0];
/// How fast repeats stop counting, and how much a long field is held against it: the usual values.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Longer runs of letters are no words.
const TOKEN_CHARS_MAX: usize = 40;
/// Words of a question that are looked up.
const TOKENS_MAX: usize = 64;

/// Lower-case words of letters and digits, in their compatibility form, so that full-width letters are letters.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let words = folded.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word.chars().take(TOKEN_CHARS_MAX).collect()).collect()
}

/// The words of the fields of a row.
fn fields(row: &Row) -> [Vec<String>; FIELDS] {
    let all = |texts: &mut dyn Iterator<Item = &String>| texts.flat_map(|text| tokens(text)).collect::<Vec<_>>();
    let components = row.components.iter();
    [
        tokens(&row.name),
        all(&mut row.tags.iter().chain(components.clone().map(|component| &component.name))),
        all(&mut std::iter::once(&row.description).chain(components.map(|component| &component.description))),
        all(&mut row.io.iter().chain(&row.examples)),
    ]
}

/// Word → documents that have it, with counts a field.
#[derive(Debug, Default)]
pub(super) struct Postings {
    words: BTreeMap<String, Vec<(usize, [u32; FIELDS])>>,
    lengths: Vec<[u32; FIELDS]>,
}

impl Postings {
    pub(super) fn add(&mut self, row: &Row) {
        let document = self.lengths.len();
        let fields = fields(row);
        let mut counts: BTreeMap<&str, [u32; FIELDS]> = BTreeMap::new();
        let mut lengths = [0; FIELDS];
        for (field, words) in fields.iter().enumerate() {
            for word in words {
                counts.entry(word).or_default()[field] += 1;
                lengths[field] += 1;
            }
        }
        for (word, counts) in counts {
            self.words.entry(word.to_owned()).or_default().push((document, counts));
        }
        self.lengths.push(lengths);
    }

    /// Documents with any of the words, in their order.
    pub(super) fn score(&self, asked: &[String]) -> Vec<(usize, f64)> {
        let means = self.mean_lengths();
        let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
        for word in asked.iter().take(TOKENS_MAX).collect::<BTreeSet<_>>() {
            let Some(postings) = self.words.get(word) else { continue };
            let (all, having) = (number(self.lengths.len()), number(postings.len()));
            let rarity = (1.0 + (all - having + 0.5) / (having + 0.5)).ln();
            for (document, counts) in postings {
                let mut weighted = 0.0;
                for field in 0..FIELDS {
                    let length = f64::from(self.lengths[*document][field]) / means[field];
                    weighted += WEIGHTS[field] * f64::from(counts[field]) / (1.0 - B + B * length);
                }
                *scores.entry(*document).or_default() += rarity * weighted * (K1 + 1.0) / (K1 + weighted);
            }
        }
        scores.into_iter().collect()
    }

    /// Those of the words that a document has, sorted.
    pub(super) fn shared(&self, asked: &[String], document: usize) -> Vec<String> {
        let asked: BTreeSet<&String> = asked.iter().take(TOKENS_MAX).collect();
        let has = |word: &&&String| {
            self.words
                .get(**word)
                .is_some_and(|postings| postings.binary_search_by_key(&document, |(document, _)| *document).is_ok())
        };
        asked.iter().filter(has).map(|word| (*word).clone()).collect()
    }

    /// At least 1, so that an empty field divides nothing by zero.
    fn mean_lengths(&self) -> [f64; FIELDS] {
        let mut means = [0.0; FIELDS];
        for lengths in &self.lengths {
            for field in 0..FIELDS {
                means[field] += f64::from(lengths[field]);
            }
        }
        means.map(|sum| (sum / number(self.lengths.len().max(1))).max(1.0))
    }
}

#[expect(clippy::cast_precision_loss, reason = "an index has far fewer than 2^52 rows")]
fn number(count: usize) -> f64 {
    count as f64
}
