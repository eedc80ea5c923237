//! The two ends of a lease: an execution that begins, and one that is given back.

use std::collections::HashSet;
use std::sync::LazyLock;

use ice_core::event::Event;
use ice_core::id::{ExecutionId, Identity, UnixMs};
use ice_core::ports::Lease;
use ice_core::problem::Problem;
use sqlx::SqliteConnection;

use super::append::Pieces;
use super::group::Reply;
use crate::fault::{Fault, integer};
use crate::list::{RUNNING, Row, Span, exists, fenced, first_rows, no_execution};

/// A new execution with its first events, ready to be written.
pub(super) struct Create {
    execution: String,
    name: String,
    who: Identity,
    started: i64,
    span: Span,
    rows: Vec<Row>,
    holder: String,
    until: i64,
    pub(super) reply: Reply,
}

/// Who begins an execution, and until when it is theirs.
pub(super) struct Beginning<'a> {
    pub(super) id: &'a ExecutionId,
    pub(super) name: &'a str,
    pub(super) who: &'a Identity,
    pub(super) holder: String,
    pub(super) now: UnixMs,
    pub(super) until: UnixMs,
}

impl Create {
    /// Fails when the events do not begin with the first.
    pub(super) fn new(beginning: Beginning<'_>, first: &[Event], reply: Reply) -> Result<Self, Problem> {
        let Beginning { id, name, who, holder, now, until } = beginning;
        let (rows, span) = first_rows(first, now)?;
        let started = integer(first.first().map_or(now, |event| event.at));
        let (execution, name, who, until) = (id.0.clone(), name.to_owned(), who.clone(), integer(until));
        Ok(Self { execution, name, who, started, span, rows, holder, until, reply })
    }

    pub(super) fn execution(&self) -> &str {
        &self.execution
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.fact.len()).sum()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|row| (self.execution.as_str(), row))
    }
}

/// A lease that is given back, ready to be written.
pub(super) struct Release {
    execution: String,
    fence: i64,
    pub(super) reply: Reply,
}

impl Release {
    pub(super) fn new(lease: &Lease, reply: Reply) -> Self {
        Self { execution: lease.execution.0.clone(), fence: integer(lease.fence), reply }
    }

    pub(super) fn execution(&self) -> &str {
        &self.execution
    }
}

/// Inserts the rows of new executions; X044 for one that is there already. Of two with one id the first is made.
pub(super) async fn create(
    connection: &mut SqliteConnection,
    creates: &[&Create],
) -> Result<Vec<Result<(), Problem>>, Fault> {
    static INSERT: LazyLock<Pieces> = LazyLock::new(|| {
        let before = "insert into executions (id, name, org, usr, status, started, updated, events, fence, holder, \
            lease_until, waits, due) values ";
        let after = " on conflict (id) do nothing returning id";
        Pieces::new(before, "(?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)", after)
    });
    let mut made: HashSet<String> = HashSet::with_capacity(creates.len());
    for (statement, piece) in INSERT.cut(creates) {
        let mut query = sqlx::query_scalar(statement);
        for create in piece {
            let Create { execution, name, who, started, span, holder, until, .. } = create;
            query = query.bind(execution).bind(name).bind(&who.org).bind(&who.user);
            query = query.bind(span.status.unwrap_or(RUNNING)).bind(started).bind(integer(span.updated));
            query = query.bind(integer(span.last)).bind(holder).bind(until).bind(span.waits.max(0)).bind(span.due);
        }
        made.extend(query.fetch_all(&mut *connection).await?);
    }
    let verdict =
        |create: &&Create| if made.remove(&create.execution) { Ok(()) } else { Err(exists(&create.execution)) };
    Ok(creates.iter().map(verdict).collect())
}

/// Gives leases back; X040 for one that is not the newest, X041 without an execution.
pub(super) async fn release(
    connection: &mut SqliteConnection,
    releases: &[&Release],
) -> Result<Vec<Result<(), Problem>>, Fault> {
    static RELEASE: LazyLock<Pieces> = LazyLock::new(|| {
        let after = ") update executions set holder = null, lease_until = 0 from wanted \
            where executions.id = wanted.id and executions.fence = wanted.fence and holder is not null \
            returning executions.id";
        Pieces::new("with wanted (id, fence) as (values ", "(?, ?)", after)
    });
    const FIND: &str = "select exists (select 1 from executions where id = ?1)";
    let mut done: HashSet<String> = HashSet::with_capacity(releases.len());
    for (statement, piece) in RELEASE.cut(releases) {
        let mut query = sqlx::query_scalar(statement);
        for release in piece {
            query = query.bind(&release.execution).bind(release.fence);
        }
        done.extend(query.fetch_all(&mut *connection).await?);
    }
    let mut verdicts = Vec::with_capacity(releases.len());
    for release in releases {
        let id = release.execution.as_str();
        verdicts.push(if done.contains(id) {
            Ok(())
        } else if sqlx::query_scalar(FIND).bind(id).fetch_one(&mut *connection).await? {
            Err(fenced(id))
        } else {
            Err(no_execution(id))
        });
    }
    Ok(verdicts)
}
