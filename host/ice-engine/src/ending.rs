//! From the first node of an execution to its last event: status, outputs, the first failure.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ice_core::blueprint::FailurePolicy;
use ice_core::event::{Fact, FinalStatus};
use ice_core::execution::{Ending, Execution};
use ice_core::id::NodePath;
use ice_core::problem::{Code, Problem};
use serde_json::{Map, Value};

use crate::context::Frame;
use crate::driver::{GraphEnd, run_graph};
use crate::plan::{Output, Plan, Source};
use crate::run::Run;

/// Runs the graph and appends the last event.
pub(crate) async fn run(run: &Arc<Run>, plan: &Plan) -> Ending {
    let frame = Frame::root(run, &plan.graph);
    let end = run_graph(&frame).await;
    end.stopped.iter().for_each(|why| announce(run, why));
    let ending = judge(run, plan, &frame, end);
    if run.control.hard.why().is_none() {
        let Ending { status, outputs, problem, usage } = ending.clone();
        run.push(&NodePath::root(), 0, Fact::ExecutionFinished { status, outputs, problem, usage });
    }
    ending
}

fn judge(run: &Run, plan: &Plan, frame: &Frame<'_>, end: GraphEnd) -> Ending {
    let first = end.failures.into_iter().next().map(|(_, problem)| problem);
    let always = plan.failure_policy == FailurePolicy::Always;
    let usage = run.meter.spent();
    if let Some(why) = end.stopped {
        let status = if why.code == Code::X002 { FinalStatus::Cancelled } else { FinalStatus::Failed };
        let outputs = if always { Rendered::of(plan, frame).outputs() } else { Value::Null };
        return Ending { status, outputs, problem: Some(why), usage };
    }
    if end.halted {
        return Ending { status: FinalStatus::Failed, outputs: Value::Null, problem: first, usage };
    }
    let rendered = Rendered::of(plan, frame);
    let failed_rendering = rendered.problem.clone();
    match (first, failed_rendering) {
        (None, None) => Ending { status: FinalStatus::Completed, outputs: rendered.outputs(), problem: None, usage },
        // The nodes went well, and what was asked for cannot be made of them.
        (None, problem) => Ending { status: FinalStatus::Failed, outputs: rendered.outputs(), problem, usage },
        (problem, _) if rendered.made > 0 || always => {
            Ending { status: FinalStatus::CompletedWithErrors, outputs: rendered.outputs(), problem, usage }
        }
        (problem, _) => Ending { status: FinalStatus::Failed, outputs: Value::Null, problem, usage },
    }
}

struct Rendered {
    values: Map<String, Value>,
    /// Outputs that are there.
    made: usize,
    /// Why one that should be there is not.
    problem: Option<Problem>,
}

impl Rendered {
    fn of(plan: &Plan, frame: &Frame<'_>) -> Self {
        let mut rendered = Self { values: Map::new(), made: 0, problem: None };
        if plan.outputs.is_empty() {
            rendered.last_outputs(plan, frame);
            return rendered;
        }
        for output in &plan.outputs {
            let value = match frame.render_output(output) {
                Ok(value) => {
                    rendered.made += 1;
                    value
                }
                Err(problem) => {
                    if whole(output, frame) {
                        rendered.problem.get_or_insert(problem);
                    }
                    Value::Null
                }
            };
            rendered.values.insert(output.name.clone(), value);
        }
        rendered
    }

    /// A blueprint that names no outputs gives the outputs of the nodes nobody depends on, by id.
    fn last_outputs(&mut self, plan: &Plan, frame: &Frame<'_>) {
        for (index, node) in plan.graph.nodes.iter().enumerate() {
            if !node.dependents.is_empty() || node.standby {
                continue;
            }
            if let Some(output) = frame.output(index) {
                self.made += 1;
                self.values.insert(node.id.as_str().to_owned(), Value::clone(output));
            }
        }
    }

    fn outputs(self) -> Value {
        Value::Object(self.values)
    }
}

/// Whether everything the output is made of is there; an output of a node that did not run is null, not wrong.
fn whole(output: &Output, frame: &Frame<'_>) -> bool {
    output.sees.iter().all(|(_, source)| match source {
        Source::Node { index, .. } => frame.output(*index).is_some(),
        _ => true,
    })
}

/// Stops the execution when its time is over: `timeout_seconds` of the blueprint, or `budget.seconds`. Time while no
/// process ran it does not count. Never returns.
pub(crate) async fn time_limit(run: &Run, plan: &Plan, view: &Execution) {
    let limits = [
        plan.timeout_ms.map(|ms| (ms, Code::X003, "ran longer than its limit of", "timeout_seconds")),
        run.budget.ms.map(|ms| (ms, Code::X005, "has used up its", "budget.seconds")),
    ];
    let Some((ms, code, what, key)) = limits.into_iter().flatten().min_by_key(|(ms, ..)| *ms) else {
        return std::future::pending().await;
    };
    run.clock().sleep(ms.saturating_sub(view.active_ms)).await;
    let message = format!("the execution {what} {} s", ms.div_ceil(1_000));
    let problem = Problem::new(code, message).help(format!("raise `{key}` of the blueprint"));
    run.control.soft.trip(problem.subject(format!("execution `{}`", run.id)));
    std::future::pending().await
}

/// Appends that somebody asked the execution to stop, once. Never returns.
pub(crate) async fn announce_cancel(run: &Run) {
    announce(run, run.control.soft.tripped().await);
    std::future::pending().await
}

fn announce(run: &Run, why: &Problem) {
    if why.code == Code::X002 && !run.announced.swap(true, Ordering::Relaxed) {
        let reason = why.message.strip_prefix("cancelled: ").unwrap_or(&why.message).to_owned();
        run.push(&NodePath::root(), 0, Fact::CancelRequested { reason });
    }
}
