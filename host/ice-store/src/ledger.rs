//! The ledger of orgs, in statements that both backends read the same way. What is one transaction, and how two
//! processes wait for each other, is the backends'.

use std::collections::BTreeMap;

use ice_core::budget::MicroUsd;
use ice_core::id::{ExecutionId, UnixMs};
use ice_core::ports::{DaySpent, Standing};

use crate::fault::{integer, natural};
use crate::list::holds;

/// A billion dollars in micro-USD. No call costs more, and thousands of such amounts still add up within an integer.
const AMOUNT_MAX: MicroUsd = 1_000_000_000_000_000;

/// An amount as it is stored.
pub(crate) fn amount(micro_usd: MicroUsd) -> i64 {
    integer(micro_usd.min(AMOUNT_MAX))
}

/// Whether `more` fits beside what is spent and set aside.
pub(crate) fn fits(standing: &Standing, more: MicroUsd, limit: MicroUsd) -> bool {
    standing.spent.saturating_add(standing.reserved).saturating_add(more) <= limit
}

/// Events, fence, holder and end of the lease of an execution.
pub(crate) type Head = (i64, i64, Option<String>, i64);

/// Whether sums made of so many events may be put in the place of others: by the holder of `fence`, or by anybody when
/// no process holds the execution.
pub(crate) fn may_restate(head: &Head, fence: Option<i64>, events: i64, now: UnixMs) -> bool {
    let (found, newest, holder, until) = head;
    let allowed = match fence {
        Some(fence) => fence == *newest && holder.is_some(),
        None => !is_held(holder.as_ref(), *until, now),
    };
    allowed && *found == events
}

/// Whether a living process holds the lease.
pub(crate) fn is_held(holder: Option<&String>, until: i64, now: UnixMs) -> bool {
    holder.is_some_and(|holder| holds(holder, natural(until), now))
}

/// By how much each day changes when `new` takes the place of `old`, in the order of days: all who change several days
/// lock them in that order, so none waits for another in a circle.
pub(crate) fn changes(old: &[(i64, i64)], new: &[DaySpent]) -> BTreeMap<i64, i64> {
    let mut changes = BTreeMap::new();
    for spent in new {
        *changes.entry(integer(spent.day)).or_default() += amount(spent.micro_usd);
    }
    for (day, micro_usd) in old {
        *changes.entry(*day).or_default() -= micro_usd;
    }
    changes.retain(|_, change| *change != 0);
    changes
}

pub(crate) fn named<A, B>((id, _, _): (String, A, B)) -> ExecutionId {
    ExecutionId(id)
}

pub(crate) fn standing((org, spent, reserved): (String, i64, i64)) -> Standing {
    Standing { org, spent: natural(spent), reserved: natural(reserved) }
}

pub(crate) fn by_day((day, micro_usd): (i64, i64)) -> DaySpent {
    DaySpent { day: natural(day), micro_usd: natural(micro_usd) }
}

/// Implements the port for a backend's `Store` over its `$connection`. Beside it stand `together`, which makes a
/// transaction of statements, and `queue`, which lets one ask at a time for an org; `$lock` ends a select of a row that
/// is changed next.
macro_rules! keeps_ledger {
    ($connection:ty, $lock:literal) => {
        #[async_trait::async_trait]
        impl Ledger for Store {
            async fn hold(
                &self,
                hold: &Hold,
                limit: Option<MicroUsd>,
                since: u64,
            ) -> Result<Option<Standing>, Failure> {
                let hold = hold.clone();
                self.write(move |connection| {
                    Box::pin(together(connection, move |connection| {
                        Box::pin(set_aside(connection, hold, limit, since))
                    }))
                })
                .await
            }

            async fn settle(&self, hold: &Hold, settled: Settled) -> Result<(), Failure> {
                let hold = hold.clone();
                self.write(move |connection| {
                    Box::pin(together(connection, move |connection| Box::pin(replace(connection, hold, settled))))
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
                const FIND: &str =
                    concat!("select events, fence, holder, lease_until from executions where id = $1", $lock);
                let now = self.inner.clock.now_ms();
                let (id, org, spent) = (execution.0.clone(), org.to_owned(), spent.to_vec());
                let fence = match who {
                    Restating::Holder(lease) => Some(integer(lease.fence)),
                    Restating::Anybody => None,
                };
                self.write(move |connection| {
                    Box::pin(together(connection, move |connection| {
                        Box::pin(async move {
                            let found = sqlx::query_as(FIND).bind(&id).fetch_optional(&mut *connection).await?;
                            let head: Head = found.ok_or_else(|| no_execution(&id))?;
                            let may = may_restate(&head, fence, integer(events), now);
                            if may {
                                rewrite(connection, &id, &org, integer(events), &spent).await?;
                            }
                            Ok(may)
                        })
                    }))
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
                        let free = rows.into_iter().filter(|(_, holder, until)| !is_held(holder.as_ref(), *until, now));
                        Ok(free.map(named).collect())
                    })
                })
                .await
            }

            async fn standings(&self, since: u64) -> Result<Vec<Standing>, Failure> {
                const STANDINGS: &str = "select org, cast(sum(spent) as bigint), cast(sum(aside) as bigint) from ( \
                        select org, micro_usd as spent, 0 as aside from ledger_days where day >= $1 and micro_usd > 0 \
                        union all select org, 0, micro_usd from ledger_holds) as r group by org order by org";
                Store::read(self, move |connection| {
                    Box::pin(async move {
                        let rows: Vec<(String, i64, i64)> =
                            sqlx::query_as(STANDINGS).bind(integer(since)).fetch_all(connection).await?;
                        Ok(rows.into_iter().map(standing).collect())
                    })
                })
                .await
            }

            async fn dearest(
                &self,
                org: &str,
                since: u64,
                limit: u32,
            ) -> Result<Vec<(ExecutionId, MicroUsd)>, Failure> {
                const DEAREST: &str = "select execution, cast(sum(micro_usd) as bigint) from ledger_spent \
                    where org = $1 and day >= $2 group by execution order by 2 desc, 1 limit $3";
                let org = org.to_owned();
                Store::read(self, move |connection| {
                    let org = org.clone();
                    Box::pin(async move {
                        let query = sqlx::query_as(DEAREST).bind(org).bind(integer(since)).bind(i64::from(limit));
                        let rows: Vec<(String, i64)> = query.fetch_all(connection).await?;
                        Ok(rows.into_iter().map(|(id, sum)| (ExecutionId(id), natural(sum))).collect())
                    })
                })
                .await
            }

            async fn spent(&self, execution: &ExecutionId) -> Result<Vec<DaySpent>, Failure> {
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

        const SPENT: &str = "select day, micro_usd from ledger_spent where execution = $1 order by day";

        async fn set_aside(
            connection: &mut $connection,
            hold: Hold,
            limit: Option<MicroUsd>,
            since: u64,
        ) -> Result<Option<Standing>, Fault> {
            // Under the same key it takes the place of what was there. One statement, so both sums are of one moment.
            const SUMS: &str = "select \
                (select cast(coalesce(sum(micro_usd), 0) as bigint) from ledger_days where org = $1 and day >= $2), \
                (select cast(coalesce(sum(micro_usd), 0) as bigint) from ledger_holds \
                    where org = $1 and not (execution = $3 and key = $4))";
            const HOLD: &str = "insert into ledger_holds (execution, key, org, micro_usd) values ($1, $2, $3, $4) \
                on conflict (execution, key) do update set micro_usd = excluded.micro_usd";
            if let Some(limit) = limit {
                queue(connection, &hold.org).await?;
                let query = sqlx::query_as(SUMS).bind(&hold.org).bind(integer(since));
                let (spent, reserved): (i64, i64) =
                    query.bind(&hold.execution.0).bind(&hold.key).fetch_one(&mut *connection).await?;
                let standing = standing((hold.org.clone(), spent, reserved));
                if !fits(&standing, hold.micro_usd, limit) {
                    return Ok(Some(standing));
                }
            }
            let query = sqlx::query(HOLD).bind(hold.execution.0).bind(hold.key).bind(hold.org);
            query.bind(amount(hold.micro_usd)).execute(connection).await?;
            Ok(None)
        }

        async fn replace(connection: &mut $connection, hold: Hold, settled: Settled) -> Result<(), Fault> {
            const COUNTED: &str = concat!("select counted from executions where id = $1", $lock);
            const FREE: &str = "delete from ledger_holds where execution = $1 and key = $2";
            const ADD: &str = "insert into ledger_spent (execution, day, org, micro_usd) values ($1, $2, $3, $4) \
                on conflict (execution, day) do update set micro_usd = ledger_spent.micro_usd + excluded.micro_usd";
            let id = hold.execution.0;
            let counted: Option<i64> = sqlx::query_scalar(COUNTED).bind(&id).fetch_optional(&mut *connection).await?;
            let counted = counted.ok_or_else(|| no_execution(&id))?;
            sqlx::query(FREE).bind(&id).bind(hold.key).execute(&mut *connection).await?;
            if settled.micro_usd > 0 && integer(settled.seq) > counted {
                let (day, used) = (integer(settled.day), amount(settled.micro_usd));
                let query = sqlx::query(ADD).bind(id).bind(day).bind(&hold.org).bind(used);
                query.execute(&mut *connection).await?;
                change_day(connection, &hold.org, day, used).await?;
            }
            Ok(())
        }

        async fn rewrite(
            connection: &mut $connection,
            id: &str,
            org: &str,
            events: i64,
            spent: &[DaySpent],
        ) -> Result<(), Fault> {
            const FREE: &str = "delete from ledger_holds where execution = $1";
            const CLEAR: &str = "delete from ledger_spent where execution = $1";
            const PUT: &str = "insert into ledger_spent (execution, day, org, micro_usd) values ($1, $2, $3, $4)";
            const COUNTED: &str = "update executions set counted = $2 where id = $1";
            sqlx::query(FREE).bind(id).execute(&mut *connection).await?;
            let old: Vec<(i64, i64)> = sqlx::query_as(SPENT).bind(id).fetch_all(&mut *connection).await?;
            let changes = changes(&old, spent);
            if !changes.is_empty() {
                sqlx::query(CLEAR).bind(id).execute(&mut *connection).await?;
                for spent in spent {
                    let query = sqlx::query(PUT).bind(id).bind(integer(spent.day)).bind(org);
                    query.bind(amount(spent.micro_usd)).execute(&mut *connection).await?;
                }
            }
            for (day, change) in changes {
                change_day(connection, org, day, change).await?;
            }
            // Where none of these events paid anything, none can be counted twice.
            if !spent.is_empty() {
                sqlx::query(COUNTED).bind(id).bind(events).execute(connection).await?;
            }
            Ok(())
        }

        async fn change_day(connection: &mut $connection, org: &str, day: i64, change: i64) -> Result<(), Fault> {
            const CHANGE: &str = "insert into ledger_days (org, day, micro_usd) values ($1, $2, $3) \
                on conflict (org, day) do update set micro_usd = ledger_days.micro_usd + excluded.micro_usd";
            sqlx::query(CHANGE).bind(org).bind(day).bind(change).execute(connection).await?;
            Ok(())
        }
    };
}

pub(crate) use keeps_ledger;
