//! The thread that advances the engine's epoch, so that a guest which never calls the host comes back to us.
//!
//! Says when to look, not what to do then: that is the callback of the store (`call.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use ice_core::problem::{Code, Problem};
use wasmtime::Engine;

/// A spinning guest gives the executor back this often. Two milliseconds keep neighbours responsive and cost a guest
/// one fiber switch in two thousand microseconds.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// Ticks without a guest after which the thread sleeps until the next call.
const IDLE_TICKS: u32 = 50;

/// Owns the thread; it ends when this is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

struct Shared {
    guests: AtomicUsize,
    stop: AtomicBool,
}

/// While one of these lives, the epoch advances.
pub(crate) struct Running {
    shared: Arc<Shared>,
}

impl Ticker {
    /// Starts the thread for `engine`. Fails (C003) when the system has no thread left.
    pub(crate) fn start(engine: Engine) -> Result<Self, Problem> {
        let shared = Arc::new(Shared { guests: AtomicUsize::new(0), stop: AtomicBool::new(false) });
        let seen = Arc::clone(&shared);
        let handle = std::thread::Builder::new()
            .name("ice-epoch".into())
            .spawn(move || tick(&engine, &seen))
            .map_err(|error| Problem::new(Code::C003, format!("no thread for the wasm engine: {error}")))?;
        Ok(Self { shared, thread: handle.thread().clone(), handle: Some(handle) })
    }

    /// Says that a guest runs until the answer is dropped.
    pub(crate) fn running(&self) -> Running {
        if self.shared.guests.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Running { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.guests.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take() {
            // A panic of that thread has nothing to add here.
            let _ = handle.join();
        }
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    let mut idle = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.guests.load(Ordering::SeqCst) == 0 {
            idle += 1;
            if idle > IDLE_TICKS {
                // `running` unparks after it counted itself, so a guest that starts right here is not missed.
                std::thread::park();
                idle = 0;
                continue;
            }
        } else {
            idle = 0;
        }
        std::thread::sleep(TICK);
        engine.increment_epoch();
    }
}
