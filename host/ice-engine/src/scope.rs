//! What a running component may ask of its execution: recorded answers, the ledger, the log, tools, executions.
//!
//! One per call. Whether the component may ask at all was decided by whoever calls in here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use ice_core::budget::Usage;
use ice_core::event::{CapabilityUse, Fact};
use ice_core::execution::Ending;
use ice_core::id::{Digest, ExecutionId, Identity, NodePath};
use ice_core::ports::{Failure, Scope};
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use crate::calls::{self, Site};
use crate::children;
use crate::purse::{self, Paid};
use crate::run::Run;

/// One call of a component, from the execution's side.
pub(crate) struct CallScope {
    run: Arc<Run>,
    site: Site,
    /// What this attempt recorded before a crash, by ordinal.
    recorded: BTreeMap<u32, CapabilityUse>,
    /// Set when the component asked for something else than before the crash.
    diverged: OnceLock<Problem>,
    /// What it and everything below it spent.
    used: Mutex<Usage>,
    steps: AtomicU32,
    starts: AtomicU32,
}

impl CallScope {
    pub(crate) fn new(run: &Arc<Run>, site: Site) -> Arc<Self> {
        let uses = run.history.uses(&site.path, site.attempt);
        Arc::new(Self {
            recorded: uses.iter().map(|used| (used.ordinal, used.clone())).collect(),
            run: Arc::clone(run),
            site,
            diverged: OnceLock::new(),
            used: Mutex::default(),
            steps: AtomicU32::new(0),
            starts: AtomicU32::new(0),
        })
    }

    /// What the call and everything below it spent so far.
    pub(crate) fn used(&self) -> Usage {
        *self.used.lock().expect("no panic while adding")
    }

    /// Whether the component asked for something else than before a crash.
    pub(crate) fn diverged(&self) -> Option<Failure> {
        self.diverged.get().cloned().map(Failure::never)
    }

    fn spend(&self, usage: &Usage) {
        self.used.lock().expect("no panic while adding").add(usage);
    }

    fn diverge(&self, what: &str) {
        let message = format!("it was started again after a crash and {what}");
        let problem = Problem::new(Code::X010, message)
            .subject(format!("node `{}`", self.site.path))
            .help("let the component depend on its input only, not on time or chance, or start a new execution");
        // The first divergence is the one that explains the others.
        let _ = self.diverged.set(problem);
    }

    fn check(&self) -> Result<(), Failure> {
        self.diverged().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Scope for CallScope {
    fn identity(&self) -> &Identity {
        &self.run.identity
    }

    async fn cancelled(&self) {
        self.site.stop.tripped().await;
    }

    fn recall(&self, ordinal: u32, request: &Digest) -> Option<Value> {
        let used = self.recorded.get(&ordinal)?;
        if used.request != *request {
            self.diverge(&format!("its request number {ordinal} is another one"));
            return None;
        }
        let reply = used.reply.clone()?;
        // Settled when it was recorded; here it only counts for this node's sum.
        self.spend(&used.usage);
        Some(reply)
    }

    async fn reserve(&self, estimate: Usage) -> Result<(), Failure> {
        self.check()?;
        self.run.meter.reserve(self.site.path.as_str(), estimate)?;
        if let Err(failure) = purse::reserve(&self.run, &self.site.path, &estimate).await {
            self.run.meter.settle(self.site.path.as_str(), &Usage::default());
            return Err(failure);
        }
        self.run.push(&self.site.path, self.site.attempt, Fact::BudgetReserved { estimate });
        Ok(())
    }

    async fn record(&self, used: CapabilityUse) -> Result<(), Failure> {
        self.check()?;
        let (path, attempt) = (&self.site.path, self.site.attempt);
        self.spend(&used.usage);
        let kept = used.reply.is_some();
        let usage = used.usage;
        let mut facts = vec![Fact::CapabilityUsed(used)];
        if usage != Usage::default() || self.run.meter.holds(path.as_str()) {
            self.run.meter.settle(path.as_str(), &usage);
            facts.push(Fact::BudgetSettled { used: usage });
        }
        let at = self.run.now();
        let seq = self.run.push_all(at, path, attempt, facts);
        // Money is in the events before it is in the ledger of the org: that is made of them.
        if kept || usage.cost_micro_usd > 0 {
            self.run.journal.durable(seq).await?;
        }
        purse::settle(&self.run, path, Paid { seq, at, used: usage }).await;
        Ok(())
    }

    fn log(&self, level: &str, message: String) {
        let fact = Fact::Logged { level: level.into(), message };
        self.run.push(&self.site.path, self.site.attempt, fact);
    }

    fn delta(&self, text: &str) {
        self.run.control.stage.delta(&self.site.path, text);
    }

    async fn call_tool(&self, name: &str, input: Value) -> Result<Value, Failure> {
        self.check()?;
        let step = self.site.below(&format!("step[{}]", self.steps.fetch_add(1, Ordering::Relaxed)));
        if let Some(before) = self.run.history.called_at(step.as_str())
            && before != name
        {
            self.diverge(&format!("called tool `{name}` where it had called `{before}`"));
            self.check()?;
        }
        let site = Site { path: step.join(name), attempt: 1, stop: Arc::clone(&self.site.stop) };
        let (result, usage) = calls::tool_as_node(&self.run, site, name, input).await;
        self.spend(&usage);
        if let Err(failure) = &result
            && failure.problem.code == Code::X010
        {
            // The failure belongs to this component: it is the one that asked differently.
            let _ = self.diverged.set(failure.problem.clone());
        }
        result
    }

    async fn start_execution(&self, blueprint: &str, inputs: Value) -> Result<ExecutionId, Failure> {
        self.check()?;
        let path = self.site.below(&format!("run[{}]", self.starts.fetch_add(1, Ordering::Relaxed)));
        let plan = children::plan_of(&self.run, blueprint).await?;
        let found = children::start(&self.run, &path, self.site.attempt, &self.run.control.soft, plan, inputs).await?;
        Ok(found.id().clone())
    }

    async fn poll_execution(&self, id: &ExecutionId) -> Result<Option<Ending>, Failure> {
        children::poll(&self.run, id).await
    }

    async fn cancel_execution(&self, id: &ExecutionId) -> Result<(), Failure> {
        children::cancel(&self.run, id).await
    }
}

impl Site {
    /// A path below this attempt. Attempts after the first are told apart, because what they ask is new.
    pub(crate) fn below(&self, segment: &str) -> NodePath {
        if self.attempt == 1 {
            return self.path.join(segment);
        }
        NodePath(format!("{}~{}", self.path, self.attempt).into()).join(segment)
    }
}
