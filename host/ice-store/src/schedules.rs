//! The table of schedules, in statements that both backends read the same way.

use ice_core::id::{ExecutionId, Identity};
use ice_core::ports::{Failure, ScheduleRow};
use ice_core::problem::{Code, Problem};

/// A row as it is read: org, person, name, document, paused, last, next, execution, planned, fence.
pub(crate) type Columns = (String, String, String, String, i64, i64, Option<i64>, Option<String>, Option<i64>, i64);

/// Reads a row; X047 when the document is none of ours.
pub(crate) fn row(columns: Columns) -> Result<(ScheduleRow, u64), Failure> {
    let (org, user, name, document, paused, last, next, execution, planned, fence) = columns;
    let schedule = serde_json::from_str(&document).map_err(|error| {
        Failure::never(
            Problem::new(Code::X047, format!("the stored schedule `{name}` cannot be read: {error}")).help(format!(
                "use the version of `ice` that wrote it, or `ice schedules remove {name}` and add it again"
            )),
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

/// What is written over `old`, which is all of one owner, and the names of those of `network` that are gone.
pub(crate) fn replaced(
    old: &[ScheduleRow],
    network: Option<&str>,
    rows: Vec<ScheduleRow>,
) -> (Vec<ScheduleRow>, Vec<String>) {
    let new = |old: &&ScheduleRow| !rows.iter().any(|row| row.schedule.name == old.schedule.name);
    let gone = old.iter().filter(|old| network.is_some() && old.schedule.network.as_deref() == network).filter(new);
    let gone = gone.map(|old| old.schedule.name.clone()).collect();
    let in_place = |row: ScheduleRow| match old.iter().find(|old| old.schedule.name == row.schedule.name) {
        Some(old) => row.in_place_of(old),
        None => row,
    };
    (rows.into_iter().map(in_place).collect(), gone)
}

/// Implements the port for a backend's `Store`. `$own` and `$free` end a select of rows that are then written: of one's
/// own, and of one that nobody else is just writing. `$together` runs work in a transaction, or is in one already.
macro_rules! keeps_schedules {
    ($connection:ty, $together:path, $own:literal, $free:literal) => {
        /// Writes a row over the one of its name. Claims on that are lost.
        async fn put(connection: &mut $connection, row: ice_core::ports::ScheduleRow) -> Result<(), crate::fault::Fault> {
            const PUT: &str = "insert into schedules \
                (org, person, name, document, paused, last, next, execution, planned) \
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (org, person, name) do update set \
                document = excluded.document, paused = excluded.paused, last = excluded.last, \
                next = excluded.next, execution = excluded.execution, planned = excluded.planned, \
                held = 0, fence = schedules.fence + 1";
            let document = serde_json::to_string(&row.schedule).expect("a schedule is JSON");
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
        }

        /// Writes rows over those of their names, and removes the others of a network.
        async fn apply(
            connection: &mut $connection,
            who: ice_core::id::Identity,
            network: Option<String>,
            rows: Vec<ice_core::ports::ScheduleRow>,
        ) -> Result<Vec<ice_core::ports::ScheduleRow>, crate::fault::Fault> {
            const OWN: &str = concat!(
                "select org, person, name, document, paused, last, next, execution, planned, fence \
                from schedules where org = $1 and person = $2 order by name",
                $own
            );
            const REMOVE: &str = "delete from schedules where org = $1 and person = $2 and name = $3";
            let found: Vec<crate::schedules::Columns> =
                sqlx::query_as(OWN).bind(&who.org).bind(&who.user).fetch_all(&mut *connection).await?;
            // One that cannot be read is replaced like one that is not there.
            let old: Vec<_> = found.into_iter().filter_map(|columns| Some(crate::schedules::row(columns).ok()?.0)).collect();
            let (written, gone) = crate::schedules::replaced(&old, network.as_deref(), rows);
            for row in &written {
                put(&mut *connection, row.clone()).await?;
            }
            for name in gone {
                sqlx::query(REMOVE).bind(&who.org).bind(&who.user).bind(name).execute(&mut *connection).await?;
            }
            Ok(written)
        }

        #[async_trait::async_trait]
        impl ice_core::ports::Schedules for Store {
            async fn put_schedule(&self, row: &ice_core::ports::ScheduleRow) -> Result<(), ice_core::ports::Failure> {
                let row = row.clone();
                self.write(move |connection| Box::pin(put(connection, row))).await
            }

            async fn apply_schedules(
                &self,
                who: &ice_core::id::Identity,
                network: Option<&str>,
                rows: &[ice_core::ports::ScheduleRow],
            ) -> Result<Vec<ice_core::ports::ScheduleRow>, ice_core::ports::Failure> {
                let (who, network, rows) = (who.clone(), network.map(str::to_owned), rows.to_vec());
                self.write(move |connection| {
                    Box::pin($together(connection, move |connection| {
                        Box::pin(apply(connection, who, network, rows))
                    }))
                })
                .await
            }

            async fn schedule(
                &self,
                who: &ice_core::id::Identity,
                name: &str,
            ) -> Result<Option<ice_core::ports::ScheduleRow>, ice_core::ports::Failure> {
                const GET: &str = "select org, person, name, document, paused, last, next, execution, planned, fence \
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
                const LIST: &str = "select org, person, name, document, paused, last, next, execution, planned, fence \
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
                    $free,
                    ") returning org, person, name, document, paused, last, next, execution, planned, fence"
                );
                let (now, until) = (crate::fault::integer(now), crate::fault::integer(now.saturating_add(lease_ms)));
                let found = self.write(move |connection| {
                    Box::pin(async move {
                        let found: Option<crate::schedules::Columns> =
                            sqlx::query_as(CLAIM).bind(now).bind(until).fetch_optional(connection).await?;
                        // One that cannot be read is claimed all the same, so that it is not in the way of the others.
                        Ok(found.map(crate::schedules::row))
                    })
                });
                let found = found.await?.transpose()?;
                Ok(found.map(|(row, fence)| ice_core::ports::ScheduleClaim { row, fence }))
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

            async fn wake_schedule(
                &self,
                who: &ice_core::id::Identity,
                name: &str,
                at: ice_core::id::UnixMs,
            ) -> Result<bool, ice_core::ports::Failure> {
                const WAKE: &str = "update schedules set next = $1 \
                    where org = $2 and person = $3 and name = $4 and paused = 0 and next > $1";
                let (org, user, name) = (who.org.clone(), who.user.clone(), name.to_owned());
                let at = crate::fault::integer(at);
                self.write(move |connection| {
                    Box::pin(async move {
                        let done = sqlx::query(WAKE).bind(at).bind(org).bind(user).bind(name).execute(connection).await?;
                        Ok(done.rows_affected() > 0)
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
