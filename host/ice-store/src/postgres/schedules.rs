//! The schedules. A row that another process is just claiming is passed over, not waited for.

use sqlx::{Connection, PgConnection};

use super::Store;
use crate::fault::{Fault, Work};
use crate::schedules::keeps_schedules;

async fn together<T>(
    connection: &mut PgConnection,
    work: impl for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T>,
) -> Result<T, Fault> {
    let mut transaction = connection.begin().await?;
    // On an error the transaction is dropped, which rolls it back.
    let done = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(done)
}

keeps_schedules!(PgConnection, together, " for update", " for update skip locked");
