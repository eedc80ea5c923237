//! The table of schedules, in statements that both backends read the same way.

use ice_core::id::{ExecutionId, Identity};
use ice_core::ports::{Failure, ScheduleRow};
use ice_core::problem::{Code, Problem};

/// A row as it is read: org, person, document, paused, last, next, execution, planned, fence.
pub(crate) type Columns = (String, String, String, i64, i64, Option<i64>, Option<String>, Option<i64>, i64);

/// Reads a row; X047 when the document is none of ours.
pub(crate) fn row(columns: Columns) -> Result<(ScheduleRow, u64), Failure> {
    let (org, user, document, paused, last, next, execution, planned, fence) = columns;
    let schedule = serde_json::from_str(&document).map_err(|error| {
        Failure::never(
            Problem::new(Code::X047, format!("a stored schedule cannot be read: {error}"))
                .help("remove it with `ice schedules remove` and add it again"),
        )
    })?;
    let moment = |value: i64| u64::try_from(value).unwrap_or(0);
    let row = ScheduleRow {
        who: Identity { org, user, session: None },
        schedule,
        paused: paused != 0,
        last: moment(last),
        next: next.map(moment),
        execution: execution.map(ExecutionId),
        planned: planned.map(moment),
    };
    Ok((row, moment(fence)))
}

/// A settling came too late.
pub(crate) fn fenced(name: &str) -> Failure {
    Failure::never(
        Problem::new(Code::X026, format!("the claim on the schedule `{name}` was lost"))
            .help("another process goes on with it; a run that was started is not started again"),
    )
}

/// Implements the port for a backend's `Store`; `$lock` ends the select inside a claim.
macro_rules! keeps_schedules {
    ($lock:literal) => {
        #[async_trait::async_trait]
        impl ice_core::ports::Schedules for Store {
            async fn put_schedule(&self, row: &ice_core::ports::ScheduleRow) -> Result<(), ice_core::ports::Failure> {
                const PUT: &str = "insert into schedules \
                    (org, person, name, document, paused, last, next, execution, planned) \
                    values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (org, person, name) do update set \
                    document = excluded.document, paused = excluded.paused, last = excluded.last, \
                    next = excluded.next, execution = excluded.execution, planned = excluded.planned, \
                    held = 0, fence = schedules.fence + 1";
                let row = row.clone();
                let document = serde_json::to_string(&row.schedule).expect("a schedule is JSON");
                self.write(move |connection| {
                    Box::pin(async move {
                        sqlx::query(PUT)
                            .bind(row.who.org)
                            .bind(row.who.user)
                            .bind(row.schedule.name)
                            .bind(document)
                            .bind(i64::from(row.paused))
                            .bind(crate::fault::integer(row.last))
                            .bind(row.next.map(crate::fault::integer))
                            .bind(row.execution.map(|id| id.0))
                            .bind(row.planned.map(crate::fault::integer))
                            .execute(connection)
                            .await?;
                        Ok(())
                    })
                })
                .await
            }

            async fn schedule(
                &self,
                who: &ice_core::id::Identity,
                name: &str,
            ) -> Result<Option<ice_core::ports::ScheduleRow>, ice_core::ports::Failure> {
                const GET: &str = "select org, person, document, paused, last, next, execution, planned, fence \
                    from schedules where org = $1 and person = $2 and name = $3";
                let (org, user, name) = (who.org.clone(), who.user.clone(), name.to_owned());
                self.read(move |connection| {
                    let (org, user, name) = (org.clone(), user.clone(), name.clone());
                    Box::pin(async move {
                        let found: Option<crate::schedules::Columns> =
                            sqlx::query_as(GET).bind(org).bind(user).bind(name).fetch_optional(connection).await?;
                        Ok(found.map(crate::schedules::row).transpose()?.map(|(row, _)| row))
                    })
                })
                .await
            }

            async fn schedules(
                &self,
                who: Option<&ice_core::id::Identity>,
                limit: u32,
            ) -> Result<Vec<ice_core::ports::ScheduleRow>, ice_core::ports::Failure> {
                const LIST: &str = "select org, person, document, paused, last, next, execution, planned, fence \
                    from schedules where ($1 = '' or (org = $1 and person = $2)) order by name, org, person limit $3";
                // No org is empty.
                let (org, user) = who.map(|who| (who.org.clone(), who.user.clone())).unwrap_or_default();
                self.read(move |connection| {
                    let (org, user) = (org.clone(), user.clone());
                    Box::pin(async move {
                        let found: Vec<crate::schedules::Columns> = sqlx::query_as(LIST)
                            .bind(org)
                            .bind(user)
                            .bind(i64::from(limit))
                            .fetch_all(connection)
                            .await?;
                        let rows = found.into_iter().map(|columns| Ok(crate::schedules::row(columns)?.0));
                        rows.collect::<Result<Vec<_>, ice_core::ports::Failure>>().map_err(Into::into)
                    })
                })
                .await
            }

            async fn remove_schedule(
                &self,
                who: &ice_core::id::Identity,
                name: &str,
            ) -> Result<bool, ice_core::ports::Failure> {
                const REMOVE: &str = "delete from schedules where org = $1 and person = $2 and name = $3";
                let (org, user, name) = (who.org.clone(), who.user.clone(), name.to_owned());
                self.write(move |connection| {
                    Box::pin(async move {
                        let done = sqlx::query(REMOVE).bind(org).bind(user).bind(name).execute(connection).await?;
                        Ok(done.rows_affected() > 0)
                    })
                })
                .await
            }

            async fn claim_schedule(
                &self,
                now: ice_core::id::UnixMs,
                lease_ms: u64,
            ) -> Result<Option<ice_core::ports::ScheduleClaim>, ice_core::ports::Failure> {
                const CLAIM: &str = concat!(
                    "update schedules set held = $2, fence = fence + 1 where (org, person, name) = \
                    (select org, person, name from schedules where paused = 0 and next <= $1 and held <= $1 \
                    order by next limit 1",
                    $lock,
                    ") returning org, person, document, paused, last, next, execution, planned, fence"
                );
                let (now, until) = (crate::fault::integer(now), crate::fault::integer(now.saturating_add(lease_ms)));
                self.write(move |connection| {
                    Box::pin(async move {
                        let found: Option<crate::schedules::Columns> =
                            sqlx::query_as(CLAIM).bind(now).bind(until).fetch_optional(connection).await?;
                        let found = found.map(crate::schedules::row).transpose()?;
                        Ok(found.map(|(row, fence)| ice_core::ports::ScheduleClaim { row, fence }))
                    })
                })
                .await
            }

            async fn settle_schedule(
                &self,
                claim: &ice_core::ports::ScheduleClaim,
            ) -> Result<(), ice_core::ports::Failure> {
                const SETTLE: &str = "update schedules set last = $1, next = $2, execution = $3, planned = $4, held = 0 \
                    where org = $5 and person = $6 and name = $7 and fence = $8";
                let claim = claim.clone();
                self.write(move |connection| {
                    Box::pin(async move {
                        let ice_core::ports::ScheduleClaim { row, fence } = claim;
                        let done = sqlx::query(SETTLE)
                            .bind(crate::fault::integer(row.last))
                            .bind(row.next.map(crate::fault::integer))
                            .bind(row.execution.map(|id| id.0))
                            .bind(row.planned.map(crate::fault::integer))
                            .bind(row.who.org)
                            .bind(row.who.user)
                            .bind(row.schedule.name.clone())
                            .bind(crate::fault::integer(fence))
                            .execute(connection)
                            .await?;
                        match done.rows_affected() {
                            0 => Err(crate::schedules::fenced(&row.schedule.name).into()),
                            _ => Ok(()),
                        }
                    })
                })
                .await
            }

            async fn next_schedule(&self) -> Result<Option<ice_core::id::UnixMs>, ice_core::ports::Failure> {
                const NEXT: &str = "select min(case when next > held then next else held end) from schedules \
                    where paused = 0 and next is not null";
                self.read(move |connection| {
                    Box::pin(async move {
                        let next: Option<i64> = sqlx::query_scalar(NEXT).fetch_one(connection).await?;
                        Ok(next.and_then(|next| u64::try_from(next).ok()))
                    })
                })
                .await
            }
        }
    };
}

pub(crate) use keeps_schedules;
