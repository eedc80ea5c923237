//! The conformance suite on SQLite, as a file and in memory.
#![expect(clippy::unwrap_used, reason = "a test that panics says where")]

use std::sync::Arc;

use ice_core::ports::Clock;
use ice_store::{Options, Store};
use tempfile::TempDir;

async fn file(clock: Arc<dyn Clock>) -> (Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = ice_store::open_path(&folder.path().join("ice.db"), clock, Options::default()).await.unwrap();
    (store, folder)
}

async fn memory(clock: Arc<dyn Clock>) -> (Store, ()) {
    (ice_store::open("sqlite::memory:", clock).await.unwrap(), ())
}

ice_store::conformance!(sqlite_file, super::file);
ice_store::conformance!(sqlite_memory, super::memory);
