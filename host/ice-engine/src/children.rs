//! Executions inside executions: blueprints they need, starting or finding them again, their end and their cost.
//!
//! A child has its own id, events and lease. Its id follows from its parent and the node attempt that starts it, so a
//! parent that is resumed finds the child it had started. Its ledger hangs under its parent's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ice_core::blueprint::Parsed;
use ice_core::budget::{Budget, Usage};
use ice_core::event::{Event, Fact};
use ice_core::execution::{Ending, replay};
use ice_core::id::{Digest, ExecutionId, NodePath, UnixMs};
use ice_core::ports::{Failure, Retry};
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use crate::engine::{Engine, Inside, StartExecution, read_all};
use crate::keys;
use crate::live::{Control, Handle, Rest};
use crate::plan::{Library, NESTING_MAX, Plan};
use crate::run::{Ports, Run};
use crate::stop::Token;
use crate::stored::{VERSIONS_MAX, stored};

/// Loads every blueprint that `parsed` refers to, and those they refer to: the documents that an execution `pinned`,
/// and for other references what they find now. What cannot be found is left out: planning says so, with its place
/// and the nearest name.
pub(crate) async fn library(
    ports: &Ports,
    parsed: &Parsed,
    pinned: &BTreeMap<String, Digest>,
) -> Result<Library, Vec<Problem>> {
    let mut library = Library::default();
    let mut known = BTreeSet::new();
    let mut missing = Vec::new();
    // What the document carries itself comes first; it is part of what was stored.
    let carried = parsed.blueprint.document.get("blueprints").and_then(Value::as_object);
    // One in another form is a problem of the document, which planning reports with its place.
    for (name, document) in carried.into_iter().flatten().filter(|(_, document)| document.is_object()) {
        library.add(name.clone(), None, Arc::new(Parsed::from_value(document.clone())?));
        known.insert(name.clone());
    }
    let mut level = vec![parsed.blueprint.document.clone()];
    // One more than planning accepts, so that it is planning that refuses.
    for _ in 0..=NESTING_MAX {
        let mut wanted = BTreeSet::new();
        level.iter().for_each(|document| references(document, &mut wanted));
        level.clear();
        for reference in wanted {
            if !known.insert(reference.clone()) {
                continue;
            }
            let found = find(ports, &reference, pinned.get(&reference)).await;
            let Some(document) = found.map_err(|failure| vec![failure.problem])? else {
                missing.push(reference);
                continue;
            };
            let child = Parsed::from_value(document.clone())?;
            library.add(reference, None, Arc::new(child));
            level.push(document);
        }
        if level.is_empty() {
            break;
        }
    }
    if !missing.is_empty() {
        propose(ports, &missing, &mut library).await.map_err(|failure| vec![failure.problem])?;
    }
    Ok(library)
}

/// The document of a reference: the pinned one, a bundle's entry, or what is stored under it.
async fn find(ports: &Ports, reference: &str, pinned: Option<&Digest>) -> Result<Option<Value>, Failure> {
    if let Some(digest) = pinned {
        let gone = || {
            let message = format!("the blueprint `{reference}` ({digest}), with which it started, is not stored");
            Failure::never(Problem::new(Code::X009, message).help("start a new execution"))
        };
        return ports.documents.get(digest).await?.ok_or_else(gone).map(Some);
    }
    if ports.components.catalog().blueprints.contains_key(reference) {
        return ports.components.blueprint(reference).await.map(Some);
    }
    match stored(&*ports.documents, reference).await? {
        Some(digest) => ports.documents.get(&digest).await,
        None => Ok(None),
    }
}

/// Makes the names known among which a missing one is looked for: bundle entries, stored names, and of a name that
/// has other versions than the one asked for, those.
async fn propose(ports: &Ports, missing: &[String], library: &mut Library) -> Result<(), Failure> {
    ports.components.catalog().blueprints.keys().for_each(|name| library.know(name));
    let asked = |name: &str| missing.iter().any(|reference| reference.split('@').next() == Some(name));
    for found in ports.documents.versions(None, VERSIONS_MAX).await? {
        if asked(&found.name) {
            library.know(format!("{}@{}", found.name, found.version));
        } else {
            library.know(found.name);
        }
    }
    Ok(())
}

/// Collects what `workflow` and `recursive` nodes refer to, at any depth of a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if matches!(fields.get("type").and_then(Value::as_str), Some("workflow" | "recursive")) {
                found.extend(fields.get("workflow_ref").and_then(Value::as_str).map(str::to_owned));
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// The plan of an installed blueprint.
pub(crate) async fn plan_of(run: &Run, blueprint: &str) -> Result<Arc<Plan>, Failure> {
    let document = run.shared.ports.components.blueprint(blueprint).await?;
    let several = |problems: Vec<Problem>| {
        let first = problems.into_iter().next();
        Failure::never(first.unwrap_or_else(|| Problem::new(Code::B001, "the blueprint has problems")))
    };
    let parsed = Parsed::from_value(document).map_err(several)?;
    let engine = Engine { shared: Arc::clone(&run.shared) };
    engine.plan(&parsed).await.map(Arc::new).map_err(several)
}

/// Where a child execution stands.
pub(crate) enum Found {
    /// In this process.
    Runs(Handle),
    /// Nobody runs it: it waits for an answer, at most until this time.
    Waits { id: ExecutionId, due: Option<UnixMs> },
}

impl Found {
    pub(crate) fn id(&self) -> &ExecutionId {
        match self {
            Self::Runs(handle) => &handle.id,
            Self::Waits { id, .. } => id,
        }
    }
}

/// Starts the child execution of a node attempt, or goes on with the one it had started before. The child stops when
/// `stop` is tripped. One that waits for an answer is left alone, unless it must stop.
pub(crate) async fn start(
    run: &Arc<Run>,
    path: &NodePath,
    attempt: u32,
    stop: &Arc<Token>,
    plan: Arc<Plan>,
    inputs: Value,
) -> Result<Found, Failure> {
    let depth = run.depth + 1;
    if depth > run.shared.options.max_depth {
        let problem = Problem::new(Code::X012, format!("executions are nested {depth} deep"))
            .help("a blueprint that starts itself must come to an end");
        return Err(Failure::never(problem));
    }
    let id = keys::child_execution_id(&run.id, path, attempt);
    let engine = Engine { shared: Arc::clone(&run.shared) };
    let inside = || inside(run, &id, stop);
    if exists(run, &id).await? {
        let list = read_all(&*run.shared.ports.events, &id).await.map_err(Failure::maybe)?;
        if stop.why().is_none()
            && let Some((due, usage)) = waits(&list, run.now())
        {
            run.meter.attach(id.0.as_str(), &usage);
            return Ok(Found::Waits { id, due });
        }
        return take_up(run, &engine, &id, inside).await.map(Found::Runs);
    }
    let start = StartExecution {
        plan,
        inputs,
        identity: run.identity.clone(),
        parent: Some((run.id.clone(), path.clone())),
        budget: Budget::default(),
    };
    let several = |problems: Vec<Problem>| {
        let words: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
        let code = problems.first().map_or(Code::X001, |problem| problem.code);
        Failure::never(Problem::new(code, words.join("; ")))
    };
    // Boxed: a child may have children, and a future cannot contain itself.
    Box::pin(engine.begin(id.clone(), start, inside())).await.map(Found::Runs).map_err(several)
}

/// Whether an execution waits and nothing of it is due: until when, and what it spent so far.
fn waits(list: &[Event], now: UnixMs) -> Option<(Option<UnixMs>, Usage)> {
    match &list.last()?.fact {
        Fact::ExecutionParked { due, usage } if due.is_none_or(|due| due > now) => Some((*due, *usage)),
        _ => None,
    }
}

fn inside(run: &Run, id: &ExecutionId, stop: &Arc<Token>) -> Inside {
    Inside {
        control: Control::under(id.clone(), stop, &run.control.hard),
        meter: Some((Arc::clone(&run.meter), id.to_string())),
        depth: run.depth + 1,
    }
}

async fn exists(run: &Run, id: &ExecutionId) -> Result<bool, Failure> {
    match run.shared.ports.events.read(id, 0, 1).await {
        Ok(events) => Ok(!events.is_empty()),
        Err(failure) if failure.problem.code.http() == 404 => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// A child whose process died is held until its lease runs out, at most as long as the parent's was.
async fn take_up(run: &Run, engine: &Engine, id: &ExecutionId, inside: impl Fn() -> Inside) -> Result<Handle, Failure> {
    const PAUSES: u64 = 8;
    let mut last = None;
    for _ in 0..=PAUSES {
        match Box::pin(engine.take_up(id, inside())).await {
            Ok(handle) => {
                settle_ended(run, &handle);
                return Ok(handle);
            }
            Err(problem) if problem.code == Code::X009 => return Err(Failure::never(problem)),
            Err(problem) => last = Some(problem),
        }
        run.clock().sleep((run.shared.options.lease_ms / PAUSES * 2).max(1)).await;
    }
    Err(Failure { problem: last.expect("it was tried at least once"), retry: Retry::Maybe })
}

/// A child that had ended before it was found again has no ledger under its parent's: its cost is added here.
fn settle_ended(run: &Run, handle: &Handle) {
    if let Some(Rest::Ended(ending)) = &*handle.control.rest.borrow() {
        run.meter.attach(handle.id.0.as_str(), &ending.usage);
    }
}

/// Where a child stands. One that nobody runs is taken up again.
pub(crate) async fn poll(run: &Arc<Run>, id: &ExecutionId) -> Result<Option<Ending>, Failure> {
    own(run, id).await?;
    if run.shared.running(id).is_some() {
        return Ok(None);
    }
    let events = read_all(&*run.shared.ports.events, id).await.map_err(Failure::maybe)?;
    if let Some(ending) = ice_core::execution::ending(&events) {
        run.meter.attach(id.0.as_str(), &ending.usage);
        return Ok(Some(ending));
    }
    if waits(&events, run.now()).is_some() {
        return Ok(None);
    }
    let engine = Engine { shared: Arc::clone(&run.shared) };
    // Held by another process, or just taken up: either way it runs.
    let _ = Box::pin(engine.take_up(id, inside(run, id, &run.control.soft))).await;
    Ok(None)
}

/// Asks a child to stop.
pub(crate) async fn cancel(run: &Run, id: &ExecutionId) -> Result<(), Failure> {
    own(run, id).await?;
    let engine = Engine { shared: Arc::clone(&run.shared) };
    let reason = format!("asked to by its parent `{}`", run.id);
    engine.cancel(id, &reason).await.map(drop).map_err(Failure::maybe)
}

/// A component may look at and stop what its own execution started, nothing else.
async fn own(run: &Run, id: &ExecutionId) -> Result<(), Failure> {
    let first = match run.shared.ports.events.read(id, 0, 1).await {
        Ok(events) => events,
        Err(failure) if failure.problem.code.http() == 404 => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let parent = replay(&first).and_then(|view| view.parent);
    if parent.is_some_and(|(parent, _)| parent == run.id) {
        return Ok(());
    }
    let problem = Problem::new(Code::X013, format!("this execution has not started an execution `{id}`"));
    Err(Failure::never(problem))
}
