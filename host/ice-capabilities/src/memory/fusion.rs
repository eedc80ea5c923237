//! One ranking out of two. Pure.

use std::collections::BTreeMap;

use ice_core::ports::{MemoryHit, MemoryRow};

/// The ranking by words as it is, with its BM25 scores.
pub(super) fn keyword_only(rows: Vec<(MemoryRow, f32)>) -> Vec<MemoryHit> {
    let hit = |(row, score): (MemoryRow, f32)| MemoryHit { item: row.item, score, source: "keyword".into() };
    rows.into_iter().map(hit).collect()
}

/// Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): a row's score is the sum of `1 / (k + rank)` over
/// the rankings that hold it, with ranks from 1. Scores of words and of vectors cannot be compared, ranks can.
pub(super) fn fuse(words: Vec<(MemoryRow, f32)>, meaning: Vec<(MemoryRow, f32)>, k: f32) -> Vec<MemoryHit> {
    let mut hits: BTreeMap<String, MemoryHit> = BTreeMap::new();
    for (rows, source) in [(words, "keyword"), (meaning, "vector")] {
        for ((row, _), rank) in rows.into_iter().zip(1_u16..) {
            let share = 1.0 / (k + f32::from(rank));
            let new = || MemoryHit { item: row.item.clone(), score: 0.0, source: source.into() };
            let hit = hits.entry(row.item.key.clone()).or_insert_with(new);
            hit.score += share;
            if hit.source != source {
                hit.source = "hybrid".into();
            }
        }
    }
    let mut hits: Vec<MemoryHit> = hits.into_values().collect();
    // The map gave them by key, so equal scores keep one order.
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits
}
