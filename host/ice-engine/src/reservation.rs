//! Money and tokens set aside for one priced call: settled by what it cost, or, when the call is dropped half way,
//! by the honest statement that nobody knows.

use std::sync::Arc;

use ice_core::budget::Usage;
use ice_core::event::Fact;
use ice_core::id::NodePath;
use ice_core::ports::Failure;

use crate::purse::{self, Paid};
use crate::run::Run;

/// Open until settled.
pub(crate) struct Reservation {
    run: Arc<Run>,
    path: NodePath,
    attempt: u32,
    estimate: Usage,
    open: bool,
}

impl Reservation {
    /// Sets `estimate` aside under `path`; X005 when it does not fit any more.
    pub(crate) async fn make(run: &Arc<Run>, path: &NodePath, attempt: u32, estimate: Usage) -> Result<Self, Failure> {
        run.meter.reserve(path.as_str(), estimate)?;
        if let Err(failure) = purse::reserve(run, path, &estimate).await {
            run.meter.settle(path.as_str(), &Usage::default());
            return Err(failure);
        }
        run.push(path, attempt, Fact::BudgetReserved { estimate });
        Ok(Self { run: Arc::clone(run), path: path.clone(), attempt, estimate, open: true })
    }

    /// Replaces the reservation by what the call cost. The fact is for the caller to append with the answer, so that
    /// both become durable together.
    pub(crate) fn settle(mut self, used: Usage) -> Fact {
        self.open = false;
        self.run.meter.settle(self.path.as_str(), &used);
        Fact::BudgetSettled { used }
    }

    /// The call never happened, or is not charged.
    pub(crate) async fn release(self) {
        let (run, path, attempt) = (Arc::clone(&self.run), self.path.clone(), self.attempt);
        let fact = self.settle(Usage::default());
        let (at, used) = (run.now(), Usage::default());
        let seq = run.push_all(at, &path, attempt, vec![fact]);
        purse::settle(&run, &path, Paid { seq, at, used }).await;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let free = self.estimate.cost_micro_usd == 0 && self.estimate.unpriced_calls == 0;
        let used = Usage { unpriced_calls: u32::from(!free), ..Usage::default() };
        self.run.meter.settle(self.path.as_str(), &used);
        let at = self.run.now();
        let seq = self.run.push_all(at, &self.path, self.attempt, vec![Fact::BudgetSettled { used }]);
        // Nobody waits for this: where it does not come to its end, the end of the execution sets it right.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (run, path) = (Arc::clone(&self.run), self.path.clone());
            runtime.spawn(async move { purse::settle(&run, &path, Paid { seq, at, used }).await });
        }
    }
}
