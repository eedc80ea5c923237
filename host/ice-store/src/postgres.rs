//! The Postgres backend: one connection that appends events, a bounded pool for everything else.
//!
//! Several processes share the database. What keeps them apart is in the statements themselves: each names the state it
//! expects (the fence, the end of the list), and the row's lock decides who was first. Work that writes runs on a task
//! of its own, so a caller that is dropped in the middle leaves no transaction open.
//!
//! A connection that is lost is replaced. A read is asked once more; a write is not, because it may have been done:
//! the caller is told, and reads before it goes on.

use std::sync::Arc;
use std::time::Duration;

use ice_core::ports::{Clock, Failure};
use ice_core::problem::{Code, Problem};
use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, Postgres};
use tokio::sync::{mpsc, oneshot};

use crate::Options;
use crate::address::Server;
use crate::bell::Bell;
use crate::fault::postgres::no_answer;
use crate::fault::{Fault, Work, natural};
use crate::holder::Holder;

mod append;
mod check;
mod documents;
mod events;
mod every;
mod following;
mod ledger;
mod memory;
mod migrate;
mod nearest;
mod opening;
mod schedules;
mod writer;

use writer::Order;

/// No statement takes longer: the server stops it. A guest or a model waits for the answer, so hours are no use.
const STATEMENT_MAX: Duration = Duration::from_secs(60);

/// A server that has not answered by then, though it would have stopped the statement, is not there any more.
const ANSWER_MAX: Duration = Duration::from_secs(70);

/// An open database; see [`crate::Store`].
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// The database as messages name it.
    place: String,
    clock: Arc<dyn Clock>,
    /// This process, as it is written into leases.
    holder: Holder,
    /// Bounded: when the server is slower than the executions, they wait here instead of filling the memory.
    orders: mpsc::Sender<Order>,
    pool: PgPool,
    /// For the one connection of a second try.
    connect: PgConnectOptions,
    vectors: nearest::Indexes,
    /// Those who wait for events.
    bell: Arc<Bell>,
    listening: following::Listening,
}

impl Store {
    pub(crate) async fn open(server: Server, clock: Arc<dyn Clock>, options: Options) -> Result<Self, Problem> {
        let place = server.place;
        if options.bytes_max.is_some() {
            let message = "the size of a Postgres database cannot be limited from here";
            let help = "leave the limit out; the server's disk or a tablespace of its own bounds it";
            return Err(Problem::new(Code::C040, message).file(place).help(help));
        }
        let opened = opening::open(server.options, &options).await.map_err(|fault| fault.explain_opening(&place))?;
        let bell = Bell::new();
        let orders = writer::start(opened.writer, opened.writing, place.clone(), Arc::clone(&bell));
        let inner = Inner {
            place,
            clock,
            holder: Holder::current(),
            orders,
            pool: opened.pool,
            connect: opened.connect,
            vectors: nearest::Indexes::new(opened.pgvector),
            bell,
            listening: following::Listening::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) async fn schema_version(&self) -> Result<u32, Problem> {
        let version = self.read(|connection| Box::pin(migrate::version(connection))).await;
        version.map_err(|failure| failure.problem)
    }

    pub(crate) async fn size(&self) -> Result<u64, Problem> {
        const SIZE: &str = "select pg_database_size(current_database())";
        let size = self.read(|connection| {
            Box::pin(async move { Ok(sqlx::query_scalar::<_, i64>(SIZE).fetch_one(connection).await?) })
        });
        size.await.map(natural).map_err(|failure| failure.problem)
    }

    pub(crate) fn place(&self) -> &str {
        &self.inner.place
    }

    pub(crate) async fn close(&self) {
        self.inner.listening.end();
        self.inner.pool.close().await;
        let (done, closed) = oneshot::channel();
        if self.inner.orders.send(Order::Close(done)).await.is_ok() {
            // An error means that the writer is gone already, which is what was asked for.
            let _gone = closed.await;
        }
        // Those who wait hear it too: they ask, and are told.
        self.inner.bell.ring_all();
    }

    /// Runs `work`, which writes: one statement, or a transaction that it begins and commits. On `Err` nothing was
    /// written, except when the connection was lost: then it is not known.
    /// Dropping the returned future does not stop work that was handed over already.
    async fn write<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    {
        let pool = self.inner.pool.clone();
        let task = tokio::spawn(async move {
            let mut connection = pool.acquire().await?;
            let outcome = in_time(work(&mut connection)).await;
            give_back(connection, &outcome);
            outcome
        });
        match task.await {
            Ok(outcome) => outcome.map_err(|fault| self.explain(fault)),
            Err(_) => Err(self.stopped()),
        }
    }

    /// Runs `work`, which only reads; once more on a fresh connection when the first was lost.
    async fn read<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send,
        F: for<'c> Fn(&'c mut PgConnection) -> Work<'c, T> + Send + Sync,
    {
        let first = match self.inner.pool.acquire().await {
            Ok(mut connection) => {
                let outcome = in_time(work(&mut connection)).await;
                give_back(connection, &outcome);
                outcome
            }
            Err(error) => Err(error.into()),
        };
        let outcome = match first {
            Err(fault) if fault.is_lost() => match opening::connect(&self.inner.connect).await {
                Ok(mut connection) => in_time(work(&mut connection)).await,
                Err(fault) => Err(fault),
            },
            outcome => outcome,
        };
        outcome.map_err(|fault| self.explain(fault))
    }

    fn explain(&self, fault: Fault) -> Failure {
        match fault {
            Fault::Database(sqlx::Error::PoolClosed) => self.stopped(),
            fault => fault.explain_postgres(&self.inner.place),
        }
    }

    fn stopped(&self) -> Failure {
        Failure::never(
            Problem::new(Code::X047, "the database is closed")
                .file(self.place())
                .help("open it again: start `ice` again"),
        )
    }
}

async fn in_time<T>(work: Work<'_, T>) -> Result<T, Fault> {
    tokio::time::timeout(ANSWER_MAX, work).await.unwrap_or_else(|_| Err(no_answer()))
}

/// A connection that was lost, or on which an answer is still due, is not used again.
fn give_back<T>(mut connection: PoolConnection<Postgres>, outcome: &Result<T, Fault>) {
    if outcome.as_ref().is_err_and(Fault::is_lost) {
        connection.close_on_drop();
    }
}
