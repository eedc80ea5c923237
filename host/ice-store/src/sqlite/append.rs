//! Events at the end of a list: checked against the lease and the end, then written. The transaction around it is in
//! `group.rs`.

use std::collections::HashMap;
use std::sync::LazyLock;

use ice_core::event::Event;
use ice_core::ports::Lease;
use ice_core::problem::Problem;
use sqlx::SqliteConnection;

use super::group::Reply;
use crate::fault::{Fault, integer, natural};
use crate::list::{Head, Row, Span, rows, span, verdict};

/// Events of one execution, ready to be written.
pub(super) struct Append {
    execution: String,
    fence: i64,
    /// `None` when there are no events: then only the lease is checked.
    span: Option<Span>,
    /// Made by the caller's task, so that the one task that writes does not serialize for everybody.
    rows: Vec<Row>,
    pub(super) reply: Reply,
}

/// The end of a list, and what this transaction does to it.
pub(super) struct End {
    head: Head,
    /// `None` while nothing of it changes.
    written: Option<Span>,
}

impl Append {
    /// Prepares `events`. Fails when they are not consecutive among themselves.
    pub(super) fn new(lease: &Lease, events: &[Event], reply: Reply) -> Result<Self, Problem> {
        let (span, rows) = (span(events)?, rows(events));
        Ok(Self { execution: lease.execution.0.clone(), fence: integer(lease.fence), span, rows, reply })
    }

    pub(super) fn execution(&self) -> &str {
        &self.execution
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|row| (self.execution.as_str(), row))
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.fact.len()).sum()
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
pub(super) async fn update(connection: &mut SqliteConnection, ends: &HashMap<String, End>) -> Result<(), Fault> {
    static UPDATE: LazyLock<Pieces> = LazyLock::new(|| {
        let before = "with ended (id, events, updated, status, waits, due) as (values ";
        let after = ") update executions set events = ended.events, updated = ended.updated, \
            status = coalesce(ended.status, case executions.status when 'waiting' then 'running' \
                else executions.status end), \
            waits = max(executions.waits + ended.waits, 0), due = ended.due \
            from ended where executions.id = ended.id";
        Pieces::new(before, "(?, ?, ?, ?, ?, ?)", after)
    });
    let ends: Vec<(&str, Span)> = ends.iter().filter_map(|(id, end)| Some((id.as_str(), end.written?))).collect();
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

/// The ends of the lists that the group wants to continue; an execution that is missing here does not exist.
pub(super) async fn ends(connection: &mut SqliteConnection, ids: &[&str]) -> Result<HashMap<String, End>, Fault> {
    const ENDS: &str = "select executions.id, fence, holder is not null, events from json_each(?1) as wanted \
        cross join executions on executions.id = wanted.value";
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found: Vec<(String, i64, bool, i64)> =
        sqlx::query_as(ENDS).bind(serde_json::to_string(ids).expect("texts")).fetch_all(connection).await?;
    let end =
        |(id, fence, held, events)| (id, End { head: Head { fence, held, events: natural(events) }, written: None });
    Ok(found.into_iter().map(end).collect())
}

impl Append {
    /// Lets the append continue its list, or says why it may not. One that is refused changes nothing.
    pub(super) fn join(&self, ends: &mut HashMap<String, End>) -> Result<(), Problem> {
        let end = ends.get_mut(&self.execution);
        verdict(&self.execution, self.fence, self.span.as_ref(), end.as_ref().map(|end| &end.head))?;
        if let (Some(span), Some(end)) = (self.span, end) {
            end.head.events = span.last;
            end.written = Some(end.written.map_or(span, |written| written.then(span)));
        }
        Ok(())
    }
}
