//! Outputs that need not be computed again: by component and input, or by model and request.
//!
//! Only what leaves no traces outside may come in here; who asks has checked that. Lives in memory, per process.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use ice_core::id::{Digest, UnixMs};
use serde_json::Value;

/// Bytes of JSON that are kept, over all entries.
const BYTES_MAX: usize = 32 << 20;
/// A single output larger than this is not worth what it would push out.
const ENTRY_BYTES_MAX: usize = 1 << 20;

struct Entry {
    output: Value,
    bytes: usize,
    expires: Option<UnixMs>,
    /// Which insertion this is, so that the queue can tell a replaced entry from a living one.
    stamp: u64,
}

#[derive(Default)]
struct Shelf {
    entries: HashMap<Digest, Entry>,
    /// Oldest first.
    queue: VecDeque<(Digest, u64)>,
    bytes: usize,
    stamp: u64,
}

/// Bounded by bytes; the oldest entry goes first.
#[derive(Default)]
pub(crate) struct Cache {
    shelf: Mutex<Shelf>,
}

impl Cache {
    /// The output kept under `key`, unless it is too old.
    pub(crate) fn get(&self, key: &Digest, now: UnixMs) -> Option<Value> {
        let shelf = self.shelf.lock().expect("no panic while shelving");
        let entry = shelf.entries.get(key)?;
        entry.expires.is_none_or(|expires| now < expires).then(|| entry.output.clone())
    }

    /// Keeps an output for `ttl_ms`, or until it is pushed out.
    pub(crate) fn put(&self, key: Digest, output: &Value, ttl_ms: Option<u64>, now: UnixMs) {
        let bytes = size(output);
        if bytes > ENTRY_BYTES_MAX {
            return;
        }
        let mut shelf = self.shelf.lock().expect("no panic while shelving");
        shelf.stamp += 1;
        let stamp = shelf.stamp;
        let expires = ttl_ms.map(|ttl| now.saturating_add(ttl));
        let old = shelf.entries.insert(key, Entry { output: output.clone(), bytes, expires, stamp });
        shelf.bytes = shelf.bytes + bytes - old.map_or(0, |old| old.bytes);
        shelf.queue.push_back((key, stamp));
        while shelf.bytes > BYTES_MAX || shelf.queue.len() > 4 * shelf.entries.len() + 64 {
            let Some((oldest, stamp)) = shelf.queue.pop_front() else { break };
            if shelf.entries.get(&oldest).is_some_and(|entry| entry.stamp == stamp) {
                let gone = shelf.entries.remove(&oldest).expect("just seen");
                shelf.bytes -= gone.bytes;
            }
        }
    }
}

/// Roughly the bytes a value takes in memory.
fn size(value: &Value) -> usize {
    const NODE: usize = 32;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| NODE + key.len() + size(value)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_an_output_until_it_is_too_old() {
        let cache = Cache::default();
        let key = Digest::of(b"k");
        cache.put(key, &json!({ "x": 1 }), Some(10), 100);
        assert_eq!(cache.get(&key, 109), Some(json!({ "x": 1 })));
        assert_eq!(cache.get(&key, 110), None);
    }

    #[test]
    fn pushes_the_oldest_out_when_full() {
        let cache = Cache::default();
        let text = Value::String("x".repeat(ENTRY_BYTES_MAX - 64));
        let key = |n: usize| Digest::of(&n.to_le_bytes());
        let count = BYTES_MAX / (ENTRY_BYTES_MAX - 64) + 2;
        (0..count).for_each(|n| cache.put(key(n), &text, None, 0));
        assert_eq!(cache.get(&key(0), 0), None);
        assert!(cache.get(&key(count - 1), 0).is_some());
    }

    #[test]
    fn a_huge_output_is_not_kept() {
        let cache = Cache::default();
        cache.put(Digest::of(b"k"), &Value::String("x".repeat(ENTRY_BYTES_MAX)), None, 0);
        assert_eq!(cache.get(&Digest::of(b"k"), 0), None);
    }
}
