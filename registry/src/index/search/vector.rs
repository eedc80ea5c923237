//! Likeness without a model: n-grams of letters, hashed into a vector. Finds `csv-reader` by `csvreder`; knows no
//! meaning. Labelled [`MODEL`], and never mixed with vectors of another model.

use crate::index::row::Row;

/// Who made the vectors. Another way of hashing is another name.
pub const MODEL: &str = "hashed-ngrams-v0";
/// Numbers of a vector.
pub const DIMS: usize = 512;

/// Letters of an n-gram, and the mark at both ends of a word.
const GRAM: usize = 3;
const EDGE: char = '\u{2}';
/// Below this, likeness is that of hashes, not of words: four standard deviations of 512 random signs.
const LIKE_MIN: f32 = 0.18;
/// How much a name's letters count beside those of tags and descriptions.
const NAME_WEIGHT: f32 = 4.0;
const TAG_WEIGHT: f32 = 2.0;
const TEXT_WEIGHT: f32 = 1.0;
/// The first words say what it is.
const TEXT_CHARS_MAX: usize = 160;

type Vector = Box<[f32]>;

/// A vector for every document, of length 1 or 0.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    vectors: Vec<Vector>,
}

impl Vectors {
    pub(super) fn add(&mut self, row: &Row) {
        let mut vector = empty();
        add(&mut vector, &row.name, NAME_WEIGHT);
        for text in row.tags.iter().chain(row.components.iter().map(|component| &component.name)) {
            add(&mut vector, text, TAG_WEIGHT);
        }
        let beginning: String = row.description.chars().take(TEXT_CHARS_MAX).collect();
        add(&mut vector, &beginning, TEXT_WEIGHT);
        self.vectors.push(normal(vector));
    }

    /// Documents that are like the text, with the cosine, in their order.
    pub(super) fn like(&self, text: &str) -> Vec<(usize, f64)> {
        let mut asked = empty();
        add(&mut asked, text, 1.0);
        let asked = normal(asked);
        let cosine = |vector: &Vector| vector.iter().zip(&asked).map(|(a, b)| a * b).sum::<f32>();
        let scores = self.vectors.iter().map(cosine).enumerate();
        scores.filter(|(_, score)| *score >= LIKE_MIN).map(|(document, score)| (document, f64::from(score))).collect()
    }
}

fn empty() -> Vector {
    vec![0.0; DIMS].into_boxed_slice()
}

fn normal(mut vector: Vector) -> Vector {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    }
    vector
}

/// Adds the n-grams of every word, and of neighbours written together: `csv_reader` is like `csvreader`.
fn add(vector: &mut [f32], text: &str, weight: f32) {
    let words = super::keyword::tokens(text);
    for word in &words {
        add_grams(vector, word, weight);
    }
    for pair in words.windows(2) {
        add_grams(vector, &pair.concat(), weight / 2.0);
    }
}

fn add_grams(vector: &mut [f32], word: &str, weight: f32) {
    let letters: Vec<char> = std::iter::once(EDGE).chain(word.chars()).chain(std::iter::once(EDGE)).collect();
    for gram in letters.windows(GRAM.min(letters.len())) {
        let hash = fnv(gram);
        let at = usize::try_from(hash % DIMS as u64).unwrap_or_default();
        vector[at] += if hash >> 63 == 0 { weight } else { -weight };
    }
}

/// FNV-1a of 64 bits, then mixed: its low bits alone follow the last letter too closely.
fn fnv(letters: &[char]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in letters.iter().flat_map(|letter| u32::from(*letter).to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}
