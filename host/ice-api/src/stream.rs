//! Events of an execution as server-sent events: `id` is the sequence number, `event` the kind of fact, `data` the event
//! as JSON. Pieces of streamed text come as `delta`, without an id: they are not stored.
//!
//! A stream ends after the last event of all. While the execution runs in this process it has the streamed text too; while
//! another process runs it, or it waits for an answer, the store wakes the stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use ice_core::event::{Event, Fact};
use ice_core::id::ExecutionId;
use ice_core::problem::Problem;
use ice_engine::{EventStream, Live};
use serde_json::{Value, json};

use crate::app::Api;

/// Proxies close connections on which nothing comes for half a minute.
const ALIVE: Duration = Duration::from_secs(15);

/// After how long a follower whose stream ended comes back.
const RETRY: Duration = Duration::from_secs(2);

/// Events read from the store at once.
const PAGE: u32 = 512;

struct Follower {
    api: Api,
    id: ExecutionId,
    /// Number of the newest event that was sent.
    after: u64,
    /// Events that were read and not sent yet.
    page: VecDeque<Event>,
    /// While this process runs it.
    live: Option<Box<EventStream>>,
    /// Whether the follower was told when to come back.
    greeted: bool,
    over: bool,
}

/// Shows what comes after `after`; 204 when nothing ever will, which tells a browser not to come back.
pub(crate) async fn follow(api: &Api, id: ExecutionId, after: u64) -> Response {
    if after > 0 && has_ended(api, &id, after).await {
        return StatusCode::NO_CONTENT.into_response();
    }
    let (page, live) = (VecDeque::new(), None);
    let follower = Follower { api: api.clone(), id, after, page, live, greeted: false, over: false };
    let events = stream::unfold(follower, |mut follower| async move {
        let sent = follower.next().await?;
        Some((Ok::<_, Infallible>(sent), follower))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// Whether the event that was seen last is the last one of all.
async fn has_ended(api: &Api, id: &ExecutionId, after: u64) -> bool {
    let last = api.0.parts.events.read(id, after - 1, 1).await.unwrap_or_default();
    last.first().is_some_and(|event| matches!(event.fact, Fact::ExecutionFinished { .. }))
}

impl Follower {
    async fn next(&mut self) -> Option<Sent> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Sent::default().retry(RETRY).comment("events"));
        }
        if self.over {
            return None;
        }
        let shared = Arc::clone(&self.api.0);
        let next = tokio::select! {
            biased;
            next = self.look() => next,
            () = shared.stopped() => return None,
        };
        match next {
            Ok(live) => Some(sent(live)),
            Err(problem) => {
                // An answer has begun; its end is all that can be said.
                (shared.options.log)(&problem);
                None
            }
        }
    }

    /// The next thing to see; waits for it.
    async fn look(&mut self) -> Result<Live, Problem> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Ok(self.take(Arc::new(event)));
            }
            let parts = &self.api.0.parts;
            if self.live.is_none() {
                self.live = parts.engine.running(&self.id).map(|handle| Box::new(handle.events_after(self.after)));
            }
            if let Some(live) = &mut self.live {
                match live.next().await? {
                    Some(Live::Event(event)) => return Ok(self.take(event)),
                    Some(delta) => return Ok(delta),
                    // This process gave it back, or lost it: it goes on elsewhere, or later.
                    None => self.live = None,
                }
            }
            let page = parts.events.follow(&self.id, self.after, PAGE).await;
            self.page = page.map_err(|failure| failure.problem)?.into();
        }
    }

    fn take(&mut self, event: Arc<Event>) -> Live {
        self.after = event.seq;
        self.over = matches!(event.fact, Fact::ExecutionFinished { .. });
        Live::Event(event)
    }
}

fn sent(live: Live) -> Sent {
    match live {
        Live::Event(event) => {
            let data = serde_json::to_value(&*event).expect("an event is plain data with text keys");
            let kind = data.get("event").and_then(Value::as_str).unwrap_or("event");
            Sent::default().id(event.seq.to_string()).event(kind).data(data.to_string())
        }
        Live::Delta { path, text } => {
            Sent::default().event("delta").data(json!({ "path": path, "text": &*text }).to_string())
        }
    }
}
