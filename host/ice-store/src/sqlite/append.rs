//! Events on their way into the database: checked against the lease and the end of their list, then written in one
//! transaction with whatever else was waiting. The transaction itself is in `group.rs`.

use std::collections::HashMap;
use std::sync::LazyLock;

use ice_core::event::Event;
use ice_core::ports::Lease;
use ice_core::problem::Problem;
use sqlx::SqliteConnection;

use crate::fault::{Fault, integer, natural};
use crate::list::{Head, Row, Span, rows, span, verdict};

/// Events of one execution, ready to be written.
pub(super) struct Append {
    pub(super) execution: String,
    fence: i64,
    /// `None` when there are no events: then only the lease is checked.
    span: Option<Span>,
    /// Made by the caller's task, so that the one task that writes does not serialize for everybody.
    pub(super) rows: Vec<Row>,
}

/// The ends of lists by execution, and what a transaction does to them.
pub(super) type Ends = HashMap<String, End>;

/// The end of a list, and what this transaction does to it.
pub(super) struct End {
    head: Head,
    /// `None` while nothing of it changes.
    written: Option<Span>,
}

impl Append {
    /// Prepares `events`. Fails when they are not consecutive among themselves.
    pub(super) fn new(lease: &Lease, events: &[Event]) -> Result<Self, Problem> {
        let span = span(events)?;
        Ok(Self { execution: lease.execution.0.clone(), fence: integer(lease.fence), span, rows: rows(events) })
    }

    /// Lets the append continue its list, or says why it may not. One that is refused changes nothing.
    pub(super) fn join(&self, ends: &mut Ends) -> Result<(), Problem> {
        let end = ends.get_mut(&self.execution);
        verdict(&self.execution, self.fence, self.span.as_ref(), end.as_ref().map(|end| &end.head))?;
        if let (Some(span), Some(end)) = (self.span, end) {
            end.head.events = span.last;
            end.written = Some(end.written.map_or(span, |written| written.then(span)));
        }
        Ok(())
    }
}

/// A statement for many rows at once, in three sizes. Every execution of a statement costs a change of threads, which
/// is dearer than a row; so a group is cut into as few as possible, and there are only three texts to prepare.
pub(super) struct Pieces([(usize, String); 3]);

impl Pieces {
    pub(super) fn new(before: &str, row: &str, after: &str) -> Self {
        Self([64, 8, 1].map(|size| (size, format!("{before}{}{after}", vec![row; size].join(", ")))))
    }

    /// Cuts `rows` from the front, the largest pieces first.
    pub(super) fn cut<'a, T>(&'static self, mut rows: &'a [T]) -> impl Iterator<Item = (&'static str, &'a [T])> {
        std::iter::from_fn(move || {
            let (size, statement) = self.0.iter().find(|(size, _)| *size <= rows.len())?;
            let (piece, rest) = rows.split_at(*size);
            rows = rest;
            Some((statement.as_str(), piece))
        })
    }
}

/// Inserts rows, each with the id of its execution.
pub(super) async fn insert(connection: &mut SqliteConnection, rows: &[(&str, &Row)]) -> Result<(), Fault> {
    static INSERT: LazyLock<Pieces> = LazyLock::new(|| {
        let before = "insert into events (execution, seq, at, path, attempt, fact) values ";
        Pieces::new(before, "(?, ?, ?, ?, ?, ?)", "")
    });
    for (statement, piece) in INSERT.cut(rows) {
        let mut query = sqlx::query(statement);
        for (execution, row) in piece {
            query = query.bind((*execution).to_owned()).bind(row.seq).bind(row.at);
            query = query.bind(row.path.to_string()).bind(row.attempt).bind(row.fact.clone());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Brings the rows of executions to the ends of their lists.
pub(super) async fn update(connection: &mut SqliteConnection, ends: &Ends) -> Result<(), Fault> {
    let ends: Vec<(&str, Span)> = ends.iter().filter_map(|(id, end)| Some((id.as_str(), end.written?))).collect();
    static UPDATE: LazyLock<Pieces> = LazyLock::new(|| {
        let before = "with ended (id, events, updated, status, waits, due) as (values ";
        let after = ") update executions set events = ended.events, updated = ended.updated, \
            status = coalesce(ended.status, case executions.status when 'waiting' then 'running' \
                else executions.status end), \
            waits = max(executions.waits + ended.waits, 0), due = ended.due \
            from ended where executions.id = ended.id";
        Pieces::new(before, "(?, ?, ?, ?, ?, ?)", after)
    });
    for (statement, piece) in UPDATE.cut(&ends) {
        let mut query = sqlx::query(statement);
        for (id, span) in piece {
            query = query.bind((*id).to_owned()).bind(integer(span.last));
            query = query.bind(integer(span.updated)).bind(span.status).bind(span.waits).bind(span.due);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The ends of the lists that these executions have; one that is missing here does not exist.
pub(super) async fn ends(connection: &mut SqliteConnection, executions: &[&str]) -> Result<Ends, Fault> {
    const ENDS: &str = "select executions.id, fence, holder is not null, events from json_each(?1) as wanted \
        cross join executions on executions.id = wanted.value";
    let found: Vec<(String, i64, bool, i64)> =
        sqlx::query_as(ENDS).bind(serde_json::to_string(executions).expect("texts")).fetch_all(connection).await?;
    let end =
        |(id, fence, held, events)| (id, End { head: Head { fence, held, events: natural(events) }, written: None });
    Ok(found.into_iter().map(end).collect())
}
