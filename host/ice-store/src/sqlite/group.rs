//! One transaction for many executions: what waited together is committed together, and everybody is told how it went
//! for them.
//!
//! Beginning, continuing and giving back are by far the most frequent writes, and an execution of one node is nothing
//! else; alone, each would pay for a commit. What is rarer runs alone.

use std::collections::HashSet;
use std::sync::LazyLock;

use ice_core::event::Event;
use ice_core::id::{ExecutionId, Identity, UnixMs};
use ice_core::ports::{Failure, Lease};
use ice_core::problem::Problem;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::append::{Append, Pieces, ends, insert, update};
use super::events::must_exist;
use super::writer::{begin, finish};
use crate::bell::Bell;
use crate::fault::{Fault, integer, primary_result};
use crate::list::{RUNNING, Row, Span, exists, fenced, first_rows};

/// One wish of one caller.
pub(super) struct Part {
    work: Work,
    reply: oneshot::Sender<Result<(), Failure>>,
}

/// How it went for a caller, once it is known.
pub(super) type Answer = oneshot::Receiver<Result<(), Failure>>;

/// What can be done together with the same for other executions.
pub(super) enum Work {
    Create(Box<Create>),
    Append(Append),
    Release { execution: String, fence: i64 },
}

/// A new execution with its first events.
pub(super) struct Create {
    id: String,
    name: String,
    who: Identity,
    started: UnixMs,
    holder: String,
    until: UnixMs,
    span: Span,
    rows: Vec<Row>,
}

impl Create {
    /// Prepares an execution whose first holder is `holder`. Fails when its events do not begin with the first.
    pub(super) fn new(
        id: &ExecutionId,
        name: &str,
        who: &Identity,
        first: &[Event],
        holder: String,
        (now, until): (UnixMs, UnixMs),
    ) -> Result<Self, Problem> {
        let (rows, span) = first_rows(first, now)?;
        let started = first.first().map_or(now, |event| event.at);
        Ok(Self { id: id.0.clone(), name: name.to_owned(), who: who.clone(), started, holder, until, span, rows })
    }
}

impl Part {
    pub(super) fn new(work: Work) -> (Self, Answer) {
        let (reply, answer) = oneshot::channel();
        (Self { work, reply }, answer)
    }

    /// Gives the lease back.
    pub(super) fn release(lease: &Lease) -> Work {
        Work::Release { execution: lease.execution.0.clone(), fence: integer(lease.fence) }
    }

    fn execution(&self) -> &str {
        match &self.work {
            Work::Create(create) => &create.id,
            Work::Append(append) => &append.execution,
            Work::Release { execution, .. } => execution,
        }
    }

    fn rows(&self) -> &[Row] {
        match &self.work {
            Work::Create(create) => &create.rows,
            Work::Append(append) => &append.rows,
            Work::Release { .. } => &[],
        }
    }

    fn answer(self, verdict: Result<(), Failure>, bell: &Bell) {
        if verdict.is_ok() && !self.rows().is_empty() {
            bell.ring(self.execution());
        }
        // Whoever asked may be gone; what was written is written all the same.
        let _unread = self.reply.send(verdict);
    }
}

/// One transaction takes at most so many parts, and stops taking more at so many bytes: other processes wait for its
/// lock, and its rows are in memory twice.
const PARTS_MAX: usize = 512;
const BYTES_MAX: usize = 4 << 20;

/// What will be committed together.
#[derive(Default)]
pub(super) struct Group {
    parts: Vec<Part>,
    bytes: usize,
    appended: HashSet<String>,
    /// Executions that begin or are given back here: nothing else of theirs may join, because in a group the order of
    /// asking is not kept.
    alone: HashSet<String>,
}

impl Group {
    /// A group that begins with this part.
    pub(super) fn of(first: Part) -> Self {
        let mut group = Self::default();
        group.add(first);
        group
    }

    /// Whether the group has no room for anything more.
    pub(super) fn is_full(&self) -> bool {
        self.parts.len() >= PARTS_MAX || self.bytes >= BYTES_MAX
    }

    /// Takes the part in, or hands it back when it has to come after this group.
    pub(super) fn join(&mut self, part: Part) -> Result<(), Part> {
        let continues = matches!(part.work, Work::Append(_));
        let execution = part.execution();
        if self.alone.contains(execution) || (!continues && self.appended.contains(execution)) {
            return Err(part);
        }
        self.add(part);
        Ok(())
    }

    fn add(&mut self, part: Part) {
        let set = if matches!(part.work, Work::Append(_)) { &mut self.appended } else { &mut self.alone };
        set.insert(part.execution().to_owned());
        self.bytes += part.rows().iter().map(|row| row.fact.len()).sum::<usize>();
        self.parts.push(part);
    }
}

/// Writes a group and replies to every one of its callers.
pub(super) async fn commit(connection: &mut SqliteConnection, group: Group, place: &str, bell: &Bell) {
    let parts = group.parts;
    let fault = match write(connection, &parts).await {
        Ok(verdicts) => {
            for (part, verdict) in parts.into_iter().zip(verdicts) {
                part.answer(verdict.map_err(Failure::never), bell);
            }
            return;
        }
        Err(fault) => fault,
    };
    // A lock concerns the whole group. Anything else may be one part's own fault, such as an event that no longer fits
    // on the disk; alone, the others may still go through.
    let locked = matches!(&fault, Fault::Database(error) if matches!(primary_result(error), Some(5 | 6)));
    if locked || parts.len() == 1 {
        let failure = fault.explain(place);
        for part in parts {
            part.answer(Err(failure.clone()), bell);
        }
        return;
    }
    for part in parts {
        let verdict = match write(connection, std::slice::from_ref(&part)).await {
            Ok(mut verdicts) => verdicts.pop().expect("one verdict a part").map_err(Failure::never),
            Err(fault) => Err(fault.explain(place)),
        };
        part.answer(verdict, bell);
    }
}

/// One transaction for all parts; one verdict a part.
async fn write(connection: &mut SqliteConnection, parts: &[Part]) -> Result<Vec<Result<(), Problem>>, Fault> {
    begin(connection).await?;
    let outcome = write_parts(connection, parts).await;
    finish(connection, outcome).await
}

async fn write_parts(connection: &mut SqliteConnection, parts: &[Part]) -> Result<Vec<Result<(), Problem>>, Fault> {
    let creates: Vec<&Create> = parts.iter().filter_map(|part| part.create()).collect();
    let appends: Vec<&str> = parts.iter().filter_map(|part| Some(part.append()?.execution.as_str())).collect();
    let releases: Vec<(&str, i64)> = parts.iter().filter_map(Part::released).collect();
    let created = insert_executions(connection, &creates).await?;
    let mut ends = if appends.is_empty() { Default::default() } else { ends(connection, &appends).await? };
    let freed = free(connection, &releases).await?;
    let mut verdicts = Vec::with_capacity(parts.len());
    for part in parts {
        verdicts.push(match &part.work {
            Work::Create(create) if created.contains(&create.id) => Ok(()),
            Work::Create(create) => Err(exists(&create.id)),
            Work::Append(append) => append.join(&mut ends),
            Work::Release { execution, .. } if freed.contains(execution) => Ok(()),
            Work::Release { execution, .. } => not_freed(connection, execution).await?,
        });
    }
    let accepted = parts.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok());
    let rows: Vec<(&str, &Row)> =
        accepted.flat_map(|(part, _)| part.rows().iter().map(|row| (part.execution(), row))).collect();
    insert(connection, &rows).await?;
    update(connection, &ends).await?;
    Ok(verdicts)
}

impl Part {
    fn create(&self) -> Option<&Create> {
        if let Work::Create(create) = &self.work { Some(create) } else { None }
    }

    fn append(&self) -> Option<&Append> {
        if let Work::Append(append) = &self.work { Some(append) } else { None }
    }

    fn released(&self) -> Option<(&str, i64)> {
        if let Work::Release { execution, fence } = &self.work { Some((execution, *fence)) } else { None }
    }
}

/// Inserts the executions; returns the ids of those that did not exist.
async fn insert_executions(connection: &mut SqliteConnection, creates: &[&Create]) -> Result<HashSet<String>, Fault> {
    static INSERT: LazyLock<Pieces> = LazyLock::new(|| {
        let before = "insert into executions \
            (id, name, org, usr, status, started, updated, events, holder, lease_until, waits, due, fence) values ";
        let after = " on conflict (id) do nothing returning id";
        Pieces::new(before, "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)", after)
    });
    let mut created = HashSet::new();
    for (statement, piece) in INSERT.cut(creates) {
        let mut query = sqlx::query_scalar::<_, String>(statement);
        for create in piece {
            let Create { id, name, who, started, holder, until, span, .. } = *create;
            query = query.bind(id.clone()).bind(name.clone()).bind(who.org.clone()).bind(who.user.clone());
            query = query.bind(span.status.unwrap_or(RUNNING)).bind(integer(*started)).bind(integer(span.updated));
            query = query.bind(integer(span.last)).bind(holder.clone()).bind(integer(*until));
            query = query.bind(span.waits.max(0)).bind(span.due);
        }
        created.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(created)
}

/// Gives leases back; returns the executions whose lease was the newest and held.
async fn free(connection: &mut SqliteConnection, releases: &[(&str, i64)]) -> Result<HashSet<String>, Fault> {
    static FREE: LazyLock<Pieces> = LazyLock::new(|| {
        let after = ") update executions set holder = null, lease_until = 0 from freed \
            where executions.id = freed.id and executions.fence = freed.fence and holder is not null \
            returning executions.id";
        Pieces::new("with freed (id, fence) as (values ", "(?, ?)", after)
    });
    let mut freed = HashSet::new();
    for (statement, piece) in FREE.cut(releases) {
        let mut query = sqlx::query_scalar::<_, String>(statement);
        for (execution, fence) in piece {
            query = query.bind((*execution).to_owned()).bind(*fence);
        }
        freed.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(freed)
}

/// Why a lease could not be given back.
async fn not_freed(connection: &mut SqliteConnection, execution: &str) -> Result<Result<(), Problem>, Fault> {
    match must_exist(connection, execution).await {
        Ok(()) => Ok(Err(fenced(execution))),
        Err(Fault::Refused(failure)) => Ok(Err(failure.problem)),
        Err(fault) => Err(fault),
    }
}
