//! One attempt of one node: condition, permit, events before and after, time limit, schemas.
//!
//! What the node does is in `nodes/`; whether there is another attempt is the scheduler's.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;
use ice_core::budget::Receipt;
use ice_core::catalog::Effects;
use ice_core::event::Fact;
use ice_core::ports::{Failure, Retry};
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use crate::calls::fits;
use crate::context::{Frame, NodeRun};
use crate::history::Was;
use crate::keys;
use crate::nodes::Done;
use crate::stop::Token;

/// What a guest that was told to stop gets to stop by itself, so that its receipt is known; then it is dropped.
const GRACE_MS: u64 = 100;

/// What a node does, under way.
type Execute<'a> = BoxFuture<'a, Result<Done, Failure>>;

/// How an attempt ended.
pub(crate) enum Ended {
    /// `run_if` said no.
    Declined,
    /// The output is set and its event appended.
    Finished,
    Failed {
        failure: Failure,
        receipt: Option<Box<Receipt>>,
    },
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed { failure, receipt: None }
    }
}

/// Runs one attempt.
pub(crate) async fn run(frame: &Frame<'_>, index: usize, attempt: u32, stop: &Arc<Token>) -> Ended {
    let cx = NodeRun::new(frame, index, attempt, stop);
    let ended = match cx.wanted() {
        Ok(false) => return Ended::Declined,
        Ok(true) => match may_begin(&cx).await {
            Ok(()) => admitted(&cx).await,
            Err(failure) => failure.into(),
        },
        Err(failure) => failure.into(),
    };
    frame.spend(&cx.spent());
    match ended {
        Ended::Failed { failure, receipt } => Ended::Failed { failure: placed(&cx, failure), receipt },
        ended => ended,
    }
}

/// Says where a failure happened, unless something further inside has said it.
fn placed(cx: &NodeRun<'_>, mut failure: Failure) -> Failure {
    if failure.problem.at.as_ref().is_none_or(|place| place.subject.is_none()) {
        let subject = format!("node `{}` in blueprint `{}`", cx.path, cx.frame.run.name);
        failure.problem = failure.problem.subject(subject);
    }
    failure
}

/// Waits while the execution is paused. Nodes that only hold others may begin: what is inside them waits.
async fn may_begin(cx: &NodeRun<'_>) -> Result<(), Failure> {
    let gate = &cx.run().gate;
    if gate.is_open() || cx.node.finally || cx.node.kind == "monitor" || !cx.node.node.graphs().is_empty() {
        return Ok(());
    }
    Box::pin(async {
        let _resting = cx.rest();
        tokio::select! {
            biased;
            why = cx.stop.tripped() => Err(Failure::never(why.clone())),
            () = gate.opened() => Ok(()),
        }
    })
    .await
}

async fn admitted(cx: &NodeRun<'_>) -> Ended {
    let run = cx.frame.run;
    // Only leaves take permits: a graph inside a node that waits for a permit would wait for itself.
    let _permit = if cx.node.node.is_leaf() {
        match run.permits.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) => match Box::pin(cx.permit()).await {
                Ok(permit) => Some(permit),
                Err(failure) => return failure.into(),
            },
        }
    } else {
        None
    };
    if let Err(failure) = begin(cx).await {
        return failure.into();
    }
    match supervised(cx).await {
        Ok(done) => match finish(cx, done).await {
            Ok(()) => Ended::Finished,
            Err(failed) => failed,
        },
        Err(failure) => Ended::Failed { failure, receipt: cx.take_receipt() },
    }
}

/// Appends that the attempt begins, unless it had begun before a crash; durable first if it has effects.
async fn begin(cx: &NodeRun<'_>) -> Result<(), Failure> {
    let run = cx.frame.run;
    let before = (!run.history.is_empty()).then(|| run.history.of_node(&cx.path)).flatten();
    if before.is_some_and(|before| matches!(before.was, Was::Begun { attempt } if attempt == cx.attempt)) {
        return Ok(());
    }
    let effectful = cx.is_effectful();
    // A node without effects has no receiver that could ask for the key.
    let idempotency_key = match effectful {
        true => keys::idempotency_key(&run.id, &cx.path, cx.attempt, None),
        false => String::new(),
    };
    let component = cx.node.node.callee().and_then(|(kind, name)| run.called(kind, name));
    let started = Fact::NodeStarted { kind: cx.node.kind.to_owned(), idempotency_key, component };
    let seq = run.push(&cx.path, cx.attempt, started);
    if effectful { Box::pin(run.journal.durable(seq)).await } else { Ok(()) }
}

/// Runs the node under its time limit and its stop token.
async fn supervised(cx: &NodeRun<'_>) -> Result<Done, Failure> {
    let mut execute = pin!(cx.node.node.execute(cx));
    // Most nodes that call nothing slow are done here, without a timer.
    let first = std::future::poll_fn(|task| Poll::Ready(execute.as_mut().poll(task))).await;
    if let Poll::Ready(done) = first {
        return explained(cx, done);
    }
    // Boxed, so that the attempt of a node that never waits stays small.
    Box::pin(limited(cx, execute)).await
}

/// Waits for the node, its time limit and its stop token.
async fn limited(cx: &NodeRun<'_>, mut execute: Pin<&mut Execute<'_>>) -> Result<Done, Failure> {
    let clock = cx.frame.run.clock();
    let limit = async {
        match cx.node.timeout_ms {
            Some(ms) => clock.sleep(ms).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = &mut execute => return explained(cx, done),
        _ = cx.stop.tripped() => {}
        () = limit => cx.stop.trip(too_late(cx)),
    }
    let done = if cx.node.node.is_leaf() {
        tokio::select! {
            biased;
            done = &mut execute => done,
            () = clock.sleep(GRACE_MS) => Err(Failure::never(too_late(cx))),
        }
    } else {
        // Ends by itself: every graph inside is stopped by the same token, within its own bounds.
        execute.await
    };
    explained(cx, done)
}

/// What fails after it was told to stop fails because of that, whatever it says itself. What was done in the last
/// moment is done, and may have been paid for.
fn explained(cx: &NodeRun<'_>, done: Result<Done, Failure>) -> Result<Done, Failure> {
    match (done, cx.stop.why()) {
        (Err(_), Some(why)) => {
            let retry = if why.code == Code::X003 { Retry::Maybe } else { Retry::Never };
            Err(Failure { problem: why.clone(), retry })
        }
        (done, _) => done,
    }
}

fn too_late(cx: &NodeRun<'_>) -> Problem {
    let ms = cx.node.timeout_ms.unwrap_or_default();
    let seconds =
        if ms.is_multiple_of(1_000) { format!("{}", ms / 1_000) } else { format!("{}.{:03}", ms / 1_000, ms % 1_000) };
    Problem::new(Code::X003, format!("node `{}` ran longer than its limit of {seconds} s", cx.path))
        .help("raise `timeout_seconds` of the node")
}

/// Checks the output, appends that the node finished, and lets others see it.
async fn finish(cx: &NodeRun<'_>, done: Done) -> Result<(), Ended> {
    let run = cx.frame.run;
    let Done { mut output, receipt, cached } = done;
    if let Err(problem) = cx.check_output(&mut output) {
        return Err(Ended::Failed { failure: Failure::maybe(problem), receipt });
    }
    let output = Arc::new(output);
    let usage = cx.spent();
    if cx.frame.keep {
        run.history.keep(&cx.path, Was::Finished { output: Arc::clone(&output), usage });
    }
    let fact = Fact::NodeFinished { output: Value::clone(&output), cached, receipt, usage };
    let seq = run.push(&cx.path, cx.attempt, fact);
    if cx.is_effectful() {
        Box::pin(run.journal.durable(seq)).await?;
    }
    cx.frame.set_output(cx.index, output);
    Ok(())
}

impl NodeRun<'_> {
    /// Whether the node itself leaves traces. One that only holds nodes that do needs no commit of its own.
    fn is_effectful(&self) -> bool {
        self.node.effects == Effects::External && self.node.node.graphs().is_empty()
    }

    /// The schema first, then the aliases of `output_mappings`, which the schema does not know.
    fn check_output(&self, output: &mut Value) -> Result<(), Problem> {
        if let Some(schema) = &self.node.output_schema {
            fits(schema, output, Code::X007, "the output")?;
        }
        self.add_aliases(output);
        Ok(())
    }
}
