//! The schedules. SQLite has one writer at a time, so a claim is one statement, and every write is a transaction already.

use sqlx::SqliteConnection;

use super::Store;
use crate::fault::{Fault, Work};
use crate::schedules::keeps_schedules;

async fn together<T>(
    connection: &mut SqliteConnection,
    work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
) -> Result<T, Fault> {
    work(connection).await
}

keeps_schedules!(SqliteConnection, together, "", "");
