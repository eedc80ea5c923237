//! The traits to the outside. The engine and the runtime know these; `ice-cli/wire.rs` decides who stands behind them.

use std::sync::Arc;

mod documents;
mod ledger;
mod llm;

pub use documents::{Documents, NamedDocument, check_name, sort_versions, taken};
pub use ledger::{DaySpent, Hold, Ledger, OwnSpending, Restating, Settled, Standing, own_spending};
pub use llm::{
    DeltaSink, Embeddings, Llm, LlmReply, LlmRequest, Message, ModelInfo, Patience, Role, ToolCall, ToolSpec,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{Receipt, Usage};
use crate::catalog::{CallKind, Catalog};
use crate::event::{CapabilityUse, Event};
use crate::grant::{Grant, LimitSettings};
use crate::id::{Digest, ExecutionId, Identity, NodePath, UnixMs};
use crate::problem::Problem;
use crate::schedule::Schedule;

/// A problem, and whether trying again could help.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Failure {
    /// What a person reads.
    pub problem: Problem,
    /// What the scheduler does.
    pub retry: Retry,
}

/// Whether the same call could succeed later.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// No: it would fail again.
    Never,
    /// Perhaps, after the pause of the node's retry policy.
    Maybe,
    /// Whoever was asked wants at least this pause.
    AfterMs(u64),
}

impl Failure {
    /// Trying again would not help.
    pub fn never(problem: Problem) -> Self {
        Self { problem, retry: Retry::Never }
    }

    /// Trying again may help.
    pub fn maybe(problem: Problem) -> Self {
        Self { problem, retry: Retry::Maybe }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Components

/// One call into a component.
#[derive(Clone, Debug)]
pub struct Call {
    /// Tool or agent.
    pub kind: CallKind,
    /// Its name in the catalog.
    pub name: String,
    /// The component to use, when the execution pinned one; else the catalog's.
    pub artifact: Option<Digest>,
    /// The input; already checked against the input schema.
    pub input: Value,
    /// The execution this call belongs to.
    pub execution: ExecutionId,
    /// The node.
    pub path: NodePath,
    /// 1 on the first try.
    pub attempt: u32,
    /// The node's own bounds; the tighter of these, the grant's and the host's apply.
    pub limits: LimitSettings,
}

/// What came of a call. There is a receipt whether it went well or not.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The guest's answer, or why there is none.
    pub result: Result<Value, Failure>,
    /// What it cost.
    pub receipt: Receipt,
}

/// Runs tools and agents. Implemented by ice-runtime; scripted in tests.
#[async_trait]
pub trait Components: Send + Sync {
    /// Everything that can be called. Cheap; the same `Arc` until something is installed.
    fn catalog(&self) -> Arc<Catalog>;

    /// Calls a tool or an agent in a fresh instance. Stops the guest when `scope` is cancelled or a limit is reached.
    async fn call(&self, call: Call, scope: Arc<dyn Scope>) -> Outcome;

    /// Returns one blueprint document of an installed bundle, by `bundle.blueprint`.
    async fn blueprint(&self, entry: &str) -> Result<Value, Failure>;
}

/// What a running call may ask of the execution it belongs to. Implemented by the engine, one per node attempt.
#[async_trait]
pub trait Scope: Send + Sync {
    /// Whom the execution runs for.
    fn identity(&self) -> &Identity;

    /// Returns when the call must stop: cancelled, timed out, or the execution was lost to another process.
    async fn cancelled(&self);

    /// The recorded answer to the `ordinal`-th use of a capability, when this attempt ran before a crash and its
    /// request was the same. The caller then must not ask again.
    fn recall(&self, ordinal: u32, request: &Digest) -> Option<Value>;

    /// Sets money and tokens aside before a priced call. Fails with X-codes when a budget would be exceeded.
    async fn reserve(&self, estimate: Usage) -> Result<(), Failure>;

    /// Appends that a capability was used, and settles the reservation if there was one.
    /// A use with a reply is durable when this returns, before the guest sees the reply.
    async fn record(&self, used: CapabilityUse) -> Result<(), Failure>;

    /// Appends a log line.
    fn log(&self, level: &str, message: String);

    /// Passes a piece of a streamed answer to whoever follows the execution. Not stored.
    fn delta(&self, text: &str);

    /// Calls a tool as a child node of this one. The grant was already checked.
    async fn call_tool(&self, name: &str, input: Value) -> Result<Value, Failure>;

    /// Starts a child execution of a blueprint.
    async fn start_execution(&self, blueprint: &str, inputs: Value) -> Result<ExecutionId, Failure>;

    /// Reads where a child execution stands: `Ok(None)` while it runs.
    async fn poll_execution(&self, id: &ExecutionId) -> Result<Option<crate::execution::Ending>, Failure>;

    /// Asks a child execution to stop.
    async fn cancel_execution(&self, id: &ExecutionId) -> Result<(), Failure>;
}

/// The verified bytes of components. Implemented by ice-registry.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Returns the bytes whose SHA-256 is `digest`, hashed on this very buffer. Fails with T-codes.
    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, Failure>;
}

// ---------------------------------------------------------------------------------------------------------------
// HTTP

/// One request to the outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRequest {
    /// Upper case.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Names in lower case. A value may hold `{{secret:NAME}}`, and `{{hmac_sha256:NAME}}` for the HMAC-SHA256 of the
    /// body under that secret in lower-case hexadecimal. Both are filled in on the way out, by the same rules.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Time for everything: connect, redirects, body.
    pub timeout_ms: u64,
}

/// One answer from the outside, its secrets scrubbed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// The URL that answered, after redirects.
    pub url: String,
}

/// The one way out. Implemented by ice-capabilities.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends one request; the grant is checked for the first URL and again for every redirect, and it says which
    /// secrets may be filled in for which host.
    async fn send(&self, request: HttpRequest, grant: &Grant) -> Result<HttpResponse, Failure>;

    /// Whether a secret of this name is set on this host.
    fn has_secret(&self, name: &str) -> bool;
}

// ---------------------------------------------------------------------------------------------------------------
// Memory

/// One remembered text.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct MemoryItem {
    /// Unique within its scope.
    pub key: String,
    /// What is remembered and searched.
    pub text: String,
    /// A JSON object.
    pub metadata: Value,
}

/// One answer of a search.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct MemoryHit {
    /// The item.
    pub item: MemoryItem,
    /// Higher is better; comparable within one answer only.
    pub score: f32,
    /// `keyword`, `vector` or `hybrid`.
    pub source: String,
}

/// Narrows a search; the default lets everything pass.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(default)]
pub struct MemoryFilter {
    /// `metadata.category` equals this.
    pub category: Option<String>,
    /// `metadata.tags` holds every one of these.
    pub tags: Vec<String>,
    /// The key starts with this.
    pub key_prefix: Option<String>,
}

/// What components and nodes remember. Implemented by ice-capabilities over [`MemoryRows`].
#[async_trait]
pub trait Memory: Send + Sync {
    /// The most that writing or searching a text of so many bytes can cost; nothing without an embedder.
    fn estimate(&self, _bytes: usize) -> Usage {
        Usage::default()
    }
    /// Writes `item`, replacing what was under its key. Returns what the embedding cost.
    async fn write(&self, who: &Identity, scope: &str, item: MemoryItem) -> Result<Usage, Failure>;
    /// Returns the item under `key`.
    async fn read(&self, who: &Identity, scope: &str, key: &str) -> Result<Option<MemoryItem>, Failure>;
    /// Returns the best answers, best first, and what embedding the query cost.
    async fn search(
        &self,
        who: &Identity,
        scope: &str,
        query: &str,
        filter: &MemoryFilter,
        limit: u32,
    ) -> Result<(Vec<MemoryHit>, Usage), Failure>;
    /// Returns the newest items whose key starts with `key_prefix`, newest first.
    async fn recent(
        &self,
        who: &Identity,
        scope: &str,
        key_prefix: &str,
        limit: u32,
    ) -> Result<Vec<MemoryItem>, Failure>;
    /// Removes `key`; no failure if it was not there.
    async fn forget(&self, who: &Identity, scope: &str, key: &str) -> Result<(), Failure>;
}

/// A memory row as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct MemoryRow {
    /// Key, text and metadata.
    pub item: MemoryItem,
    /// Digest of the text.
    pub content: Digest,
    /// Embedder and vector, when there is an embedder.
    pub embedding: Option<(String, Vec<f32>)>,
    /// When it was written.
    pub written: UnixMs,
}

/// Storage of memory. Implemented by ice-store; knows rows and ranks, not meaning.
#[async_trait]
pub trait MemoryRows: Send + Sync {
    /// Inserts or replaces the row under its key.
    async fn put(&self, who: &Identity, scope: &str, row: MemoryRow) -> Result<(), Failure>;
    /// Returns the row under `key`.
    async fn get(&self, who: &Identity, scope: &str, key: &str) -> Result<Option<MemoryRow>, Failure>;
    /// Returns rows by BM25 over the text, best first, with the score (higher is better).
    async fn keyword(
        &self,
        who: &Identity,
        scope: &str,
        query: &str,
        filter: &MemoryFilter,
        limit: u32,
    ) -> Result<Vec<(MemoryRow, f32)>, Failure>;
    /// Returns rows by cosine similarity to `vector` among those of the same embedder, best first.
    async fn nearest(
        &self,
        who: &Identity,
        scope: &str,
        embedder: &str,
        vector: &[f32],
        filter: &MemoryFilter,
        limit: u32,
    ) -> Result<Vec<(MemoryRow, f32)>, Failure>;
    /// Returns the newest rows whose key starts with `key_prefix`, newest first.
    async fn recent(
        &self,
        who: &Identity,
        scope: &str,
        key_prefix: &str,
        limit: u32,
    ) -> Result<Vec<MemoryRow>, Failure>;
    /// Removes the row under `key`.
    async fn delete(&self, who: &Identity, scope: &str, key: &str) -> Result<(), Failure>;
}

// ---------------------------------------------------------------------------------------------------------------
// Storage of executions and documents

/// The right to append to one execution. A holder that lost it to a newer one, or gave it back, appends nothing;
/// one that let it expire may go on until somebody else claims it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The execution.
    pub execution: ExecutionId,
    /// Grows with every holder; an append carries it and is refused when it is not the newest.
    pub fence: u64,
    /// When it expires unless renewed.
    pub until: UnixMs,
}

/// One line of a listing, derived from the events by the store's caller and kept beside them.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ExecutionRow {
    /// The execution.
    pub id: ExecutionId,
    /// A name for people.
    pub name: String,
    /// `running`, `waiting`, `completed`, `completed_with_errors`, `failed` or `cancelled`.
    pub status: String,
    /// When it started.
    pub started: UnixMs,
    /// When the newest event was appended.
    pub updated: UnixMs,
    /// Number of events.
    pub events: u64,
    /// Whether some process holds an unexpired lease.
    pub held: bool,
    /// How many waits are open.
    pub waits: u64,
}

/// The event lists. Implemented by ice-store.
#[async_trait]
pub trait Events: Send + Sync {
    /// Creates an execution with its first events and takes the lease for `lease_ms`. Durable when it returns.
    async fn create(
        &self,
        id: &ExecutionId,
        name: &str,
        who: &Identity,
        first: &[Event],
        lease_ms: u64,
    ) -> Result<Lease, Failure>;
    /// Takes the lease of an execution whose lease is free or expired, or that the same process already lost.
    /// Fails with X-codes when it does not exist or is held by a live process.
    async fn claim(&self, id: &ExecutionId, lease_ms: u64) -> Result<Lease, Failure>;
    /// Prolongs the lease. Fails when it was lost.
    async fn renew(&self, lease: &Lease, lease_ms: u64) -> Result<Lease, Failure>;
    /// Gives the lease back.
    async fn release(&self, lease: &Lease) -> Result<(), Failure>;
    /// Appends, all or nothing, durable when it returns. Fails when the lease was lost: then nothing was appended.
    async fn append(&self, lease: &Lease, events: &[Event]) -> Result<(), Failure>;
    /// Reads events with `seq > after`, in order, at most `limit`.
    async fn read(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure>;
    /// Reads like [`Events::read`], but returns only when there is at least one event, whichever process appends it.
    /// No event comes after `ExecutionFinished`: whoever has seen that one does not ask for more. It may be dropped while
    /// it waits; nothing is lost by that.
    async fn follow(&self, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Failure>;
    /// Lists executions of `who`, newest first.
    async fn list(&self, who: &Identity, limit: u32) -> Result<Vec<ExecutionRow>, Failure>;
    /// What [`Events::list`] goes on with after `than`; nothing when there is no such execution.
    async fn older(&self, who: &Identity, than: &ExecutionId, limit: u32) -> Result<Vec<ExecutionRow>, Failure>;
    /// Executions of everybody that neither ended nor wait and that no live process holds, oldest first.
    async fn left(&self, limit: u32) -> Result<Vec<ExecutionId>, Failure>;
    /// Leaves a request to cancel for whichever process holds the execution. True if it was running.
    async fn request_cancel(&self, id: &ExecutionId, reason: &str) -> Result<bool, Failure>;
    /// The request left by [`Events::request_cancel`], if any.
    async fn cancel_requested(&self, id: &ExecutionId) -> Result<Option<String>, Failure>;
    /// Executions that have not ended and have open waits, newest first; of everybody when `who` is `None`.
    /// A store counts `WaitOpened` and, back down, `WaitResolved` and `WaitWithdrawn` as they are appended.
    async fn waiting(&self, who: Option<&Identity>, limit: u32) -> Result<Vec<ExecutionId>, Failure>;
    /// Executions whose newest event is `ExecutionParked` with a `due` that is not after `now`, longest overdue first.
    async fn due(&self, now: UnixMs, limit: u32) -> Result<Vec<ExecutionId>, Failure>;
    /// The lines of these executions, in no order, without reading an event; those that do not exist are left out.
    async fn standing(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionRow>, Failure>;
    /// The ledger of orgs that is kept beside these lists; without one, budgets of orgs cannot be kept.
    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }
}

/// A schedule as it stands.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ScheduleRow {
    /// Whom its runs are for.
    pub who: Identity,
    /// What runs, and when.
    pub schedule: Schedule,
    /// Nothing runs while it is paused.
    pub paused: bool,
    /// Everything planned up to here is dealt with.
    pub last: UnixMs,
    /// When it is due; `None` when it never is again.
    pub next: Option<UnixMs>,
    /// The newest run.
    pub execution: Option<ExecutionId>,
    /// The planned time of the newest run.
    pub planned: Option<UnixMs>,
}

/// The right to say how a schedule goes on.
#[derive(Clone, PartialEq, Debug)]
pub struct ScheduleClaim {
    /// The schedule when it was claimed.
    pub row: ScheduleRow,
    /// Grows with every claim and change; settling carries it.
    pub fence: u64,
}

/// The schedules. Implemented by ice-store.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Writes a schedule, replacing what had its owner and name. Claims on the old one are lost.
    async fn put_schedule(&self, row: &ScheduleRow) -> Result<(), Failure>;
    /// Writes schedules of one owner, each [in the place of](ScheduleRow::in_place_of) the one that had its name, and
    /// removes the other schedules of `network`, when one is named: all or nothing. Returns them as they were written.
    async fn apply_schedules(
        &self,
        who: &Identity,
        network: Option<&str>,
        rows: &[ScheduleRow],
    ) -> Result<Vec<ScheduleRow>, Failure>;
    /// Returns the schedule of an owner and a name.
    async fn schedule(&self, who: &Identity, name: &str) -> Result<Option<ScheduleRow>, Failure>;
    /// Schedules in the order of their names; of everybody when `who` is `None`.
    async fn schedules(&self, who: Option<&Identity>, limit: u32) -> Result<Vec<ScheduleRow>, Failure>;
    /// Removes a schedule. True if it was there.
    async fn remove_schedule(&self, who: &Identity, name: &str) -> Result<bool, Failure>;
    /// Takes the schedule that is longest due at `now`, for `lease_ms`; nobody else gets it meanwhile.
    async fn claim_schedule(&self, now: UnixMs, lease_ms: u64) -> Result<Option<ScheduleClaim>, Failure>;
    /// Writes `last`, `next`, `execution` and `planned` of a claimed schedule and gives the claim back. Fails with X026
    /// when the claim was lost: then nothing was written.
    async fn settle_schedule(&self, claim: &ScheduleClaim) -> Result<(), Failure>;
    /// Makes a schedule that rests until later claimable from `at` on. True if it did.
    async fn wake_schedule(&self, who: &Identity, name: &str, at: UnixMs) -> Result<bool, Failure>;
    /// When the next schedule can be claimed: it is due, and nobody's claim holds it.
    async fn next_schedule(&self) -> Result<Option<UnixMs>, Failure>;
}

/// Time and chance. The real one in production, a `SimClock` in tests.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> UnixMs;
    /// Returns after `ms` milliseconds.
    async fn sleep(&self, ms: u64);
    /// 64 random bits.
    fn random(&self) -> u64;
}
