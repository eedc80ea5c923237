//! Drives one graph: gives the scheduler what happened, does what it says, until every node is settled.
//!
//! Decides nothing: order, retry and skip are the scheduler's; how one attempt goes is `attempt.rs`. All attempts of
//! an execution run inside one task.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ice_core::budget::Receipt;
use ice_core::catalog::Effects;
use ice_core::event::{Fact, SkipReason};
use ice_core::ports::{Failure, Retry};
use ice_core::problem::{Code, Problem};

use crate::attempt::{self, Ended};
use crate::context::Frame;
use crate::history::Was;
use crate::resting::Rests;
use crate::scheduler::{Command, Input, Past, State, Stop, Why, step};
use crate::stop::Token;

/// What finally nodes of a cancelled graph may take. Whoever cancels waits for them.
const FINALLY_MS: u64 = 10_000;

/// How a graph ended.
pub(crate) struct GraphEnd {
    /// Nodes that failed and were not recovered: position and problem, first failure first.
    pub(crate) failures: Vec<(usize, Problem)>,
    /// Why it was stopped from outside.
    pub(crate) stopped: Option<Problem>,
    /// Whether the first failure ended it early.
    pub(crate) halted: bool,
}

impl GraphEnd {
    /// The failure of whatever holds the graph, if the graph did not end well.
    pub(crate) fn failure(self) -> Option<Failure> {
        let stopped = self.stopped.map(Failure::never);
        stopped.or_else(|| self.failures.into_iter().next().map(|(_, problem)| Failure::maybe(problem)))
    }
}

/// Runs a graph to its end.
pub(crate) async fn run_graph(frame: &Frame<'_>) -> GraphEnd {
    let state = State::new(frame.graph, frame.run.window, frame.run.halt_on_failure);
    let driver = Driver {
        frame,
        state,
        running: FuturesUnordered::new(),
        tokens: HashMap::new(),
        failed: HashMap::new(),
        stop: None,
        rests: false,
        cap: None,
        done: false,
    };
    driver.run().await
}

enum Signal {
    Ended { node: usize, how: Ended },
    Due { node: usize },
}

struct Driver<'f> {
    frame: &'f Frame<'f>,
    state: State,
    running: FuturesUnordered<BoxFuture<'f, Signal>>,
    /// Of attempts that run.
    tokens: HashMap<usize, Arc<Token>>,
    /// Why the latest attempt of a node failed.
    failed: HashMap<usize, (Problem, Option<Box<Receipt>>)>,
    /// What the scheduler was told about stopping.
    stop: Option<Stop>,
    /// Whether the node around this graph was told that everything in it rests.
    rests: bool,
    /// Runs out when finally nodes have had their time.
    cap: Option<BoxFuture<'f, ()>>,
    done: bool,
}

impl<'f> Driver<'f> {
    async fn run(mut self) -> GraphEnd {
        self.restore();
        self.feed(Input::Start);
        let run = self.frame.run;
        let outside = self.frame.soft.tripped();
        let hard = run.control.hard.tripped();
        tokio::pin!(outside, hard);
        while !self.done {
            run.journal.breathe().await;
            self.look_for_stop();
            let (stop, cap) = (self.stop, &mut self.cap);
            let (capped, active) = (cap.is_some(), !self.running.is_empty());
            tokio::select! {
                biased;
                Some(signal) = self.running.next() => self.take(signal),
                () = self.frame.bell.notified(), if active => self.listen(),
                _ = &mut outside, if stop.is_none() => {}
                _ = &mut hard, if stop == Some(Stop::Cancelled) => {}
                () = async { cap.as_mut().expect("checked").await }, if capped => {
                    self.cap = None;
                    self.give_up();
                }
                // Nothing runs, nothing is due, and the graph is not done: no input could ever come.
                else => break,
            }
        }
        let state = &self.state;
        let problem = |node: usize| self.failed.get(&node).map(|(problem, _)| (node, problem.clone()));
        GraphEnd {
            failures: state.failures().filter_map(problem).collect(),
            stopped: state.stopped().and_then(|_| self.frame.soft.why().cloned()),
            halted: state.halted(),
        }
    }

    /// Looked at each time round, and before the end of an attempt is judged: a graph that is never idle would not
    /// hear of it otherwise, and an attempt that ends because it was stopped must not look like a failure.
    fn look_for_stop(&mut self) {
        if self.stop == Some(Stop::Lost) {
            return;
        }
        let lost = self.frame.run.control.hard.why().map(|_| Stop::Lost);
        let asked = lost.or_else(|| self.frame.soft.why().map(|_| Stop::Cancelled));
        if let Some(stop) = asked.filter(|asked| self.stop != Some(*asked)) {
            self.stop = Some(stop);
            self.cap = Some(self.frame.run.clock().sleep(FINALLY_MS));
            self.feed(Input::Stop(stop));
        }
    }

    /// Passes on which nodes rest and which go on.
    fn listen(&mut self) {
        for (node, rests) in self.frame.told() {
            self.feed(match rests {
                Rests::Begins => Input::Rests { node },
                Rests::Ceases => Input::GoesOn { node },
            });
        }
    }

    /// Takes over what history says about the nodes of this graph.
    fn restore(&mut self) {
        let frame = self.frame;
        if frame.run.history.is_empty() {
            return;
        }
        let now = frame.run.now();
        for node in 0..frame.graph.nodes.len() {
            let Some(record) = frame.run.history.of_node(&frame.path(node)) else { continue };
            let past = match record.was {
                Was::Begun { attempt } => Past::Begun { attempt },
                Was::Paused { attempt, due } => Past::Paused { attempt, delay_ms: due.saturating_sub(now) },
                Was::Skipped => Past::Skipped,
                Was::Finished { output, usage } => {
                    frame.set_output(node, output);
                    frame.spend(&usage);
                    Past::Finished
                }
                Was::Failed { attempt, problem } => {
                    self.failed.insert(node, (problem, None));
                    Past::Failed { attempt }
                }
            };
            if matches!(past, Past::Skipped | Past::Finished | Past::Failed { .. }) {
                frame.settled.set(node);
            }
            self.state.restore(node, past);
        }
    }

    fn take(&mut self, signal: Signal) {
        self.look_for_stop();
        // Before an end is judged, so that nothing is left over for the next attempt.
        self.listen();
        let (node, how) = match signal {
            Signal::Due { node } => return self.feed(Input::Due { node }),
            Signal::Ended { node, how } => (node, how),
        };
        self.tokens.remove(&node);
        match how {
            Ended::Declined => self.feed(Input::Declined { node }),
            Ended::Finished => {
                self.frame.settled.set(node);
                self.feed(Input::Finished { node });
            }
            Ended::Failed { failure, receipt } => {
                let code = failure.problem.code;
                self.failed.insert(node, (failure.problem, receipt));
                let random = self.frame.run.clock().random();
                self.feed(Input::Failed { node, code, retry: failure.retry, random });
            }
        }
    }

    fn feed(&mut self, input: Input) {
        for command in step(&mut self.state, self.frame.graph, input) {
            self.perform(command);
        }
        if self.rests != self.state.only_rests() {
            self.rests = !self.rests;
            self.frame.all_rest(self.rests);
        }
    }

    fn perform(&mut self, command: Command) {
        let frame = self.frame;
        match command {
            Command::Run { node, attempt } => self.begin(node, attempt),
            Command::Pause { node, attempt, delay_ms } => self.pause(node, attempt, delay_ms),
            Command::Wait { node, delay_ms } => self.wait(node, delay_ms),
            Command::Fail { node, attempt } => self.fail(node, attempt),
            Command::Skip { node, why } => {
                let reason = match why {
                    Why::RunIf => SkipReason::RunIf,
                    Why::Dependency(other) => {
                        SkipReason::Dependency { node: frame.graph.nodes[other].id.as_str().to_owned() }
                    }
                    Why::Halted => SkipReason::Halted,
                    Why::NotNeeded => SkipReason::NotNeeded,
                };
                frame.settled.set(node);
                frame.run.push(&frame.path(node), 0, Fact::NodeSkipped { reason });
            }
            Command::Recover { node, by } => frame.share_output(by, node),
            Command::Interrupt { node } => {
                if let Some(token) = self.tokens.get(&node) {
                    token.trip(self.why_interrupted());
                }
            }
            Command::Done => self.done = true,
        }
    }

    fn why_interrupted(&self) -> Problem {
        let halted = || Problem::new(Code::X002, "stopped because another node failed");
        self.frame.soft.why().cloned().unwrap_or_else(halted)
    }

    fn begin(&mut self, node: usize, attempt: u32) {
        let frame = self.frame;
        // Finally nodes outlive a cancellation, not the loss of the execution.
        let parent = if frame.graph.nodes[node].finally { &frame.run.control.hard } else { &frame.soft };
        let token = Token::child(parent);
        self.tokens.insert(node, Arc::clone(&token));
        let busy = frame.run.activity.enter();
        self.running.push(Box::pin(async move {
            let _busy = busy;
            let how = attempt::run(frame, node, attempt, &token).await;
            Signal::Ended { node, how }
        }));
    }

    fn wait(&mut self, node: usize, delay_ms: u64) {
        let clock = self.frame.run.clock();
        let busy = self.frame.run.activity.enter();
        self.running.push(Box::pin(async move {
            let _busy = busy;
            clock.sleep(delay_ms).await;
            Signal::Due { node }
        }));
    }

    fn pause(&mut self, node: usize, attempt: u32, delay_ms: u64) {
        let frame = self.frame;
        let (problem, receipt) = self.failed.get(&node).expect("only a failed attempt is repeated").clone();
        let path = frame.path(node);
        frame.run.push(&path, attempt, Fact::NodeRetried { problem, delay_ms, receipt });
        frame.run.history.reopen(&path);
        self.hurry(node);
        self.wait(node, delay_ms);
    }

    fn fail(&mut self, node: usize, attempt: u32) {
        let frame = self.frame;
        let (problem, receipt) = self.failed.get(&node).expect("only a failed attempt fails a node").clone();
        let path = frame.path(node);
        if frame.keep {
            frame.run.history.keep(&path, Was::Failed { attempt, problem: problem.clone() });
        }
        frame.run.push(&path, attempt, Fact::NodeFailed { problem, receipt });
        frame.settled.set(node);
        self.hurry(node);
    }

    /// The end of something that had effects should not be forgotten.
    fn hurry(&self, node: usize) {
        if self.frame.graph.nodes[node].effects == Effects::External {
            self.frame.run.journal.urge();
        }
    }

    /// The time of the finally nodes is over: nothing more begins, and what does not stop is dropped.
    fn give_up(&mut self) {
        let message = format!("it did not stop within {} s of being asked to", FINALLY_MS / 1_000);
        let problem = Problem::new(Code::X003, message);
        self.running = FuturesUnordered::new();
        self.feed(Input::Stop(Stop::Lost));
        let open: Vec<usize> = self.tokens.keys().copied().collect();
        for node in open {
            self.tokens.remove(&node);
            self.failed.insert(node, (problem.clone(), None));
            self.feed(Input::Failed { node, code: problem.code, retry: Retry::Never, random: 0 });
        }
    }
}
