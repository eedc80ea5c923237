//! The one task that writes. What arrives while it commits is committed together by the next transaction.
//!
//! That is group commit without a timer: an idle store commits at once, a busy one in ever larger groups, and the
//! price of a commit is shared by whoever had to wait for it anyway.

use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::group::{Group, Part, commit};
use crate::bell::Bell;
use crate::fault::{Fault, Work};

/// Orders that may wait. A caller beyond them waits itself.
const WAITING_MAX: usize = 1024;

/// Work that replies to its caller by itself.
pub(super) type Errand =
    Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'c>> + Send>;

/// What the task is asked to do, in the order of asking.
pub(super) enum Order {
    /// Joins the next group.
    Join(Part),
    /// Runs alone.
    Run(Errand),
    /// Ends the task.
    Close(oneshot::Sender<()>),
}

/// Starts the task, which rings `bell` for every list that grew. It ends when every sender is gone or
/// [`Order::Close`] arrives.
pub(super) fn start(connection: SqliteConnection, place: String, bell: Arc<Bell>) -> mpsc::Sender<Order> {
    let (orders, waiting) = mpsc::channel(WAITING_MAX);
    tokio::spawn(serve(connection, place, bell, waiting));
    orders
}

async fn serve(mut connection: SqliteConnection, place: String, bell: Arc<Bell>, mut waiting: mpsc::Receiver<Order>) {
    let mut closed = None;
    let mut next = waiting.recv().await;
    while let Some(order) = next.take() {
        match order {
            Order::Join(first) => {
                let (group, other) = gather(first, &mut waiting);
                commit(&mut connection, group, &place, &bell).await;
                next = other;
            }
            Order::Run(errand) => errand(&mut connection).await,
            Order::Close(done) => {
                closed = Some(done);
                break;
            }
        }
        if next.is_none() {
            next = waiting.recv().await;
        }
    }
    drop(waiting);
    // Closing folds the log; when that fails, the next opener does it.
    let _unfolded = connection.close().await;
    if let Some(done) = closed {
        let _unread = done.send(());
    }
}

/// The parts that wait already, up to the bounds or the first order that cannot join, which is returned beside them.
fn gather(first: Part, waiting: &mut mpsc::Receiver<Order>) -> (Group, Option<Order>) {
    let mut group = Group::of(first);
    while !group.is_full() {
        match waiting.try_recv() {
            Ok(Order::Join(part)) => {
                if let Err(part) = group.join(part) {
                    return (group, Some(Order::Join(part)));
                }
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

/// Runs `work` between `begin immediate` and `commit`; rolls back when anything fails.
pub(super) async fn in_transaction<T>(
    connection: &mut SqliteConnection,
    work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
) -> Result<T, Fault> {
    begin(connection).await?;
    let outcome = work(connection).await;
    finish(connection, outcome).await
}

/// Takes the lock for writing at once, not at the first write: a reader that becomes a writer can be refused halfway.
///
/// Plain statements instead of the driver's transactions: when the disk is full, SQLite rolls back by itself, and the
/// driver's count of open transactions would stay wrong for the rest of the connection's life.
pub(super) async fn begin(connection: &mut SqliteConnection) -> Result<(), Fault> {
    sqlx::query("begin immediate").execute(connection).await?;
    Ok(())
}

/// Commits what [`begin`] began, or rolls it back when `outcome` or the commit is an error.
pub(super) async fn finish<T>(connection: &mut SqliteConnection, outcome: Result<T, Fault>) -> Result<T, Fault> {
    let outcome = match outcome {
        Ok(value) => sqlx::query("commit").execute(&mut *connection).await.map(|_| value).map_err(Fault::from),
        Err(fault) => Err(fault),
    };
    if outcome.is_err() {
        // Fails when SQLite has rolled back already; then there is nothing to do.
        let _rolled_back = sqlx::query("rollback").execute(connection).await;
    }
    outcome
}
