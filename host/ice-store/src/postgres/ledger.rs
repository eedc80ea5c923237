//! The ledger of orgs. Whoever asks for an org at the same time waits for the first, and then sees what it holds.

use ice_core::budget::MicroUsd;
use ice_core::id::ExecutionId;
use ice_core::ports::{DaySpent, Failure, Hold, Ledger, Restating, Settled, Standing};
use sqlx::{Connection, PgConnection};

use super::Store;
use crate::fault::{Fault, Work, integer, natural};
use crate::ledger::{Head, amount, by_day, changes, fits, is_held, keeps_ledger, may_restate, named, standing};
use crate::list::no_execution;

keeps_ledger!(PgConnection, " for no key update");

async fn together<T>(
    connection: &mut PgConnection,
    work: impl for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T>,
) -> Result<T, Fault> {
    let mut transaction = connection.begin().await?;
    let made = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(made)
}

/// Two orgs of one hash wait for each other as well, which is slower and not wrong.
async fn queue(connection: &mut PgConnection, org: &str) -> Result<(), Fault> {
    // "icel" in ASCII, apart from the lock of migrations.
    const LOCK: &str = "select pg_advisory_xact_lock(1768121708, hashtext($1))";
    sqlx::query(LOCK).bind(org).execute(connection).await?;
    Ok(())
}
