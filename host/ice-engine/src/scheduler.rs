//! The order of things: which node runs next, whether it is tried again, what is skipped, who takes whose place,
//! when a graph is done. A pure state machine over one graph.
//!
//! No I/O, no clock, no chance, no templates here: the driver says what happened ([`Input`]) and does what it is
//! told ([`Command`]). A node starts when its own dependencies are settled; there are no levels.
//!
//! A node is settled once: finished, failed or skipped. A failed node whose stand-in finished is *recovered*: for
//! its dependents it counts as finished.

use std::collections::{HashMap, VecDeque};

use ice_core::ports::Retry;
use ice_core::problem::Code;

mod phase;
mod words;

use phase::Phase;
pub use words::{Command, Final, Input, Past, Shape, Stop, Why};

#[derive(Clone, Debug)]
struct Slot {
    phase: Phase,
    /// The attempt that runs, ran last, or (before the first) 0.
    attempt: u32,
    /// Dependencies that are not settled.
    missing: u32,
    /// The first dependency that failed or was skipped.
    spoiled_by: Option<usize>,
    /// For a stand-in: whether somebody failed.
    needed: bool,
    /// Whether a stand-in was asked to take its place.
    tried: bool,
    /// What is left of a pause that a crash interrupted.
    owed_ms: Option<u64>,
    /// Runs, and waits for somebody outside.
    resting: bool,
}

/// One graph while it runs.
#[derive(Clone, Debug)]
pub struct State {
    slots: Vec<Slot>,
    /// Stand-in → the nodes it stands in for.
    stands_for: HashMap<usize, Vec<usize>>,
    ready: VecDeque<usize>,
    /// How many may run at once.
    window: usize,
    running: usize,
    /// Of those that run.
    resting: usize,
    paused: usize,
    /// Nodes that are not settled, without and with `finally`.
    open: usize,
    open_finally: usize,
    /// The first failure ends everything but finally nodes.
    halt_on_failure: bool,
    stopped: Option<Stop>,
    halted: bool,
    closing: bool,
    done: bool,
    /// Failed nodes in the order of their failing.
    failed: Vec<usize>,
}

impl State {
    /// A graph of which nothing ran. At most `window` nodes run at once (at least one).
    pub fn new(shape: &impl Shape, window: usize, halt_on_failure: bool) -> Self {
        let slot = |node| Slot {
            phase: Phase::Waiting,
            attempt: 0,
            missing: u32::try_from(shape.dependencies(node).len()).expect("dependencies fit into 32 bits"),
            spoiled_by: None,
            needed: false,
            tried: false,
            owed_ms: None,
            resting: false,
        };
        let slots: Vec<Slot> = (0..shape.len()).map(slot).collect();
        let open_finally = (0..shape.len()).filter(|node| shape.finally(*node)).count();
        let mut stands_for: HashMap<usize, Vec<usize>> = HashMap::new();
        for node in 0..shape.len() {
            if let Some(stand_in) = shape.fallback(node) {
                stands_for.entry(stand_in).or_default().push(node);
            }
        }
        Self {
            stands_for,
            open: slots.len() - open_finally,
            open_finally,
            slots,
            ready: VecDeque::new(),
            window: window.max(1),
            running: 0,
            resting: 0,
            paused: 0,
            halt_on_failure,
            stopped: None,
            halted: false,
            closing: false,
            done: false,
            failed: Vec::new(),
        }
    }

    /// Says what a node did before a crash. Only before [`Input::Start`].
    pub fn restore(&mut self, node: usize, past: Past) {
        let slot = &mut self.slots[node];
        match past {
            Past::Finished => slot.phase = Phase::Finished,
            Past::Failed { attempt } => {
                slot.attempt = attempt;
                slot.phase = Phase::Failing;
            }
            Past::Skipped => slot.phase = Phase::Skipped,
            Past::Begun { attempt } => slot.attempt = attempt.saturating_sub(1),
            Past::Paused { attempt, delay_ms } => {
                slot.attempt = attempt;
                slot.owed_ms = Some(delay_ms);
            }
        }
    }

    /// How a node ended; `None` while it is not settled.
    pub fn ended(&self, node: usize) -> Option<Final> {
        match self.slots[node].phase {
            Phase::Finished => Some(Final::Finished),
            Phase::Failed => Some(Final::Failed),
            Phase::Recovered => Some(Final::Recovered),
            Phase::Skipped => Some(Final::Skipped),
            _ => None,
        }
    }

    /// The nodes that failed and were not recovered, in the order of their failing.
    pub fn failures(&self) -> impl Iterator<Item = usize> + '_ {
        self.failed.iter().copied().filter(|node| self.slots[*node].phase == Phase::Failed)
    }

    /// Whether the graph was stopped from outside.
    pub fn stopped(&self) -> Option<Stop> {
        self.stopped
    }

    /// Whether a failure ended the graph early.
    pub fn halted(&self) -> bool {
        self.halted
    }

    /// Whether something runs, all of it rests, and nothing is due.
    pub fn only_rests(&self) -> bool {
        self.running > 0 && self.running == self.resting && self.paused == 0
    }

    /// Whether only finally nodes are left.
    pub fn is_closing(&self) -> bool {
        self.closing
    }
}

/// Takes in what happened and says what to do, in this order.
pub fn step(state: &mut State, shape: &impl Shape, input: Input) -> Vec<Command> {
    let mut step = Step { state, shape, out: Vec::new(), settled: Vec::new() };
    match input {
        Input::Start => step.start(),
        Input::Declined { node } => {
            step.stopped_running(node);
            step.skip(node, Why::RunIf);
        }
        Input::Finished { node } => {
            step.stopped_running(node);
            step.settle(node, Phase::Finished);
        }
        Input::Failed { node, code, retry, random } => step.failed(node, code, retry, random),
        Input::Due { node } => {
            // A pause that was cut short by a stop has already settled its node.
            if step.state.slots[node].phase == Phase::Paused {
                step.state.paused -= 1;
                step.enqueue(node);
            }
        }
        Input::Rests { node } => step.rests(node),
        Input::GoesOn { node } => step.goes_on(node),
        Input::Stop(stop) => step.stop(stop),
    }
    step.go_on();
    step.out
}

struct Step<'a, S> {
    state: &'a mut State,
    shape: &'a S,
    out: Vec<Command>,
    /// Settled nodes whose dependents have not heard of it: a stack instead of recursion, for long chains.
    settled: Vec<usize>,
}

impl<S: Shape> Step<'_, S> {
    fn start(&mut self) {
        let count = self.state.slots.len();
        let restored: Vec<(usize, Phase)> = (self.state.slots.iter().map(|slot| slot.phase).enumerate())
            .filter(|(_, phase)| *phase != Phase::Waiting)
            .collect();
        for &(node, phase) in &restored {
            if phase != Phase::Failing {
                self.count_settled(node);
            }
        }
        for (node, phase) in restored {
            if phase != Phase::Failing {
                self.settled.push(node);
                self.propagate();
            } else if self.state.slots[node].phase == Phase::Failing && !self.state.slots[node].tried {
                self.fail(node);
            }
        }
        for node in 0..count {
            self.consider(node);
        }
    }

    fn rests(&mut self, node: usize) {
        let slot = &mut self.state.slots[node];
        if slot.phase == Phase::Running && !slot.resting {
            slot.resting = true;
            self.state.resting += 1;
        }
    }

    /// What goes on may be one more than the window for a while: it is not begun, only continued.
    fn goes_on(&mut self, node: usize) {
        if std::mem::take(&mut self.state.slots[node].resting) {
            self.state.resting -= 1;
        }
    }

    fn stopped_running(&mut self, node: usize) {
        self.goes_on(node);
        self.state.running -= 1;
    }

    fn failed(&mut self, node: usize, code: Code, retry: Retry, random: u64) {
        self.stopped_running(node);
        let attempt = self.state.slots[node].attempt;
        let finally = self.shape.finally(node);
        let may_go_on = self.state.stopped != Some(Stop::Lost) && (finally || !self.ending());
        let delay = match retry {
            Retry::Never => None,
            Retry::Maybe => self.shape.retry_delay(node, attempt, code, random),
            Retry::AfterMs(least) => self.shape.retry_delay(node, attempt, code, random).map(|delay| delay.max(least)),
        };
        match delay.filter(|_| may_go_on) {
            Some(delay_ms) => {
                self.state.slots[node].phase = Phase::Paused;
                self.state.paused += 1;
                self.out.push(Command::Pause { node, attempt, delay_ms });
            }
            None => {
                self.out.push(Command::Fail { node, attempt });
                self.fail(node);
            }
        }
    }

    /// The node failed for good: its stand-in gets its chance, or the failure stands.
    fn fail(&mut self, node: usize) {
        self.state.slots[node].phase = Phase::Failing;
        self.state.slots[node].tried = true;
        let stand_in = self.shape.fallback(node).filter(|_| !self.ending());
        match stand_in.map(|stand_in| (stand_in, self.state.slots[stand_in].phase)) {
            Some((stand_in, Phase::Finished | Phase::Recovered)) => self.recover(node, stand_in),
            Some((stand_in, phase)) if !phase.settled() => {
                self.state.slots[stand_in].needed = true;
                self.consider(stand_in);
                self.propagate();
            }
            _ => self.fail_for_good(node),
        }
    }

    fn fail_for_good(&mut self, node: usize) {
        self.state.failed.push(node);
        self.settle(node, Phase::Failed);
        if self.state.halt_on_failure && !self.shape.finally(node) && !self.ending() {
            self.state.halted = true;
            self.wind_down();
        }
    }

    fn recover(&mut self, node: usize, by: usize) {
        self.out.push(Command::Recover { node, by });
        self.settle(node, Phase::Recovered);
    }

    fn stop(&mut self, stop: Stop) {
        if self.state.done || self.state.stopped == Some(Stop::Lost) {
            return;
        }
        self.state.stopped = Some(stop);
        self.wind_down();
    }

    /// Whether nothing but finally nodes may begin.
    fn ending(&self) -> bool {
        self.state.halted || self.state.stopped.is_some()
    }

    /// Interrupts what runs and settles what waits; finally nodes are spared unless the execution is lost.
    fn wind_down(&mut self) {
        let lost = self.state.stopped == Some(Stop::Lost);
        for node in 0..self.state.slots.len() {
            if self.shape.finally(node) && !lost {
                continue;
            }
            match self.state.slots[node].phase {
                Phase::Running => self.out.push(Command::Interrupt { node }),
                Phase::Waiting | Phase::Ready => self.skip(node, Why::Halted),
                Phase::Paused => {
                    self.state.paused -= 1;
                    let attempt = self.state.slots[node].attempt;
                    self.out.push(Command::Fail { node, attempt });
                    self.fail_for_good(node);
                }
                Phase::Failing => self.fail_for_good(node),
                _ => {}
            }
        }
    }

    fn skip(&mut self, node: usize, why: Why) {
        self.out.push(Command::Skip { node, why });
        self.settle(node, Phase::Skipped);
    }

    fn settle(&mut self, node: usize, phase: Phase) {
        self.state.slots[node].phase = phase;
        self.count_settled(node);
        let outermost = self.settled.is_empty();
        self.settled.push(node);
        if outermost {
            self.propagate();
        }
    }

    fn count_settled(&mut self, node: usize) {
        if self.shape.finally(node) {
            self.state.open_finally -= 1;
        } else {
            self.state.open -= 1;
        }
    }

    /// Tells dependents, stand-ins and those they stand in for about every newly settled node.
    fn propagate(&mut self) {
        let mut next = 0;
        while next < self.settled.len() {
            let node = self.settled[next];
            next += 1;
            let phase = self.state.slots[node].phase;
            let spoiled = matches!(phase, Phase::Failed | Phase::Skipped);
            let shape = self.shape;
            for &dependent in shape.dependents(node) {
                let slot = &mut self.state.slots[dependent];
                slot.missing -= 1;
                if spoiled && slot.spoiled_by.is_none() {
                    slot.spoiled_by = Some(node);
                }
                self.consider(dependent);
            }
            if let Some(stand_in) = shape.fallback(node) {
                self.release(stand_in);
            }
            if shape.standby(node) {
                self.resolve(node, phase);
            }
        }
        self.settled.clear();
    }

    /// A stand-in settled: whoever waits for it is recovered or failed.
    fn resolve(&mut self, stand_in: usize, phase: Phase) {
        for node in self.state.stands_for.get(&stand_in).cloned().unwrap_or_default() {
            if self.state.slots[node].phase != Phase::Failing {
                continue;
            }
            match phase {
                Phase::Finished | Phase::Recovered => self.recover(node, stand_in),
                _ => self.fail_for_good(node),
            }
        }
    }

    /// A stand-in that nobody can need any more is skipped.
    fn release(&mut self, stand_in: usize) {
        let slot = &self.state.slots[stand_in];
        if slot.phase != Phase::Waiting || slot.needed {
            return;
        }
        let wanted = (self.state.stands_for.get(&stand_in).into_iter().flatten())
            .any(|node| !self.state.slots[*node].phase.settled());
        if !wanted {
            self.skip(stand_in, Why::NotNeeded);
        }
    }

    /// Makes a waiting node ready, or skips it, if its time has come.
    fn consider(&mut self, node: usize) {
        let slot = &self.state.slots[node];
        if slot.phase != Phase::Waiting || slot.missing > 0 || (self.shape.standby(node) && !slot.needed) {
            return;
        }
        if self.shape.finally(node) {
            if self.state.closing {
                self.enqueue_or_pause(node);
            }
            return;
        }
        match slot.spoiled_by {
            Some(dependency) if !self.shape.always(node) => self.skip(node, Why::Dependency(dependency)),
            _ => self.enqueue_or_pause(node),
        }
    }

    fn enqueue_or_pause(&mut self, node: usize) {
        let slot = &mut self.state.slots[node];
        match slot.owed_ms.take() {
            Some(delay_ms) if delay_ms > 0 => {
                slot.phase = Phase::Paused;
                self.state.paused += 1;
                self.out.push(Command::Wait { node, delay_ms });
            }
            _ => self.enqueue(node),
        }
    }

    fn enqueue(&mut self, node: usize) {
        self.state.slots[node].phase = Phase::Ready;
        self.state.ready.push_back(node);
    }

    /// Stand-ins that wait, over some corners, for the very nodes they stand in for would wait for ever: such a node
    /// has failed.
    fn untangle(&mut self) {
        while self.state.running == 0 && self.state.paused == 0 && self.state.ready.is_empty() && self.state.open > 0 {
            let failing = self.state.slots.iter().position(|slot| slot.phase == Phase::Failing);
            let Some(node) = failing else { return };
            if let Some(stand_in) = self.shape.fallback(node) {
                self.state.slots[stand_in].needed = false;
            }
            self.fail_for_good(node);
        }
    }

    /// Fills the window from the ready queue; opens the finally nodes when the others are settled; ends.
    fn go_on(&mut self) {
        self.untangle();
        if self.state.open == 0 && !self.state.closing {
            self.state.closing = true;
            if self.state.open_finally > 0 {
                (0..self.state.slots.len()).for_each(|node| self.consider(node));
            }
        }
        while self.state.running - self.state.resting < self.state.window {
            let Some(node) = self.state.ready.pop_front() else { break };
            let slot = &mut self.state.slots[node];
            // Skipped while it was queued.
            if slot.phase != Phase::Ready {
                continue;
            }
            slot.phase = Phase::Running;
            slot.attempt += 1;
            self.state.running += 1;
            self.out.push(Command::Run { node, attempt: self.state.slots[node].attempt });
        }
        if self.state.open == 0 && self.state.open_finally == 0 && !self.state.done {
            self.state.done = true;
            self.out.push(Command::Done);
        }
    }
}

#[cfg(test)]
mod tests;
