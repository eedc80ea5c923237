//! Events of an execution as server-sent events: `id` is the sequence number, `event` the kind of fact, `data` the event
//! as JSON. Pieces of streamed text come as `delta`, without an id: they are not stored.
//!
//! An execution that runs in this process is followed; its follower is woken by every commit. Of one that does not, what
//! is stored is sent and the stream ends; whoever comes back with `Last-Event-ID` gets the rest.

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

use crate::answer::Refusal;
use crate::app::Api;

/// Proxies close connections on which nothing comes for half a minute.
const ALIVE: Duration = Duration::from_secs(15);

/// After how long a follower whose stream ended comes back.
const RETRY: Duration = Duration::from_secs(2);

/// Events read from the store at once.
const PAGE: u32 = 512;

/// Where the events come from.
enum Source {
    Live(Box<EventStream>),
    Stored { after: u64, page: VecDeque<Event> },
}

struct Follower {
    api: Api,
    id: ExecutionId,
    source: Source,
    /// Whether the follower was told when to come back.
    greeted: bool,
    over: bool,
}

/// Shows what comes after `after`; 204 when nothing ever will, which tells a browser not to come back.
pub(crate) async fn follow(api: &Api, id: ExecutionId, after: u64) -> Response {
    let parts = &api.0.parts;
    let source = match parts.engine.running(&id) {
        Some(handle) => Source::Live(Box::new(handle.events_after(after))),
        None => match parts.events.read(&id, after, PAGE).await {
            Ok(page) if page.is_empty() && after > 0 && has_ended(api, &id, after).await => {
                return StatusCode::NO_CONTENT.into_response();
            }
            Ok(page) => Source::Stored { after, page: page.into() },
            Err(failure) => return Refusal::from(failure).answer(&api.0),
        },
    };
    let follower = Follower { api: api.clone(), id, source, greeted: false, over: false };
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
            Ok(live) => Some(sent(live?)),
            Err(problem) => {
                // An answer has begun; its end is all that can be said.
                (shared.options.log)(&problem);
                None
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Live>, Problem> {
        match &mut self.source {
            Source::Live(events) => events.next().await,
            Source::Stored { after, page } => {
                if page.is_empty() {
                    let read = self.api.0.parts.events.read(&self.id, *after, PAGE).await;
                    *page = read.map_err(|failure| failure.problem)?.into();
                }
                let event = page.pop_front();
                if let Some(event) = &event {
                    *after = event.seq;
                    self.over = matches!(event.fact, Fact::ExecutionFinished { .. });
                }
                Ok(event.map(|event| Live::Event(Arc::new(event))))
            }
        }
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
