//! The ledger of orgs. SQLite has one writer at a time, so whoever asks second sees what the first holds.

use ice_core::budget::MicroUsd;
use ice_core::id::ExecutionId;
use ice_core::ports::{DaySpent, Failure, Hold, Ledger, Restating, Settled, Standing};
use sqlx::SqliteConnection;

use super::Store;
use crate::fault::{Fault, Work, integer, natural};
use crate::ledger::{Head, amount, by_day, changes, fits, is_held, keeps_ledger, may_restate, named, standing};
use crate::list::no_execution;

keeps_ledger!(SqliteConnection, "");

/// The writer has begun a transaction already.
async fn together<T>(
    connection: &mut SqliteConnection,
    work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
) -> Result<T, Fault> {
    work(connection).await
}

/// Nobody else writes meanwhile, whatever the org.
async fn queue(_connection: &mut SqliteConnection, _org: &str) -> Result<(), Fault> {
    Ok(())
}
