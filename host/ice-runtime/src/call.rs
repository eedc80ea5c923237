//! One call = one fresh store. Nothing a guest does survives it; whatever stops it, the host goes on.
//!
//! Which component, with which grant, is decided in `lib.rs`; what the guest may do in `gate.rs`.

use std::sync::Arc;
use std::time::Instant;

use ice_core::budget::Receipt;
use ice_core::ports::{Failure, Retry};
use ice_core::problem::{Code, Problem};
use wasmtime::component::ResourceTable;
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings::agent::exports::ice::plugin::tasks;
use crate::bindings::bundle::exports::ice::plugin::blueprints;
use crate::bindings::imports::ice::types::types::CallContext;
use crate::bindings::kit::exports::ice::plugin::tools;
use crate::cache::{Exports, Loaded};
use crate::capabilities::http::Hooks;
use crate::cpu::Metered;
use crate::engine::Sandbox;
use crate::gate::{Gate, LOG_LINE_BYTES_MAX, clip, plain};
use crate::limits::{MemoryMeter, Stop, TRANSFER_BYTES_MAX};
use crate::ticker::Ticker;
use crate::wasi;

/// What lives in a store: the host's side of one call.
pub(crate) struct Guest {
    pub(crate) gate: Arc<Gate>,
    memory: MemoryMeter,
    table: ResourceTable,
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    hooks: Hooks,
}

impl Guest {
    fn new(gate: Arc<Gate>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(wasi::HANDLES_MAX);
        Self {
            memory: MemoryMeter::new(gate.bounds.memory_bytes.value),
            table,
            wasi: None,
            http: WasiHttpCtx::new(),
            hooks: Hooks::new(Arc::clone(&gate)),
            gate,
        }
    }

    /// Counts a call that cannot fail here; the gate ends the guest when there were too many.
    fn count(&self) {
        let _ = self.gate.enter();
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.count();
        let gate = &self.gate;
        WasiCtxView { ctx: self.wasi.get_or_insert_with(|| wasi::context(gate)), table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.count();
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// What to ask a component.
pub(crate) enum Question {
    /// A tool, by name, with its input as JSON text.
    Tool { name: String, input: String, context: CallContext },
    /// An agent, with its task as JSON text.
    Task { input: String, context: CallContext },
    /// What it is.
    Describe,
    /// One blueprint of a bundle, by name.
    Blueprint { name: String },
}

/// What a component answered.
pub(crate) enum Reply {
    /// JSON text.
    Json(String),
    /// What a kit offers.
    Tools(Vec<tools::Tool>),
    /// What an agent is.
    Card(tasks::Card),
    /// What a bundle holds.
    Blueprints(Vec<blueprints::BlueprintEntry>),
    /// The guest says that it cannot.
    Refused(Refused),
}

/// An error that the guest returned as a value.
pub(crate) enum Refused {
    /// There is no such thing in this component.
    Unknown,
    /// The input is wrong.
    Input(String),
    /// It failed for good.
    Failed(String),
    /// It asks to be called again after so many milliseconds.
    Retry(u32),
}

/// Runs `question` in a fresh instance until it answers, `gate` says stop, or its scope is cancelled.
pub(crate) async fn run(
    sandbox: &Sandbox,
    ticker: &Ticker,
    loaded: &Loaded,
    gate: &Arc<Gate>,
    question: Question,
) -> (Result<Reply, Failure>, Receipt) {
    let started = Instant::now();
    let running = ticker.running();
    let mut store = store(sandbox, gate);
    let ended = {
        let guest = Metered::new(ask(&mut store, loaded, question), Arc::clone(&gate.cpu));
        tokio::select! {
            biased;
            ended = guest => ended.map_err(Ended::Wasm),
            () = gate.scope.cancelled() => Err(Ended::Stopped(Stop::Cancelled)),
            () = tokio::time::sleep_until(gate.deadline.into()) => Err(Ended::Stopped(Stop::Wall)),
        }
    };
    gate.flush();
    let data = store.data();
    let reply = ended.map_err(|ended| explain(gate, &data.memory, ended));
    let receipt = gate.receipt(started.elapsed(), data.memory.peak());
    drop(store);
    drop(running);
    (reply, receipt)
}

enum Ended {
    Wasm(wasmtime::Error),
    Stopped(Stop),
}

fn store(sandbox: &Sandbox, gate: &Arc<Gate>) -> Store<Guest> {
    let mut store = Store::new(&sandbox.engine, Guest::new(Arc::clone(gate)));
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(TRANSFER_BYTES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|guest| match guest.data().gate.overrun() {
        Some(stop) => Err(stop.into()),
        None => Ok(UpdateDeadline::Yield(1)),
    });
    store
}

async fn ask(store: &mut Store<Guest>, loaded: &Loaded, question: Question) -> wasmtime::Result<Reply> {
    match &loaded.exports {
        Exports::Kit(pre) => {
            let kit = pre.instantiate_async(&mut *store).await?;
            let tools = kit.ice_plugin_tools();
            match question {
                Question::Tool { name, input, context } => {
                    Ok(tool_reply(tools.call_call(store, &name, &input, &context).await?))
                }
                Question::Describe => Ok(Reply::Tools(tools.call_describe(store).await?)),
                Question::Task { .. } | Question::Blueprint { .. } => Ok(Reply::Refused(Refused::Unknown)),
            }
        }
        Exports::Agent(pre) => {
            let agent = pre.instantiate_async(&mut *store).await?;
            let tasks = agent.ice_plugin_tasks();
            match question {
                Question::Task { input, context } => Ok(task_reply(tasks.call_run(store, &input, &context).await?)),
                Question::Describe => Ok(Reply::Card(tasks.call_describe(store).await?)),
                Question::Tool { .. } | Question::Blueprint { .. } => Ok(Reply::Refused(Refused::Unknown)),
            }
        }
        Exports::Bundle(pre) => {
            let bundle = pre.instantiate_async(&mut *store).await?;
            let blueprints = bundle.ice_plugin_blueprints();
            match question {
                Question::Blueprint { name } => Ok(blueprint_reply(blueprints.call_get(store, &name).await?)),
                Question::Describe => Ok(Reply::Blueprints(blueprints.call_list(store).await?)),
                Question::Tool { .. } | Question::Task { .. } => Ok(Reply::Refused(Refused::Unknown)),
            }
        }
    }
}

fn tool_reply(answer: Result<String, tools::Error>) -> Reply {
    Reply::Refused(match answer {
        Ok(json) => return Reply::Json(json),
        Err(tools::Error::UnknownTool) => Refused::Unknown,
        Err(tools::Error::InvalidInput(text)) => Refused::Input(text),
        Err(tools::Error::Failed(text)) => Refused::Failed(text),
        Err(tools::Error::Retry(ms)) => Refused::Retry(ms),
    })
}

fn task_reply(answer: Result<String, tasks::Error>) -> Reply {
    Reply::Refused(match answer {
        Ok(json) => return Reply::Json(json),
        Err(tasks::Error::InvalidInput(text)) => Refused::Input(text),
        Err(tasks::Error::GaveUp(text) | tasks::Error::Failed(text)) => Refused::Failed(text),
    })
}

fn blueprint_reply(answer: Result<String, blueprints::Error>) -> Reply {
    Reply::Refused(match answer {
        Ok(json) => return Reply::Json(json),
        Err(blueprints::Error::UnknownBlueprint) => Refused::Unknown,
        Err(blueprints::Error::Failed(text)) => Refused::Failed(text),
    })
}

/// Turns an error that the guest returned into a failure. A failure after a denial is reported as the denial: that
/// is what the operator can change.
pub(crate) fn refuse(gate: &Gate, refused: Refused) -> Failure {
    let who = gate.caller.words();
    let subject = gate.caller.subject();
    // Not longer than a log line: the guest decides how much it says, the event list keeps it.
    let cut = |text: String| plain(clip(&text, LOG_LINE_BYTES_MAX)).into_owned();
    match refused {
        Refused::Unknown => Failure::never(
            Problem::new(Code::X034, format!("its component has no {who}"))
                .subject(subject)
                .help("the manifest and the component do not agree: export and sign the plugin again"),
        ),
        Refused::Input(text) => {
            Failure::never(Problem::new(Code::X030, format!("{who} refuses its input: {}", cut(text))).subject(subject))
        }
        Refused::Failed(text) => match gate.last_denial() {
            Some(denial) => Failure::never(after_denial(denial, &cut(text))),
            None => Failure::never(Problem::new(Code::X031, format!("{who} failed: {}", cut(text))).subject(subject)),
        },
        Refused::Retry(ms) => Failure {
            problem: Problem::new(Code::X031, format!("{who} asks to be tried again in {ms} ms")).subject(subject),
            retry: Retry::AfterMs(ms.into()),
        },
    }
}

fn after_denial(mut denial: Problem, then: &str) -> Problem {
    denial.message = format!("{}; then it failed: {then}", denial.message);
    denial
}

/// Turns the end of a guest that did not answer into a failure.
fn explain(gate: &Gate, memory: &MemoryMeter, ended: Ended) -> Failure {
    let error = match ended {
        Ended::Stopped(stop) => return stopped(gate, stop),
        Ended::Wasm(error) => error,
    };
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return stopped(gate, *stop);
    }
    let trap = error.downcast_ref::<Trap>().copied();
    if trap == Some(Trap::StackOverflow) {
        return stopped(gate, Stop::Stack);
    }
    // The guest saw a failed growth before it gave up, whatever its way of giving up is.
    if memory.refused {
        return stopped(gate, Stop::Memory);
    }
    if is_transfer(&error) {
        return stopped(gate, Stop::Transfer);
    }
    let how = match (error.downcast_ref::<I32Exit>(), trap) {
        (Some(I32Exit(code)), _) => format!("ended itself with exit code {code}"),
        (None, Some(trap)) => format!("crashed: {trap}"),
        (None, None) => format!("crashed: {error:#}"),
    };
    let how = match gate.last_words() {
        Some(words) => format!("{how}; its last words: {words}"),
        None => how,
    };
    let who = gate.caller.words();
    Failure::never(match gate.last_denial() {
        Some(denial) => after_denial(denial, &how),
        None => Problem::new(Code::X032, format!("{who} {how}"))
            .subject(gate.caller.subject())
            .help("nothing of the call was kept; the author of the plugin has to repair this"),
    })
}

fn stopped(gate: &Gate, stop: Stop) -> Failure {
    let caller = &gate.caller;
    let problem = stop.problem(&gate.bounds, &caller.words(), caller.short(), caller.role.setting());
    let problem = problem.subject(gate.caller.subject());
    // A slow answer from outside can be faster next time; the other limits are reached again.
    if stop == Stop::Wall { Failure::maybe(problem) } else { Failure::never(problem) }
}

/// Wasmtime does not export the type of this error; a test holds on to its text.
fn is_transfer(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains("fuel allocated for hostcalls"))
}
