//! The ledger of orgs: holds, settlements, restatements.

use async_trait::async_trait;
use ice_core::budget::MicroUsd;
use ice_core::id::ExecutionId;
use ice_core::ports::{DaySpent, Failure, Hold, Ledger, Restating, Standing};
use sqlx::{Connection, PgConnection};

use super::Store;
use crate::fault::{Fault, integer, natural};
use crate::ledger::{Head, by_day, fits, is_held, may_restate, named, standing};
use crate::list::no_execution;

#[async_trait]
impl Ledger for Store {
    async fn hold(&self, hold: &Hold, limit: Option<MicroUsd>, since: u64) -> Result<Option<Standing>, Failure> {
        let hold = hold.clone();
        self.write(move |connection| Box::pin(set_aside(connection, hold, limit, since))).await
    }

    async fn settle(&self, hold: &Hold, used: MicroUsd, day: u64) -> Result<(), Failure> {
        const FREE: &str = "delete from ledger_holds where execution = $1 and key = $2";
        let hold = hold.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                sqlx::query(FREE).bind(&hold.execution.0).bind(hold.key).execute(&mut *transaction).await?;
                if used > 0 {
                    add(&mut transaction, &hold.org, &hold.execution.0, &DaySpent { day, micro_usd: used }).await?;
                }
                transaction.commit().await?;
                Ok(())
            })
        })
        .await
    }

    async fn restate(
        &self,
        execution: &ExecutionId,
        org: &str,
        events: u64,
        spent: &[DaySpent],
        who: Restating<'_>,
    ) -> Result<bool, Failure> {
        const FIND: &str = "select events, fence, holder, lease_until from executions where id = $1 \
            for update";
        const CLEAR: [&str; 2] =
            ["delete from ledger_holds where execution = $1", "delete from ledger_spent where execution = $1"];
        let now = self.inner.clock.now_ms();
        let (id, org, spent) = (execution.0.clone(), org.to_owned(), spent.to_vec());
        let fence = match who {
            Restating::Holder(lease) => Some(integer(lease.fence)),
            Restating::Anybody => None,
        };
        self.write(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                let found = sqlx::query_as(FIND).bind(&id).fetch_optional(&mut *transaction).await?;
                let head: Head = found.ok_or_else(|| no_execution(&id))?;
                if !may_restate(&head, fence, integer(events), now) {
                    return Ok(false);
                }
                for clear in CLEAR {
                    sqlx::query(clear).bind(&id).execute(&mut *transaction).await?;
                }
                for day in &spent {
                    add(&mut transaction, &org, &id, day).await?;
                }
                transaction.commit().await?;
                Ok(true)
            })
        })
        .await
    }

    async fn stale(&self, org: &str, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        const HOLDING: &str = "select distinct e.id, e.holder, e.lease_until from ledger_holds h \
            join executions e on e.id = h.execution where h.org = $1 order by e.lease_until limit $2";
        let (org, now) = (org.to_owned(), self.inner.clock.now_ms());
        Store::read(self, move |connection| {
            let org = org.clone();
            Box::pin(async move {
                let rows: Vec<(String, Option<String>, i64)> =
                    sqlx::query_as(HOLDING).bind(org).bind(i64::from(limit)).fetch_all(connection).await?;
                Ok(rows
                    .into_iter()
                    .filter(|(_, holder, until)| !is_held(holder.as_ref(), *until, now))
                    .map(named)
                    .collect())
            })
        })
        .await
    }

    async fn standings(&self, since: u64) -> Result<Vec<Standing>, Failure> {
        const STANDINGS: &str = "select org, sum(spent)::int8, sum(aside)::int8 from ( \
                select org, micro_usd as spent, 0::int8 as aside from ledger_spent where day >= $1 \
                union all select org, 0::int8, micro_usd from ledger_holds) as r group by org order by org";
        Store::read(self, move |connection| {
            Box::pin(async move {
                let rows: Vec<(String, i64, i64)> =
                    sqlx::query_as(STANDINGS).bind(integer(since)).fetch_all(connection).await?;
                Ok(rows.into_iter().map(standing).collect())
            })
        })
        .await
    }

    async fn dearest(&self, org: &str, since: u64, limit: u32) -> Result<Vec<(ExecutionId, MicroUsd)>, Failure> {
        const DEAREST: &str = "select execution, sum(micro_usd)::int8 from ledger_spent where org = $1 and day >= $2 \
            group by execution order by 2 desc, 1 limit $3";
        let org = org.to_owned();
        Store::read(self, move |connection| {
            let org = org.clone();
            Box::pin(async move {
                let rows: Vec<(String, i64)> = sqlx::query_as(DEAREST)
                    .bind(org)
                    .bind(integer(since))
                    .bind(i64::from(limit))
                    .fetch_all(connection)
                    .await?;
                Ok(rows.into_iter().map(|(id, sum)| (ExecutionId(id), natural(sum))).collect())
            })
        })
        .await
    }

    async fn spent(&self, execution: &ExecutionId) -> Result<Vec<DaySpent>, Failure> {
        const SPENT: &str = "select day, micro_usd from ledger_spent where execution = $1 order by day";
        let id = execution.0.clone();
        Store::read(self, move |connection| {
            let id = id.clone();
            Box::pin(async move {
                let rows: Vec<(i64, i64)> = sqlx::query_as(SPENT).bind(id).fetch_all(connection).await?;
                Ok(rows.into_iter().map(by_day).collect())
            })
        })
        .await
    }
}

async fn set_aside(
    connection: &mut PgConnection,
    hold: Hold,
    limit: Option<MicroUsd>,
    since: u64,
) -> Result<Option<Standing>, Fault> {
    // Under the same key it takes the place of what was there.
    const SUMS: &str = "select \
        (select coalesce(sum(micro_usd), 0)::int8 from ledger_spent where org = $1 and day >= $2), \
        (select coalesce(sum(micro_usd), 0)::int8 from ledger_holds where org = $1 and not (execution = $3 and key = $4))";
    // "icel" in ASCII, apart from the lock of migrations.
    const LOCK: &str = "select pg_advisory_xact_lock(1768121708, hashtext($1))";
    const HOLD: &str = "insert into ledger_holds (execution, key, org, micro_usd) values ($1, $2, $3, $4) \
        on conflict (execution, key) do update set micro_usd = excluded.micro_usd";
    let mut transaction = connection.begin().await?;
    if let Some(limit) = limit {
        // Whoever asks for the same org at once waits here, and then sees this hold. Two orgs of one hash wait for
        // each other as well, which is slower and not wrong.
        sqlx::query(LOCK).bind(&hold.org).execute(&mut *transaction).await?;
        let query = sqlx::query_as(SUMS).bind(&hold.org).bind(integer(since));
        let (spent, reserved): (i64, i64) =
            query.bind(&hold.execution.0).bind(&hold.key).fetch_one(&mut *transaction).await?;
        let standing = standing((hold.org.clone(), spent, reserved));
        if !fits(&standing, hold.micro_usd, limit) {
            return Ok(Some(standing));
        }
    }
    let query = sqlx::query(HOLD).bind(hold.execution.0).bind(hold.key).bind(hold.org);
    query.bind(integer(hold.micro_usd)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(None)
}

async fn add(connection: &mut PgConnection, org: &str, execution: &str, spent: &DaySpent) -> Result<(), Fault> {
    const ADD: &str = "insert into ledger_spent (org, day, execution, micro_usd) values ($1, $2, $3, $4) \
        on conflict (org, day, execution) do update set micro_usd = ledger_spent.micro_usd + excluded.micro_usd";
    let query = sqlx::query(ADD).bind(org).bind(integer(spent.day)).bind(execution);
    query.bind(integer(spent.micro_usd)).execute(connection).await?;
    Ok(())
}
