//! What everything inside one execution shares: its id, journal, ledger, permits, past.
//!
//! No decisions here: order belongs to the scheduler, one attempt to `attempt.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use ice_core::budget::{Budget, OrgBudgets};
use ice_core::event::Fact;
use ice_core::grant::Grant;
use ice_core::id::{Digest, ExecutionId, Identity, NodePath, UnixMs};
use ice_core::ports::{Clock, Components, Documents, Events, Failure, Http, Llm, Memory};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};

use crate::activity::Activity;
use crate::breaker::Breakers;
use crate::cache::Cache;
use crate::calls::Shapes;
use crate::gate::Gate;
use crate::history::History;
use crate::journal::{Grouping, Journal};
use crate::live::Control;
use crate::meter::Meter;
use crate::purse::Purse;

/// The outside of the engine.
#[derive(Clone)]
pub struct Ports {
    /// Tools, agents, blueprints of bundles.
    pub components: Arc<dyn Components>,
    /// Language models.
    pub llm: Arc<dyn Llm>,
    /// What components remember.
    pub memory: Arc<dyn Memory>,
    /// The way out.
    pub http: Arc<dyn Http>,
    /// Event lists.
    pub events: Arc<dyn Events>,
    /// Blueprint documents.
    pub documents: Arc<dyn Documents>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
}

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// For how long a process that died keeps its executions, in milliseconds. Renewed at a third of it; requests to
    /// cancel from other processes are seen then.
    pub lease_ms: u64,
    /// Executions inside executions, and tool calls inside tool calls.
    pub max_depth: u32,
    /// When events are committed in groups.
    pub grouping: Grouping,
    /// What webhook and monitor nodes may reach, and which secrets they may name: nothing, unless the operator says
    /// otherwise. What components may reach is in their own grants.
    pub egress: Grant,
    /// Where alerts of monitor nodes go that name no URL: channel (`email`, `sms`, `slack`, `webhook`) → URL that takes
    /// an HTTP post. Within `egress`, like all of them.
    pub alert_gateways: BTreeMap<String, String>,
    /// The cassette that models and HTTP answer from, when they do: every execution that begins says so, so that
    /// nobody bills it.
    pub replays: Option<Digest>,
    /// What orgs may spend over all their executions.
    pub org_budgets: OrgBudgets,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lease_ms: 15_000,
            max_depth: 16,
            grouping: Grouping::default(),
            egress: Grant::default(),
            alert_gateways: BTreeMap::new(),
            replays: None,
            org_budgets: OrgBudgets::default(),
        }
    }
}

/// What all executions of a process share.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) options: EngineOptions,
    pub(crate) breakers: Breakers,
    pub(crate) cache: Cache,
    pub(crate) shapes: Shapes,
    /// Executions this process runs now.
    pub(crate) live: Mutex<HashMap<ExecutionId, Arc<Control>>>,
    /// Blueprints this engine has stored.
    pub(crate) kept: Mutex<HashSet<Digest>>,
    /// Rung when something happened to an execution inside another one that waits for it.
    pub(crate) bells: Mutex<HashMap<ExecutionId, Arc<Notify>>>,
}

impl Shared {
    /// The execution, if this process runs it now.
    pub(crate) fn running(&self, id: &ExecutionId) -> Option<Arc<Control>> {
        self.live.lock().expect("no panic while listing").get(id).cloned()
    }

    /// This process no longer runs it. Somebody who took it up again since then is not touched.
    pub(crate) fn leaves(&self, control: &Arc<Control>) {
        // Also called while a panic unwinds.
        let Ok(mut live) = self.live.lock() else { return };
        if live.get(&control.id).is_some_and(|listed| Arc::ptr_eq(listed, control)) {
            live.remove(&control.id);
        }
    }
}

/// One execution while this process runs it.
pub(crate) struct Run {
    pub(crate) shared: Arc<Shared>,
    pub(crate) control: Arc<Control>,
    pub(crate) id: ExecutionId,
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) inputs: Arc<Value>,
    /// Callable name → component digest.
    pub(crate) pinned: BTreeMap<String, Digest>,
    pub(crate) journal: Journal,
    pub(crate) meter: Arc<Meter>,
    pub(crate) purse: Purse,
    /// One per leaf that runs.
    pub(crate) permits: Semaphore,
    /// How many nodes of one graph run at once.
    pub(crate) window: usize,
    pub(crate) halt_on_failure: bool,
    pub(crate) history: History,
    pub(crate) budget: Budget,
    /// Whether its events say that somebody asked it to stop.
    pub(crate) announced: AtomicBool,
    /// How many executions this one is inside of.
    pub(crate) depth: u32,
    pub(crate) activity: Activity,
    /// Whether nodes may begin.
    pub(crate) gate: Gate,
    /// For how long it ran before this process took it up, and when that was.
    pub(crate) before: (u64, UnixMs),
}

impl Run {
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.shared.ports.clock
    }

    pub(crate) fn now(&self) -> UnixMs {
        self.clock().now_ms()
    }

    /// Milliseconds during which some process ran it.
    pub(crate) fn active_ms(&self) -> u64 {
        self.before.0 + self.now().saturating_sub(self.before.1)
    }

    /// Appends a fact; it is durable some time later.
    pub(crate) fn push(&self, path: &NodePath, attempt: u32, fact: Fact) -> u64 {
        self.stand_back();
        self.journal.push(self.now(), path, attempt, fact)
    }

    /// Appends a fact and returns when it is durable.
    pub(crate) async fn commit(&self, path: &NodePath, attempt: u32, fact: Fact) -> Result<(), Failure> {
        self.journal.durable(self.push(path, attempt, fact)).await
    }

    /// Appends facts of the moment `at` that become durable together; returns the last sequence number.
    pub(crate) fn push_all(&self, at: UnixMs, path: &NodePath, attempt: u32, facts: Vec<Fact>) -> u64 {
        self.stand_back();
        self.journal.push_all(at, path, attempt, facts)
    }

    /// What comes of things that were stopped because this process may not go on is no fact: whoever goes on runs them
    /// again.
    fn stand_back(&self) {
        if let Some(why) = self.control.hard.why() {
            self.journal.break_off(Failure::never(why.clone()));
        }
    }
}
