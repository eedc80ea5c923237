//! Executions and their event lists: leases, reading, listing. Appending is in `append.rs`.

use std::collections::HashMap;

use async_trait::async_trait;
use ice_core::event::{Event, Fact};
use ice_core::id::{ExecutionId, Identity, NodePath, UnixMs};
use ice_core::ports::{Events, ExecutionRow, Failure, Lease};
use ice_core::problem::{Code, Problem};
use sqlx::SqliteConnection;

use super::Store;
use super::append::{Append, RUNNING, Row, fenced, first_rows, insert, no_execution, status_after};
use super::writer::Order;
use crate::fault::{Fault, integer, natural};
use crate::holder::Holder;

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
        const INSERT: &str = "insert into executions \
            (id, name, org, usr, status, started, updated, events, fence, holder, lease_until) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10) on conflict (id) do nothing";
        let now = self.inner.clock.now_ms();
        let until = now.saturating_add(lease_ms);
        let (id, name, who) = (id.0.clone(), name.to_owned(), who.clone());
        let lease = Lease { execution: ExecutionId(id.clone()), fence: 1, until };
        let rows = first_rows(first).map_err(Failure::never)?;
        let status = status_after(first).unwrap_or(RUNNING);
        let started = first.first().map_or(now, |event| event.at);
        let updated = first.last().map_or(now, |event| event.at);
        let events = first.len() as u64;
        let holder = self.inner.holder.to_string();
        self.write(move |connection| {
            Box::pin(async move {
                let inserted = sqlx::query(INSERT)
                    .bind(&id)
                    .bind(name)
                    .bind(who.org)
                    .bind(who.user)
                    .bind(status)
                    .bind(integer(started))
                    .bind(integer(updated))
                    .bind(integer(events))
                    .bind(holder)
                    .bind(integer(until))
                    .execute(&mut *connection)
                    .await?;
                if inserted.rows_affected() == 0 {
                    return Err(exists(&id).into());
                }
                let rows: Vec<(&str, &Row)> = rows.iter().map(|row| (id.as_str(), row)).collect();
                insert(connection, &rows).await
            })
        })
        .await?;
        Ok(lease)
    }

    async fn claim(&self, id: &ExecutionId, lease_ms: u64) -> Result<Lease, Failure> {
        let now = self.inner.clock.now_ms();
        let until = now.saturating_add(lease_ms);
        let (id, holder) = (id.0.clone(), self.inner.holder.to_string());
        self.write(move |connection| Box::pin(claim(connection, id, holder, now, until))).await
    }

    async fn renew(&self, lease: &Lease, lease_ms: u64) -> Result<Lease, Failure> {
        const RENEW: &str =
            "update executions set lease_until = ?3 where id = ?1 and fence = ?2 and holder is not null";
        let until = self.inner.clock.now_ms().saturating_add(lease_ms);
        let renewed = Lease { until, ..lease.clone() };
        self.change_lease(RENEW, lease, until).await?;
        Ok(renewed)
    }

    async fn release(&self, lease: &Lease) -> Result<(), Failure> {
        const RELEASE: &str = "update executions set holder = null, lease_until = ?3 \
            where id = ?1 and fence = ?2 and holder is not null";
        self.change_lease(RELEASE, lease, 0).await
    }

    async fn append(&self, lease: &Lease, events: &[Event]) -> Result<(), Failure> {
        let (append, answer) = Append::new(lease, events).map_err(Failure::never)?;
        self.inner.orders.send(Order::Append(append)).await.map_err(|_| self.stopped())?;
        answer.await.map_err(|_| self.stopped())?
    }

    async fn read(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure> {
        let id = id.0.clone();
        Store::read(self, move |connection| Box::pin(read(connection, id, after, limit))).await
    }

    async fn list(&self, who: &Identity, limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        let who = who.clone();
        let now = self.inner.clock.now_ms();
        Store::read(self, move |connection| Box::pin(list(connection, who, limit, now))).await
    }

    async fn request_cancel(&self, id: &ExecutionId, reason: &str) -> Result<bool, Failure> {
        // The first reason stays: it is the one that ended the execution.
        const REQUEST: &str = "update executions set cancel_reason = coalesce(cancel_reason, ?2) \
            where id = ?1 and status = ?3";
        let (id, reason) = (id.0.clone(), reason.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let asked = sqlx::query(REQUEST).bind(&id).bind(reason).bind(RUNNING).execute(&mut *connection).await?;
                if asked.rows_affected() == 0 {
                    must_exist(connection, &id).await?;
                }
                Ok(asked.rows_affected() == 1)
            })
        })
        .await
    }

    async fn cancel_requested(&self, id: &ExecutionId) -> Result<Option<String>, Failure> {
        const REASON: &str = "select cancel_reason from executions where id = ?1";
        let id = id.0.clone();
        Store::read(self, move |connection| {
            Box::pin(async move {
                let found: Option<Option<String>> =
                    sqlx::query_scalar(REASON).bind(&id).fetch_optional(connection).await?;
                found.ok_or_else(|| no_execution(&id).into())
            })
        })
        .await
    }
}

impl Store {
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

fn exists(id: &str) -> Problem {
    Problem::new(Code::X044, format!("there is an execution `{id}` already"))
        .help("give every execution an id of its own, or go on with that one: `ice executions resume ID`")
}

async fn must_exist(connection: &mut SqliteConnection, id: &str) -> Result<(), Fault> {
    const FIND: &str = "select exists (select 1 from executions where id = ?1)";
    let found: bool = sqlx::query_scalar(FIND).bind(id).fetch_one(connection).await?;
    if found { Ok(()) } else { Err(no_execution(id).into()) }
}

async fn claim(
    connection: &mut SqliteConnection,
    id: String,
    holder: String,
    now: UnixMs,
    until: UnixMs,
) -> Result<Lease, Fault> {
    const FIND: &str = "select fence, holder, lease_until from executions where id = ?1";
    const TAKE: &str = "update executions set fence = ?2, holder = ?3, lease_until = ?4 where id = ?1";
    let found: Option<(i64, Option<String>, i64)> =
        sqlx::query_as(FIND).bind(&id).fetch_optional(&mut *connection).await?;
    let (fence, former, former_until) = found.ok_or_else(|| no_execution(&id))?;
    if let Some(former) = former.filter(|former| holds(former, natural(former_until), now)) {
        return Err(held(&id, &former, natural(former_until).saturating_sub(now)).into());
    }
    sqlx::query(TAKE).bind(&id).bind(fence + 1).bind(holder).bind(integer(until)).execute(connection).await?;
    Ok(Lease { execution: ExecutionId(id), fence: natural(fence + 1), until })
}

/// Whether a lease still keeps others out: not expired, and its process not known to be dead. The clocks of two hosts
/// that share a database may differ; a lease therefore has to be long against that difference.
fn holds(holder: &str, until: UnixMs, now: UnixMs) -> bool {
    now < until && !Holder::parse(holder).is_some_and(|holder| holder.is_gone())
}

fn held(id: &str, holder: &str, remaining_ms: u64) -> Problem {
    let holder = Holder::parse(holder);
    let words = holder.as_ref().map_or_else(|| "another process".to_owned(), Holder::words);
    let seconds = remaining_ms.div_ceil(1000);
    let stop = holder.and_then(|holder| holder.stop_command());
    let stop = stop.map_or_else(|| "cancel it there".to_owned(), |command| format!("stop it with `{command}`"));
    Problem::new(Code::X042, format!("execution `{id}` is held by {words}"))
        .help(format!("wait until it ends, or {stop}; its lease expires in {seconds} s unless it goes on"))
}

async fn read(connection: &mut SqliteConnection, id: String, after: u64, limit: u32) -> Result<Vec<Event>, Fault> {
    const READ: &str = "select seq, at, path, attempt, fact from events where execution = ?1 and seq > ?2 \
        order by seq limit ?3";
    let rows: Vec<(i64, i64, String, u32, String)> =
        sqlx::query_as(READ).bind(&id).bind(integer(after)).bind(limit).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        must_exist(connection, &id).await?;
    }
    let event = |(seq, at, path, attempt, fact): (i64, i64, String, u32, String)| {
        let fact: Fact = serde_json::from_str(&fact).map_err(|error| {
            Problem::new(Code::C043, format!("event {seq} of execution `{id}` cannot be read: {error}"))
                .help("it was damaged, or written by another version of `ice`: use that version")
        })?;
        Ok(Event { seq: natural(seq), at: natural(at), path: NodePath(path.into()), attempt, fact })
    };
    rows.into_iter().map(event).collect()
}

async fn list(
    connection: &mut SqliteConnection,
    who: Identity,
    limit: u32,
    now: UnixMs,
) -> Result<Vec<ExecutionRow>, Fault> {
    const LIST: &str = "select id, name, status, started, updated, events, holder, lease_until from executions \
        where org = ?1 and usr = ?2 order by started desc, id desc limit ?3";
    type Row = (String, String, String, i64, i64, i64, Option<String>, i64);
    let rows: Vec<Row> = sqlx::query_as(LIST).bind(who.org).bind(who.user).bind(limit).fetch_all(connection).await?;
    // Usually one process holds them all: it is looked up once.
    let mut known: HashMap<String, bool> = HashMap::new();
    let mut lives = |holder: String| *known.entry(holder).or_insert_with_key(|holder| holds(holder, UnixMs::MAX, 0));
    let row = |(id, name, status, started, updated, events, holder, until): Row| ExecutionRow {
        id: ExecutionId(id),
        name,
        status,
        started: natural(started),
        updated: natural(updated),
        events: natural(events),
        held: now < natural(until) && holder.is_some_and(&mut lives),
    };
    Ok(rows.into_iter().map(row).collect())
}
