//! The only door between a guest and the outside: grant, recall, budget, port, event, in this order.
//!
//! Every capability passes [`Gate::pass`]; the files under `capabilities/` only translate between WIT and ports.
//! What a denial says is in `gate/need.rs`, what a reply looks like in the event list in `gate/kept.rs`.

mod kept;
mod need;

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ice_core::budget::{Receipt, Usage};
use ice_core::catalog::Catalog;
use ice_core::event::CapabilityUse;
use ice_core::grant::Grant;
use ice_core::id::{Digest, ExecutionId, NodePath};
use ice_core::ports::{Failure, Scope};
use ice_core::problem::{Code, Problem};
use serde::Serialize;

pub(crate) use kept::{Fresh, HttpReply, Kept};
pub(crate) use need::Need;
use need::shell;

use crate::RuntimePorts;
use crate::cpu::CpuClock;
use crate::limits::{Bounds, Spending, Stop};

/// Denials kept for the receipt; a guest that asks ten thousand times is not worth more.
const DENIALS_MAX: usize = 32;

/// Longest log line, in bytes; the rest of it is cut.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 8 << 10;

/// How much of the guest's standard error is remembered to explain a crash.
const LAST_WORDS_BYTES: usize = 1 << 10;

/// What of a component runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// One of a kit's tools.
    Tool(String),
    /// An agent.
    Agent(String),
    /// Code of a bundle that makes a blueprint.
    Blueprint(String),
    /// `describe`, before anybody trusts the component.
    Describe,
}

impl Role {
    /// How the host's settings spell the kind of call; `None` when its limits cannot be set.
    pub(crate) fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Tool(_) | Self::Blueprint(_) => Some("TOOL"),
            Self::Agent(_) => Some("AGENT"),
            Self::Describe => None,
        }
    }
}

/// Who calls, and on whose behalf.
pub(crate) struct Caller {
    /// What runs.
    pub(crate) role: Role,
    /// The plugin that the grant belongs to, `scope/name`.
    pub(crate) plugin: String,
    /// The execution.
    pub(crate) execution: ExecutionId,
    /// The node.
    pub(crate) path: NodePath,
    /// What the operator allows.
    pub(crate) grant: Arc<Grant>,
}

impl Caller {
    /// The plugin's name without its scope, as commands take it.
    pub(crate) fn short(&self) -> &str {
        self.plugin.rsplit('/').next().unwrap_or(&self.plugin)
    }

    /// For example ``tool `quote` ``.
    pub(crate) fn words(&self) -> String {
        match &self.role {
            Role::Tool(name) => format!("tool `{name}`"),
            Role::Agent(name) => format!("agent `{name}`"),
            Role::Blueprint(name) => format!("blueprint `{name}`"),
            Role::Describe => "`describe`".to_owned(),
        }
    }

    /// Where a problem of this call is.
    pub(crate) fn subject(&self) -> String {
        if self.path.as_str().is_empty() {
            return format!("{} of `{}`", self.words(), self.plugin);
        }
        format!("node `{}`, {} of `{}`", self.path, self.words(), self.plugin)
    }
}

/// One call's view of the host. Shared by the store and the tasks that send its requests.
pub(crate) struct Gate {
    /// Who calls.
    pub(crate) caller: Caller,
    /// Its limits.
    pub(crate) bounds: Bounds,
    /// The outside.
    pub(crate) ports: Arc<RuntimePorts>,
    /// What can be called.
    pub(crate) catalog: Arc<Catalog>,
    /// The execution.
    pub(crate) scope: Arc<dyn Scope>,
    /// Processor time of the guest.
    pub(crate) cpu: Arc<CpuClock>,
    /// When the host stops the guest.
    pub(crate) deadline: Instant,
    engine: wasmtime::Engine,
    spending: Arc<Spending>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    host_calls: u32,
    uses: u32,
    http_requests: u32,
    egress_bytes: u64,
    log_bytes: u64,
    log_lines_dropped: u32,
    usage: Usage,
    denied: Vec<String>,
    last_denial: Option<Problem>,
    flooded: bool,
    stdio: [Vec<u8>; 2],
    last_words: Vec<u8>,
}

/// Why the guest does not get what it asked for.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The grant does not cover it; the text says what would.
    Denied(String),
    /// The port, or the execution, said no.
    Failed(Failure),
}

/// One use of a capability on its way through the gate.
pub(crate) struct Pass<'a> {
    /// What the grant must cover.
    pub(crate) need: Need<'a>,
    /// For the event list, for example `complete` or `POST https://api.example.com/v1/items`.
    pub(crate) operation: String,
    /// Position among the uses of this attempt, from [`Gate::turn`].
    pub(crate) turn: u32,
    /// Digest of the request, from [`digest`].
    pub(crate) request: Digest,
    /// The most it can cost, for what has a price.
    pub(crate) estimate: Option<Usage>,
}

/// What a gate is made of besides its caller.
pub(crate) struct Surroundings {
    pub(crate) ports: Arc<RuntimePorts>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) scope: Arc<dyn Scope>,
    pub(crate) spending: Arc<Spending>,
    pub(crate) engine: wasmtime::Engine,
}

/// Where a guest's standard output and error go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stdio {
    Out = 0,
    Err = 1,
}

impl Gate {
    /// Opens the gate for one call, whose time starts now.
    pub(crate) fn new(caller: Caller, bounds: Bounds, around: Surroundings) -> Self {
        Self {
            deadline: Instant::now() + bounds.wall.value,
            caller,
            bounds,
            ports: around.ports,
            catalog: around.catalog,
            scope: around.scope,
            spending: around.spending,
            engine: around.engine,
            cpu: Arc::default(),
            tally: Mutex::default(),
        }
    }

    /// Counts a call from the guest into the host. Fails when there were too many.
    pub(crate) fn enter(&self) -> Result<(), Stop> {
        let mut tally = self.tally();
        tally.host_calls = tally.host_calls.saturating_add(1);
        if tally.host_calls <= self.bounds.host_calls.value {
            return Ok(());
        }
        if !std::mem::replace(&mut tally.flooded, true) {
            // WASI calls cannot fail here; one more tick makes the guest's next loop or call end instead.
            self.engine.increment_epoch();
        }
        Err(Stop::HostCalls)
    }

    /// Whether the guest must stop now. Asked at every tick, on the thread that runs the guest.
    pub(crate) fn overrun(&self) -> Option<Stop> {
        if self.tally().flooded {
            return Some(Stop::HostCalls);
        }
        if self.cpu.used_now() > self.bounds.cpu.value {
            return Some(Stop::Cpu);
        }
        (Instant::now() >= self.deadline).then_some(Stop::Wall)
    }

    /// Time left for this call.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Reserves the next position in the list of uses. Called in the order in which the guest asks.
    pub(crate) fn turn(&self) -> u32 {
        let mut tally = self.tally();
        let turn = tally.uses;
        tally.uses += 1;
        turn
    }

    /// Lets a use through: checks the grant, answers from the event list if this very request was already answered
    /// before a crash, sets money aside, asks, and appends what happened before the guest sees it.
    pub(crate) async fn pass<T: Kept>(
        &self,
        pass: Pass<'_>,
        ask: impl Future<Output = Result<(T, Usage), Failure>>,
    ) -> Result<T, Refusal> {
        self.check(&pass.need)?;
        if let Some(reply) = self.recall::<T>(&pass) {
            return Ok(reply);
        }
        if let Some(estimate) = pass.estimate {
            self.check_money(&estimate)?;
            self.scope.reserve(estimate).await.map_err(Refusal::Failed)?;
        }
        let started = Instant::now();
        let answer = ask.await;
        let (reply, usage) = match &answer {
            Ok((reply, usage)) => (reply.keep(), *usage),
            Err(_) => (None, Usage::default()),
        };
        self.spend(&usage);
        let used = CapabilityUse {
            capability: pass.need.capability(),
            operation: pass.operation,
            ordinal: pass.turn,
            request: pass.request,
            reply,
            usage,
            ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let recorded = self.scope.record(used).await;
        let (reply, _) = answer.map_err(Refusal::Failed)?;
        recorded.map_err(Refusal::Failed)?;
        Ok(reply)
    }

    /// Whether the grant covers `need`; a no is remembered for the receipt.
    pub(crate) fn check(&self, need: &Need<'_>) -> Result<(), Refusal> {
        if need.covered(&self.caller.grant) {
            return Ok(());
        }
        Err(Refusal::Denied(self.deny(need)))
    }

    /// Remembers a denial and returns what the guest is told.
    pub(crate) fn deny(&self, need: &Need<'_>) -> String {
        let what = format!("plugin `{}` may not use `{}`: {}", self.caller.plugin, need.word(), need.what());
        let help = match need.setting() {
            Some(setting) => format!("allow it with `ice plugins grant {} {}`", self.caller.short(), shell(&setting)),
            None => "no grant can name this".to_owned(),
        };
        let text = format!("{what}; {help}");
        let problem = Problem::new(Code::G001, what).subject(self.caller.subject()).help(help);
        self.note_denial(text.clone(), problem);
        text
    }

    /// Remembers a refusal that a port made with a problem of its own, such as a private address.
    pub(crate) fn note_denial(&self, text: String, problem: Problem) {
        let mut tally = self.tally();
        if tally.denied.len() < DENIALS_MAX && !tally.denied.contains(&text) {
            tally.denied.push(text);
        }
        tally.last_denial = Some(problem);
    }

    /// The last thing the guest was denied.
    pub(crate) fn last_denial(&self) -> Option<Problem> {
        self.tally().last_denial.clone()
    }

    /// Counts bytes that are about to leave through http; false when they are over the limit.
    pub(crate) fn egress(&self, bytes: u64) -> bool {
        let mut tally = self.tally();
        let next = tally.egress_bytes.saturating_add(bytes);
        if next > self.bounds.egress_bytes.value {
            return false;
        }
        tally.egress_bytes = next;
        true
    }

    /// Counts a request that is about to leave through http.
    pub(crate) fn count_request(&self) {
        let mut tally = self.tally();
        tally.http_requests = tally.http_requests.saturating_add(1);
    }

    /// Appends a log line, or counts it as dropped when there were too many bytes.
    pub(crate) fn log(&self, level: &str, message: &str) {
        let message = plain(clip(message, LOG_LINE_BYTES_MAX));
        {
            let mut tally = self.tally();
            let next = tally.log_bytes.saturating_add(message.len() as u64);
            if next > self.bounds.log_bytes.value {
                tally.log_lines_dropped = tally.log_lines_dropped.saturating_add(1);
                return;
            }
            tally.log_bytes = next;
        }
        self.scope.log(level, message.into_owned());
    }

    /// Takes bytes from the guest's standard output or error and logs every whole line.
    pub(crate) fn write(&self, to: Stdio, bytes: &[u8]) {
        let whole = {
            let mut tally = self.tally();
            if to == Stdio::Err {
                tally.last_words.extend_from_slice(bytes);
                let over = tally.last_words.len().saturating_sub(LAST_WORDS_BYTES);
                tally.last_words.drain(..over);
            }
            let pending = &mut tally.stdio[to as usize];
            pending.extend_from_slice(bytes);
            let end = pending.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            let end = end.unwrap_or(if pending.len() > LOG_LINE_BYTES_MAX { pending.len() } else { 0 });
            let rest = pending.split_off(end);
            std::mem::replace(pending, rest)
        };
        for line in whole.split(|byte| *byte == b'\n') {
            self.log_bytes(to, line);
        }
    }

    /// Logs what the guest wrote without ending the line.
    pub(crate) fn flush(&self) {
        let [out, err] = std::mem::take(&mut self.tally().stdio);
        self.log_bytes(Stdio::Out, &out);
        self.log_bytes(Stdio::Err, &err);
    }

    fn log_bytes(&self, from: Stdio, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if !text.is_empty() {
            self.log(if from == Stdio::Out { "info" } else { "warn" }, text);
        }
    }

    /// What the guest said last on standard error: for a Rust guest, where it panicked and why.
    pub(crate) fn last_words(&self) -> Option<String> {
        let tally = self.tally();
        let text = String::from_utf8_lossy(&tally.last_words);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: run with"));
        let mut last: Vec<&str> = lines.collect();
        last.drain(..last.len().saturating_sub(3));
        let words = last.join(" / ");
        (!words.is_empty()).then(|| plain(&words).into_owned())
    }

    /// What the call cost; `memory` is the peak of the store.
    pub(crate) fn receipt(&self, wall: Duration, memory: u64) -> Receipt {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let mut tally = self.tally();
        Receipt {
            cpu_us: micros(self.cpu.used()),
            wall_us: micros(wall),
            peak_memory: memory,
            host_calls: tally.host_calls,
            http_requests: tally.http_requests,
            egress_bytes: tally.egress_bytes,
            log_lines_dropped: tally.log_lines_dropped,
            usage: tally.usage,
            denied: std::mem::take(&mut tally.denied),
        }
    }

    fn recall<T: Kept>(&self, pass: &Pass<'_>) -> Option<T> {
        let reply = T::restore(self.scope.recall(pass.turn, &pass.request)?)?;
        self.spend(&reply.usage());
        Some(reply)
    }

    fn check_money(&self, estimate: &Usage) -> Result<(), Refusal> {
        let Some(usd) = self.caller.grant.llm.as_ref().and_then(|llm| llm.usd_per_execution) else {
            return Ok(());
        };
        let spent = self.spending.spent(&self.caller.execution, &self.caller.plugin);
        let next = spent.saturating_add(estimate.cost_micro_usd) as f64 / 1e6;
        if next <= usd {
            return Ok(());
        }
        Err(Refusal::Denied(self.deny(&Need::Money { usd, next })))
    }

    fn spend(&self, usage: &Usage) {
        self.tally().usage.add(usage);
        self.spending.add(&self.caller.execution, &self.caller.plugin, usage.cost_micro_usd);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nothing panics while the tally is locked")
    }
}

/// Digest of a request, by which an answer is recognised after a crash. Field order is fixed by the types.
pub(crate) fn digest(request: &impl Serialize) -> Digest {
    Digest::of(&serde_json::to_vec(request).expect("requests are plain data with text keys"))
}

/// What a guest wrote, without what could move the cursor or hide text of the terminal it is shown on.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let hides = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(hides) {
        return Cow::Owned(text.replace(hides, "\u{fffd}"));
    }
    Cow::Borrowed(text)
}

/// The longest part of `text` that has at most `bytes` bytes.
pub(crate) fn clip(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
