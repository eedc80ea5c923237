//! Executions as files: written out with everything a replay needs, checked whole, written back under the same ids.
//!
//! JSON lines. An execution is a head (format, version, id, blueprint) and then its events as they are stored; one
//! with its children is several of these, the outermost first. An event is taken in only when this version writes it
//! as it was found, so that nothing is lost in between: exported again, the bytes are the same. Secrets are in no
//! event, and so in no file.

use std::collections::{BTreeMap, BTreeSet};

use ice_core::event::{Event, Fact};
use ice_core::id::{Digest, ExecutionId, Identity};
use ice_core::ports::{Clock, Documents, Events, Failure};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{read_all, senseless};
use crate::keys;
use crate::purse::restate;

/// The first line names these.
const FORMAT: &str = "ice.execution";
const VERSION: u64 = 1;

/// A file is read whole into memory.
pub const EXPORT_BYTES_MAX: u64 = 1 << 30;
/// Executions in one file.
const EXECUTIONS_MAX: usize = 10_000;
/// An id becomes part of paths and commands.
const ID_BYTES_MAX: usize = 128;
/// Attempts that are looked at to find the one that started a child.
const ATTEMPTS_MAX: u32 = 1_000;
/// The lease under which an import is written; given back at once.
const LEASE_MS: u64 = 5_000;

/// The head of one execution.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    version: u64,
    execution: ExecutionId,
    /// How many lines follow that are its events.
    events: u64,
    /// Digest of `document`.
    blueprint: Digest,
    document: Value,
}

/// One execution of a file.
#[derive(Clone, PartialEq, Debug)]
struct Part {
    id: ExecutionId,
    document: Value,
    events: Vec<Event>,
}

/// A file of executions that was checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Import {
    /// The outermost first.
    parts: Vec<Part>,
}

/// Returns an execution as lines: the head, then one event a line. X041 or X013 when there is none, X009 when its
/// blueprint is not stored.
pub async fn export(events: &dyn Events, documents: &dyn Documents, id: &ExecutionId) -> Result<Vec<String>, Problem> {
    let list = read_all(events, id).await?;
    let first = list.first().ok_or_else(|| {
        Problem::new(Code::X013, format!("there is no execution `{id}`"))
            .help("list executions with `ice executions list`")
    })?;
    let Fact::ExecutionStarted { blueprint, .. } = &first.fact else { return Err(senseless(id)) };
    let document = documents.get(blueprint).await.map_err(|failure| failure.problem)?;
    let document = document.ok_or_else(|| {
        Problem::new(Code::X009, format!("the blueprint {blueprint} of execution `{id}` is not stored"))
    })?;
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        execution: id.clone(),
        events: list.len() as u64,
        blueprint: *blueprint,
        document,
    };
    let head = serde_json::to_string(&head).expect("a head is JSON");
    Ok(std::iter::once(head).chain(list.iter().map(written)).collect())
}

fn written(event: &Event) -> String {
    serde_json::to_string(event).expect("facts are plain data with text keys")
}

impl Import {
    /// Reads what [`export`] wrote. X051, with the line, for everything that is not as it should be.
    pub fn read(text: &str) -> Result<Self, Problem> {
        if text.len() as u64 > EXPORT_BYTES_MAX {
            let message = format!("the file is over {} MiB", EXPORT_BYTES_MAX >> 20);
            return Err(Problem::new(Code::X051, message).help("export executions without their children"));
        }
        let mut lines = (1_usize..).zip(text.lines());
        let mut parts: Vec<Part> = Vec::new();
        while let Some((number, line)) = lines.next() {
            let head = head(number, line)?;
            let mut events = Vec::new();
            for seq in 1..=head.events {
                let (number, line) = lines.next().ok_or_else(|| {
                    let message = format!("it ends after event {} of {} of `{}`", seq - 1, head.events, head.execution);
                    wrong(number, &message)
                })?;
                events.push(event(number, line, seq)?);
            }
            parts.push(part(number, head, events)?);
            if parts.len() > EXECUTIONS_MAX {
                return Err(wrong(number, &format!("it holds more than {EXECUTIONS_MAX} executions")));
            }
        }
        related(&parts)?;
        Ok(Self { parts })
    }

    /// The outermost execution.
    pub fn id(&self) -> &ExecutionId {
        &self.parts[0].id
    }

    /// How many executions and events there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.parts.len(), self.parts.iter().map(|part| part.events.len()).sum())
    }

    /// The same under another id, with children under the ids that follow from it. X051 for an execution that has not
    /// ended: whoever it sends something to knows it by its id.
    pub fn renamed(mut self, clock: &dyn Clock) -> Result<Self, Problem> {
        if self.parts.iter().any(|part| ice_core::execution::ending(&part.events).is_none()) {
            let message = format!("execution `{}` has not ended, so it keeps its id", self.id());
            let help = "import it under its id, and fork it there: `ice executions fork ID --from NODE`";
            return Err(Problem::new(Code::X051, message).help(help));
        }
        let mut names = BTreeMap::new();
        names.insert(self.id().clone(), keys::execution_id(clock.now_ms(), [clock.random(), clock.random()]));
        // A child may come before its parent; each round names the children of those that have a name.
        while names.len() < self.parts.len() {
            let before = names.len();
            for part in &self.parts {
                if let Some((parent, path)) = parent(part)
                    && !names.contains_key(&part.id)
                    && let Some(named) = names.get(parent)
                {
                    let started = |attempt: &u32| keys::child_execution_id(parent, path, *attempt) == part.id;
                    let attempt = (1..=ATTEMPTS_MAX).find(started).unwrap_or(1);
                    names.insert(part.id.clone(), keys::child_execution_id(named, path, attempt));
                }
            }
            assert!(names.len() > before, "every part hangs below the first");
        }
        for part in &mut self.parts {
            if let Some(Fact::ExecutionStarted { parent: Some((parent, _)), .. }) =
                part.events.first_mut().map(|first| &mut first.fact)
                && let Some(named) = names.get(parent)
            {
                parent.clone_from(named);
            }
            part.id = names[&part.id].clone();
        }
        Ok(self)
    }

    /// Writes it for `who`. Nothing is written when one of the executions is there already (X044) or its documents
    /// cannot be stored. The outermost one is written last and at once: it is there with everything below it, or not
    /// at all, and an import that was cut off can be made again.
    pub async fn write(&self, events: &dyn Events, documents: &dyn Documents, who: &Identity) -> Result<(), Problem> {
        let plain = |failure: Failure| failure.problem;
        let mut missing = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            match stored(events, &part.id).await? {
                list if list.is_empty() => missing.push(part),
                // What an import that was cut off left behind.
                list if index > 0 && list == part.events => {}
                _ => {
                    let problem = Problem::new(Code::X044, format!("there is an execution `{}` already", part.id));
                    return Err(problem.help("import it as another one: `--new-id`"));
                }
            }
        }
        for part in &self.parts {
            documents.put("blueprint", &part.document).await.map_err(plain)?;
        }
        for part in missing.into_iter().rev() {
            let name = match &part.events[0].fact {
                Fact::ExecutionStarted { name, .. } => name.as_str(),
                _ => "",
            };
            let lease = events.create(&part.id, name, who, &part.events, LEASE_MS).await.map_err(plain)?;
            events.release(&lease).await.map_err(plain)?;
            // The ledger is made of the events that are here: what was spent elsewhere is now spent here, on its days.
            if let (Some(ledger), Fact::ExecutionStarted { identity, .. }) = (events.ledger(), &part.events[0].fact) {
                restate(events, ledger, &identity.org, &part.id).await.map_err(plain)?;
            }
        }
        Ok(())
    }
}

/// The events of an execution; none when there is no such execution.
async fn stored(events: &dyn Events, id: &ExecutionId) -> Result<Vec<Event>, Problem> {
    match read_all(events, id).await {
        Err(problem) if problem.code.http() == 404 => Ok(Vec::new()),
        list => list,
    }
}

fn wrong(line: usize, message: &str) -> Problem {
    let mut problem = Problem::new(Code::X051, message);
    problem.at = Some(ice_core::problem::Place { line: u32::try_from(line).ok(), ..Default::default() });
    problem.help("export it again: `ice executions export ID -o FILE`")
}

fn head(number: usize, line: &str) -> Result<Head, Problem> {
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    if value["format"] != FORMAT {
        return Err(wrong(number, "no execution begins here: the line does not name its format"));
    }
    if value["version"] != VERSION {
        let message = format!("version {} of exported executions is not one that is read here", value["version"]);
        return Err(wrong(number, &message));
    }
    let head: Head =
        serde_json::from_value(value).map_err(|error| wrong(number, &format!("the head is not one: {error}")))?;
    let id = &head.execution.0;
    let good = !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !good {
        return Err(wrong(number, "the id of the execution is not one"));
    }
    if Digest::of_json(&head.document) != head.blueprint {
        return Err(wrong(number, "the blueprint does not have the digest that the head gives for it"));
    }
    Ok(head)
}

fn event(number: usize, line: &str, seq: u64) -> Result<Event, Problem> {
    let event: Event = serde_json::from_str(line)
        .map_err(|error| wrong(number, &format!("event {seq} cannot be read by this version: {error}")))?;
    if event.seq != seq {
        return Err(wrong(number, &format!("event {} stands where event {seq} belongs", event.seq)));
    }
    if written(&event) != line {
        return Err(wrong(number, &format!("event {seq} holds what this version would lose")));
    }
    Ok(event)
}

fn part(number: usize, head: Head, events: Vec<Event>) -> Result<Part, Problem> {
    match events.first().map(|first| &first.fact) {
        Some(Fact::ExecutionStarted { blueprint, .. }) if *blueprint == head.blueprint => {}
        Some(Fact::ExecutionStarted { .. }) => {
            return Err(wrong(number, "the execution began with another blueprint than the head gives"));
        }
        _ => return Err(wrong(number, "the events do not begin with the start of an execution")),
    }
    let starts = |event: &&Event| matches!(event.fact, Fact::ExecutionStarted { .. });
    if events.iter().filter(starts).count() > 1 {
        return Err(wrong(number, "the execution begins more than once"));
    }
    let end = events.iter().position(|event| matches!(event.fact, Fact::ExecutionFinished { .. }));
    if end.is_some_and(|end| end + 1 < events.len()) {
        return Err(wrong(number, "events follow after the end of the execution"));
    }
    Ok(Part { id: head.execution, document: head.document, events })
}

fn parent(part: &Part) -> Option<(&ExecutionId, &ice_core::id::NodePath)> {
    match &part.events.first()?.fact {
        Fact::ExecutionStarted { parent: Some((parent, path)), .. } => Some((parent, path)),
        _ => None,
    }
}

/// Everything after the first has to hang below it, once.
fn related(parts: &[Part]) -> Result<(), Problem> {
    let Some(first) = parts.first() else { return Err(wrong(1, "the file is empty")) };
    let parents: BTreeMap<&ExecutionId, Option<&ExecutionId>> =
        parts.iter().map(|part| (&part.id, parent(part).map(|(parent, _)| parent))).collect();
    if parents.len() < parts.len() {
        return Err(wrong(1, "it holds an execution twice"));
    }
    for part in parts {
        let (mut at, mut seen) = (&part.id, BTreeSet::new());
        while at != &first.id {
            match parents.get(at).copied().flatten().filter(|_| seen.insert(at)) {
                Some(parent) => at = parent,
                None => return Err(wrong(1, &format!("execution `{}` is not inside `{}`", part.id, first.id))),
            }
        }
    }
    Ok(())
}
