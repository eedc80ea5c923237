//! Starts what schedules say, exactly once however many processes do so.
//!
//! A schedule is claimed for a short lease, its due runs are started, and only then the claim is settled. The id of a
//! run follows from its schedule and planned time. A process that dies in between therefore loses nothing: the next one
//! claims the schedule again, finds the ids that exist, and starts the rest. When a run is due is `ice_core::schedule`.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ice_core::blueprint::Parsed;
use ice_core::id::{ExecutionId, Identity, UnixMs};
use ice_core::ports::{Failure, ScheduleRow, Schedules};
use ice_core::problem::{Code, Problem};
use ice_core::schedule::{Due, Overlap, Target, Timing};
use serde_json::Value;
use tokio::sync::Notify;

use crate::engine::{Engine, Inside, StartExecution};
use crate::keys;
use crate::live::{Control, Handle};
use crate::plan::Plan;
use crate::stored::stored;

/// A claim is good for this long: much more than starting takes, and as long as a tick is late when a process dies.
const CLAIM_MS: u64 = 30_000;

/// What other processes did is seen within this time: they changed the table, or a run that the next one waits for
/// ended there although nobody there looks at the table.
pub const LOOK_MS: u64 = 10_000;

/// The first and the longest pause after something that passes: a busy store, a model provider that is down.
const AGAIN_MS: [u64; 2] = [1_000, 60_000];

/// The schedules of a store, and the engine that runs them.
pub struct Timetable {
    engine: Engine,
    schedules: Arc<dyn Schedules>,
    /// Rung when the table was changed in this process.
    bell: Notify,
}

/// What came of one due run.
pub struct Started {
    /// The schedule.
    pub name: String,
    /// When the run was planned.
    pub planned: UnixMs,
    /// The run, or why there is none. A blueprint that cannot be planned any more fails here at each of its times.
    pub run: Result<Handle, Vec<Problem>>,
    /// When it is tried again, if what was in the way may pass; a run that was refused for good is done.
    pub again: Option<UnixMs>,
}

/// A run after which the next one of its schedule may be waiting.
struct Awaited {
    who: Identity,
    name: String,
    handle: Handle,
}

impl Timetable {
    /// The timetable of these schedules.
    pub fn new(engine: Engine, schedules: Arc<dyn Schedules>) -> Self {
        Self { engine, schedules, bell: Notify::new() }
    }

    fn now(&self) -> UnixMs {
        self.engine.shared.ports.clock.now_ms()
    }

    /// Writes schedules as [`Schedules::apply_schedules`] does; [`Timetable::serve`] in this process sees it at once.
    pub async fn apply(
        &self,
        who: &Identity,
        network: Option<&str>,
        rows: &[ScheduleRow],
    ) -> Result<Vec<ScheduleRow>, Problem> {
        let written = self.schedules.apply_schedules(who, network, rows).await.map_err(|failure| failure.problem)?;
        self.bell.notify_one();
        Ok(written)
    }

    /// Starts everything that is due now, and returns at once: what was started goes on by itself.
    pub async fn start_due(&self) -> Result<Vec<Started>, Problem> {
        let mut started = Vec::new();
        self.round(&mut started, &mut Vec::new()).await.map_err(|failure| failure.problem)?;
        Ok(started)
    }

    /// Starts what is due until dropped; `told` hears of every run, and of a store that does not answer. Sleeps until the
    /// next time, and wakes for what happens in this process; what others did is seen within [`LOOK_MS`].
    pub async fn serve(&self, mut told: impl FnMut(Result<Started, Problem>)) -> Infallible {
        let mut ends = FuturesUnordered::new();
        let mut known = HashSet::new();
        let mut failures = 0_u32;
        loop {
            let (mut started, mut awaited) = (Vec::new(), Vec::new());
            let pause = match self.round(&mut started, &mut awaited).await {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(failure) => {
                    told(Err(failure.problem));
                    failures += 1;
                    (AGAIN_MS[0] << failures.min(6).saturating_sub(1)).min(AGAIN_MS[1])
                }
            };
            started.into_iter().for_each(|started| told(Ok(started)));
            for Awaited { who, name, handle } in awaited {
                if known.insert(handle.id.clone()) {
                    ends.push(async move {
                        handle.rest().await;
                        (handle.id, who, name)
                    });
                }
            }
            tokio::select! {
                () = self.engine.shared.ports.clock.sleep(pause) => {}
                () = self.bell.notified() => {}
                Some((id, who, name)) = ends.next() => {
                    known.remove(&id);
                    // When the store does not answer, the queued run is found a little later.
                    let _ = self.schedules.wake_schedule(&who, &name, self.now()).await;
                }
            }
        }
    }

    /// Starts everything that is due now. Returns how long there is nothing to do.
    async fn round(&self, started: &mut Vec<Started>, awaited: &mut Vec<Awaited>) -> Result<u64, Failure> {
        while let Some(mut claim) = self.schedules.claim_schedule(self.now(), CLAIM_MS).await? {
            let queued = self.start_runs(&mut claim.row, started).await?;
            match self.schedules.settle_schedule(&claim).await {
                Ok(()) => {}
                // It was changed, or this process was too slow: whoever has it now finds what was started.
                Err(failure) if failure.problem.code == Code::X026 => continue,
                Err(failure) => return Err(failure),
            }
            let row = claim.row;
            let runs_here = row.execution.as_ref().and_then(|id| self.engine.running(id));
            match (row.schedule.when.overlap, runs_here) {
                (Overlap::Queue, Some(handle)) => {
                    awaited.push(Awaited { who: row.who, name: row.schedule.name, handle });
                }
                // It may have ended elsewhere before this schedule was given back, when nobody could be woken.
                _ if queued && !self.runs(row.execution.as_ref()).await? => {
                    self.schedules.wake_schedule(&row.who, &row.schedule.name, self.now()).await?;
                }
                _ => {}
            }
        }
        let next = self.schedules.next_schedule().await?;
        Ok(next.map_or(LOOK_MS, |next| next.saturating_sub(self.now()).clamp(1, LOOK_MS)))
    }

    /// Starts the due runs of a claimed schedule, and writes into the row how it goes on. True when one waits for the
    /// end of the one before it.
    async fn start_runs(&self, row: &mut ScheduleRow, started: &mut Vec<Started>) -> Result<bool, Failure> {
        let now = self.now();
        let Ok(timing) = Timing::of(&row.schedule.name, &row.schedule.when) else {
            // Written by a version that knew more: it rests until it is added again.
            row.next = None;
            return Ok(false);
        };
        let Some(due) = self.apart(row, &timing, timing.due(row.last, now)).await? else {
            row.next = Some(now + LOOK_MS);
            return Ok(true);
        };
        for planned in due.runs {
            let name = row.schedule.name.clone();
            let id = keys::scheduled_execution_id(&row.who, &name, planned);
            match self.start(row, id.clone()).await {
                // What may pass is no answer: the run is still due, and so is everything after it.
                Err(problems) if problems.iter().all(|problem| problem.code.passes()) => {
                    let late = now.saturating_sub(timing.starts(planned));
                    row.next = Some(now + late.clamp(AGAIN_MS[0], AGAIN_MS[1]));
                    started.push(Started { name, planned, run: Err(problems), again: row.next });
                    return Ok(false);
                }
                // Somebody started it and died before saying so; who takes executions up goes on with it.
                Err(problems) if problems.iter().any(|problem| problem.code == Code::X044) => {
                    (row.execution, row.planned) = (Some(id), Some(planned));
                }
                run => {
                    if run.is_ok() {
                        (row.execution, row.planned) = (Some(id), Some(planned));
                    }
                    started.push(Started { name, planned, run, again: None });
                }
            }
            row.last = planned;
        }
        (row.last, row.next) = (due.through, due.next);
        Ok(false)
    }

    /// What is left of the due runs when none may run beside another; nothing yet when they have to wait.
    async fn apart(&self, row: &ScheduleRow, timing: &Timing, mut due: Due) -> Result<Option<Due>, Failure> {
        let overlap = row.schedule.when.overlap;
        if overlap == Overlap::Allow || due.runs.is_empty() {
            return Ok(Some(due));
        }
        match (self.runs(row.execution.as_ref()).await?, overlap) {
            (true, Overlap::Queue) => return Ok(None),
            (true, _) => due.runs.clear(),
            (false, Overlap::Queue) if due.runs.len() > 1 => {
                due.runs.truncate(1);
                due.through = due.runs[0];
                due.next = timing.after(due.through).map(|planned| timing.starts(planned));
            }
            // Those that come together would be beside each other: the newest one runs.
            (false, _) => drop(due.runs.drain(..due.runs.len() - 1)),
        }
        Ok(Some(due))
    }

    /// Starts a run outside its times.
    pub async fn run_now(&self, row: &ScheduleRow) -> Result<Handle, Vec<Problem>> {
        let clock = &self.engine.shared.ports.clock;
        self.start(row, keys::execution_id(clock.now_ms(), [clock.random(), clock.random()])).await
    }

    pub(crate) async fn start(&self, row: &ScheduleRow, id: ExecutionId) -> Result<Handle, Vec<Problem>> {
        let mut plan = self.plan(row).await?;
        // Executions are found by the name of what started them.
        plan.name.clone_from(&row.schedule.name);
        let start = StartExecution {
            plan: Arc::new(plan),
            inputs: Value::Object(row.schedule.inputs.clone()),
            identity: row.who.clone(),
            parent: None,
            budget: row.schedule.budget,
        };
        let inside = Inside { control: Control::new(id.clone()), meter: None, depth: 0 };
        self.engine.begin(id, start, inside).await
    }

    async fn plan(&self, row: &ScheduleRow) -> Result<Plan, Vec<Problem>> {
        let (documents, name) = (&*self.engine.shared.ports.documents, &row.schedule.name);
        let one = |failure: Failure| vec![failure.problem];
        let found = match &row.schedule.blueprint {
            Target::Document(digest) => Some(*digest),
            Target::Named(reference) => stored(documents, reference).await.map_err(one)?,
        };
        let document = match found {
            Some(digest) => documents.get(&digest).await.map_err(one)?,
            None => None,
        };
        let document = document.ok_or_else(|| {
            let message = format!("the blueprint `{}` of the schedule `{name}` is not stored", row.schedule.blueprint);
            vec![Problem::new(Code::X009, message).help("store it, or add the schedule again")]
        })?;
        self.engine.plan(&Parsed::from_value(document)?).await
    }

    /// Whether an execution has not ended.
    async fn runs(&self, id: Option<&ExecutionId>) -> Result<bool, Failure> {
        let Some(id) = id else { return Ok(false) };
        if self.engine.shared.running(id).is_some() {
            return Ok(true);
        }
        let standing = self.engine.shared.ports.events.standing(std::slice::from_ref(id)).await?;
        Ok(standing.iter().any(|row| matches!(row.status.as_str(), "running" | "waiting")))
    }
}
