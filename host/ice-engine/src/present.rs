//! What this process runs now, taking up what others left, and leaving it to others: for a process that stays up.

use std::convert::Infallible;

use ice_core::id::ExecutionId;
use ice_core::problem::{Code, Problem};

use crate::engine::Engine;
use crate::live::Handle;

/// How often executions whose time has come are looked for.
const TEND_MS: u64 = 1_000;

/// Executions taken up at once; the rest at the next look.
const LEFT_MAX: usize = 1_000;

/// What stopping guests and giving leases back may take: guests have 100 ms to stop by themselves, and a store that is
/// busy answers within seconds.
const GIVE_BACK_MS: u64 = 5_000;

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

    /// Waits at most `grace_ms` for the executions of this process to come to rest. Those that have not are stopped where
    /// they are and their leases given back, so that another process can go on with them at once. Returns how many those
    /// were, without those inside others. To be called when nothing more is started.
    pub async fn drain(&self, grace_ms: u64) -> usize {
        let clock = &self.shared.ports.clock;
        let rested = async {
            for handle in self.present() {
                handle.rest().await;
            }
        };
        tokio::select! {
            () = rested => {}
            () = clock.sleep(grace_ms) => {}
        }
        let left = self.present();
        for handle in &left {
            let problem = Problem::new(Code::X008, "the process that ran the execution stopped")
                .help(format!("the next process goes on with it, or `ice executions resume {}`", handle.id));
            handle.control.hard.trip(problem);
        }
        let given_back = async {
            for handle in &left {
                handle.rest().await;
            }
        };
        tokio::select! {
            () = given_back => {}
            // A store that does not answer: the leases run out by themselves.
            () = clock.sleep(GIVE_BACK_MS) => {}
        }
        left.iter().filter(|handle| handle.control.hard.is_root()).count()
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

    /// Looks after executions that nobody asks for, until dropped. Those whose waits run out are woken within a second;
    /// those that a dead process left are taken up now, and later within one lease of when theirs lapsed. At most `most`
    /// run here because of it. `told` hears what went wrong; that another process was faster is not.
    pub async fn tend(&self, most: usize, mut told: impl FnMut(&Problem)) -> Infallible {
        let clock = &self.shared.ports.clock;
        let mut look_at = 0;
        loop {
            let now = clock.now_ms();
            taken(self.due(now).await, &mut told);
            if look_at <= now {
                look_at = now + self.shared.options.lease_ms;
                taken(self.take_up_left(self.room(most)).await, &mut told);
            }
            clock.sleep(TEND_MS).await;
        }
    }

    /// One look of [`Engine::tend`]; returns what goes on here because of it.
    pub async fn tend_once(&self, most: usize, mut told: impl FnMut(&Problem)) -> Vec<Handle> {
        let mut handles = taken(self.due(self.shared.ports.clock.now_ms()).await, &mut told);
        handles.extend(taken(self.take_up_left(self.room(most)).await, &mut told));
        handles
    }

    /// How many may be taken up now.
    fn room(&self, most: usize) -> u32 {
        u32::try_from(most.saturating_sub(self.present_count()).min(LEFT_MAX)).expect("at most a thousand")
    }
}

/// What was taken up, and for each how it went.
type Looked = Result<Vec<(ExecutionId, Result<Handle, Problem>)>, Problem>;

/// Those that go on here; `told` hears of the others.
fn taken(looked: Looked, told: &mut impl FnMut(&Problem)) -> Vec<Handle> {
    let mut handles = Vec::new();
    match looked {
        Ok(taken) => {
            for (_, taken) in taken {
                match taken {
                    Ok(handle) => handles.push(handle),
                    Err(problem) if is_news(&problem) => told(&problem),
                    Err(_) => {}
                }
            }
        }
        Err(problem) => told(&problem),
    }
    handles
}

/// Another process that was faster is no news.
fn is_news(problem: &Problem) -> bool {
    !matches!(problem.code, Code::X008 | Code::X040 | Code::X042)
}
