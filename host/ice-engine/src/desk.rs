//! Where answers reach an execution that runs in this process.
//!
//! Answers to executions that nobody runs are in `waits.rs`. What an answer means belongs to the node that asked.

use std::collections::HashMap;
use std::sync::Mutex;

use ice_core::id::UnixMs;
use ice_core::problem::Problem;
use ice_core::wait::{Answer, Question, Resolution, WaitId};
use tokio::sync::oneshot;

/// An answer that was checked, and where to say that it is on record.
pub(crate) struct Letter {
    pub(crate) resolution: Resolution,
    pub(crate) receipt: oneshot::Sender<Result<(), Problem>>,
}

/// What became of an answer.
pub(crate) enum Post {
    /// It is on its way; the receiver says when it is on record.
    Sent(oneshot::Receiver<Result<(), Problem>>),
    /// It is no answer to the question.
    Refused(Problem),
    /// Nobody here waits under that name now.
    Unknown,
    /// The execution is being given back.
    Closed,
}

struct Entry {
    question: Question,
    due: Option<UnixMs>,
    sender: oneshot::Sender<Letter>,
}

#[derive(Default)]
struct Inner {
    closed: bool,
    /// Letters that were sent and not taken up.
    on_the_way: usize,
    waits: HashMap<WaitId, Entry>,
}

/// The open waits of one execution.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Inner>);

impl Desk {
    /// Waits for a letter from now on.
    pub(crate) fn open(&self, wait: &WaitId, question: &Question, due: Option<UnixMs>) -> Seat<'_> {
        let (sender, receiver) = oneshot::channel();
        self.lock().waits.insert(wait.clone(), Entry { question: question.clone(), due, sender });
        Seat { desk: self, wait: wait.clone(), receiver }
    }

    /// Hands an answer in.
    pub(crate) fn post(&self, wait: &WaitId, answer: Answer) -> Post {
        let mut inner = self.lock();
        if inner.closed {
            return Post::Closed;
        }
        let Some(entry) = inner.waits.get(wait) else { return Post::Unknown };
        let resolution = match entry.question.resolve(answer) {
            Ok(resolution) => resolution,
            Err(problem) => return Post::Refused(problem),
        };
        let (receipt, received) = oneshot::channel();
        let entry = inner.waits.remove(wait).expect("found above");
        if entry.sender.send(Letter { resolution, receipt }).is_err() {
            return Post::Unknown;
        }
        inner.on_the_way += 1;
        Post::Sent(received)
    }

    /// Closes unless an answer is on its way or `stay` says so; from then on nothing is handed in here.
    pub(crate) fn close(&self, stay: impl FnOnce() -> bool) -> bool {
        let mut inner = self.lock();
        inner.closed = inner.closed || (inner.on_the_way == 0 && !stay());
        inner.closed
    }

    /// Does something unless the desk is closed; says whether it was done.
    pub(crate) fn unless_closed(&self, act: impl FnOnce()) -> bool {
        let inner = self.lock();
        if !inner.closed {
            act();
        }
        !inner.closed
    }

    /// When the first of the open waits runs out.
    pub(crate) fn due(&self) -> Option<UnixMs> {
        self.lock().waits.values().filter_map(|entry| entry.due).min()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic at the desk")
    }
}

/// A place at the desk, for one wait.
pub(crate) struct Seat<'a> {
    desk: &'a Desk,
    wait: WaitId,
    receiver: oneshot::Receiver<Letter>,
}

impl Seat<'_> {
    /// Returns the letter. Waits for ever when the desk was closed.
    pub(crate) async fn letter(&mut self) -> Letter {
        match (&mut self.receiver).await {
            Ok(letter) => {
                self.desk.lock().on_the_way -= 1;
                letter
            }
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut inner = self.desk.lock();
        // A closed desk keeps what was open, so that it can say when the first of it is due.
        if !inner.closed {
            inner.waits.remove(&self.wait);
        }
        // A letter that nobody took up is answered by its dropping; it does not hold the desk open.
        if self.receiver.try_recv().is_ok() {
            inner.on_the_way -= 1;
        }
    }
}
