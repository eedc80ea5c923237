//! Events as they are appended, by whichever process.
//!
//! An append of this process rings the bell. One of another process cannot wake anybody here: SQLite has no such call,
//! and the kernel tells of a write to the log (inotify) *before* the writer has published it in the log's index, so
//! whoever reads at that word may see nothing and then sleep for ever. What is sound is to ask SQLite itself:
//! `pragma data_version` changes exactly when another connection has committed, and reads one header in shared memory.
//! It is asked only while somebody follows, after pauses that grow as long as nothing happens.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ice_core::event::Event;
use ice_core::id::ExecutionId;
use ice_core::ports::{Events, Failure};
use sqlx::SqliteConnection;
use tokio::task::AbortHandle;

use super::{Store, opening};
use crate::bell::Bell;

/// Between two looks. A person sees no delay in the longest. The shortest bounds how often all followers read while
/// another process writes without end: which execution it was is not said.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The pause before a connection that failed is made again.
const AGAIN: Duration = Duration::from_secs(1);

/// The task that looks. Made when somebody follows for the first time; it ends with the store.
#[derive(Default)]
pub(super) struct Looking(OnceLock<AbortHandle>);

impl Looking {
    fn begin(&self, path: &Path, bell: &Arc<Bell>) {
        self.0.get_or_init(|| tokio::spawn(look(path.to_owned(), Arc::clone(bell))).abort_handle());
    }

    pub(super) fn end(&self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.end();
    }
}

impl Store {
    /// The next events of an execution, once there are any.
    pub(super) async fn follow(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        // A database in memory is nobody else's.
        if let Some(path) = &self.inner.path {
            self.inner.looking.begin(path, &self.inner.bell);
        }
        let seat = self.inner.bell.sit(&id.0);
        loop {
            let rung = seat.rung();
            let page = Events::read(self, id, after, limit).await?;
            if !page.is_empty() {
                return Ok(page);
            }
            rung.await;
        }
    }
}

/// Rings whenever another connection has written, as long as the store lives.
async fn look(path: PathBuf, bell: Arc<Bell>) {
    loop {
        bell.wanted().await;
        // Why a look failed is said by the followers' own questions, if it concerns them.
        if let Ok(mut connection) = opening::looker(&path, AGAIN).await {
            let _failed = look_on(&mut connection, &bell).await;
        }
        tokio::time::sleep(AGAIN).await;
        bell.ring_all();
    }
}

async fn look_on(connection: &mut SqliteConnection, bell: &Bell) -> Result<(), sqlx::Error> {
    let mut seen = version(connection).await?;
    // What was written before this moment was seen by nobody.
    bell.ring_all();
    let mut pause = PAUSE_MIN;
    loop {
        bell.wanted().await;
        tokio::time::sleep(pause).await;
        let now = version(connection).await?;
        if now == seen {
            pause = (pause * 2).min(PAUSE_MAX);
        } else {
            (seen, pause) = (now, PAUSE_MIN);
            bell.ring_all();
        }
    }
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("pragma data_version").fetch_one(connection).await
}
