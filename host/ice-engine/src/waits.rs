//! Answers to executions, wherever they stand: listing what waits, answering, waking what is due.
//!
//! An execution that runs in this process takes an answer at its desk. One that nobody runs gets the answer into its
//! events, and is taken up again from there; so is the execution it is inside of.

use std::sync::Arc;

use ice_core::budget::Usage;
use ice_core::event::{Event, Fact};
use ice_core::execution::{Execution, Status, replay};
use ice_core::id::{ExecutionId, Identity, NodePath, UnixMs};
use ice_core::ports::{Events, Failure, Lease};
use ice_core::problem::{Code, Problem};
use ice_core::wait::{Answer, OpenWait, Resolution, WaitId};
use serde::Serialize;
use tokio::sync::Notify;

use crate::desk::Post;
use crate::engine::{Engine, read_all};
use crate::live::Handle;
use crate::run::Shared;

/// Executions looked at for one listing, and woken at once.
const EXECUTIONS_MAX: u32 = 1_000;

/// How often a wait that is on record and not yet at its desk is looked for, and the pause in between: its node has
/// just asked, or has just been taken up.
const LOOKS: u32 = 50;
const LOOK_MS: u64 = 20;

/// Which waits.
#[derive(Clone, Debug)]
pub struct WaitFilter {
    /// Of executions that run for this person; of everybody's without.
    pub who: Option<Identity>,
    /// Of this execution and those inside it.
    pub execution: Option<ExecutionId>,
    /// At most this many.
    pub limit: usize,
}

impl Default for WaitFilter {
    fn default() -> Self {
        Self { who: None, execution: None, limit: 100 }
    }
}

/// A wait that is open.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Wait {
    /// Names it.
    pub id: WaitId,
    /// The execution that waits.
    pub execution: ExecutionId,
    /// That execution's blueprint, for people.
    pub name: String,
    /// Whom it runs for.
    pub identity: Identity,
    /// What is asked, where, since when and until when.
    #[serde(flatten)]
    pub open: OpenWait,
}

impl Wait {
    /// Lists open waits, those of the newest executions first and within one in the order of their opening. Needs
    /// nothing but the events. Fails when they cannot be read.
    pub async fn list(events: &dyn Events, filter: &WaitFilter) -> Result<Vec<Self>, Problem> {
        let ids = events.waiting(filter.who.as_ref(), EXECUTIONS_MAX).await.map_err(|failure| failure.problem)?;
        let mut found = Vec::new();
        for id in ids {
            let Some(view) = replay(&read_all(events, &id).await?) else { continue };
            if let Some(wanted) = &filter.execution
                && !is_inside(events, &id, view.parent.as_ref().map(|(parent, _)| parent), wanted).await?
            {
                continue;
            }
            let wait = |(wait, open): (&WaitId, &OpenWait)| Self::of(&view, &id, wait, open);
            let mut waits: Vec<Self> = view.waits.iter().map(wait).collect();
            waits.sort_by(|a, b| (a.open.opened, &a.open.path).cmp(&(b.open.opened, &b.open.path)));
            found.extend(waits);
            if found.len() >= filter.limit {
                found.truncate(filter.limit);
                break;
            }
        }
        Ok(found)
    }

    /// The open wait of that name. X019 when there is none, or when it is over.
    pub async fn find(events: &dyn Events, wait: &WaitId) -> Result<Self, Problem> {
        let id = wait.execution().ok_or_else(|| unknown(wait))?;
        let list = list_of(events, &id, wait).await?;
        let open = open_wait(&list, wait)?;
        let view = replay(&list).ok_or_else(|| unknown(wait))?;
        Ok(Self::of(&view, &id, wait, &open))
    }

    fn of(view: &Execution, id: &ExecutionId, wait: &WaitId, open: &OpenWait) -> Self {
        let (name, identity) = (view.name.clone(), view.identity.clone());
        Self { id: wait.clone(), execution: id.clone(), name, identity, open: open.clone() }
    }
}

impl Engine {
    /// Lists open waits: [`Wait::list`].
    pub async fn waits(&self, filter: &WaitFilter) -> Result<Vec<Wait>, Problem> {
        Wait::list(&*self.shared.ports.events, filter).await
    }

    /// Answers a wait; the answer is on record when this returns. Returns the execution as it goes on in this process,
    /// or nothing when another process goes on with it. Fails with X019 when there is no such wait or it is over, with
    /// X020 and the place when it is no answer to the question, and when another live process holds the execution.
    pub async fn answer(&self, wait: &WaitId, answer: Answer) -> Result<Option<Handle>, Problem> {
        if let Some(running) = self.leave_answer(wait, answer).await? {
            return Ok(Some(running));
        }
        match self.wake(&wait.execution().ok_or_else(|| unknown(wait))?).await {
            Ok(handle) => Ok(Some(handle)),
            // The answer is on record: whoever holds the execution goes on with it.
            Err(problem) if matches!(problem.code, Code::X008 | Code::X042) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Like [`Engine::answer`], but leaves an execution that nobody runs as it is: it is due at once, so the next
    /// [`Engine::due`] goes on with it. Returns it if it runs in this process.
    pub async fn leave_answer(&self, wait: &WaitId, answer: Answer) -> Result<Option<Handle>, Problem> {
        let id = wait.execution().ok_or_else(|| unknown(wait))?;
        for _ in 0..LOOKS {
            let Some(control) = self.shared.running(&id) else {
                self.answer_stored(&id, wait, answer).await?;
                return Ok(None);
            };
            match control.desk.post(wait, answer.clone()) {
                Post::Sent(receipt) => {
                    let lost = || Problem::new(Code::X008, "the execution was interrupted before the answer was kept");
                    receipt.await.map_err(|_| lost().help("answer again"))??;
                    return Ok(Some(self.handle(control)));
                }
                Post::Refused(problem) => return Err(problem),
                Post::Closed => drop(control.rested().await),
                Post::Unknown => {
                    open_wait(&read_all(&*self.shared.ports.events, &id).await?, wait)?;
                    self.shared.ports.clock.sleep(LOOK_MS).await;
                }
            }
        }
        let problem = Problem::new(Code::X008, format!("wait `{wait}` is just being taken up or answered"));
        Err(problem.help("answer again in a moment"))
    }

    async fn answer_stored(&self, id: &ExecutionId, wait: &WaitId, answer: Answer) -> Result<(), Problem> {
        let events = &self.shared.ports.events;
        let list = list_of(&**events, id, wait).await?;
        let resolution = open_wait(&list, wait)?.question.resolve(answer)?;
        let lease = events.claim(id, self.shared.options.lease_ms).await.map_err(|failure| failure.problem)?;
        let kept = self.keep_answer(&lease, wait, resolution).await;
        let released = events.release(&lease).await;
        kept?;
        released.map_err(|failure| failure.problem)
    }

    /// Appends the answer, and that the execution is due: whoever is killed right after this has lost nothing. Reads
    /// again first, because somebody may have been faster.
    async fn keep_answer(&self, lease: &Lease, wait: &WaitId, resolution: Resolution) -> Result<(), Problem> {
        let ports = &self.shared.ports;
        let list = read_all(&*ports.events, &lease.execution).await?;
        let open = open_wait(&list, wait)?;
        let (seq, at) = (list.last().map_or(0, |last| last.seq), ports.clock.now_ms());
        let resumed = Event { seq: seq + 1, at, path: NodePath::root(), attempt: 0, fact: Fact::ExecutionResumed };
        let fact = Fact::WaitResolved { wait: wait.clone(), resolution: Box::new(resolution) };
        let resolved = Event { seq: seq + 2, at, path: open.path, attempt: open.attempt, fact };
        let fact = Fact::ExecutionParked { due: Some(at), usage: spent(&list) };
        let parked = Event { seq: seq + 3, fact, ..resumed.clone() };
        ports.events.append(lease, &[resumed, resolved, parked]).await.map_err(|failure| failure.problem)
    }

    /// Takes up executions that wait and whose time is over at `now`, so that silence gets its meaning. To be called
    /// again and again by a process that is up: nothing else wakes them. Says for each how it went.
    pub async fn due(&self, now: UnixMs) -> Result<Vec<(ExecutionId, Result<Handle, Problem>)>, Problem> {
        let ids = self.shared.ports.events.due(now, EXECUTIONS_MAX).await.map_err(|failure| failure.problem)?;
        let mut woken = Vec::with_capacity(ids.len());
        for id in ids {
            let handle = self.wake(&id).await;
            woken.push((id, handle));
        }
        Ok(woken)
    }

    /// Goes on with an execution that waited: with the outermost one it is inside of, which finds it again.
    pub(crate) async fn wake(&self, id: &ExecutionId) -> Result<Handle, Problem> {
        let mut top = id.clone();
        loop {
            if let Some(control) = self.shared.running(&top) {
                if control.desk.unless_closed(|| ()) {
                    return Ok(self.handle(control));
                }
                // It is just being given back, and may have missed the bell.
                control.rested().await;
                continue;
            }
            let awaited = self.shared.ring(&top);
            let Some(parent) = parent_of(&*self.shared.ports.events, &top).await? else { break };
            if !awaited && let Some(control) = self.shared.running(&parent) {
                if control.desk.unless_closed(|| ()) {
                    // It runs and does not wait for the one inside: that one is on its own.
                    break;
                }
                // It is just being given back, and no longer listens.
                control.rested().await;
            }
            if !awaited && !self.goes_on(&parent).await? {
                break;
            }
            top = parent;
        }
        self.resume(&top).await
    }

    /// Whether an execution will look after those inside it: it waits, or was left by its process.
    async fn goes_on(&self, id: &ExecutionId) -> Result<bool, Problem> {
        let rows = self.shared.ports.events.standing(std::slice::from_ref(id)).await;
        let open = [Status::Running, Status::Waiting].map(Status::as_str);
        Ok(rows.map_err(|failure| failure.problem)?.iter().any(|row| open.contains(&row.status.as_str())))
    }
}

async fn is_inside(
    events: &dyn Events,
    id: &ExecutionId,
    parent: Option<&ExecutionId>,
    outer: &ExecutionId,
) -> Result<bool, Problem> {
    let mut next = parent.cloned();
    let mut at = id.clone();
    while at != *outer {
        let Some(parent) = next else { return Ok(false) };
        next = parent_of(events, &parent).await?;
        at = parent;
    }
    Ok(true)
}

async fn parent_of(events: &dyn Events, id: &ExecutionId) -> Result<Option<ExecutionId>, Problem> {
    let first = match events.read(id, 0, 1).await {
        Err(Failure { problem, .. }) if problem.code.http() == 404 => Vec::new(),
        read => read.map_err(|failure| failure.problem)?,
    };
    Ok(replay(&first).and_then(|view| view.parent).map(|(parent, _)| parent))
}

/// The events of the execution that a wait names; X019 when there is no such execution.
async fn list_of(events: &dyn Events, id: &ExecutionId, wait: &WaitId) -> Result<Vec<Event>, Problem> {
    match events.read(id, 0, 1).await {
        Err(failure) if failure.problem.code.http() == 404 => Err(unknown(wait)),
        Err(failure) => Err(failure.problem),
        Ok(_) => read_all(events, id).await,
    }
}

/// What an execution that nobody runs has spent: as it said when it was given back, or as its events add up to.
fn spent(list: &[Event]) -> Usage {
    match list.last().map(|last| &last.fact) {
        Some(Fact::ExecutionParked { usage, .. }) => *usage,
        _ => replay(list).map(|view| view.usage).unwrap_or_default(),
    }
}

fn unknown(wait: &WaitId) -> Problem {
    Problem::new(Code::X019, format!("there is no wait `{}`", printable(&wait.0)))
        .help("list open waits, and answer one of them")
}

/// Text from outside, for a message.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// The wait, while it is open; X019 says what became of it otherwise.
fn open_wait(list: &[Event], wait: &WaitId) -> Result<OpenWait, Problem> {
    let view = replay(list).ok_or_else(|| unknown(wait))?;
    if let Some(open) = view.waits.get(wait) {
        return Ok(open.clone());
    }
    let over = list.iter().rev().find_map(|event| match &event.fact {
        Fact::WaitResolved { wait: other, resolution } if other == wait && resolution.timed_out => {
            Some("nobody answered it in time".to_owned())
        }
        Fact::WaitResolved { wait: other, resolution } if other == wait => {
            Some(format!("{} answered it", printable(&resolution.responder)))
        }
        Fact::WaitWithdrawn { wait: other } if other == wait => Some("the node that asked was stopped".into()),
        Fact::WaitOpened { wait: other, .. } if other == wait => Some("the execution has ended".into()),
        _ => None,
    });
    Err(over.map_or_else(|| unknown(wait), |why| Problem::new(Code::X019, format!("wait `{wait}` is over: {why}"))))
}

/// Rung when something happened to an execution inside another one; gone when dropped.
pub(crate) struct Bell<'a> {
    shared: &'a Shared,
    id: ExecutionId,
    bell: Arc<Notify>,
}

impl Bell<'_> {
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        let mut bells = self.shared.bells.lock().expect("no panic while listing");
        if bells.get(&self.id).is_some_and(|bell| Arc::ptr_eq(bell, &self.bell)) {
            bells.remove(&self.id);
        }
    }
}

impl Shared {
    /// Listens for what happens to an execution inside another one.
    pub(crate) fn bell(&self, id: &ExecutionId) -> Bell<'_> {
        let bell = Arc::new(Notify::new());
        self.bells.lock().expect("no panic while listing").insert(id.clone(), Arc::clone(&bell));
        Bell { shared: self, id: id.clone(), bell }
    }

    /// Says that something happened to it; false when nobody listens.
    fn ring(&self, id: &ExecutionId) -> bool {
        let bells = self.bells.lock().expect("no panic while listing");
        let bell = bells.get(id);
        bell.inspect(|bell| bell.notify_one()).is_some()
    }
}
