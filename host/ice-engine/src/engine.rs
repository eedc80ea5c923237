//! Starts, resumes and cancels executions. One task per execution; everything inside it is in `driver.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use ice_core::blueprint::{FailurePolicy, Parsed};
use ice_core::budget::Budget;
use ice_core::event::{Event, Fact, FinalStatus, Origin};
use ice_core::execution::{Ending, Execution, Status, replay};
use ice_core::id::{Digest, ExecutionId, Identity, NodePath};
use ice_core::ports::{Events, Failure, Lease};
use ice_core::problem::{Code, Problem};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::activity::{Activity, until_quiet};
use crate::breaker::Breakers;
use crate::cache::Cache;
use crate::calls::{Shapes, fits};
use crate::children;
use crate::ending;
use crate::estimate::{Estimate, estimate};
use crate::gate::Gate;
use crate::history::History;
use crate::journal::Journal;
use crate::keys;
use crate::lease;
use crate::live::{Control, Handle, Rest};
use crate::meter::Meter;
use crate::plan::Plan;
use crate::preflight;
use crate::purse::{self, OrgStanding, Purse};
use crate::run::{EngineOptions, Ports, Run, Shared};

/// Runs executions. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What to start.
pub struct StartExecution {
    /// The checked blueprint.
    pub plan: Arc<Plan>,
    /// A JSON object; defaults of the blueprint fill what is missing.
    pub inputs: Value,
    /// Whom it runs for.
    pub identity: Identity,
    /// The execution and node it is started for, when somebody else keeps track of it.
    pub parent: Option<(ExecutionId, NodePath)>,
    /// Tightens the blueprint's budget; the smaller of each limit holds.
    pub budget: Budget,
}

impl StartExecution {
    /// An execution of its own, for the one person of a single-user host.
    pub fn new(plan: Arc<Plan>, inputs: Value) -> Self {
        Self { plan, inputs, identity: Identity::local(), parent: None, budget: Budget::default() }
    }
}

/// Who stops an execution that was asked to.
pub enum Stopping {
    /// Nobody: it had ended.
    HasEnded,
    /// This process; the handle is that of the execution, or of the outermost one it is inside of.
    Here(Handle),
    /// Whoever runs it sees the request, or whoever takes it up.
    Elsewhere,
}

/// What an execution inside another one takes from there.
pub(crate) struct Inside {
    pub(crate) control: Arc<Control>,
    pub(crate) meter: Option<(Arc<Meter>, String)>,
    pub(crate) depth: u32,
}

/// What an execution did before it runs in this process.
pub(crate) enum Past {
    /// Nothing.
    Nothing,
    /// It begins with what was taken from another one.
    Taken(History),
    /// Another process left it.
    Left(History),
}

/// Everything an execution needs to run in this process.
pub(crate) struct Launch {
    pub(crate) plan: Arc<Plan>,
    pub(crate) view: Execution,
    pub(crate) past: Past,
    pub(crate) lease: Lease,
    pub(crate) budget: Budget,
    pub(crate) inside: Inside,
}

/// Digests of stored blueprints that are remembered; beyond it they are simply stored again.
const KEPT_MAX: usize = 10_000;

/// Events read from the store at once.
const PAGE: u32 = 1_000;

impl Engine {
    /// An engine over these ports.
    pub fn new(ports: Ports, options: EngineOptions) -> Self {
        let shared = Shared {
            ports,
            options,
            breakers: Breakers::new(),
            cache: Cache::default(),
            shapes: Shapes::default(),
            live: Mutex::new(HashMap::new()),
            kept: Mutex::new(HashSet::new()),
            bells: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes the plan of a blueprint: loads the blueprints it refers to, checks everything, reports every problem.
    pub async fn plan(&self, parsed: &Parsed) -> Result<Plan, Vec<Problem>> {
        self.plan_with(parsed, &BTreeMap::new()).await
    }

    /// Like [`Engine::plan`], with the blueprints that an execution pinned.
    async fn plan_with(&self, parsed: &Parsed, pinned: &BTreeMap<String, Digest>) -> Result<Plan, Vec<Problem>> {
        let library = children::library(&self.shared.ports, parsed, pinned).await?;
        crate::plan::plan(parsed, &self.shared.ports.components.catalog(), &library)
    }

    /// What an execution of this plan may cost. Fails when the inputs do not fit (X006).
    pub fn estimate(&self, plan: &Plan, inputs: Value) -> Result<Estimate, Vec<Problem>> {
        Ok(estimate(&*self.shared.ports.llm, plan, &checked_inputs(plan, inputs)?))
    }

    /// What whoever starts this should know before: the most it could cost is more than a budget leaves. X005, none of
    /// which keeps it from starting.
    pub async fn warnings(&self, start: &StartExecution) -> Vec<Problem> {
        let StartExecution { plan, inputs, identity, budget, .. } = start;
        let Ok(inputs) = checked_inputs(plan, inputs.clone()) else { return Vec::new() };
        preflight::warnings(&self.shared, plan, &inputs, &tighter(plan.budget, *budget), &identity.org).await
    }

    /// How an org stands within the window of its budget; `None` when it has none.
    pub async fn org_standing(&self, org: &str) -> Result<Option<OrgStanding>, Problem> {
        purse::standing(&self.shared, org, u64::MAX).await
    }

    /// Starts an execution. Fails before anything runs: inputs that do not fit (X006), a budget that cannot suffice
    /// (X005), a store that cannot store.
    pub async fn start(&self, start: StartExecution) -> Result<Handle, Vec<Problem>> {
        let clock = &self.shared.ports.clock;
        let id = keys::execution_id(clock.now_ms(), [clock.random(), clock.random()]);
        let inside = Inside { control: Control::new(id.clone()), meter: None, depth: 0 };
        self.begin(id, start, inside).await
    }

    pub(crate) async fn begin(
        &self,
        id: ExecutionId,
        start: StartExecution,
        inside: Inside,
    ) -> Result<Handle, Vec<Problem>> {
        let StartExecution { plan, inputs, identity, parent, budget } = start;
        let inputs = checked_inputs(&plan, inputs)?;
        let budget = tighter(plan.budget, budget);
        let checked = preflight::check(&self.shared, &plan, &inputs, &budget, &identity.org).await;
        checked.map_err(|problem| vec![problem])?;
        let one = |failure: Failure| vec![failure.problem];
        let ports = &self.shared.ports;
        self.keep_documents(&plan).await.map_err(one)?;
        let fact = Fact::ExecutionStarted {
            blueprint: plan.digest,
            name: plan.name.clone(),
            inputs,
            identity: identity.clone(),
            components: plan.components.clone(),
            blueprints: plan.blueprints.iter().map(|(name, found)| (name.clone(), found.digest)).collect(),
            parent,
            budget,
            origin: self.shared.options.replays.map(|cassette| Box::new(Origin::Replay { cassette })),
        };
        let first = Event { seq: 1, at: ports.clock.now_ms(), path: NodePath::root(), attempt: 0, fact };
        let first = [first];
        let lease_ms = self.shared.options.lease_ms;
        let lease = ports.events.create(&id, &plan.name, &identity, &first, lease_ms).await.map_err(one)?;
        let view = replay(&first).expect("it begins with its start");
        Ok(self.launch(Launch { plan, view, past: Past::Nothing, lease, budget, inside }))
    }

    /// Stores the blueprint and those it refers to: a resume finds them, whatever is installed then.
    pub(crate) async fn keep_documents(&self, plan: &Plan) -> Result<(), Failure> {
        let inside = plan.blueprints.values().map(|found| (found.digest, &found.parsed.blueprint.document));
        for (digest, document) in std::iter::once((plan.digest, &plan.document)).chain(inside) {
            self.keep(digest, document).await?;
        }
        Ok(())
    }

    /// Stores a document, once in the life of this engine: the store hashes what it is given, and documents are large.
    async fn keep(&self, digest: Digest, document: &Value) -> Result<(), Failure> {
        let kept = || self.shared.kept.lock().expect("no panic while listing");
        if kept().contains(&digest) {
            return Ok(());
        }
        self.shared.ports.documents.put("blueprint", document).await?;
        let mut kept = kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(digest);
        Ok(())
    }

    /// Goes on with an execution that another process left: replays its events and runs what is not done. One that
    /// has ended is returned as it ended. Fails when a live process holds it, or when it needs what is gone (X009).
    pub async fn resume(&self, id: &ExecutionId) -> Result<Handle, Problem> {
        let inside = Inside { control: Control::new(id.clone()), meter: None, depth: 0 };
        self.take_up(id, inside).await
    }

    pub(crate) async fn take_up(&self, id: &ExecutionId, inside: Inside) -> Result<Handle, Problem> {
        let events = &self.shared.ports.events;
        if let Some(control) = self.shared.running(id) {
            return Ok(self.handle(control));
        }
        if let Some(ended) = self.ended(id, &inside.control).await? {
            return Ok(ended);
        }
        let lease = events.claim(id, self.shared.options.lease_ms).await.map_err(|failure| failure.problem)?;
        // Read only now: before the claim another process could still have appended.
        let resumed = async {
            let list = read_all(&**events, id).await?;
            let view = replay(&list).ok_or_else(|| senseless(id))?;
            let plan = self.plan_again(&view).await?;
            purse::take_up(&self.shared, &lease, &view.identity.org, &list).await.map_err(|failure| failure.problem)?;
            Ok((list, view, plan))
        };
        let (list, view, plan) = match resumed.await {
            Ok(resumed) => resumed,
            Err(problem) => {
                // The lease goes back at once, so that nobody has to wait for it to run out.
                let _ = events.release(&lease).await;
                return Err(problem);
            }
        };
        let past = Past::Left(History::of(&list));
        let budget = tighter(plan.budget, view.budget);
        Ok(self.launch(Launch { plan: Arc::new(plan), view, past, lease, budget, inside }))
    }

    async fn ended(&self, id: &ExecutionId, control: &Arc<Control>) -> Result<Option<Handle>, Problem> {
        let list = read_all(&*self.shared.ports.events, id).await?;
        if list.is_empty() {
            return Err(Problem::new(Code::X013, format!("there is no execution `{id}`"))
                .help("list executions with `ice executions list`"));
        }
        let Some(ending) = ice_core::execution::ending(&list) else { return Ok(None) };
        control.rest.send_replace(Some(Rest::Ended(Box::new(ending))));
        Ok(Some(self.handle(Arc::clone(control))))
    }

    pub(crate) async fn plan_again(&self, view: &Execution) -> Result<Plan, Problem> {
        let document = self.shared.ports.documents.get(&view.blueprint).await.map_err(|failure| failure.problem)?;
        let gone = || {
            Problem::new(Code::X009, format!("the blueprint {} of `{}` is not stored", view.blueprint, view.name))
                .help("start a new execution")
        };
        let parsed = Parsed::from_value(document.ok_or_else(gone)?).map_err(|problems| cannot(&problems))?;
        self.plan_with(&parsed, &view.blueprints).await.map_err(|problems| cannot(&problems))
    }

    pub(crate) fn launch(&self, launch: Launch) -> Handle {
        let Launch { plan, view, past, lease, budget, inside: Inside { control, meter, depth } } = launch;
        let id = control.id.clone();
        let resumed = matches!(past, Past::Left(_));
        let history = match past {
            Past::Nothing => History::default(),
            Past::Taken(history) | Past::Left(history) => history,
        };
        let run = Arc::new(Run {
            shared: Arc::clone(&self.shared),
            control: Arc::clone(&control),
            id: id.clone(),
            name: view.name.clone(),
            identity: view.identity.clone(),
            inputs: Arc::new(view.inputs.clone()),
            pinned: view.components.clone(),
            journal: Journal::new(lease, view.seq, self.shared.options.grouping),
            meter: Meter::new(budget, view.usage, meter),
            purse: Purse::new(!matches!(view.origin.as_deref(), Some(Origin::Replay { .. }))),
            permits: Semaphore::new(plan.max_parallel.max(1)),
            window: plan.max_parallel.max(1),
            halt_on_failure: plan.failure_policy == FailurePolicy::Halt,
            gate: Gate::new(history.paused()),
            before: (view.active_ms, self.shared.ports.clock.now_ms()),
            history,
            budget,
            announced: AtomicBool::new(view.cancel_requested.is_some()),
            depth,
            activity: Activity::default(),
        });
        self.shared.live.lock().expect("no panic while listing").insert(id, Arc::clone(&control));
        let handle = self.handle(control);
        tokio::spawn(execute(run, plan, view, resumed));
        handle
    }

    pub(crate) fn handle(&self, control: Arc<Control>) -> Handle {
        Handle { id: control.id.clone(), control, store: Arc::clone(&self.shared.ports.events) }
    }

    /// Asks an execution to stop, wherever it runs; one that waits is taken up to end. False when it had ended.
    pub async fn cancel(&self, id: &ExecutionId, reason: &str) -> Result<bool, Problem> {
        Ok(!matches!(self.stop(id, reason).await?, Stopping::HasEnded))
    }

    /// Like [`Engine::cancel`], and says who stops it.
    pub async fn stop(&self, id: &ExecutionId, reason: &str) -> Result<Stopping, Problem> {
        if let Some(control) = self.shared.running(id) {
            if control.cancel(reason) {
                return Ok(Stopping::Here(self.handle(control)));
            }
            control.rested().await;
        }
        let events = &self.shared.ports.events;
        let asked = events.request_cancel(id, reason).await.map_err(|failure| failure.problem)?;
        if !asked {
            return Ok(Stopping::HasEnded);
        }
        if replay(&read_all(&**events, id).await?).is_some_and(|view| view.status == Status::Waiting) {
            match self.wake(id).await {
                // Whoever holds it sees the request.
                Err(problem) if matches!(problem.code, Code::X008 | Code::X042) => {}
                woken => return woken.map(Stopping::Here),
            }
        }
        Ok(Stopping::Elsewhere)
    }
}

/// The one task of an execution: graph, writer, lease and time limit side by side.
async fn execute(run: Arc<Run>, plan: Arc<Plan>, view: Execution, resumed: bool) {
    let _gone = Gone { run: Arc::clone(&run) };
    if resumed {
        run.push(&NodePath::root(), 0, Fact::ExecutionResumed);
    }
    let ports = &run.shared.ports;
    if let Some(reason) = &view.cancel_requested {
        run.control.cancel(reason);
    } else if resumed && let Ok(Some(reason)) = ports.events.cancel_requested(&run.id).await {
        run.control.cancel(&reason);
    }
    let graph = async {
        let control = &run.control;
        let leave = |rung: &dyn Fn() -> bool| control.desk.close(|| control.soft.why().is_some() || rung());
        let ending = until_quiet(&run.activity, leave, ending::run(&run, &plan)).await;
        if ending.is_none() {
            let (due, usage) = (control.desk.due(), run.meter.spent());
            run.push(&NodePath::root(), 0, Fact::ExecutionParked { due, usage });
        }
        run.journal.close();
        ending.map_or(Rest::Waiting, |ending| Rest::Ended(Box::new(ending)))
    };
    let writer = async {
        if let Err(failure) = run.journal.write(&*ports.events, &*ports.clock, &run.control.stage).await {
            lease::lose(&run, failure);
        }
    };
    let limit = ending::time_limit(&run, &plan, &view);
    let announcer = ending::announce_cancel(&run);
    let both = async { tokio::join!(writer, graph) };
    let keeper = async {
        lease::keep(&run).await;
        std::future::pending::<()>().await;
    };
    let ((), rest) = tokio::select! {
        biased;
        () = announcer => unreachable!("waits forever once it was announced"),
        both = both => both,
        () = keeper => unreachable!("waits forever once the lease is lost"),
        () = limit => unreachable!("waits forever once the time is over"),
    };
    let rest = run.journal.broken().map_or(rest, |failure| Rest::Ended(Box::new(lost(failure, &run))));
    purse::close(&run).await;
    // A lease that cannot be given back runs out by itself.
    let _ = ports.events.release(&run.journal.lease()).await;
    run.shared.leaves(&run.control);
    run.control.rest.send_replace(Some(rest));
}

fn lost(failure: &Failure, run: &Run) -> Ending {
    let problem = Some(failure.problem.clone());
    Ending { status: FinalStatus::Failed, outputs: Value::Null, problem, usage: run.meter.spent() }
}

/// Tells those who wait when the task of an execution dies without an end: a panic, or a runtime that shuts down.
struct Gone {
    run: Arc<Run>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let control = &self.run.control;
        if control.rest.borrow().is_some() {
            return;
        }
        let problem = Problem::new(Code::X008, "the execution was interrupted in this process")
            .help(format!("go on with `ice executions resume {}`", self.run.id));
        control.hard.trip(problem.clone());
        self.run.shared.leaves(control);
        control.rest.send_replace(Some(Rest::Ended(Box::new(lost(&Failure::never(problem), &self.run)))));
    }
}

/// Every stored event of an execution; empty when there is none.
pub(crate) async fn read_all(events: &dyn Events, id: &ExecutionId) -> Result<Vec<Event>, Problem> {
    let mut list: Vec<Event> = Vec::new();
    loop {
        let after = list.last().map_or(0, |event| event.seq);
        let page = events.read(id, after, PAGE).await.map_err(|failure| failure.problem)?;
        let more = !page.is_empty();
        list.extend(page);
        if !more {
            return Ok(list);
        }
    }
}

pub(crate) fn senseless(id: &ExecutionId) -> Problem {
    Problem::new(Code::X017, format!("the events of execution `{id}` do not begin with its start"))
}

fn cannot(problems: &[Problem]) -> Problem {
    let words: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    Problem::new(Code::X009, format!("the execution cannot go on with what is installed now: {}", words.join("; ")))
        .help("install the plugins it started with (`ice list` shows what there is), or start a new execution")
}

/// What a plan is given, with the defaults of its blueprint. X006 when it does not fit.
pub fn checked_inputs(plan: &Plan, inputs: Value) -> Result<Value, Vec<Problem>> {
    let mut given = match inputs {
        Value::Object(given) => given,
        Value::Null => Map::new(),
        _ => return Err(vec![Problem::new(Code::X006, "inputs are a JSON object").help("write `{\"name\": value}`")]),
    };
    for (name, value) in &plan.defaults {
        if !given.contains_key(name) {
            given.insert(name.clone(), value.clone());
        }
    }
    let inputs = Value::Object(given);
    let what = format!("the input of blueprint `{}`", plan.name);
    match plan.input_schema.as_ref().map_or(Ok(()), |schema| fits(schema, &inputs, Code::X006, &what)) {
        Ok(()) => Ok(inputs),
        Err(problem) => Err(vec![problem]),
    }
}

/// The smaller of each limit.
pub fn tighter(a: Budget, b: Budget) -> Budget {
    let least = |a: Option<u64>, b: Option<u64>| [a, b].into_iter().flatten().min();
    Budget { micro_usd: least(a.micro_usd, b.micro_usd), tokens: least(a.tokens, b.tokens), ms: least(a.ms, b.ms) }
}
