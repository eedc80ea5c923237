//! Following an execution from outside: its events as they become durable, pieces of streamed text, its end.
//!
//! A follower never holds the execution up: one that lags reads what it missed from the store.

use std::collections::VecDeque;
use std::sync::Arc;

use ice_core::event::{Event, Fact, FinalStatus};
use ice_core::execution::Ending;
use ice_core::id::{ExecutionId, NodePath};
use ice_core::ports::Events;
use ice_core::problem::{Code, Problem};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use crate::desk::Desk;
use crate::stop::Token;

/// What a follower sees.
#[derive(Clone, Debug)]
pub enum Live {
    /// An event that is durable.
    Event(Arc<Event>),
    /// A piece of a streamed answer; not stored, and not repeated for a follower that lags.
    Delta {
        /// The node that streams.
        path: NodePath,
        /// The piece.
        text: Arc<str>,
    },
}

/// Pieces kept for a follower that lags.
const BACKLOG: usize = 1024;
/// Events read from the store at once.
const PAGE: u32 = 512;

/// Where an execution is shown to its followers.
pub(crate) struct Stage {
    sender: broadcast::Sender<Live>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG) }
    }

    /// Shows events that were just committed.
    pub(crate) fn show(&self, events: Vec<Event>) {
        if self.sender.receiver_count() > 0 {
            for event in events {
                // Fails only when the last follower just left.
                let _ = self.sender.send(Live::Event(Arc::new(event)));
            }
        }
    }

    pub(crate) fn delta(&self, path: &NodePath, text: &str) {
        if self.sender.receiver_count() > 0 {
            let _ = self.sender.send(Live::Delta { path: path.clone(), text: text.into() });
        }
    }
}

/// What the process that runs an execution shares with those who started, follow or cancel it.
pub(crate) struct Control {
    pub(crate) id: ExecutionId,
    /// Tripped to cancel.
    pub(crate) soft: Arc<Token>,
    /// Tripped when this process may not go on.
    pub(crate) hard: Arc<Token>,
    pub(crate) stage: Stage,
    /// Where answers are handed in.
    pub(crate) desk: Desk,
    /// Set when this process is done with the execution.
    pub(crate) rest: watch::Sender<Option<Rest>>,
}

/// How a process is done with an execution.
#[derive(Clone, PartialEq, Debug)]
pub enum Rest {
    /// It ended.
    Ended(Box<Ending>),
    /// Everything that remains waits for an answer. [`Engine::answer`](crate::Engine::answer) and
    /// [`Engine::due`](crate::Engine::due) take it up again.
    Waiting,
}

impl Control {
    pub(crate) fn new(id: ExecutionId) -> Arc<Self> {
        let hard = Token::root();
        let soft = Token::child(&hard);
        Self::with(id, soft, hard)
    }

    /// For an execution inside another one: stops when `stop` does, is lost when the other one is lost.
    pub(crate) fn under(id: ExecutionId, stop: &Arc<Token>, hard: &Arc<Token>) -> Arc<Self> {
        Self::with(id, Token::child(stop), Token::child(hard))
    }

    fn with(id: ExecutionId, soft: Arc<Token>, hard: Arc<Token>) -> Arc<Self> {
        let (rest, _) = watch::channel(None);
        Arc::new(Self { id, soft, hard, stage: Stage::new(), desk: Desk::default(), rest })
    }

    /// Asks the execution to stop; false when it was given back.
    pub(crate) fn cancel(&self, reason: &str) -> bool {
        self.desk.unless_closed(|| {
            let why = Problem::new(Code::X002, format!("cancelled: {reason}"));
            self.soft.trip(why.subject(format!("execution `{}`", self.id)));
        })
    }

    /// Returns when this process is done with the execution.
    pub(crate) async fn rested(&self) -> Rest {
        let mut rest = self.rest.subscribe();
        let known = rest.wait_for(Option::is_some).await.expect("`self` holds the sender");
        known.clone().expect("waited for it")
    }
}

/// An execution that runs, or ran, in this process. Dropping it changes nothing for the execution.
#[derive(Clone)]
pub struct Handle {
    /// Names the execution.
    pub id: ExecutionId,
    pub(crate) control: Arc<Control>,
    pub(crate) store: Arc<dyn Events>,
}

impl Handle {
    /// Follows the execution from its first event to its last.
    pub fn events(&self) -> EventStream {
        self.events_after(0)
    }

    /// Follows the execution from the event that comes after `seq`, for somebody who has seen those before.
    pub fn events_after(&self, seq: u64) -> EventStream {
        EventStream {
            id: self.id.clone(),
            store: Arc::clone(&self.store),
            receiver: self.control.stage.sender.subscribe(),
            control: Arc::clone(&self.control),
            ready: VecDeque::new(),
            last: seq,
            behind: true,
            over: self.control.rest.borrow().is_some(),
            ended: false,
        }
    }

    /// Returns when this process is done with the execution: it ended, or everything that remains waits for an answer.
    /// An execution that another process took over, or whose store failed, ends here as failed with X008 or the store's
    /// problem; its stored events say where it stands.
    pub async fn rest(&self) -> Rest {
        self.control.rested().await
    }

    /// Like [`Handle::rest`], for those who want an end: an execution that waits is a failure with X018 to them.
    pub async fn finish(&self) -> Ending {
        match self.rest().await {
            Rest::Ended(ending) => *ending,
            Rest::Waiting => {
                let problem = Problem::new(Code::X018, format!("execution `{}` waits for an answer", self.id))
                    .help("answer its open waits; it goes on then");
                let (outputs, usage) = (serde_json::Value::Null, ice_core::budget::Usage::default());
                Ending { status: FinalStatus::Failed, outputs, problem: Some(problem), usage }
            }
        }
    }

    /// Asks the execution to stop. Finally nodes still run; `finish` returns when it has stopped. One that waits is
    /// cancelled by [`Engine::cancel`](crate::Engine::cancel).
    pub fn cancel(&self, reason: &str) {
        self.control.cancel(reason);
    }
}

/// The events of an execution, in order and without gaps, with streamed text in between.
pub struct EventStream {
    id: ExecutionId,
    store: Arc<dyn Events>,
    receiver: broadcast::Receiver<Live>,
    control: Arc<Control>,
    ready: VecDeque<Event>,
    /// The newest sequence number that was handed out.
    last: u64,
    /// Whether events must be read from the store before live ones may pass.
    behind: bool,
    /// Whether the process is done with the execution: nothing live comes any more.
    over: bool,
    ended: bool,
}

impl EventStream {
    /// The next thing to see; `None` after the last event, or when this process lost the execution
    /// or gave it back because it waits.
    /// Fails when the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<Live>, Problem> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(self.hand_out(Arc::new(event))));
            }
            if self.ended {
                return Ok(None);
            }
            if self.behind || self.over {
                self.catch_up().await?;
                continue;
            }
            let mut rest = self.control.rest.subscribe();
            let received = tokio::select! {
                biased;
                received = self.receiver.recv() => received,
                _ = rest.wait_for(Option::is_some) => Err(RecvError::Closed),
            };
            match received {
                Ok(Live::Event(event)) if event.seq == self.last + 1 => return Ok(Some(self.hand_out(event))),
                Ok(Live::Event(event)) => self.behind = event.seq > self.last,
                Ok(delta) => return Ok(Some(delta)),
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => self.over = true,
            }
        }
    }

    fn hand_out(&mut self, event: Arc<Event>) -> Live {
        self.last = event.seq;
        self.ended = matches!(event.fact, Fact::ExecutionFinished { .. });
        Live::Event(event)
    }

    async fn catch_up(&mut self) -> Result<(), Problem> {
        let page = self.store.read(&self.id, self.last, PAGE).await.map_err(|failure| failure.problem)?;
        if page.is_empty() {
            self.behind = false;
            self.ended = self.over;
        }
        self.ready.extend(page);
        Ok(())
    }
}
