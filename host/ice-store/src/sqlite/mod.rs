//! The SQLite backend: one connection that writes, a few that read.
//!
//! WAL mode lets readers go on while the writer commits. Everything that writes goes through the one task of
//! `writer.rs`; a caller that is dropped in the middle of its write can therefore never leave a transaction open.
//! A database in memory has one connection for everything, because a second one would see another database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ice_core::ports::{Clock, Failure};
use ice_core::problem::{Code, Problem};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use crate::Options;
use crate::address;
use crate::bell::Bell;
use crate::fault::{Work, natural};
use crate::holder::Holder;

mod append;
mod check;
mod documents;
mod events;
mod every;
mod following;
mod group;
mod ledger;
mod memory;
mod migrate;
mod nearest;
mod opening;
mod schedules;
mod writer;

pub use migrate::MIGRATIONS;

use writer::Order;

/// An open database; see [`crate::Store`].
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// The database as messages name it.
    place: String,
    path: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// This process, as it is written into leases.
    holder: Holder,
    /// Bounded: when the disk is slower than the executions, they wait here instead of filling the memory.
    orders: mpsc::Sender<Order>,
    /// `None` for a database in memory: the writer reads as well.
    readers: Option<SqlitePool>,
    /// Those who wait for events.
    bell: Arc<Bell>,
    looking: following::Looking,
}

impl Store {
    /// Opens the file, or a database in memory for `None`.
    pub(crate) async fn open(file: Option<&Path>, clock: Arc<dyn Clock>, options: Options) -> Result<Self, Problem> {
        let path = file.map(address::prepare).transpose()?;
        let place = path.as_ref().map_or_else(|| "sqlite::memory:".to_owned(), |path| path.display().to_string());
        let lock_wait = options.lock_wait;
        let connection =
            opening::writer(path.as_deref(), options).await.map_err(|fault| fault.explain(&place).problem)?;
        let readers = path.as_deref().map(|path| opening::readers(path, lock_wait));
        let bell = Bell::new();
        let orders = writer::start(connection, place.clone(), Arc::clone(&bell));
        let (holder, looking) = (Holder::current(), following::Looking::default());
        Ok(Self { inner: Arc::new(Inner { place, path, clock, holder, orders, readers, bell, looking }) })
    }

    /// Number of the newest migration that was applied.
    pub(crate) async fn schema_version(&self) -> Result<u32, Problem> {
        let version = self.read(|connection| {
            Box::pin(async move { Ok(sqlx::query_scalar("pragma user_version").fetch_one(connection).await?) })
        });
        version.await.map_err(|failure| failure.problem)
    }

    /// Bytes the database takes on disk, with its write-ahead log; in memory, the bytes of its pages.
    pub(crate) async fn size(&self) -> Result<u64, Problem> {
        const PAGES: &str = "select page_count * page_size from pragma_page_count, pragma_page_size";
        let pages = self.read(|connection| {
            Box::pin(async move { Ok(sqlx::query_scalar::<_, i64>(PAGES).fetch_one(connection).await?) })
        });
        let pages = natural(pages.await.map_err(|failure| failure.problem)?);
        let log = self.inner.path.as_ref().map(|path| {
            let mut name = path.clone().into_os_string();
            name.push("-wal");
            std::fs::metadata(name).map_or(0, |log| log.len())
        });
        Ok(pages + log.unwrap_or(0))
    }

    /// The database as messages name it: the path of its file, or `sqlite::memory:`.
    pub(crate) fn place(&self) -> &str {
        &self.inner.place
    }

    /// Finishes what was asked for, folds the write-ahead log into the file and closes the connections.
    /// Everything afterwards fails with X047.
    pub(crate) async fn close(&self) {
        self.inner.looking.end();
        // The readers first: the last connection to go is the one that may fold the log.
        if let Some(readers) = &self.inner.readers {
            readers.close().await;
        }
        let (done, closed) = oneshot::channel();
        if self.inner.orders.send(Order::Close(done)).await.is_ok() {
            // An error means that the writer is gone already, which is what was asked for.
            let _gone = closed.await;
        }
        // Those who wait hear it too: they ask, and are told.
        self.inner.bell.ring_all();
    }

    /// Runs `work` in a transaction of its own. It is durable when this returns `Ok`; on `Err` nothing was written.
    /// Dropping the returned future does not stop work that was handed over already.
    async fn write<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        self.on_writer(move |connection| Box::pin(writer::in_transaction(connection, work))).await
    }

    /// Runs `work` on a connection that may only read.
    async fn read<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let Some(readers) = &self.inner.readers else {
            return self.on_writer(work).await;
        };
        let outcome = match readers.acquire().await {
            Ok(mut connection) => work(&mut connection).await,
            Err(sqlx::Error::PoolClosed) => return Err(self.stopped()),
            Err(error) => Err(error.into()),
        };
        outcome.map_err(|fault| fault.explain(&self.inner.place))
    }

    async fn on_writer<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let errand: writer::Errand = Box::new(move |connection| {
            Box::pin(async move {
                // The caller may be gone; its work is done nevertheless.
                let _unread = reply.send(work(connection).await);
            })
        });
        self.inner.orders.send(Order::Run(errand)).await.map_err(|_| self.stopped())?;
        let outcome = answer.await.map_err(|_| self.stopped())?;
        outcome.map_err(|fault| fault.explain(&self.inner.place))
    }

    fn stopped(&self) -> Failure {
        Failure::never(
            Problem::new(Code::X047, "the database is closed")
                .file(self.place())
                .help("open it again: start `ice` again"),
        )
    }
}
