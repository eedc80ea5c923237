//! The conformance suite on real Postgres servers, with pgvector and without, and what only a server can be asked:
//! two stores at once, cut connections, `kill -9`.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that panics says where")]

use std::sync::Arc;

use ice_core::id::{Digest, ExecutionId};
use ice_core::ports::{Clock, MemoryItem, MemoryRow};
use ice_store::conformance::ManualClock;
use ice_store::{Options, Store};

mod cut;
mod following;
mod harm;
mod opening;
mod races;
mod server;
mod vectors;

ice_store::conformance!(postgres, super::server::exact);
ice_store::conformance!(postgres_with_pgvector, super::server::indexed);

fn clock() -> Arc<dyn Clock> {
    ManualClock::at(1_000_000)
}

fn id(name: &str) -> ExecutionId {
    ExecutionId(name.into())
}

async fn open(url: &str) -> Store {
    ice_store::open_with(url, clock(), Options::default()).await.unwrap()
}

fn note(key: &str, text: &str, vector: &[f32]) -> MemoryRow {
    MemoryRow {
        item: MemoryItem { key: key.into(), text: text.into(), metadata: serde_json::json!({}) },
        content: Digest::of(text.as_bytes()),
        embedding: Some(("toy".into(), vector.to_vec())),
        written: 1,
    }
}
