//! Walking over all executions of the database, whoever they belong to: for those who answer for the whole host, such
//! as its accounts. Listings for one person are in `events.rs`.

use ice_core::id::ExecutionId;
use ice_core::ports::Failure;

use super::Store;
use crate::every::Every;
use crate::fault::integer;

impl Store {
    pub(crate) async fn every(
        &self,
        which: &Every,
        after: Option<&ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, Failure> {
        // What begins with the prefix lies before the prefix with the last of all characters behind it.
        const EVERY: &str = "select id from executions where id > ?1 and id >= ?2 and id < ?2 || char(1114111) \
            and updated >= ?3 and started < ?4 and (?5 is null or org = ?5) order by id limit ?6";
        let after = after.map(|id| id.0.clone()).unwrap_or_default();
        let which = which.clone();
        self.read(move |connection| {
            Box::pin(async move {
                let ids: Vec<String> = sqlx::query_scalar(EVERY)
                    .bind(after)
                    .bind(which.prefix.unwrap_or_default())
                    .bind(integer(which.updated_since.unwrap_or_default()))
                    .bind(which.started_before.map_or(i64::MAX, integer))
                    .bind(which.org)
                    .bind(limit)
                    .fetch_all(connection)
                    .await?;
                Ok(ids.into_iter().map(ExecutionId).collect())
            })
        })
        .await
    }
}
