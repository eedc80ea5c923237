//! What this process runs now, and taking up what others left: for a process that stays up.

use ice_core::id::ExecutionId;
use ice_core::problem::Problem;

use crate::engine::Engine;
use crate::live::Handle;

impl Engine {
    /// The execution, if this process runs it now.
    pub fn running(&self, id: &ExecutionId) -> Option<Handle> {
        self.shared.running(id).map(|control| self.handle(control))
    }

    /// Everything this process runs now, in no order.
    pub fn present(&self) -> Vec<Handle> {
        let live = self.shared.live.lock().expect("no panic while listing");
        live.values().map(|control| self.handle(std::sync::Arc::clone(control))).collect()
    }

    /// How many executions this process runs now, those inside others included.
    pub fn present_count(&self) -> usize {
        self.shared.live.lock().expect("no panic while listing").len()
    }

    /// Goes on with at most `limit` executions that no live process holds although they have not ended, oldest first.
    /// One inside another is taken up with the outermost one. Says for each how it went. Fails when they cannot be
    /// listed.
    pub async fn take_up_left(&self, limit: u32) -> Result<Vec<(ExecutionId, Result<Handle, Problem>)>, Problem> {
        let ids = self.shared.ports.events.left(limit).await.map_err(|failure| failure.problem)?;
        let mut taken = Vec::with_capacity(ids.len());
        for id in ids {
            let handle = self.wake(&id).await;
            taken.push((id, handle));
        }
        Ok(taken)
    }
}
