//! The engine against a simulated world: time takes no time, and everything outside does what a test says.

use std::collections::BTreeMap;
use std::sync::Arc;

use ice_core::blueprint::parse;
use ice_core::event::{Event, Fact, FinalStatus};
use ice_core::execution::{Ending, NodeState, replay};
use ice_core::grant::Grant;
use ice_core::id::{ExecutionId, NodePath};
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use serde_json::{Value, json};

use crate::testing::{Answers, Fakes, MemoryStore, Posts, Refusing, SimClock};
use crate::{Engine, EngineOptions, Grouping, Handle, Ports, StartExecution};

mod agents;
mod budget;
mod crash;
mod durability;
mod estimates;
mod fork_property;
mod forks;
mod isolation;
mod kinds;
mod models;
mod monitors;
mod property;
mod purse;
mod scale;
mod semantics;
mod stored;
mod swarms;
mod tending;
mod time;
mod timetable;
mod transfers;
mod waits;

/// Everything outside, as it outlives a process.
struct Outside {
    store: Arc<MemoryStore>,
    fakes: Arc<Fakes>,
    llm: Arc<Answers>,
    http: Arc<Posts>,
}

/// Some time in 2026.
const NOW: u64 = 1_790_000_000_000;

impl Outside {
    /// Must be made inside a runtime, like every clock.
    fn new(fakes: Fakes, llm: Answers) -> Self {
        let store = MemoryStore::new(Arc::new(SimClock::at(NOW)));
        Self { store, fakes: Arc::new(fakes), llm: Arc::new(llm), http: Arc::default() }
    }

    /// An engine in a process that began at `now`, with groups of `events` events.
    fn engine(&self, now: u64, events: usize) -> Engine {
        let clock = Arc::new(SimClock::at(now));
        self.store.set_clock(Arc::clone(&clock) as _);
        let ports = Ports {
            components: Arc::clone(&self.fakes) as _,
            llm: Arc::clone(&self.llm) as _,
            memory: Arc::new(Refusing),
            http: Arc::clone(&self.http) as _,
            events: Arc::clone(&self.store) as _,
            documents: Arc::clone(&self.store) as _,
            clock,
        };
        let grouping = Grouping { events, ..Grouping::default() };
        let egress = Grant { http: vec!["* https://hooks.example.com/*".into()], ..Grant::default() };
        Engine::new(ports, EngineOptions { grouping, egress, ..EngineOptions::default() })
    }
}

/// One process with its outside.
struct World {
    outside: Outside,
    engine: Engine,
}

impl World {
    fn new(fakes: Fakes) -> Self {
        Self::with_model(fakes, Answers::echo())
    }

    fn with_model(fakes: Fakes, llm: Answers) -> Self {
        let outside = Outside::new(fakes, llm);
        let engine = outside.engine(NOW, 64);
        Self { outside, engine }
    }

    async fn start(&self, blueprint: &str, inputs: Value) -> Handle {
        start(&self.engine, blueprint, inputs).await
    }

    async fn run(&self, blueprint: &str, inputs: Value) -> Ran {
        let handle = self.start(blueprint, inputs).await;
        let ending = handle.finish().await;
        Ran { ending, events: self.outside.store.events_of(&handle.id), id: handle.id }
    }
}

/// An execution that ended.
struct Ran {
    id: ExecutionId,
    ending: Ending,
    events: Vec<Event>,
}

impl Ran {
    /// Where each node ended, in a word or two.
    fn states(&self) -> BTreeMap<String, String> {
        let execution = replay(&self.events).expect("it began");
        let word = |state: &NodeState| match state {
            NodeState::Running => "running".to_owned(),
            NodeState::Retrying { .. } => "retrying".to_owned(),
            NodeState::Finished { cached: true, .. } => "cached".to_owned(),
            NodeState::Finished { .. } => "finished".to_owned(),
            NodeState::Failed { problem } => format!("failed {}", problem.code.letters()),
            NodeState::Skipped { reason } => {
                let reason = serde_json::to_value(reason).expect("plain data");
                format!("skipped {}", reason["why"].as_str().unwrap_or_default())
            }
        };
        execution.nodes.iter().map(|(path, node)| (path.to_string(), word(&node.state))).collect()
    }

    fn state(&self, path: &str) -> String {
        self.states().remove(path).unwrap_or_else(|| "never".into())
    }

    fn problem_code(&self) -> Option<Code> {
        self.ending.problem.as_ref().map(|problem| problem.code)
    }
}

async fn start(engine: &Engine, blueprint: &str, inputs: Value) -> Handle {
    try_start(engine, blueprint, inputs).await.unwrap()
}

async fn try_start(engine: &Engine, blueprint: &str, inputs: Value) -> Result<Handle, Vec<Problem>> {
    let parsed = parse(blueprint, "test.yaml").unwrap();
    let plan = engine.plan(&parsed).await.unwrap();
    engine.start(StartExecution::new(Arc::new(plan), inputs)).await
}

fn broken() -> Failure {
    Failure::maybe(Problem::new(Code::X031, "it is broken"))
}

fn permanently_broken() -> Failure {
    Failure::never(Problem::new(Code::X031, "it is broken for good"))
}

fn tool_fields(id: &str, name: &str, needs: &[&str]) -> Value {
    json!({ "id": id, "type": "tool", "tool_name": name, "dependencies": needs })
}
