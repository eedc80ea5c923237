//! Events as they are appended, by whichever process.
//!
//! An append of this process rings the bell. One of another process is told by `NOTIFY`, in the statement that appends,
//! when the row of the execution says that somebody follows it. Nothing is lost between reading and waiting: the
//! follower marks the row before it reads, and the row's lock decides. An append that had the row before the mark is
//! committed before the mark is, and so is read; one that comes after it sees the mark, and tells.
//!
//! What was told while the connection that listens was gone is not known: whoever follows looks when it is there again.
//! A connection that died without a word is why a follower looks by itself now and then as well.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ice_core::event::Event;
use ice_core::id::ExecutionId;
use ice_core::ports::{Events, Failure};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::task::AbortHandle;

use super::Store;
use crate::bell::Bell;

/// Where appends tell of lists that grew; the statement that appends names it too.
const CHANNEL: &str = "ice_events";

/// The longest that a follower trusts in being woken.
const LOOK: Duration = Duration::from_secs(10);

/// The pause before a connection that was lost is made again.
const AGAIN: Duration = Duration::from_secs(1);

/// The task that listens. Made when somebody follows for the first time; it ends with the store.
#[derive(Default)]
pub(super) struct Listening(OnceLock<AbortHandle>);

impl Listening {
    fn begin(&self, options: &PgConnectOptions, bell: &Arc<Bell>) {
        self.0.get_or_init(|| tokio::spawn(listen(options.clone(), Arc::clone(bell))).abort_handle());
    }

    pub(super) fn end(&self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
}

impl Store {
    /// The next events of an execution, once there are any.
    pub(super) async fn follow(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        let inner = &self.inner;
        inner.listening.begin(&inner.connect, &inner.bell);
        let seat = inner.bell.sit(&id.0);
        loop {
            let rung = seat.rung();
            // Whoever cannot mark, because the row is locked for long, still looks.
            let _unmarked = self.mark(id).await;
            let page = Events::read(self, id, after, limit).await?;
            if !page.is_empty() {
                return Ok(page);
            }
            // Too late is no failure: it only means to look.
            let _looked = tokio::time::timeout(LOOK, rung).await;
        }
    }

    /// Has appends tell of this list for the next minute. Writes nothing while half of the last minute is left, and
    /// nothing for an execution that has ended.
    async fn mark(&self, id: &ExecutionId) -> Result<(), Failure> {
        const MARK: &str = "update executions set followed = now() + interval '60 s' where id = $1 \
            and status in ('running', 'waiting') and (followed is null or followed < now() + interval '30 s')";
        let id = id.0.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(MARK).bind(id).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }
}

/// Rings for everything that is told, as long as the store lives.
async fn listen(options: PgConnectOptions, bell: Arc<Bell>) {
    // A pool of its own, of one: a listener keeps its connection, and those of the store are few.
    let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None).connect_lazy_with(options);
    loop {
        bell.wanted().await;
        let ended = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            // What was appended before this moment was told to nobody.
            bell.ring_all();
            while let Some(told) = listener.try_recv().await? {
                bell.ring(told.payload());
            }
            Ok::<_, sqlx::Error>(())
        };
        // Why it was lost is said by the followers' own questions, if it concerns them.
        let _lost = ended.await;
        tokio::time::sleep(AGAIN).await;
    }
}
