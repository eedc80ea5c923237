//! The facts an execution consists of. Appended once, never changed; everything else is a view of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{Budget, Receipt, Usage};
use crate::catalog::{CallKind, Callable};
use crate::grant::Capability;
use crate::id::{Digest, ExecutionId, Identity, NodePath, UnixMs};
use crate::problem::Problem;
use crate::wait::{Question, Resolution, WaitId};

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
        /// The blueprints inside it, children's children too: reference → digest of the document it found. A resume
        /// uses the same ones, whatever the references would find then.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        blueprints: BTreeMap<String, Digest>,
        /// The execution and node that started this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<(ExecutionId, NodePath)>,
        /// What it may spend: the blueprint's budget, tightened by whoever started it.
        #[serde(default, skip_serializing_if = "is_unlimited")]
        budget: Budget,
        /// Where outputs of its nodes or answers from outside come from, when they were not made for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Box<Origin>>,
    },
    /// A process took the execution over after another one left it.
    ExecutionResumed,
    /// Everything that remains waits for an answer: the process gave the execution back, and nothing of it is in
    /// memory any more.
    ExecutionParked {
        /// When the first of its waits runs out; `None` when none does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<UnixMs>,
        /// What it and the executions inside it spent so far.
        #[serde(default, skip_serializing_if = "is_no_usage")]
        usage: Usage,
    },
    /// A node asks a person and waits for the answer.
    WaitOpened {
        /// Names the wait.
        wait: WaitId,
        /// What is asked.
        question: Box<Question>,
        /// When the time is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<UnixMs>,
    },
    /// Nobody answered in time, and somebody else is asked.
    WaitEscalated {
        /// The wait.
        wait: WaitId,
        /// Who is asked now.
        to: String,
        /// When their time is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<UnixMs>,
    },
    /// The wait is over.
    WaitResolved {
        /// The wait.
        wait: WaitId,
        /// How.
        resolution: Box<Resolution>,
    },
    /// The answer is no longer wanted: the node was stopped.
    WaitWithdrawn {
        /// The wait.
        wait: WaitId,
    },
    /// A node begins an attempt.
    NodeStarted {
        /// The node's kind, for example `tool`.
        kind: String,
        /// Stays the same when the attempt is repeated after a crash: an effect's receiver can tell it is the same.
        idempotency_key: String,
        /// The component it calls, for nodes that call one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        component: Option<Box<CalledComponent>>,
    },
    /// An attempt failed and another will follow.
    NodeRetried {
        /// Why the attempt failed.
        problem: Problem,
        /// Pause before the next attempt.
        delay_ms: u64,
        /// What the attempt cost nonetheless, for nodes that called a component.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipt: Option<Box<Receipt>>,
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
    /// A node that may take its output from the cache found none there, and computes it.
    CacheMissed,
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

/// Where an execution takes from what it does not do itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Origin {
    /// It goes on from inside another execution.
    Fork(Forked),
    /// Models and HTTP answer from a cassette: its usage is what was paid when that was recorded, not anew.
    Replay {
        /// Digest of the cassette's bytes.
        cassette: Digest,
    },
}

/// How an execution hangs together with the one it was forked from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Forked {
    /// The other execution.
    pub execution: ExecutionId,
    /// The node of the top level from which on it differs.
    pub node: String,
    /// Nodes whose end was taken from there; they did not run and cost nothing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Nodes whose output was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
}

fn is_unlimited(budget: &Budget) -> bool {
    *budget == Budget::default()
}

fn is_no_usage(usage: &Usage) -> bool {
    *usage == Usage::default()
}

/// Which component a node calls, told by the event itself: what it cost stays attributed when the plugin is upgraded
/// or removed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CalledComponent {
    /// Tool or agent.
    pub kind: CallKind,
    /// The tool or agent.
    pub name: String,
    /// The plugin it comes from, `scope/name`.
    pub plugin: String,
    /// That plugin's version; `None` when the execution pinned a component that is not the installed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest of the component's bytes.
    pub artifact: Digest,
    /// The statement the plugin was verified with; `None` as for `version`, or when the catalog does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<Digest>,
}

impl CalledComponent {
    /// The component with the digest `artifact` that is called as `callable`. What the catalog says of a plugin holds
    /// only for the bytes it was signed with.
    pub fn new(callable: &Callable, artifact: Digest) -> Self {
        let same = callable.artifact == artifact;
        Self {
            kind: callable.kind,
            name: callable.name.clone(),
            plugin: callable.plugin.clone(),
            version: same.then(|| callable.version.clone()),
            artifact,
            statement: callable.statement.filter(|_| same),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::catalog::Effects;

    #[test]
    fn what_the_catalog_says_holds_only_for_its_own_bytes() {
        let callable = Callable {
            kind: CallKind::Tool,
            name: "quote".into(),
            description: String::new(),
            input_schema: Value::Null,
            output_schema: Value::Null,
            tags: Vec::new(),
            plugin: "acme/shop".into(),
            version: "1.2.3".into(),
            artifact: Digest::of(b"new"),
            statement: Some(Digest::of(b"statement")),
            deprecated: None,
            effects: Effects::None,
            granted: Arc::default(),
        };
        let same = CalledComponent::new(&callable, callable.artifact);
        assert_eq!((same.version.as_deref(), same.statement), (Some("1.2.3"), callable.statement));
        let pinned = CalledComponent::new(&callable, Digest::of(b"old"));
        assert_eq!((pinned.plugin.as_str(), pinned.artifact), ("acme/shop", Digest::of(b"old")));
        assert_eq!((pinned.version, pinned.statement), (None, None));
    }

    #[test]
    fn events_of_before_components_were_named_still_parse() {
        let started = json!({ "seq": 2, "at": 5, "path": "a", "attempt": 1, "event": "node_started",
            "kind": "tool", "idempotency_key": "k" });
        let retried = json!({ "seq": 3, "at": 6, "path": "a", "attempt": 1, "event": "node_retried",
            "problem": { "code": "ICE-X001", "message": "no" }, "delay_ms": 5 });
        let finished = json!({ "seq": 4, "at": 9, "path": "a", "attempt": 2, "event": "node_finished", "output": 1,
            "receipt": { "cpu_us": 7, "wall_us": 8, "peak_memory": 9, "host_calls": 1, "egress_bytes": 0,
                "log_lines_dropped": 0, "usage": {} } });
        let event: Event = serde_json::from_value(started.clone()).expect("an old start");
        assert!(matches!(&event.fact, Fact::NodeStarted { component: None, .. }));
        assert_eq!(serde_json::to_value(&event).expect("prints"), started, "and is not written with more");
        let event: Event = serde_json::from_value(retried).expect("an old retry");
        assert!(matches!(event.fact, Fact::NodeRetried { receipt: None, .. }));
        let event: Event = serde_json::from_value(finished).expect("an old end");
        let Fact::NodeFinished { receipt: Some(receipt), .. } = event.fact else { panic!("no receipt") };
        assert_eq!((receipt.cpu_us, receipt.http_requests), (7, 0));
    }
}
