//! Finding rows again: by words, by vector, narrowed by filters.

use std::sync::Arc;

use ice_core::ports::{MemoryFilter, MemoryRow};
use serde_json::{Value, json};

use super::memory::{by_vector, by_words, keys, put, row};
use super::{Backend, ManualClock, anna};

/// Rare words count more than common ones, several more than one; scores are positive and fall.
pub async fn words_rank_by_relevance<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for (key, text) in [
        ("a", "The library opens at nine."),
        ("b", "The library has a reading room; the reading room is quiet, and reading is free."),
        ("c", "A bicycle stands before the library."),
        ("d", "Trains leave every hour from the station."),
        ("e", "The bakery opens early."),
        ("f", "Nothing happens on Sundays."),
    ] {
        put(&store, row(key, text, &[])).await;
    }
    let answer = by_words(&store, "Where is the reading room of the library?").await;
    assert_eq!(answer[0].0.item.key, "b");
    assert_eq!(answer.len(), 3, "the other two name the library");
    assert!(answer.windows(2).all(|pair| pair[0].1 >= pair[1].1) && answer.iter().all(|(_, score)| *score > 0.0));
    assert_eq!(keys(&by_words(&store, "opening bakeries").await)[0], "e", "endings do not matter");
    assert_eq!(keys(&by_words(&store, "when do trains leave?").await), ["d"]);
}

/// Quotes, operators and column names of the index's language are words like others.
pub async fn a_query_is_data<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    put(&store, row("k", "alpha beta NEAR words tenant", &[])).await;
    for query in [
        "\"alpha",
        "alpha\"",
        "alpha AND",
        "NOT alpha",
        "alpha*",
        "(alpha",
        "alpha)",
        "words:alpha",
        "tenant:alpha",
        "^alpha",
        "alpha + beta",
        "NEAR(alpha beta, 1)",
        "{alpha beta}",
        "alpha -beta",
        "alpha'; drop table memory; --",
        "alpha\u{0}beta",
        "\\alpha",
        "\"\"alpha\"\"",
        "alpha OR",
        "OR alpha",
    ] {
        assert_eq!(keys(&by_words(&store, query).await), ["k"], "{query:?}");
    }
    assert_eq!(by_words(&store, "tenant\" OR words:\"gamma").await.len(), 1, "only the word `tenant` matches");
}

/// No words, no answer, and no error.
pub async fn an_empty_query_finds_nothing<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    put(&store, row("k", "some text, and the rest", &[])).await;
    for query in ["", "   ", "?!", "\"", "\u{0}", "—…“”", "( ) * ^ :"] {
        assert_eq!(by_words(&store, query).await, [], "{query:?}");
    }
    assert_eq!(keys(&by_words(&store, "and the").await), ["k"], "stop words count when there is nothing else");
}

/// Case, accents, compatibility forms and scripts without spaces.
pub async fn unicode_is_folded<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for (key, text) in [
        ("ligature", "the o\u{FB03}ce is closed"),
        ("accent", "ein Café in Zürich"),
        ("decomposed", "re\u{0301}sume\u{0301}"),
        ("wide", "ＦＵＬＬ width"),
        ("kanji", "明日は東京の天気が良い"),
        ("cyrillic", "Быстрая лиса"),
        ("emoji", "party 🎉 tonight"),
    ] {
        put(&store, row(key, text, &[])).await;
    }
    for (query, key) in [
        ("office", "ligature"),
        ("o\u{FB03}ce", "ligature"),
        ("cafe", "accent"),
        ("CAFÉ", "accent"),
        ("zurich", "accent"),
        ("résumé", "decomposed"),
        ("resume", "decomposed"),
        ("full", "wide"),
        ("東京", "kanji"),
        ("天気", "kanji"),
        ("лиса", "cyrillic"),
        ("БЫСТРАЯ", "cyrillic"),
        ("tonight 🎉", "emoji"),
    ] {
        assert_eq!(keys(&by_words(&store, query).await), [key], "{query:?}");
    }
    assert_eq!(by_words(&store, "京都").await, [], "one common character is not the word");
}

/// Category, tags and key prefix hold for words and for vectors alike.
pub async fn filters_narrow_every_search<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let rows = [
        ("doc/1", json!({"category": "law", "tags": ["eu", "tax"]})),
        ("doc/2", json!({"category": "law", "tags": ["eu"]})),
        ("doc/3", json!({"category": "LAW", "tags": "eu"})),
        ("web/1", json!({"category": 7, "tags": [7, null, ["eu"]]})),
        ("web/2", json!({"tags": {"eu": "eu"}})),
        ("web/3", Value::Null),
    ];
    for (key, metadata) in rows {
        let mut row = row(key, "the same words", &[1.0, 0.0]);
        row.item.metadata = metadata;
        put(&store, row).await;
    }
    let filter = |category: Option<&str>, tags: &[&str], prefix: Option<&str>| MemoryFilter {
        category: category.map(Into::into),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        key_prefix: prefix.map(Into::into),
    };
    for (filter, expected) in [
        (filter(None, &[], None), &["doc/1", "doc/2", "doc/3", "web/1", "web/2", "web/3"][..]),
        (filter(Some("law"), &[], None), &["doc/1", "doc/2"]),
        (filter(Some("7"), &[], None), &[]),
        (filter(None, &["eu"], None), &["doc/1", "doc/2"]),
        (filter(None, &["tax", "eu"], None), &["doc/1"]),
        (filter(None, &["7"], None), &[]),
        (filter(None, &[], Some("web/")), &["web/1", "web/2", "web/3"]),
        (filter(Some("law"), &["eu"], Some("doc/2")), &["doc/2"]),
        (filter(Some("law"), &[], Some("web")), &[]),
    ] {
        let words = store.keyword(&anna(), "notes", "words", &filter, 10).await.expect("keyword");
        assert_eq!(keys(&words), expected, "by words: {filter:?}");
        let near = store.nearest(&anna(), "notes", "toy", &[1.0, 0.0], &filter, 10).await.expect("nearest");
        assert_eq!(keys(&near), expected, "by vector: {filter:?}");
    }
}

/// No character of a prefix is a pattern.
pub async fn keys_are_filtered_byte_by_byte<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let all = ["a%b", "a_b", "axb", "A%b", "ä", "a\u{0}b", "a\u{0}c", "a*", "xa%b"];
    for key in all {
        put(&store, row(key, "word", &[])).await;
    }
    for (prefix, expected) in [
        ("a%", &["a%b"][..]),
        ("a_", &["a_b"]),
        ("a*", &["a*"]),
        ("A", &["A%b"]),
        ("ä", &["ä"]),
        ("a\u{0}b", &["a\u{0}b"]),
        ("a\u{0}", &["a\u{0}b", "a\u{0}c"]),
        ("zzz", &[]),
        ("a%b and more", &[]),
    ] {
        let filter = MemoryFilter { key_prefix: Some(prefix.into()), ..MemoryFilter::default() };
        let found = store.keyword(&anna(), "notes", "word", &filter, 20).await.expect("keyword");
        assert_eq!(keys(&found), expected, "{prefix:?}");
        let recent = store.recent(&anna(), "notes", prefix, 20).await.expect("recent");
        assert_eq!(recent.len(), expected.len(), "{prefix:?}");
    }
}

/// Exact cosine order, whatever the lengths of the vectors.
pub async fn nearest_ranks_by_cosine<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for (key, vector) in [
        ("same", [10.0, 10.0]),
        ("close", [0.1, 0.2]),
        ("right angle", [1.0, -1.0]),
        ("opposite", [-3.0, -3.0]),
        ("nowhere", [0.0, 0.0]),
    ] {
        put(&store, row(key, key, &vector)).await;
    }
    let answer = by_vector(&store, &[1.0, 1.0]).await;
    assert_eq!(keys(&answer), ["same", "close", "right angle", "nowhere", "opposite"]);
    let scores: Vec<f32> = answer.iter().map(|(_, score)| (score * 1000.0).round() / 1000.0).collect();
    assert_eq!(scores, [1.0, 0.949, 0.0, 0.0, -1.0]);
}

/// Vectors of another embedder are as if they were not there, even with another dimension.
pub async fn embedders_never_mix<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let other = |vector: &[f32]| Some(("other".to_owned(), vector.to_vec()));
    put(&store, row("mine", "a", &[1.0, 0.0])).await;
    put(&store, MemoryRow { embedding: other(&[1.0, 0.0, 0.0]), ..row("foreign", "b", &[]) }).await;
    put(&store, row("plain", "c", &[])).await;
    assert_eq!(keys(&by_vector(&store, &[1.0, 0.0]).await), ["mine"]);
    let all = MemoryFilter::default();
    let foreign = store.nearest(&anna(), "notes", "other", &[1.0, 0.0, 0.0], &all, 9).await.expect("nearest");
    assert_eq!(keys(&foreign), ["foreign"]);
    assert_eq!(store.nearest(&anna(), "notes", "unknown", &[1.0], &all, 9).await.expect("nearest"), []);
    put(&store, MemoryRow { embedding: other(&[0.0, 1.0, 0.0]), ..row("mine", "a", &[]) }).await;
    assert_eq!(by_vector(&store, &[1.0, 0.0]).await, [], "the row moved to the other embedder");
}

/// At most `limit`, and the best of them.
pub async fn limits_are_kept<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    for number in 0..20_u16 {
        put(&store, row(&format!("k{number:02}"), &"word ".repeat(1 + usize::from(number)), &[1.0, f32::from(number)]))
            .await;
    }
    let all = MemoryFilter::default();
    let near = store.nearest(&anna(), "notes", "toy", &[1.0, 0.0], &all, 3).await.expect("nearest");
    assert_eq!(keys(&near), ["k00", "k01", "k02"]);
    assert_eq!(store.keyword(&anna(), "notes", "word", &all, 3).await.expect("keyword").len(), 3);
    for limit in [0, u32::MAX] {
        let expected = if limit == 0 { 0 } else { 20 };
        assert_eq!(store.nearest(&anna(), "notes", "toy", &[1.0, 0.0], &all, limit).await.expect("n").len(), expected);
        assert_eq!(store.keyword(&anna(), "notes", "word", &all, limit).await.expect("k").len(), expected);
        assert_eq!(store.recent(&anna(), "notes", "", limit).await.expect("r").len(), expected);
    }
}
