//! The scripted memory: rows in the order they were written, found by keyword.
//!
//! Checks the sizes the real host checks, because a tool has to cope with them.

use serde_json::Value;

use crate::memory::{Error, Filter, Hit, Item, KEY_BYTES_MAX, LIMIT_MAX, METADATA_BYTES_MAX, TEXT_BYTES_MAX};

pub(crate) struct Row {
    pub(super) scope: String,
    pub(super) item: Item,
}

pub(crate) fn write(scope: &str, item: &Item) -> Result<(), Error> {
    if scope.is_empty() || item.key.is_empty() {
        return Err(Error::Invalid("the scope or the key is empty".to_owned()));
    }
    let metadata = serde_json::to_string(&item.metadata).map_err(|error| Error::Invalid(error.to_string()))?;
    for (what, bytes, limit) in [
        ("key", item.key.len(), KEY_BYTES_MAX),
        ("text", item.text.len(), TEXT_BYTES_MAX),
        ("metadata", metadata.len(), METADATA_BYTES_MAX),
    ] {
        if bytes > limit {
            return Err(Error::TooLarge(format!("the {what} has {bytes} bytes, at most {limit} are kept")));
        }
    }
    super::with(|state| {
        state.memory_calls += 1;
        state.rows.retain(|row| row.scope != scope || row.item.key != item.key);
        state.rows.push(Row { scope: scope.to_owned(), item: item.clone() });
    });
    Ok(())
}

pub(crate) fn read(scope: &str, key: &str) -> Result<Option<Item>, Error> {
    Ok(super::with(|state| {
        state.rows.iter().find(|row| row.scope == scope && row.item.key == key).map(|row| row.item.clone())
    }))
}

pub(crate) fn search(scope: &str, query: &str, filter: &Filter, limit: u32) -> Result<Vec<Hit>, Error> {
    let asked = words(query);
    let candidates = items(scope, |item| passes(filter, item));
    let rarity = |word: &String| {
        let holding = candidates.iter().filter(|item| words(&item.text).contains(word)).count();
        ((1.0 + candidates.len() as f32) / (0.5 + holding as f32)).ln()
    };
    let mut hits: Vec<Hit> = candidates
        .iter()
        .filter_map(|item| {
            let have = words(&item.text);
            let score: f32 = asked.iter().filter(|word| have.contains(word)).map(rarity).sum();
            (score > 0.0).then(|| Hit { item: item.clone(), score, source: "keyword".to_owned() })
        })
        .collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(limit.min(LIMIT_MAX) as usize);
    Ok(hits)
}

pub(crate) fn recent(scope: &str, key_prefix: &str, limit: u32) -> Result<Vec<Item>, Error> {
    let mut newest = items(scope, |item| item.key.starts_with(key_prefix));
    newest.reverse();
    newest.truncate(limit.min(LIMIT_MAX) as usize);
    Ok(newest)
}

pub(crate) fn forget(scope: &str, key: &str) -> Result<(), Error> {
    super::with(|state| {
        state.memory_calls += 1;
        state.rows.retain(|row| row.scope != scope || row.item.key != key);
    });
    Ok(())
}

fn items(scope: &str, keep: impl Fn(&Item) -> bool) -> Vec<Item> {
    super::with(|state| {
        let rows = state.rows.iter().filter(|row| row.scope == scope && keep(&row.item));
        rows.map(|row| row.item.clone()).collect()
    })
}

fn passes(filter: &Filter, item: &Item) -> bool {
    let category = filter.category.as_ref().is_none_or(|want| item.metadata.get("category") == Some(&want[..].into()));
    let has_tag = |tag: &String| {
        let tags = item.metadata.get("tags").and_then(Value::as_array);
        tags.is_some_and(|tags| tags.iter().any(|have| have == tag.as_str()))
    };
    let prefix = filter.key_prefix.as_ref().is_none_or(|prefix| item.key.starts_with(prefix));
    category && filter.tags.iter().all(has_tag) && prefix
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}
