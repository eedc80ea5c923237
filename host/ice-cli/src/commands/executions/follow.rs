//! `ice executions events --follow`: events as they are stored, by whichever process.

use ice_core::event::Fact;
use ice_core::id::ExecutionId;
use ice_core::ports::Events;
use ice_core::problem::Exit;

use super::{PAGE, one};
use crate::commands::Outcome;
use crate::config::Config;
use crate::interrupt;
use crate::output::Output;
use crate::view;
use crate::wire::Storage;

/// The store wakes nobody in another process, so it is asked again after a pause. The pause grows while nothing
/// happens: a busy execution is shown at once, and one that waits for a person for days costs one read a second.
const PAUSE_MS_MIN: u64 = 20;
const PAUSE_MS_MAX: u64 = 1_000;

pub(super) async fn run(id: &ExecutionId, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let (mut after, mut pause_ms) = (0, PAUSE_MS_MIN);
    loop {
        let page = storage.store.read(id, after, PAGE).await.map_err(|failure| one(failure.problem))?;
        if page.is_empty() && after == 0 {
            return Err(vec![view::not_found(&id.0)]);
        }
        for event in &page {
            output.line(&serde_json::to_string(event).expect("an event prints"));
            match event.fact {
                Fact::ExecutionFinished { .. } => return Ok(Exit::Done),
                Fact::ExecutionParked { .. } => output.note("it waits for an answer; see `ice waits list`"),
                _ => {}
            }
        }
        if let Some(last) = page.last() {
            (after, pause_ms) = (last.seq, PAUSE_MS_MIN);
            continue;
        }
        tokio::select! {
            () = storage.clock.sleep(pause_ms) => pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX),
            () = interrupt::interrupted() => return Ok(Exit::Interrupted),
        }
    }
}
