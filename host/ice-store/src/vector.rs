//! Vectors as bytes, how alike two are, and the best few of many. Pure.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Bytes of one component.
const COMPONENT: usize = size_of::<f32>();

/// Independent sums, so that the compiler may compute them side by side.
const LANES: usize = 8;

/// A vector as little-endian f32, one after the other.
pub(crate) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}

/// Reads what [`to_bytes`] wrote; bytes behind the last whole component are ignored.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    components(bytes).collect()
}

fn components(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(COMPONENT).map(|chunk| f32::from_le_bytes(chunk.try_into().expect("chunks of four")))
}

/// A question, prepared for many comparisons.
pub(crate) struct Question {
    vector: Vec<f32>,
    length: f32,
}

impl Question {
    pub(crate) fn new(vector: Vec<f32>) -> Self {
        let length = vector.iter().map(|component| component * component).sum::<f32>().sqrt();
        Self { vector, length }
    }

    /// Cosine similarity to the bytes of a stored vector of the same dimension: from -1 to 1, and 0 where one of them
    /// has no direction.
    pub(crate) fn similarity(&self, bytes: &[u8]) -> f32 {
        self.compare(bytes.chunks(LANES * COMPONENT).map(components))
    }

    /// The same for numbers.
    pub(crate) fn similarity_to(&self, vector: &[f32]) -> f32 {
        self.compare(vector.chunks(LANES).map(|chunk| chunk.iter().copied()))
    }

    fn compare(&self, stored: impl Iterator<Item = impl Iterator<Item = f32>>) -> f32 {
        let mut dots = [0.0_f32; LANES];
        let mut squares = [0.0_f32; LANES];
        for (question, chunk) in self.vector.chunks(LANES).zip(stored) {
            for (lane, (a, b)) in question.iter().zip(chunk).enumerate() {
                dots[lane] += a * b;
                squares[lane] += b * b;
            }
        }
        let lengths = self.length * squares.iter().sum::<f32>().sqrt();
        if lengths == 0.0 { 0.0 } else { (dots.iter().sum::<f32>() / lengths).clamp(-1.0, 1.0) }
    }
}

/// A row and its score; the greater is the better, and of equals the older.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranked {
    pub(crate) score: f32,
    pub(crate) id: i64,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

/// The best `limit` of any number of rows, in memory for `limit` only.
pub(crate) struct Best {
    limit: usize,
    /// The worst of the best on top, ready to be replaced.
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    pub(crate) fn offer(&mut self, row: Ranked) {
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(row));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && worst.0 < row
        {
            *worst = Reverse(row);
        }
    }

    /// Best first.
    pub(crate) fn into_sorted(self) -> Vec<Ranked> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(row)| row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_survive_being_bytes() {
        let vector = [0.0, -0.0, 1.5, f32::MIN_POSITIVE, f32::MAX];
        let read = from_bytes(&to_bytes(&vector));
        assert!(read.iter().zip(vector).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn similarity_is_the_cosine_for_every_length_of_vector() {
        for dimension in 1..40 {
            let a: Vec<f32> = (0..dimension).map(|n| (n as f32 * 0.7).sin() + 0.1).collect();
            let b: Vec<f32> = (0..dimension).map(|n| (n as f32 * 1.3).cos() - 0.2).collect();
            let dot: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let expected = dot / (length(&a) * length(&b));
            let found = f64::from(Question::new(a.clone()).similarity(&to_bytes(&b)));
            assert!((found - expected).abs() < 1e-5, "{dimension}: {found} is not {expected}");
            assert_eq!(Question::new(a).similarity_to(&b).to_bits(), (found as f32).to_bits());
        }
    }

    #[test]
    fn a_vector_without_direction_is_like_nothing() {
        assert_eq!(Question::new(vec![0.0, 0.0]).similarity(&to_bytes(&[1.0, 2.0])), 0.0);
        assert_eq!(Question::new(vec![1.0, 2.0]).similarity(&to_bytes(&[0.0, 0.0])), 0.0);
    }

    #[test]
    fn the_best_few_are_kept_in_order_and_the_older_wins_a_tie() {
        let mut best = Best::new(3);
        for (id, score) in [0.1, 0.9, 0.5, 0.9, -1.0, 0.7].into_iter().enumerate() {
            best.offer(Ranked { score, id: id as i64 });
        }
        let ids: Vec<i64> = best.into_sorted().iter().map(|row| row.id).collect();
        assert_eq!(ids, [1, 3, 5]);
        let mut none = Best::new(0);
        none.offer(Ranked { score: 1.0, id: 1 });
        assert!(none.into_sorted().is_empty());
    }
}
