//! What only a database in a file can be asked: other versions, other programs, damage, a full disk, `kill -9`.
#![expect(clippy::unwrap_used, reason = "a test that panics says where")]

use std::path::Path;
use std::sync::Arc;

use ice_core::id::{Digest, ExecutionId};
use ice_core::ports::{Clock, MemoryItem, MemoryRow};
use ice_store::conformance::ManualClock;
use ice_store::{Options, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};

mod following;
mod harm;
mod killed;
mod opening;

fn clock() -> Arc<dyn Clock> {
    ManualClock::at(1_000_000)
}

fn id(name: &str) -> ExecutionId {
    ExecutionId(name.into())
}

async fn open(path: &Path) -> Store {
    ice_store::open_path(path, clock(), Options::default()).await.unwrap()
}

/// Runs SQL on the file behind the store's back.
async fn tamper(path: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    connection.execute(sqlx::raw_sql(sql)).await.unwrap();
    connection.close().await.unwrap();
}

fn note(key: &str, text: &str) -> MemoryRow {
    MemoryRow {
        item: MemoryItem { key: key.into(), text: text.into(), metadata: serde_json::json!({}) },
        content: Digest::of(text.as_bytes()),
        embedding: Some(("toy".into(), vec![1.0, 2.0])),
        written: 1,
    }
}
