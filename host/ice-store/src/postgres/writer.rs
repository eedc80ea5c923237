//! The one task that appends. What arrives while it commits is committed together by the next statement.
//!
//! That is group commit without a timer, as in SQLite's writer; here it also shares the way to the server and back.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};

use super::append::{Part, commit};
use super::opening::{FRESH, connect};
use crate::bell::Bell;
use crate::fault::Fault;

/// Orders that may wait. A caller beyond them waits itself.
const WAITING_MAX: usize = 1024;

/// One statement takes at most so many parts, and stops taking more at so many bytes: other processes wait for the
/// rows it locks, and its events are in memory twice.
const GROUP_MAX: usize = 512;
const GROUP_BYTES_MAX: usize = 4 << 20;

/// What the task is asked to do, in the order of asking.
pub(super) enum Order {
    /// Joins the next group.
    Join(Part),
    /// Ends the task.
    Close(oneshot::Sender<()>),
}

/// The connection that appends; made anew when it was lost.
pub(super) struct Line {
    connection: Option<PgConnection>,
    /// When the server last answered on it.
    answered: tokio::time::Instant,
    options: PgConnectOptions,
    /// The database as messages name it.
    pub(super) place: String,
    /// Rung for every list that grew.
    pub(super) bell: Arc<Bell>,
}

impl Line {
    /// The connection. One that was idle is asked whether it is still there, so that a server that was started again
    /// in the meantime costs nobody an append.
    pub(super) async fn ready(&mut self) -> Result<&mut PgConnection, Fault> {
        if self.answered.elapsed() >= FRESH
            && let Some(connection) = &mut self.connection
            && connection.ping().await.is_err()
        {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            empty => Ok(empty.insert(connect(&self.options).await?)),
        }
    }

    /// Notes how it went: a lost connection is not used again.
    pub(super) fn note<T>(&mut self, outcome: &Result<T, Fault>) {
        if outcome.as_ref().is_err_and(Fault::is_lost) {
            self.connection = None;
        }
        self.answered = tokio::time::Instant::now();
    }
}

/// Starts the task. It ends when every sender is gone or [`Order::Close`] arrives.
pub(super) fn start(
    connection: PgConnection,
    options: PgConnectOptions,
    place: String,
    bell: Arc<Bell>,
) -> mpsc::Sender<Order> {
    let (orders, waiting) = mpsc::channel(WAITING_MAX);
    let answered = tokio::time::Instant::now();
    tokio::spawn(serve(Line { connection: Some(connection), answered, options, place, bell }, waiting));
    orders
}

async fn serve(mut line: Line, mut waiting: mpsc::Receiver<Order>) {
    let mut closed = None;
    let mut next = waiting.recv().await;
    while let Some(order) = next.take() {
        match order {
            Order::Join(first) => {
                let (group, other) = gather(first, &mut waiting);
                commit(&mut line, group).await;
                next = other;
            }
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
    if let Some(connection) = line.connection {
        // Only a farewell: everything that was answered is committed.
        let _unsaid = connection.close().await;
    }
    if let Some(done) = closed {
        let _unread = done.send(());
    }
}

/// The parts that wait already, up to the bounds, the first order of another kind, or the second part of one execution,
/// which is returned beside them: one statement changes a row once.
fn gather(first: Part, waiting: &mut mpsc::Receiver<Order>) -> (Vec<Part>, Option<Order>) {
    let mut bytes = first.bytes();
    let mut executions = HashSet::from([first.execution().to_owned()]);
    let mut group = vec![first];
    while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
        match waiting.try_recv() {
            Ok(Order::Join(part)) if executions.insert(part.execution().to_owned()) => {
                bytes += part.bytes();
                group.push(part);
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}
