//! The facts an execution consists of. Appended once, never changed; everything else is a view of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{Budget, Receipt, Usage};
use crate::grant::Capability;
use crate::id::{Digest, ExecutionId, Identity, NodePath, UnixMs};
use crate::problem::Problem;

/// One fact, with its place in the list.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Event {
    /// 1 for the first event of an execution, then without gaps.
    pub seq: u64,
    /// When it was appended.
    pub at: UnixMs,
    /// Which node it is about; empty for the execution itself.
    #[serde(default, skip_serializing_if = "is_root")]
    pub path: NodePath,
    /// The attempt of that node, 1 on the first try; 0 where the fact is not about an attempt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

fn is_root(path: &NodePath) -> bool {
    path.0.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How an execution ended.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum FinalStatus {
    /// Every node that had to run ran.
    Completed,
    /// Some node failed, and the failure policy let the rest go on.
    CompletedWithErrors,
    /// A node failed and the failure policy ends the execution, or the outputs could not be made.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

/// Why a node did not run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum SkipReason {
    /// Its `run_if` rendered to something that is not true.
    RunIf,
    /// A node it depends on failed or was skipped.
    Dependency {
        /// That node's id.
        node: String,
    },
    /// The execution halted or was cancelled before its turn.
    Halted,
    /// It stands by as a fallback and was not needed.
    NotNeeded,
}

/// What happened. The tag in JSON is `event`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// The first event: everything a resume needs to know.
    ExecutionStarted {
        /// Digest of the canonical blueprint document, kept by [`Documents`](crate::ports::Documents).
        blueprint: Digest,
        /// A name for people: file, bundle entry or blueprint id.
        name: String,
        /// The checked inputs.
        inputs: Value,
        /// Whom it runs for.
        identity: Identity,
        /// The components it started with: callable name → component digest. A resume uses the same ones.
        components: BTreeMap<String, Digest>,
        /// The execution and node that started this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<(ExecutionId, NodePath)>,
        /// What it may spend: the blueprint's budget, tightened by whoever started it.
        #[serde(default, skip_serializing_if = "is_unlimited")]
        budget: Budget,
    },
    /// A process took the execution over after another one left it.
    ExecutionResumed,
    /// A node begins an attempt.
    NodeStarted {
        /// The node's kind, for example `tool`.
        kind: String,
        /// Stays the same when the attempt is repeated after a crash: an effect's receiver can tell it is the same.
        idempotency_key: String,
    },
    /// An attempt failed and another will follow.
    NodeRetried {
        /// Why the attempt failed.
        problem: Problem,
        /// Pause before the next attempt.
        delay_ms: u64,
    },
    /// A node is done.
    NodeFinished {
        /// Its output.
        output: Value,
        /// Whether the output came from the cache and nothing ran.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cached: bool,
        /// What it cost, for nodes that called a component.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipt: Option<Box<Receipt>>,
        /// Tokens and money of this node and the nodes inside it.
        #[serde(default, skip_serializing_if = "is_no_usage")]
        usage: Usage,
    },
    /// A node failed for good.
    NodeFailed {
        /// Why.
        problem: Problem,
        /// What it cost nonetheless.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipt: Option<Box<Receipt>>,
    },
    /// A node did not run and will not.
    NodeSkipped {
        /// Why.
        #[serde(flatten)]
        reason: SkipReason,
    },
    /// A component or node used a capability; with its answer where asking again would cost or do something again.
    CapabilityUsed(CapabilityUse),
    /// A line a component wrote through `ice:log`.
    Logged {
        /// `debug`, `info`, `warn` or `error`.
        level: String,
        /// The line.
        message: String,
    },
    /// Money or tokens set aside before a priced call.
    BudgetReserved {
        /// The most the call may cost.
        estimate: Usage,
    },
    /// The call is over; the reservation of the same path is replaced by what it really cost.
    BudgetSettled {
        /// What it cost.
        used: Usage,
    },
    /// Somebody asked the execution to stop.
    CancelRequested {
        /// Who or why, in words.
        reason: String,
    },
    /// The last event.
    ExecutionFinished {
        /// How it ended.
        status: FinalStatus,
        /// The rendered outputs; null when they could not be made.
        outputs: Value,
        /// The first failure, for an execution that did not complete.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
        /// The sum over all nodes.
        #[serde(default, skip_serializing_if = "is_no_usage")]
        usage: Usage,
    },
}

fn is_unlimited(budget: &Budget) -> bool {
    *budget == Budget::default()
}

fn is_no_usage(usage: &Usage) -> bool {
    *usage == Usage::default()
}

/// One use of a capability. `ordinal` and `request` identify it when the call is made again after a crash:
/// a guest is deterministic up to here, so its n-th request must be the same one.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct CapabilityUse {
    /// Which one.
    pub capability: Capability,
    /// What of it, for example `complete`, `write`, `POST https://api.example.com/v1/items`.
    pub operation: String,
    /// Position among the uses of one node attempt, from 0.
    pub ordinal: u32,
    /// Digest of the canonical request.
    pub request: Digest,
    /// The answer, kept for paid and effectful uses so that they are never repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Value>,
    /// Tokens and money.
    #[serde(default, skip_serializing_if = "is_no_usage")]
    pub usage: Usage,
    /// From request to answer.
    pub ms: u64,
}
