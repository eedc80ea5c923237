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
use crate::wire::Storage;

pub(super) async fn run(id: &ExecutionId, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let mut after = 0;
    loop {
        let page = tokio::select! {
            page = storage.store.follow(id, after, PAGE) => page.map_err(|failure| one(failure.problem))?,
            () = interrupt::interrupted() => return Ok(Exit::Interrupted),
        };
        for event in page {
            after = event.seq;
            output.line(&serde_json::to_string(&event).expect("an event prints"));
            match event.fact {
                Fact::ExecutionFinished { .. } => return Ok(Exit::Done),
                Fact::ExecutionParked { .. } => output.note("it waits for an answer; see `ice waits list`"),
                _ => {}
            }
        }
    }
}
