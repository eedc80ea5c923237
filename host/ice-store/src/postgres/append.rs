//! The way of every event into the database: one statement for a whole group, which checks leases and ends of lists
//! and writes what passes. Postgres commits it as it is, so there is nothing to be left half done.

use std::collections::HashMap;

use ice_core::event::Event;
use ice_core::ports::{Failure, Lease};
use ice_core::problem::Problem;
use sqlx::PgConnection;
use tokio::sync::oneshot;

use super::ANSWER_MAX;
use super::writer::Line;
use crate::bell::Bell;
use crate::fault::postgres::no_answer;
use crate::fault::{Fault, integer, natural};
use crate::list::{Head, Row, Span, rows, span, verdict};

/// Binds rows, each with the id of its execution, as the arrays of six columns.
macro_rules! bind_rows {
    ($query:expr, $rows:expr) => {
        $query
            .bind($rows.iter().map(|(execution, _)| *execution).collect::<Vec<&str>>())
            .bind($rows.iter().map(|(_, row)| row.seq).collect::<Vec<i64>>())
            .bind($rows.iter().map(|(_, row)| row.at).collect::<Vec<i64>>())
            .bind($rows.iter().map(|(_, row)| &*row.path).collect::<Vec<&str>>())
            .bind($rows.iter().map(|(_, row)| i64::from(row.attempt)).collect::<Vec<i64>>())
            .bind($rows.iter().map(|(_, row)| row.fact.as_str()).collect::<Vec<&str>>())
    };
}
pub(super) use bind_rows;

/// Events of one execution, ready to be written.
pub(super) struct Append {
    execution: String,
    fence: i64,
    /// `None` when there are no events: then only the lease is checked.
    span: Option<Span>,
    /// Made by the caller's task, so that the one task that writes does not serialize for everybody.
    rows: Vec<Row>,
    reply: oneshot::Sender<Result<(), Failure>>,
}

impl Append {
    /// Prepares `events`. Fails when they are not consecutive among themselves.
    pub(super) fn new(
        lease: &Lease,
        events: &[Event],
    ) -> Result<(Self, oneshot::Receiver<Result<(), Failure>>), Problem> {
        let span = span(events)?;
        let (reply, answer) = oneshot::channel();
        let rows = rows(events);
        let append = Self { execution: lease.execution.0.clone(), fence: integer(lease.fence), span, rows, reply };
        Ok((append, answer))
    }

    pub(super) fn execution(&self) -> &str {
        &self.execution
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.fact.len()).sum()
    }

    fn answer(self, verdict: Result<(), Failure>, bell: &Bell) {
        if verdict.is_ok() && self.span.is_some() {
            bell.ring(&self.execution);
        }
        // Whoever asked may be gone; the events are in the list all the same.
        let _unread = self.reply.send(verdict);
    }
}

/// Writes a group and replies to every one of its callers.
pub(super) async fn commit(line: &mut Line, group: Vec<Append>) {
    let fault = match write(line, &group).await {
        Ok(verdicts) => {
            for (append, verdict) in group.into_iter().zip(verdicts) {
                append.answer(verdict.map_err(Failure::never), &line.bell);
            }
            return;
        }
        Err(fault) => fault,
    };
    if group.len() == 1 || !fault.is_of_one() {
        let failure = fault.explain_postgres(&line.place);
        for append in group {
            append.answer(Err(failure.clone()), &line.bell);
        }
        return;
    }
    // The server refused the statement, so nothing of it is written; alone, the others may go through.
    for append in group {
        let verdict = match write(line, std::slice::from_ref(&append)).await {
            Ok(mut verdicts) => verdicts.pop().expect("one verdict an append").map_err(Failure::never),
            Err(fault) => Err(fault.explain_postgres(&line.place)),
        };
        append.answer(verdict, &line.bell);
    }
}

/// One statement for the whole group, in which every execution is once; one verdict an append.
async fn write(line: &mut Line, group: &[Append]) -> Result<Vec<Result<(), Problem>>, Fault> {
    let connection = line.ready().await?;
    let outcome = tokio::time::timeout(ANSWER_MAX, ask(connection, group)).await.unwrap_or_else(|_| Err(no_answer()));
    line.note(&outcome);
    let heads = outcome?;
    let verdict =
        |append: &Append| verdict(&append.execution, append.fence, append.span.as_ref(), heads.get(&append.execution));
    Ok(group.iter().map(verdict).collect())
}

/// Runs the statement. It returns the ends of the lists as they were when their rows were locked: the same numbers by
/// which the statement decided, so [`verdict`] says exactly what was done.
///
/// It tells other processes of lists that somebody follows, and of no others: Postgres lets commits that tell something
/// happen one after the other, in the whole server. Who follows is read from the locked row, see `following.rs`. The
/// telling is counted because Postgres skips what nobody asks for.
///
/// Rows are locked in the order of their ids, which makes it impossible that two writers wait for each other.
async fn ask(connection: &mut PgConnection, group: &[Append]) -> Result<HashMap<String, Head>, Fault> {
    const WRITE: &str = "with wanted as materialized (select * from unnest($1::text[], $2::int8[], $3::int8[], \
            $4::int8[], $5::int8[], $6::text[], $7::int8[], $8::int8[]) \
                as wanted (id, fence, first, last, updated, status, waits, due)), \
        head as materialized (select e.id, e.fence, e.holder is not null as held, e.events, e.followed \
            from executions e join wanted w on w.id = e.id order by e.id for no key update of e), \
        accepted as materialized (select w.*, h.followed from wanted w join head h on h.id = w.id \
            where h.fence = w.fence and h.held and h.events = w.first - 1), \
        ended as (update executions e set events = a.last, updated = a.updated, \
            status = coalesce(a.status, case e.status when 'waiting' then 'running' else e.status end), \
            waits = greatest(e.waits + a.waits, 0), due = a.due from accepted a where e.id = a.id), \
        written as (insert into events (execution, seq, at, path, attempt, fact) select r.* \
            from unnest($9::text[], $10::int8[], $11::int8[], $12::text[], $13::int8[], $14::text[]) \
                as r (execution, seq, at, path, attempt, fact) join accepted a on a.id = r.execution), \
        told as materialized (select pg_notify('ice_events', a.id) as told from accepted a where a.followed > now()) \
        select id, fence, held, events, (select count(told) from told) from head";
    let span = |pick: fn(&Span) -> u64| -> Vec<Option<i64>> {
        group.iter().map(|append| append.span.as_ref().map(|span| integer(pick(span)))).collect()
    };
    let rows: Vec<(&str, &Row)> =
        group.iter().flat_map(|append| append.rows.iter().map(|row| (append.execution.as_str(), row))).collect();
    let query = sqlx::query_as(WRITE)
        .bind(group.iter().map(|append| append.execution.as_str()).collect::<Vec<_>>())
        .bind(group.iter().map(|append| append.fence).collect::<Vec<_>>())
        .bind(span(|span| span.first))
        .bind(span(|span| span.last))
        .bind(span(|span| span.updated))
        .bind(group.iter().map(|append| append.span.and_then(|span| span.status)).collect::<Vec<_>>())
        .bind(group.iter().map(|append| append.span.map_or(0, |span| span.waits)).collect::<Vec<_>>())
        .bind(group.iter().map(|append| append.span.and_then(|span| span.due)).collect::<Vec<_>>());
    let found: Vec<(String, i64, bool, i64, i64)> = bind_rows!(query, rows).fetch_all(connection).await?;
    let head = |(id, fence, held, events, _told)| (id, Head { fence, held, events: natural(events) });
    Ok(found.into_iter().map(head).collect())
}
