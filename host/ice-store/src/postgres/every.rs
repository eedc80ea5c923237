//! Walking over all executions of the database, whoever they belong to. Listings for one person are in `events.rs`.

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
        // Ids are compared by their bytes, whatever language the database was made for.
        const EVERY: &str = "select id from executions where id collate \"C\" > $1 and starts_with(id, $2) \
            and updated >= $3 and started < $4 and ($5::text is null or org = $5) order by id collate \"C\" limit $6";
        let after = after.map(|id| id.0.clone()).unwrap_or_default();
        let which = which.clone();
        self.read(move |connection| {
            let (after, which) = (after.clone(), which.clone());
            Box::pin(async move {
                let ids: Vec<String> = sqlx::query_scalar(EVERY)
                    .bind(after)
                    .bind(which.prefix.unwrap_or_default())
                    .bind(integer(which.updated_since.unwrap_or_default()))
                    .bind(which.started_before.map_or(i64::MAX, integer))
                    .bind(which.org)
                    .bind(i64::from(limit))
                    .fetch_all(connection)
                    .await?;
                Ok(ids.into_iter().map(ExecutionId).collect())
            })
        })
        .await
    }
}
