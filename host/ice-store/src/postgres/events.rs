//! Executions and their event lists: leases, reading, listing. Appending is in `append.rs`.

use async_trait::async_trait;
use ice_core::event::Event;
use ice_core::id::{ExecutionId, Identity, UnixMs};
use ice_core::ports::{Events, ExecutionRow, Failure, Lease};
use ice_core::problem::{Code, Problem};
use sqlx::PgConnection;

use super::Store;
use super::append::{Answer, Create, Part, Work};
use super::writer::Order;
use crate::fault::{Fault, integer, natural};
use crate::list::{Line, RUNNING, WAITING, event, fenced, first_rows, free, held, holds, lines, no_execution};

#[async_trait]
impl Events for Store {
    async fn create(
        &self,
        id: &ExecutionId,
        name: &str,
        who: &Identity,
        first: &[Event],
        lease_ms: u64,
    ) -> Result<Lease, Failure> {
        let now = self.inner.clock.now_ms();
        let until = now.saturating_add(lease_ms);
        let (rows, span) = first_rows(first, now).map_err(Failure::never)?;
        let create = Create {
            name: name.to_owned(),
            who: who.clone(),
            started: integer(first.first().map_or(now, |event| event.at)),
            holder: self.inner.holder.to_string(),
            until: integer(until),
            span,
        };
        self.join(Part::new(id, Work::Create(Box::new(create)), rows)).await?;
        Ok(Lease { execution: id.clone(), fence: 1, until })
    }

    async fn claim(&self, id: &ExecutionId, lease_ms: u64) -> Result<Lease, Failure> {
        let now = self.inner.clock.now_ms();
        let until = now.saturating_add(lease_ms);
        let (id, holder) = (id.0.clone(), self.inner.holder.to_string());
        self.write(move |connection| Box::pin(claim(connection, id, holder, now, until))).await
    }

    async fn renew(&self, lease: &Lease, lease_ms: u64) -> Result<Lease, Failure> {
        const RENEW: &str =
            "update executions set lease_until = $3 where id = $1 and fence = $2 and holder is not null";
        let until = self.inner.clock.now_ms().saturating_add(lease_ms);
        let renewed = Lease { until, ..lease.clone() };
        self.change_lease(RENEW, lease, until).await?;
        Ok(renewed)
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        self.join(Part::new(&lease.execution, Work::Release(integer(lease.fence)), Vec::new())).await
    }

    async fn append(&self, lease: &Lease, events: &[Event]) -> Result<(), Failure> {
        self.join(Part::append(lease, events).map_err(Failure::never)?).await
    }

    async fn read(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        let id = id.0.clone();
        Store::read(self, move |connection| Box::pin(read(connection, id.clone(), after, limit))).await
    }

    async fn follow(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        Store::follow(self, id, after, limit).await
    }

    async fn list(&self, who: &Identity, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        let who = who.clone();
        let now = self.inner.clock.now_ms();
        Store::read(self, move |connection| Box::pin(list(connection, who.clone(), None, limit, now))).await
    }

    async fn older(&self, who: &Identity, than: &ExecutionId, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        let (who, than) = (who.clone(), than.0.clone());
        let now = self.inner.clock.now_ms();
        Store::read(self, move |connection| Box::pin(list(connection, who.clone(), Some(than.clone()), limit, now)))
            .await
    }

    async fn left(&self, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        let now = self.inner.clock.now_ms();
        Store::read(self, move |connection| Box::pin(left(connection, limit, now))).await
    }

    async fn request_cancel(&self, id: &ExecutionId, reason: &str) -> Result<bool, Failure> {
        // The first reason stays: it is the one that ended the execution.
        const REQUEST: &str = "update executions set cancel_reason = coalesce(cancel_reason, $2) \
            where id = $1 and status in ($3, $4)";
        let (id, reason) = (id.0.clone(), reason.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let asked = sqlx::query(REQUEST)
                    .bind(&id)
                    .bind(reason)
                    .bind(RUNNING)
                    .bind(WAITING)
                    .execute(&mut *connection)
                    .await?;
                if asked.rows_affected() == 0 {
                    must_exist(connection, &id).await?;
                }
                Ok(asked.rows_affected() == 1)
            })
        })
        .await
    }

    async fn cancel_requested(&self, id: &ExecutionId) -> Result<Option<String>, Failure> {
        const REASON: &str = "select cancel_reason from executions where id = $1";
        let id = id.0.clone();
        Store::read(self, move |connection| {
            let id = id.clone();
            Box::pin(async move {
                let found: Option<Option<String>> =
                    sqlx::query_scalar(REASON).bind(&id).fetch_optional(connection).await?;
                found.ok_or_else(|| no_execution(&id).into())
            })
        })
        .await
    }

    async fn waiting(&self, who: Option<&Identity>, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        const WAITING_NOW: &str = "select id from executions where waits > 0 and status in ($1, $2) \
            and ($3::text is null or (org = $3 and usr = $4)) order by started desc, id desc limit $5";
        let (org, user) = who.map(|who| (who.org.clone(), who.user.clone())).unzip();
        Store::read(self, move |connection| {
            let (org, user) = (org.clone(), user.clone());
            Box::pin(async move {
                let query = sqlx::query_scalar(WAITING_NOW).bind(RUNNING).bind(WAITING).bind(org).bind(user);
                let ids: Vec<String> = query.bind(i64::from(limit)).fetch_all(connection).await?;
                Ok(ids.into_iter().map(ExecutionId).collect())
            })
        })
        .await
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        const DUE: &str = "select id from executions where due <= $1 order by due, id limit $2";
        Store::read(self, move |connection| {
            Box::pin(async move {
                let query = sqlx::query_scalar(DUE).bind(integer(now)).bind(i64::from(limit));
                let ids: Vec<String> = query.fetch_all(connection).await?;
                Ok(ids.into_iter().map(ExecutionId).collect())
            })
        })
        .await
    }

    async fn standing(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionRow>, Failure> {
        let ids = ids.iter().map(|id| id.0.clone()).collect::<Vec<String>>();
        let now = self.inner.clock.now_ms();
        Store::read(self, move |connection| Box::pin(standing(connection, ids.clone(), now))).await
    }
}

impl Store {
    /// Has something done together with what else waits. It is durable when this returns.
    async fn join(&self, (part, answer): (Part, Answer)) -> Result<(), Failure> {
        self.inner.orders.send(Order::Join(part)).await.map_err(|_| self.stopped())?;
        answer.await.map_err(|_| self.stopped())?
    }

    /// Runs a statement on the lease's row; X040 when the lease is not the newest, X041 without an execution.
    async fn change_lease(&self, statement: &'static str, lease: &Lease, until: UnixMs) -> Result<(), Failure> {
        let (id, fence) = (lease.execution.0.clone(), integer(lease.fence));
        self.write(move |connection| {
            Box::pin(async move {
                let changed =
                    sqlx::query(statement).bind(&id).bind(fence).bind(integer(until)).execute(&mut *connection).await?;
                if changed.rows_affected() == 0 {
                    must_exist(connection, &id).await?;
                    return Err(fenced(&id).into());
                }
                Ok(())
            })
        })
        .await
    }
}

async fn must_exist(connection: &mut PgConnection, id: &str) -> Result<(), Fault> {
    const FIND: &str = "select exists (select 1 from executions where id = $1)";
    let found: bool = sqlx::query_scalar(FIND).bind(id).fetch_one(connection).await?;
    if found { Ok(()) } else { Err(no_execution(id).into()) }
}

/// Looks at the lease, and takes it if it still is as it was seen. Whether the former holder lives can only be asked
/// here, so the looking and the taking are two statements; the second takes nothing when somebody was in between.
async fn claim(
    connection: &mut PgConnection,
    id: String,
    holder: String,
    now: UnixMs,
    until: UnixMs,
) -> Result<Lease, Fault> {
    const FIND: &str = "select fence, holder, lease_until from executions where id = $1";
    const TAKE: &str = "update executions set fence = $2 + 1, holder = $3, lease_until = $4 \
        where id = $1 and fence = $2 and lease_until = $5 and holder is not distinct from $6";
    /// Whoever loses so often meets holders that come and go.
    const TRIES: usize = 8;
    for _ in 0..TRIES {
        let found: Option<(i64, Option<String>, i64)> =
            sqlx::query_as(FIND).bind(&id).fetch_optional(&mut *connection).await?;
        let (fence, former, former_until) = found.ok_or_else(|| no_execution(&id))?;
        if let Some(former) = former.as_deref().filter(|former| holds(former, natural(former_until), now)) {
            return Err(held(&id, former, natural(former_until).saturating_sub(now)).into());
        }
        let taken = sqlx::query(TAKE)
            .bind(&id)
            .bind(fence)
            .bind(&holder)
            .bind(integer(until))
            .bind(former_until)
            .bind(former)
            .execute(&mut *connection)
            .await?;
        if taken.rows_affected() == 1 {
            return Ok(Lease { execution: ExecutionId(id), fence: natural(fence + 1), until });
        }
    }
    Err(Fault::Refused(Failure::maybe(
        Problem::new(Code::X046, format!("other processes take the lease of execution `{id}` and give it back"))
            .help("try again"),
    )))
}

async fn read(connection: &mut PgConnection, id: String, after: u64, limit: u32) -> Result<Vec<Event>, Fault> {
    const READ: &str = "select seq, at, path, attempt, fact from events where execution = $1 and seq > $2 \
        order by seq limit $3";
    let rows: Vec<(i64, i64, String, i64, String)> =
        sqlx::query_as(READ).bind(&id).bind(integer(after)).bind(i64::from(limit)).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        must_exist(connection, &id).await?;
    }
    let event = |(seq, at, path, attempt, fact): (i64, i64, String, i64, String)| {
        Ok(event(&id, seq, at, path, u32::try_from(attempt).unwrap_or(0), &fact)?)
    };
    rows.into_iter().map(event).collect()
}

async fn list(
    connection: &mut PgConnection,
    who: Identity,
    than: Option<String>,
    limit: u32,
    now: UnixMs,
) -> Result<Vec<ExecutionRow>, Fault> {
    const LIST: &str = "select id, name, status, started, updated, events, holder, lease_until, waits from executions \
        where org = $1 and usr = $2 order by started desc, id desc limit $3";
    const OLDER: &str = "select id, name, status, started, updated, events, holder, lease_until, waits from executions \
        where org = $1 and usr = $2 and (started, id) < (select started, id from executions where id = $4) \
        order by started desc, id desc limit $3";
    let query = sqlx::query_as(if than.is_some() { OLDER } else { LIST });
    let query = query.bind(who.org).bind(who.user).bind(i64::from(limit));
    let query = if let Some(than) = than { query.bind(than) } else { query };
    let rows: Vec<Line> = query.fetch_all(connection).await?;
    Ok(lines(rows, now))
}

async fn standing(connection: &mut PgConnection, ids: Vec<String>, now: UnixMs) -> Result<Vec<ExecutionRow>, Fault> {
    const STANDING: &str = "select id, name, status, started, updated, events, holder, lease_until, waits \
        from executions where id = any($1)";
    let rows: Vec<Line> = sqlx::query_as(STANDING).bind(ids).fetch_all(connection).await?;
    Ok(lines(rows, now))
}

/// Whether a holder lives can only be asked here, so every running execution is looked at. The status is written out:
/// only so is the index of those that run used.
async fn left(connection: &mut PgConnection, limit: u32, now: UnixMs) -> Result<Vec<ExecutionId>, Fault> {
    const RUNNING_NOW: &str =
        "select id, holder, lease_until from executions where status = 'running' order by started, id";
    let rows: Vec<(String, Option<String>, i64)> = sqlx::query_as(RUNNING_NOW).fetch_all(connection).await?;
    Ok(free(rows, now, limit))
}
