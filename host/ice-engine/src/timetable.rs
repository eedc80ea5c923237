//! Starts what schedules say, exactly once however many processes do so.
//!
//! A schedule is claimed for a short lease, its due runs are started, and only then the claim is settled. The id of a
//! run follows from its schedule and planned time. A process that dies in between therefore loses nothing: the next one
//! claims the schedule again, finds the ids that exist, and starts the rest. When a run is due is `ice_core::schedule`.

use std::sync::Arc;

use ice_core::blueprint::Parsed;
use ice_core::event::Fact;
use ice_core::execution::ending;
use ice_core::id::{ExecutionId, UnixMs};
use ice_core::ports::{ScheduleRow, Schedules};
use ice_core::problem::{Code, Problem};
use ice_core::schedule::{Overlap, Timing};
use serde_json::Value;

use crate::engine::{Engine, Inside, StartExecution, read_all};
use crate::keys;
use crate::live::{Control, Handle};
use crate::plan::Plan;

/// A claim is good for this long: much more than starting takes, and as long as a tick is late when a process dies.
const CLAIM_MS: u64 = 30_000;

/// The table is read again after this long, because another process may have changed it.
const READ_AGAIN_MS: u64 = 30_000;

/// A run that waits for the one before it looks again after this long: that one may be in any process.
const QUEUED_MS: u64 = 5_000;

/// The schedules of a store, and the engine that runs them.
pub struct Timetable {
    engine: Engine,
    schedules: Arc<dyn Schedules>,
}

/// What came of one due run.
pub struct Started {
    /// The schedule.
    pub name: String,
    /// When the run was planned.
    pub planned: UnixMs,
    /// The run, or why there is none. A blueprint that cannot be planned any more fails here at each of its times.
    pub run: Result<Handle, Vec<Problem>>,
}

impl Timetable {
    /// The timetable of these schedules.
    pub fn new(engine: Engine, schedules: Arc<dyn Schedules>) -> Self {
        Self { engine, schedules }
    }

    fn now(&self) -> UnixMs {
        self.engine.shared.ports.clock.now_ms()
    }

    /// Starts everything that is due now, and returns at once: what was started goes on by itself.
    pub async fn start_due(&self) -> Result<Vec<Started>, Problem> {
        let mut started = Vec::new();
        loop {
            let claim = self.schedules.claim_schedule(self.now(), CLAIM_MS).await.map_err(|failure| failure.problem)?;
            let Some(mut claim) = claim else { return Ok(started) };
            let runs = self.start_runs(&mut claim.row).await?;
            match self.schedules.settle_schedule(&claim).await {
                Ok(()) => {}
                // It was changed, or this process was too slow: whoever has it now finds what was started.
                Err(failure) if failure.problem.code == Code::X026 => {}
                Err(failure) => return Err(failure.problem),
            }
            started.extend(runs);
        }
    }

    /// Starts what is due until dropped; `each` hears of every run. Sleeps until the next time, and looks at the table
    /// every 30 seconds for what others changed.
    pub async fn serve(&self, mut each: impl FnMut(Started)) -> Result<std::convert::Infallible, Problem> {
        loop {
            for started in self.start_due().await? {
                each(started);
            }
            let next = self.schedules.next_schedule().await.map_err(|failure| failure.problem)?;
            let pause = next.map_or(READ_AGAIN_MS, |next| next.saturating_sub(self.now()).clamp(1, READ_AGAIN_MS));
            self.engine.shared.ports.clock.sleep(pause).await;
        }
    }

    /// Starts the due runs of a claimed schedule, and writes into the row how it goes on.
    async fn start_runs(&self, row: &mut ScheduleRow) -> Result<Vec<Started>, Problem> {
        let schedule = &row.schedule;
        let now = self.now();
        let Ok(timing) = Timing::of(&schedule.name, &schedule.when) else {
            // Written by a version that knew more: it rests until it is added again.
            row.next = None;
            return Ok(Vec::new());
        };
        let overlap = schedule.when.overlap;
        let mut due = timing.due(row.last, now);
        if overlap != Overlap::Allow && !due.runs.is_empty() {
            // The newest run itself may be among the due ones, when its starter died before it settled.
            let runs = self.runs(row.execution.as_ref()).await?;
            match (runs, overlap) {
                (true, Overlap::Queue) => {
                    row.next = Some(now + QUEUED_MS);
                    return Ok(Vec::new());
                }
                (true, _) => due.runs.clear(),
                (false, Overlap::Queue) if due.runs.len() > 1 => {
                    due.runs.truncate(1);
                    due.through = due.runs[0];
                    due.next = timing.after(due.through).map(|planned| timing.starts(planned));
                }
                // Those that come together would be beside each other: the newest one runs.
                (false, _) => drop(due.runs.drain(..due.runs.len() - 1)),
            }
        }
        let mut started = Vec::with_capacity(due.runs.len());
        for planned in due.runs {
            let id = keys::scheduled_execution_id(&row.who, &row.schedule.name, planned);
            let run = match self.start(row, id.clone()).await {
                Err(problems) if problems.iter().any(|problem| problem.code == Code::X044) => {
                    // Somebody started it and died before saying so; who claims executions goes on with it.
                    (row.execution, row.planned) = (Some(id), Some(planned));
                    continue;
                }
                run => run,
            };
            if run.is_ok() {
                (row.execution, row.planned) = (Some(id), Some(planned));
            }
            started.push(Started { name: row.schedule.name.clone(), planned, run });
        }
        (row.last, row.next) = (due.through, due.next);
        Ok(started)
    }

    /// Starts a run outside its times.
    pub async fn run_now(&self, row: &ScheduleRow) -> Result<Handle, Vec<Problem>> {
        let clock = &self.engine.shared.ports.clock;
        self.start(row, keys::execution_id(clock.now_ms(), [clock.random(), clock.random()])).await
    }

    async fn start(&self, row: &ScheduleRow, id: ExecutionId) -> Result<Handle, Vec<Problem>> {
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
        let digest = &row.schedule.blueprint;
        let document = self.engine.shared.ports.documents.get(digest).await.map_err(|failure| vec![failure.problem])?;
        let document = document.ok_or_else(|| {
            let message = format!("the blueprint {digest} of `{}` is not stored", row.schedule.name);
            vec![Problem::new(Code::X009, message).help("add the schedule again")]
        })?;
        self.engine.plan(&Parsed::from_value(document)?).await
    }

    /// Whether an execution has not ended.
    async fn runs(&self, id: Option<&ExecutionId>) -> Result<bool, Problem> {
        let Some(id) = id else { return Ok(false) };
        if self.engine.shared.running(id).is_some() {
            return Ok(true);
        }
        match read_all(&*self.engine.shared.ports.events, id).await {
            Ok(events) => {
                let began = events.iter().any(|event| matches!(event.fact, Fact::ExecutionStarted { .. }));
                Ok(began && ending(&events).is_none())
            }
            Err(problem) if problem.code.http() == 404 => Ok(false),
            Err(problem) => Err(problem),
        }
    }
}
