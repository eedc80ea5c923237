//! Follows an execution while it runs and prints what came of it.

pub(crate) mod waiting;
pub(crate) mod watch;

mod branch;
mod screen;
mod tree;

use ice_core::budget::Usage;
use ice_core::event::{Event, Fact, FinalStatus};
use ice_core::execution::Ending;
use ice_core::id::ExecutionId;
use ice_core::problem::{Code, Exit, Problem};
use ice_engine::{Handle, WaitFilter};
use serde_json::{Value, json};

use crate::output::Output;
use crate::wire::Host;

/// Waits that are shown of one execution.
const WAITS_MAX: usize = 1_000;

/// Why an execution was stopped.
const INTERRUPTED: &str = "interrupted by the user";

/// Shows progress on standard error until the execution ends or only waits, prints its outputs or what it waits for, and
/// says how to exit.
pub(crate) async fn follow(handle: Handle, host: &Host, output: &Output) -> Result<Exit, Vec<Problem>> {
    watch::run(handle, Vec::new(), watch::Report::Outputs, host, output).await
}

/// Prints what an execution waits for.
async fn print_waits(id: &ExecutionId, usage: &Usage, host: &Host, output: &Output) -> Result<(), Vec<Problem>> {
    let filter = WaitFilter { execution: Some(id.clone()), limit: WAITS_MAX, ..WaitFilter::default() };
    let waits = host.engine.waits(&filter).await.map_err(|problem| vec![problem])?;
    output.either(
        || {
            json!({
                "execution_id": id, "status": "waiting", "outputs": null, "usage": usage, "problem": null,
                "waits": waits,
            })
        },
        || {
            let head = format!("execution {id} waits for {}", counted(waits.len()));
            let each = waits.iter().flat_map(|wait| waiting::lines(&wait.id, &wait.open, &wait.name));
            std::iter::once(head).chain(each).collect()
        },
    );
    Ok(())
}

fn counted(answers: usize) -> String {
    if answers == 1 { "an answer".into() } else { format!("{answers} answers") }
}

/// What a reader of lines is told of an event; `took_ms` is since its node began.
fn line_of(event: &Event, took_ms: u64) -> Option<String> {
    let path = event.path.as_str();
    match &event.fact {
        Fact::NodeFinished { usage, .. } => {
            let tokens = match usage.total_tokens() {
                0 => String::new(),
                tokens => format!(", {tokens} tokens"),
            };
            Some(format!("  done {path} ({took_ms} ms{tokens})"))
        }
        Fact::NodeFailed { problem, .. } => Some(format!("  FAILED {path}: [{}] {}", problem.code, problem.message)),
        Fact::NodeRetried { problem, delay_ms, .. } => {
            Some(format!("  again {path} in {delay_ms} ms: {}", problem.message))
        }
        Fact::WaitOpened { .. } => Some(format!("  asks {path}")),
        Fact::WaitResolved { resolution, .. } if resolution.timed_out => {
            Some(format!("  nobody answered {path} in time"))
        }
        Fact::WaitResolved { resolution, .. } => {
            Some(format!("  {} answered {path}", waiting::printable(&resolution.responder)))
        }
        Fact::WaitEscalated { to, .. } => Some(format!("  asks {path}: now {}", waiting::printable(to))),
        Fact::Logged { level, message } if level == "warn" || level == "error" => {
            Some(format!("  {level} {path}: {message}"))
        }
        _ => None,
    }
}

/// Prints the outputs (all of the ending with `--json`), and the first failure on standard error.
fn print(id: &str, ending: &Ending, interrupted: bool, output: &Output) -> Exit {
    if output.json() {
        output.value(&json!({
            "execution_id": id,
            "status": ending.status,
            "outputs": ending.outputs,
            "usage": ending.usage,
            "problem": ending.problem,
        }));
    } else {
        print_outputs(&ending.outputs, output);
        if let Some(problem) = &ending.problem {
            output.problems(std::slice::from_ref(problem));
        }
    }
    exit_of(ending, interrupted)
}

/// How the command exits after such an ending.
fn exit_of(ending: &Ending, interrupted: bool) -> Exit {
    match ending.status {
        FinalStatus::Completed => Exit::Done,
        FinalStatus::Cancelled if interrupted => Exit::Interrupted,
        FinalStatus::CompletedWithErrors | FinalStatus::Failed | FinalStatus::Cancelled => {
            let refused = ending.problem.as_ref().is_some_and(|problem| problem.code.exit() == Exit::Refused);
            if refused { Exit::Refused } else { Exit::Failed }
        }
    }
}

/// An answer with citations is printed for a reader; everything else as JSON.
fn print_outputs(outputs: &Value, output: &Output) {
    let (Some(answer), Some(citations)) = (outputs["answer"].as_str(), outputs["citations"].as_array()) else {
        if !outputs.is_null() {
            output.value(outputs);
        }
        return;
    };
    output.line(answer);
    for (number, citation) in citations.iter().enumerate() {
        let text = |key: &str| citation[key].as_str().unwrap_or_default().to_owned();
        let quote = text("quote").split_whitespace().collect::<Vec<_>>().join(" ");
        output.line(&format!("[{}] {}, chunk {}: \"{quote}\"", number + 1, text("file"), citation["chunk"]));
    }
}

/// A failure of the execution as a problem of the command.
pub(crate) fn not_found(id: &str) -> Problem {
    Problem::new(Code::X003, format!("there is no execution `{id}`")).help("`ice executions list` shows them")
}
