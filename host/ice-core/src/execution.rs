//! An execution as a view of its events: status, outputs, nodes, cost. Computed, never stored.
//!
//! Tolerant on purpose: a list that a crash cut off anywhere is a good list. Nothing here decides what runs next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{Budget, Usage};
use crate::event::{Event, Fact, FinalStatus, Forked, Origin, SkipReason};
use crate::id::{Digest, ExecutionId, Identity, NodePath, UnixMs};
use crate::problem::Problem;
use crate::wait::{OpenWait, WaitId};

/// How an execution ended, with everything a caller wants of it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Ending {
    /// How it ended.
    pub status: FinalStatus,
    /// The rendered outputs.
    pub outputs: Value,
    /// The first failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The sum over all nodes.
    pub usage: Usage,
}

/// Finds how the execution ended; `None` while it runs.
pub fn ending(events: &[Event]) -> Option<Ending> {
    events.iter().rev().find_map(|event| match &event.fact {
        Fact::ExecutionFinished { status, outputs, problem, usage } => {
            Some(Ending { status: *status, outputs: outputs.clone(), problem: problem.clone(), usage: *usage })
        }
        _ => None,
    })
}

/// Where an execution stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has not ended: some process runs it, or one was stopped and it waits to be resumed.
    Running,
    /// No process runs it: everything that remains waits for an answer.
    Waiting,
    /// Every node that had to run ran.
    Completed,
    /// Some node failed, and the failure policy let the rest go on.
    CompletedWithErrors,
    /// It failed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl Status {
    /// The word listings and JSON use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::CompletedWithErrors => "completed_with_errors",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<FinalStatus> for Status {
    fn from(status: FinalStatus) -> Self {
        match status {
            FinalStatus::Completed => Self::Completed,
            FinalStatus::CompletedWithErrors => Self::CompletedWithErrors,
            FinalStatus::Failed => Self::Failed,
            FinalStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// Where a node stands.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum NodeState {
    /// An attempt began and has not ended.
    Running,
    /// An attempt failed; the next is due at this time.
    Retrying {
        /// When the next attempt is due.
        due: UnixMs,
        /// Why the last attempt failed.
        problem: Problem,
    },
    /// It is done.
    Finished {
        /// Its output.
        output: Value,
        /// Whether the output came from the cache.
        cached: bool,
    },
    /// It failed for good.
    Failed {
        /// Why.
        problem: Problem,
    },
    /// It did not run and will not.
    Skipped {
        /// Why.
        #[serde(flatten)]
        reason: SkipReason,
    },
}

impl NodeState {
    /// Whether nothing more happens to the node.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed { .. } | Self::Skipped { .. })
    }
}

/// One node as its events tell it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct NodeRecord {
    /// Its kind; empty for a node that never began.
    pub kind: String,
    /// The latest attempt that began; 0 if none did.
    pub attempts: u32,
    /// When its first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<UnixMs>,
    /// When it reached its final state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<UnixMs>,
    /// The idempotency key of the latest attempt.
    pub idempotency_key: String,
    /// Tokens and money of this node and the nodes inside it, once it finished.
    pub usage: Usage,
    /// Where it stands.
    #[serde(flatten)]
    pub state: NodeState,
}

/// Everything the events of one execution say.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Execution {
    /// Digest of the blueprint document.
    pub blueprint: Digest,
    /// A name for people.
    pub name: String,
    /// The checked inputs.
    pub inputs: Value,
    /// Whom it runs for.
    pub identity: Identity,
    /// Callable name → component digest, as pinned at the start.
    pub components: BTreeMap<String, Digest>,
    /// The blueprints inside it: reference → digest of the document, as pinned at the start.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blueprints: BTreeMap<String, Digest>,
    /// The execution and node that started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<(ExecutionId, NodePath)>,
    /// What it may spend.
    pub budget: Budget,
    /// Where it takes from what it does not do itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
    /// Where it stands.
    pub status: Status,
    /// The rendered outputs; null until it ended.
    pub outputs: Value,
    /// The first failure; set once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// What was settled so far: the sum of every `BudgetSettled`.
    pub usage: Usage,
    /// Reservations that were not settled, by path: calls under way, or cut off by a crash.
    pub reserved: BTreeMap<NodePath, Usage>,
    /// Nodes by path, nested ones too.
    pub nodes: BTreeMap<NodePath, NodeRecord>,
    /// Waits that are open.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waits: BTreeMap<WaitId, OpenWait>,
    /// While it waits: when the first of its waits runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<UnixMs>,
    /// Why somebody asked it to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested: Option<String>,
    /// When it started.
    pub started: UnixMs,
    /// When its newest event was appended.
    pub updated: UnixMs,
    /// Milliseconds during which some process ran it: pauses between a crash and a resume do not count.
    pub active_ms: u64,
    /// Sequence number of the newest event.
    pub seq: u64,
}

/// Replays the events of one execution. `None` unless they begin with `ExecutionStarted`.
pub fn replay(events: &[Event]) -> Option<Execution> {
    let mut execution = started(events.first()?)?;
    events[1..].iter().for_each(|event| execution.apply(event));
    Some(execution)
}

fn started(first: &Event) -> Option<Execution> {
    let Fact::ExecutionStarted { blueprint, name, inputs, identity, components, blueprints, parent, budget, origin } =
        &first.fact
    else {
        return None;
    };
    Some(Execution {
        blueprint: *blueprint,
        name: name.clone(),
        inputs: inputs.clone(),
        identity: identity.clone(),
        components: components.clone(),
        blueprints: blueprints.clone(),
        parent: parent.clone(),
        budget: *budget,
        origin: origin.clone(),
        status: Status::Running,
        outputs: Value::Null,
        problem: None,
        usage: Usage::default(),
        reserved: BTreeMap::new(),
        nodes: BTreeMap::new(),
        waits: BTreeMap::new(),
        due: None,
        cancel_requested: None,
        started: first.at,
        updated: first.at,
        active_ms: 0,
        seq: first.seq,
    })
}

impl Execution {
    /// How it was forked, if it was.
    pub fn forked(&self) -> Option<&Forked> {
        match self.origin.as_deref() {
            Some(Origin::Fork(forked)) => Some(forked),
            _ => None,
        }
    }

    /// Takes in the next event.
    pub fn apply(&mut self, event: &Event) {
        let since = event.at.saturating_sub(self.updated);
        if !matches!(event.fact, Fact::ExecutionResumed) {
            self.active_ms = self.active_ms.saturating_add(since);
        }
        self.updated = self.updated.max(event.at);
        self.seq = event.seq;
        if self.status == Status::Waiting {
            // Whatever comes next: somebody took it up.
            (self.status, self.due) = (Status::Running, None);
        }
        match &event.fact {
            Fact::NodeStarted { kind, idempotency_key, .. } => {
                let node = self.node(event);
                node.kind.clone_from(kind);
                node.idempotency_key.clone_from(idempotency_key);
                node.attempts = node.attempts.max(event.attempt);
                node.started.get_or_insert(event.at);
            }
            Fact::NodeRetried { problem, delay_ms, .. } => {
                let due = event.at.saturating_add(*delay_ms);
                self.node(event).state = NodeState::Retrying { due, problem: problem.clone() };
            }
            Fact::NodeFinished { output, cached, usage, .. } => {
                let state = NodeState::Finished { output: output.clone(), cached: *cached };
                self.end(event, state).usage = *usage;
            }
            Fact::NodeFailed { problem, .. } => {
                self.end(event, NodeState::Failed { problem: problem.clone() });
            }
            Fact::NodeSkipped { reason } => {
                self.end(event, NodeState::Skipped { reason: reason.clone() });
            }
            Fact::BudgetReserved { estimate } => {
                self.reserved.insert(event.path.clone(), *estimate);
            }
            Fact::BudgetSettled { used } => {
                self.reserved.remove(&event.path);
                self.usage.add(used);
            }
            Fact::CancelRequested { reason } => self.cancel_requested = Some(reason.clone()),
            Fact::ExecutionFinished { status, outputs, problem, .. } => {
                self.status = (*status).into();
                self.waits.clear();
                self.outputs = outputs.clone();
                self.problem.clone_from(problem);
            }
            Fact::ExecutionParked { due, .. } => (self.status, self.due) = (Status::Waiting, *due),
            Fact::WaitOpened { wait, question, due } => {
                let open = OpenWait {
                    path: event.path.clone(),
                    attempt: event.attempt,
                    question: (**question).clone(),
                    opened: event.at,
                    due: *due,
                    escalated_to: None,
                    level: 0,
                };
                self.waits.insert(wait.clone(), open);
            }
            Fact::WaitEscalated { wait, to, due } => {
                if let Some(open) = self.waits.get_mut(wait) {
                    (open.due, open.escalated_to) = (*due, Some(to.clone()));
                    open.level += 1;
                }
            }
            Fact::WaitResolved { wait, .. } | Fact::WaitWithdrawn { wait } => drop(self.waits.remove(wait)),
            Fact::ExecutionStarted { .. }
            | Fact::ExecutionResumed
            | Fact::CacheMissed
            | Fact::CapabilityUsed(_)
            | Fact::Logged { .. } => {}
        }
    }

    /// The node an event is about, running.
    fn node(&mut self, event: &Event) -> &mut NodeRecord {
        let node = self.nodes.entry(event.path.clone()).or_insert_with(|| NodeRecord {
            kind: String::new(),
            attempts: 0,
            started: None,
            ended: None,
            idempotency_key: String::new(),
            usage: Usage::default(),
            state: NodeState::Running,
        });
        node.state = NodeState::Running;
        node.ended = None;
        node
    }

    fn end(&mut self, event: &Event, state: NodeState) -> &mut NodeRecord {
        let node = self.node(event);
        node.state = state;
        node.ended = Some(event.at);
        node
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::problem::Code;

    fn event(seq: u64, at: UnixMs, path: &str, attempt: u32, fact: Fact) -> Event {
        Event { seq, at, path: NodePath(path.into()), attempt, fact }
    }

    fn begin() -> Event {
        let fact = Fact::ExecutionStarted {
            blueprint: Digest::of(b"blueprint"),
            name: "demo".into(),
            inputs: json!({ "who": "bob" }),
            identity: Identity::local(),
            components: BTreeMap::new(),
            blueprints: BTreeMap::new(),
            parent: None,
            budget: Budget::default(),
            origin: None,
        };
        event(1, 1_000, "", 0, fact)
    }

    fn node_started(seq: u64, at: UnixMs, path: &str, attempt: u32) -> Event {
        let fact = Fact::NodeStarted { kind: "tool".into(), idempotency_key: "k".into(), component: None };
        event(seq, at, path, attempt, fact)
    }

    #[test]
    fn a_list_that_does_not_begin_with_the_start_is_no_execution() {
        assert_eq!(replay(&[]), None);
        assert_eq!(replay(&[node_started(1, 5, "a", 1)]), None);
    }

    #[test]
    fn nodes_go_through_retry_to_their_final_state() {
        let problem = Problem::new(Code::X001, "no answer");
        let retried = Fact::NodeRetried { problem: problem.clone(), delay_ms: 50, receipt: None };
        let mut events = vec![begin(), node_started(2, 1_010, "a", 1), event(3, 1_020, "a", 1, retried)];
        let at_rest = replay(&events).expect("a start");
        assert_eq!(at_rest.nodes[&NodePath("a".into())].state, NodeState::Retrying { due: 1_070, problem });
        assert_eq!(at_rest.status, Status::Running);

        let done = Fact::NodeFinished { output: json!(7), cached: false, receipt: None, usage: Usage::default() };
        events.extend([node_started(4, 1_070, "a", 2), event(5, 1_090, "a", 2, done)]);
        let node = replay(&events).expect("a start").nodes[&NodePath("a".into())].clone();
        assert_eq!(node.state, NodeState::Finished { output: json!(7), cached: false });
        assert_eq!((node.attempts, node.started, node.ended), (2, Some(1_010), Some(1_090)));
    }

    #[test]
    fn the_ledger_is_the_sum_of_what_was_settled() {
        let price = |tokens| Usage { input_tokens: tokens, cost_micro_usd: tokens * 2, ..Usage::default() };
        let events = [
            begin(),
            event(2, 1_001, "a", 1, Fact::BudgetReserved { estimate: price(100) }),
            event(3, 1_002, "b", 1, Fact::BudgetReserved { estimate: price(100) }),
            event(4, 1_003, "a", 1, Fact::BudgetSettled { used: price(40) }),
        ];
        let execution = replay(&events).expect("a start");
        assert_eq!(execution.usage, price(40));
        assert_eq!(execution.reserved.keys().map(NodePath::as_str).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn waits_open_are_passed_on_and_end() {
        use crate::wait::{Question, Resolution};
        let wait = WaitId("e.0123456789abcdef".into());
        let question = Box::new(Question { message: "ok?".into(), ..Question::default() });
        let mut events = vec![
            begin(),
            node_started(2, 1_010, "ask", 1),
            event(3, 1_020, "ask", 1, Fact::WaitOpened { wait: wait.clone(), question, due: Some(9_000) }),
            event(4, 1_030, "", 0, Fact::ExecutionParked { due: Some(9_000), usage: Usage::default() }),
        ];
        let parked = replay(&events).expect("a start");
        assert_eq!((parked.status, parked.due, parked.waits.len()), (Status::Waiting, Some(9_000), 1));
        events.push(event(5, 9_000, "", 0, Fact::ExecutionResumed));
        let escalated = Fact::WaitEscalated { wait: wait.clone(), to: "bob".into(), due: None };
        events.push(event(6, 9_001, "ask", 1, escalated));
        let awake = replay(&events).expect("a start");
        assert_eq!((awake.status, awake.due, awake.active_ms), (Status::Running, None, 31));
        let open = &awake.waits[&wait];
        assert_eq!((open.level, open.escalated_to.as_deref(), open.due), (1, Some("bob"), None));
        let resolution = Box::new(Resolution { approved: true, ..open.question.unanswered() });
        events.push(event(7, 9_002, "ask", 1, Fact::WaitResolved { wait, resolution }));
        assert!(replay(&events).expect("a start").waits.is_empty());
    }

    #[test]
    fn time_between_a_crash_and_a_resume_is_not_active() {
        let events = [
            begin(),
            node_started(2, 1_500, "a", 1),
            event(3, 90_000, "", 0, Fact::ExecutionResumed),
            node_started(4, 90_100, "b", 1),
        ];
        assert_eq!(replay(&events).expect("a start").active_ms, 600);
    }
}
