//! What an execution did before this process took it up, by path: what a graph is restored from, and the recorded
//! answers a call that is made again gets instead of asking again.
//!
//! Also holds what nodes inside a node with retries did in this process, so that a retry of the outer one does not
//! run the finished inner ones again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ice_core::budget::Usage;
use ice_core::event::{CapabilityUse, Event, Fact};
use ice_core::id::{NodePath, UnixMs};
use ice_core::problem::Problem;
use ice_core::wait::{OpenWait, Question, Resolution, WaitId};
use serde_json::Value;

/// What one node did.
#[derive(Clone, Debug)]
pub(crate) enum Was {
    /// This attempt began.
    Begun {
        attempt: u32,
    },
    /// This attempt failed; the next is due.
    Paused {
        attempt: u32,
        due: UnixMs,
    },
    Finished {
        output: Arc<Value>,
        usage: Usage,
    },
    Failed {
        attempt: u32,
        problem: Problem,
    },
    Skipped,
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) was: Was,
    /// The idempotency key of its latest attempt.
    pub(crate) key: String,
    kind: String,
}

/// What is known of a wait.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Open(OpenWait),
    Resolved(Question, Resolution),
}

/// Kinds whose nodes hold graphs of nodes that keep their paths when the outer node is tried again.
const HOLDERS: [&str; 5] = ["condition", "loop", "parallel", "recursive", "swarm"];

/// The past of one execution.
#[derive(Default)]
pub(crate) struct History {
    nodes: Mutex<HashMap<NodePath, Record>>,
    /// By path and attempt, in the order of their making.
    uses: HashMap<(NodePath, u32), Vec<CapabilityUse>>,
    /// Step path (`chat/step[2]`) → the name of what was called there.
    steps: HashMap<Box<str>, Box<str>>,
    waits: HashMap<WaitId, Asked>,
}

impl History {
    /// Reads the events of an execution.
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut history = Self::default();
        for event in events {
            history.apply(event);
        }
        history
    }

    fn apply(&mut self, event: &Event) {
        let path = &event.path;
        let attempt = event.attempt;
        match &event.fact {
            Fact::NodeStarted { kind, idempotency_key, .. } => {
                if let Some((step, name)) = split_step(path.as_str()) {
                    self.steps.insert(step.into(), name.into());
                }
                let record = Record { was: Was::Begun { attempt }, key: idempotency_key.clone(), kind: kind.clone() };
                self.nodes_mut().insert(path.clone(), record);
            }
            Fact::NodeRetried { delay_ms, .. } => {
                let due = event.at.saturating_add(*delay_ms);
                let holder = self.set(path, Was::Paused { attempt, due });
                if holder {
                    self.reopen(path);
                }
            }
            Fact::NodeFinished { output, usage, .. } => {
                self.set(path, Was::Finished { output: Arc::new(output.clone()), usage: *usage });
            }
            Fact::NodeFailed { problem, .. } => {
                self.set(path, Was::Failed { attempt, problem: problem.clone() });
            }
            Fact::NodeSkipped { .. } => {
                self.set(path, Was::Skipped);
            }
            Fact::CapabilityUsed(used) => {
                self.uses.entry((path.clone(), attempt)).or_default().push(used.clone());
            }
            Fact::WaitOpened { wait, question, due } => {
                let open = OpenWait {
                    path: path.clone(),
                    attempt,
                    question: (**question).clone(),
                    opened: event.at,
                    due: *due,
                    escalated_to: None,
                    level: 0,
                };
                self.waits.insert(wait.clone(), Asked::Open(open));
            }
            Fact::WaitEscalated { wait, to, due } => {
                if let Some(Asked::Open(open)) = self.waits.get_mut(wait) {
                    (open.due, open.escalated_to) = (*due, Some(to.clone()));
                    open.level += 1;
                }
            }
            Fact::WaitResolved { wait, resolution } => {
                if let Some(Asked::Open(open)) = self.waits.remove(wait) {
                    self.waits.insert(wait.clone(), Asked::Resolved(open.question, (**resolution).clone()));
                }
            }
            Fact::WaitWithdrawn { wait } => drop(self.waits.remove(wait)),
            _ => {}
        }
    }

    fn nodes_mut(&mut self) -> &mut HashMap<NodePath, Record> {
        self.nodes.get_mut().expect("no panic while remembering")
    }

    /// Sets what a node was; says whether it is of a kind that holds graphs.
    fn set(&mut self, path: &NodePath, was: Was) -> bool {
        let fresh = || Record { was: Was::Skipped, key: String::new(), kind: String::new() };
        let record = self.nodes_mut().entry(path.clone()).or_insert_with(fresh);
        record.was = was;
        HOLDERS.contains(&record.kind.as_str())
    }

    /// What a node did.
    pub(crate) fn of_node(&self, path: &NodePath) -> Option<Record> {
        self.nodes.lock().expect("no panic while remembering").get(path).cloned()
    }

    /// How a node ended, if it did.
    pub(crate) fn ended(&self, path: &NodePath) -> Option<Result<Arc<Value>, Problem>> {
        match self.of_node(path)?.was {
            Was::Finished { output, .. } => Some(Ok(output)),
            Was::Failed { problem, .. } => Some(Err(problem)),
            _ => None,
        }
    }

    /// What is known of a wait.
    pub(crate) fn asked(&self, wait: &WaitId) -> Option<Asked> {
        self.waits.get(wait).cloned()
    }

    /// How many monitors had paused the execution.
    pub(crate) fn paused(&self) -> usize {
        let nodes = self.nodes.lock().expect("no panic while remembering");
        let by_monitor = |asked: &&Asked| match asked {
            Asked::Open(open) => nodes.get(&open.path).is_some_and(|record| record.kind == "monitor"),
            Asked::Resolved(..) => false,
        };
        self.waits.values().filter(by_monitor).count()
    }

    /// Whether nothing is known of any node: then paths need not be made only to look them up.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.lock().expect("no panic while remembering").is_empty()
    }

    /// The uses of capabilities that an attempt recorded.
    pub(crate) fn uses(&self, path: &NodePath, attempt: u32) -> &[CapabilityUse] {
        if self.uses.is_empty() {
            return &[];
        }
        self.uses.get(&(path.clone(), attempt)).map_or(&[], Vec::as_slice)
    }

    /// The name of what was called at a step.
    pub(crate) fn called_at(&self, step: &str) -> Option<&str> {
        self.steps.get(step).map(|name| &**name)
    }

    /// Remembers what a node did in this process.
    pub(crate) fn keep(&self, path: &NodePath, was: Was) {
        let record = Record { was, key: String::new(), kind: String::new() };
        self.nodes.lock().expect("no panic while remembering").insert(path.clone(), record);
    }

    /// The node at `path` is tried again: what is below it and did not finish gets another chance.
    pub(crate) fn reopen(&self, path: &NodePath) {
        let mut nodes = self.nodes.lock().expect("no panic while remembering");
        let below = |other: &NodePath| {
            other.0.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with(['[', '.', '/']))
        };
        nodes.retain(|other, record| !(matches!(record.was, Was::Skipped) && below(other)));
        for (_, record) in nodes.iter_mut().filter(|(other, _)| below(other)) {
            if let Was::Failed { attempt, .. } = record.was {
                record.was = Was::Paused { attempt, due: 0 };
            }
        }
    }
}

/// Splits `chat/step[2]/lookup` into `chat/step[2]` and `lookup`.
fn split_step(path: &str) -> Option<(&str, &str)> {
    let (step, name) = path.rsplit_once('/')?;
    let last = step.rsplit('/').next()?;
    last.starts_with("step[").then_some((step, name))
}

#[cfg(test)]
mod tests {
    use ice_core::problem::Code;
    use serde_json::json;

    use super::*;

    fn event(path: &str, attempt: u32, fact: Fact) -> Event {
        Event { seq: 0, at: 100, path: NodePath(path.into()), attempt, fact }
    }

    fn started(path: &str, kind: &str) -> Event {
        event(path, 1, Fact::NodeStarted { kind: kind.into(), idempotency_key: "k".into(), component: None })
    }

    fn finished(path: &str) -> Event {
        let fact = Fact::NodeFinished { output: json!(1), cached: false, receipt: None, usage: Usage::default() };
        event(path, 1, fact)
    }

    fn failed(path: &str) -> Event {
        event(path, 1, Fact::NodeFailed { problem: Problem::new(Code::X001, "no"), receipt: None })
    }

    #[test]
    fn a_retried_loop_keeps_what_finished_and_reopens_what_failed() {
        let retried = Fact::NodeRetried { problem: Problem::new(Code::X001, "no"), delay_ms: 5, receipt: None };
        let events = [
            started("loop", "loop"),
            started("loop[0]/a", "tool"),
            finished("loop[0]/a"),
            started("loop[1]/a", "tool"),
            failed("loop[1]/a"),
            started("loops", "tool"),
            failed("loops"),
            event("loop", 1, retried),
        ];
        let history = History::of(&events);
        let was = |path: &str| history.of_node(&NodePath(path.into())).expect("known").was;
        assert!(matches!(was("loop"), Was::Paused { attempt: 1, due: 105 }));
        assert!(matches!(was("loop[0]/a"), Was::Finished { .. }));
        assert!(matches!(was("loop[1]/a"), Was::Paused { attempt: 1, .. }));
        assert!(matches!(was("loops"), Was::Failed { .. }), "a neighbour with a longer name is not below");
    }

    #[test]
    fn knows_what_was_called_at_a_step() {
        let history = History::of(&[started("chat/step[2]/lookup", "tool"), started("chat", "agent")]);
        assert_eq!(history.called_at("chat/step[2]"), Some("lookup"));
        assert_eq!(history.called_at("chat/step[1]"), None);
    }
}
