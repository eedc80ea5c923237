//! What both backends know of an event list: its rows, which events may be put at its end, who may put them there,
//! and the words of every refusal. Pure; the SQL is the backends'.

use std::collections::HashMap;
use std::sync::Arc;

use ice_core::event::{Event, Fact, FinalStatus};
use ice_core::id::{ExecutionId, NodePath, UnixMs};
use ice_core::ports::ExecutionRow;
use ice_core::problem::{Code, Problem};

use crate::fault::{integer, natural};
use crate::holder::Holder;

/// The status of an execution whose list has no end yet.
pub(crate) const RUNNING: &str = "running";

/// More waits than one execution has: its end closes this many, and none is counted below zero.
const WAITS_MAX: i64 = 1 << 40;

/// The status of an execution that no process runs, because everything that remains waits for an answer.
pub(crate) const WAITING: &str = "waiting";

/// One event as it is stored.
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) path: Arc<str>,
    pub(crate) attempt: u32,
    pub(crate) fact: String,
}

/// A row of a listing as it is read: id, name, status, started, updated, events, holder, lease_until, waits.
pub(crate) type Line = (String, String, String, i64, i64, i64, Option<String>, i64, i64);

/// The lines of a listing at `now`.
pub(crate) fn lines(rows: Vec<Line>, now: UnixMs) -> Vec<ExecutionRow> {
    // Usually one process holds them all: it is looked up once.
    let mut known: HashMap<String, bool> = HashMap::new();
    let mut lives = |holder: String| *known.entry(holder).or_insert_with_key(|holder| holds(holder, UnixMs::MAX, 0));
    let line = |(id, name, status, started, updated, events, holder, until, waits): Line| ExecutionRow {
        id: ExecutionId(id),
        name,
        status,
        started: natural(started),
        updated: natural(updated),
        events: natural(events),
        held: now < natural(until) && holder.is_some_and(&mut lives),
        waits: natural(waits),
    };
    rows.into_iter().map(line).collect()
}

/// What events do to the row of their execution.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) updated: u64,
    /// `None` when they leave the status as it was; one that waited runs again then.
    pub(crate) status: Option<&'static str>,
    /// How many more waits are open.
    pub(crate) waits: i64,
    /// When the first wait of an execution that waits runs out.
    pub(crate) due: Option<i64>,
}

impl Span {
    /// What these events and then those of `next` do.
    pub(crate) fn then(self, next: Self) -> Self {
        let status = next.status.or(self.status.filter(|status| *status != WAITING));
        Self { first: self.first, status, waits: self.waits.saturating_add(next.waits), ..next }
    }
}

/// The end of an execution's list.
pub(crate) struct Head {
    pub(crate) fence: i64,
    pub(crate) held: bool,
    pub(crate) events: u64,
}

/// The span of `events`; `None` without events, X043 when they are not consecutive among themselves.
pub(crate) fn span(events: &[Event]) -> Result<Option<Span>, Problem> {
    if let Some(pair) = events.windows(2).find(|pair| pair[0].seq.checked_add(1) != Some(pair[1].seq)) {
        return Err(gap(pair[0].seq.saturating_add(1), pair[1].seq));
    }
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Ok(None);
    };
    Ok(Some(Span {
        first: first.seq,
        last: last.seq,
        updated: last.at,
        status: status_after(events),
        waits: events.iter().fold(0, |waits, event| waits.saturating_add(waits_opened(&event.fact))),
        due: match last.fact {
            Fact::ExecutionParked { due, .. } => due.map(integer),
            _ => None,
        },
    }))
}

/// Whether the holder of `fence` may put `span` at the end of the list; `None` for `head` is no such execution.
pub(crate) fn verdict(id: &str, fence: i64, span: Option<&Span>, head: Option<&Head>) -> Result<(), Problem> {
    let head = head.ok_or_else(|| no_execution(id))?;
    if !head.held || head.fence != fence {
        return Err(fenced(id));
    }
    match span {
        Some(span) if span.first != head.events + 1 => Err(gap(head.events + 1, span.first)),
        _ => Ok(()),
    }
}

/// The status of an execution once these events are in its list; `None` when they leave it as it was.
/// This, open waits and when they are due is all the store understands of events: listings must show it without
/// reading every list.
fn status_after(events: &[Event]) -> Option<&'static str> {
    let ended = events.iter().rev().find_map(|event| match &event.fact {
        Fact::ExecutionFinished { status, .. } => Some(match status {
            FinalStatus::Completed => "completed",
            FinalStatus::CompletedWithErrors => "completed_with_errors",
            FinalStatus::Failed => "failed",
            FinalStatus::Cancelled => "cancelled",
        }),
        _ => None,
    });
    let parked = matches!(events.last().map(|last| &last.fact), Some(Fact::ExecutionParked { .. }));
    ended.or(parked.then_some(WAITING))
}

/// How many more waits are open after a fact.
fn waits_opened(fact: &Fact) -> i64 {
    match fact {
        Fact::WaitOpened { .. } => 1,
        Fact::WaitResolved { .. } | Fact::WaitWithdrawn { .. } => -1,
        Fact::ExecutionFinished { .. } => -WAITS_MAX,
        _ => 0,
    }
}

/// The rows of a new execution and what they say of it; X043 when they do not begin with event 1.
pub(crate) fn first_rows(events: &[Event], now: UnixMs) -> Result<(Vec<Row>, Span), Problem> {
    let none = Span { first: 1, last: 0, updated: now, status: None, waits: 0, due: None };
    match span(events)? {
        Some(span) if span.first != 1 => Err(gap(1, span.first)),
        span => Ok((rows(events), span.unwrap_or(none))),
    }
}

/// The events as they are stored.
pub(crate) fn rows(events: &[Event]) -> Vec<Row> {
    let row = |event: &Event| Row {
        seq: integer(event.seq),
        at: integer(event.at),
        path: event.path.0.clone(),
        attempt: event.attempt,
        fact: serde_json::to_string(&event.fact).expect("facts are plain data with text keys"),
    };
    events.iter().map(row).collect()
}

/// Reads a stored event back; C043 when it cannot be read.
pub(crate) fn event(id: &str, seq: i64, at: i64, path: String, attempt: u32, fact: &str) -> Result<Event, Problem> {
    let fact: Fact = serde_json::from_str(fact).map_err(|error| {
        Problem::new(Code::C043, format!("event {seq} of execution `{id}` cannot be read: {error}"))
            .help("it was damaged, or written by another version of `ice`: use that version")
    })?;
    Ok(Event { seq: natural(seq), at: natural(at), path: NodePath(path.into()), attempt, fact })
}

/// Whether a lease still keeps others out: not expired, and its process not known to be dead. The clocks of two hosts
/// that share a database may differ; a lease therefore has to be long against that difference.
pub(crate) fn holds(holder: &str, until: UnixMs, now: UnixMs) -> bool {
    now < until && !Holder::parse(holder).is_some_and(|holder| holder.is_gone())
}

/// The first `limit` of these executions that no process holds, each with its holder and until when it holds it.
pub(crate) fn free(rows: Vec<(String, Option<String>, i64)>, now: UnixMs, limit: u32) -> Vec<ExecutionId> {
    // Usually one process holds them all: it is looked up once.
    let mut known: HashMap<String, bool> = HashMap::new();
    let mut lives = |holder: String| *known.entry(holder).or_insert_with_key(|holder| holds(holder, UnixMs::MAX, 0));
    let left = rows.into_iter().filter_map(|(id, holder, until)| {
        let held = now < natural(until) && holder.is_some_and(&mut lives);
        (!held).then_some(ExecutionId(id))
    });
    left.take(limit as usize).collect()
}

fn gap(expected: u64, found: u64) -> Problem {
    Problem::new(Code::X043, format!("event {found} does not continue the list, whose next event is {expected}"))
        .help("a list has no holes: read its end again before appending")
}

pub(crate) fn no_execution(id: &str) -> Problem {
    Problem::new(Code::X041, format!("there is no execution `{id}`")).help("list what there is: `ice executions list`")
}

pub(crate) fn fenced(id: &str) -> Problem {
    Problem::new(Code::X040, format!("the lease of execution `{id}` was lost or given back; nothing was written"))
        .help(format!("another process goes on with it; follow it there, or later: `ice executions resume {id}`"))
}

pub(crate) fn exists(id: &str) -> Problem {
    Problem::new(Code::X044, format!("there is an execution `{id}` already"))
        .help("give every execution an id of its own, or go on with that one: `ice executions resume ID`")
}

pub(crate) fn held(id: &str, holder: &str, remaining_ms: u64) -> Problem {
    let holder = Holder::parse(holder);
    let words = holder.as_ref().map_or_else(|| "another process".to_owned(), Holder::words);
    let seconds = remaining_ms.div_ceil(1000);
    let stop = holder.and_then(|holder| holder.stop_command());
    let stop = stop.map_or_else(|| "cancel it there".to_owned(), |command| format!("stop it with `{command}`"));
    Problem::new(Code::X042, format!("execution `{id}` is held by {words}"))
        .help(format!("wait until it ends, or {stop}; its lease expires in {seconds} s unless it goes on"))
}
