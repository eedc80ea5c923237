//! The words between the scheduler and its driver: what it must know of a graph, what it hears, what it says.

use ice_core::ports::Retry;
use ice_core::problem::Code;

/// What the scheduler must know of a graph. Nodes are positions from 0 in document order.
pub trait Shape {
    /// Number of nodes.
    fn len(&self) -> usize;
    /// Whether there is no node.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Nodes that must be settled first.
    fn dependencies(&self, node: usize) -> &[usize];
    /// Nodes that wait for this one.
    fn dependents(&self, node: usize) -> &[usize];
    /// Whether it runs even if a dependency failed or was skipped.
    fn always(&self, node: usize) -> bool;
    /// The node that takes its place when it fails.
    fn fallback(&self, node: usize) -> Option<usize>;
    /// Whether it only runs in the place of another.
    fn standby(&self, node: usize) -> bool;
    /// Whether it runs at the end whatever happened.
    fn finally(&self, node: usize) -> bool;
    /// The pause before attempt `attempt + 1`, or `None` when attempt `attempt` was the last one.
    fn retry_delay(&self, node: usize, attempt: u32, code: Code, random: u64) -> Option<u64>;
}

/// Why a graph stops before its nodes are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Somebody asked for it, or the time of whatever contains the graph is over. Finally nodes still run.
    Cancelled,
    /// The process may not go on: nothing more runs.
    Lost,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// Begin. Comes once, after every [`State::restore`].
    Start,
    /// `run_if` of a node rendered to something that is not true.
    Declined {
        /// The node.
        node: usize,
    },
    /// An attempt went well.
    Finished {
        /// The node.
        node: usize,
    },
    /// An attempt failed.
    Failed {
        /// The node.
        node: usize,
        /// The problem's code, for retry filters.
        code: Code,
        /// What the one who failed says about trying again.
        retry: Retry,
        /// For jitter.
        random: u64,
    },
    /// The pause before the next attempt is over.
    Due {
        /// The node.
        node: usize,
    },
    /// A running node waits for somebody outside: it takes none of the places for running nodes.
    Rests {
        /// The node.
        node: usize,
    },
    /// It goes on.
    GoesOn {
        /// The node.
        node: usize,
    },
    /// Stop.
    Stop(Stop),
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Begin an attempt.
    Run {
        /// The node.
        node: usize,
        /// From 1.
        attempt: u32,
    },
    /// Append that the attempt failed, and say [`Input::Due`] after a pause.
    Pause {
        /// The node.
        node: usize,
        /// The attempt that failed.
        attempt: u32,
        /// Milliseconds.
        delay_ms: u64,
    },
    /// Say [`Input::Due`] after what is left of a pause that began before a crash.
    Wait {
        /// The node.
        node: usize,
        /// Milliseconds.
        delay_ms: u64,
    },
    /// Append that the node failed for good.
    Fail {
        /// The node.
        node: usize,
        /// The attempt that failed.
        attempt: u32,
    },
    /// Append that the node will not run.
    Skip {
        /// The node.
        node: usize,
        /// Why.
        why: Why,
    },
    /// A stand-in finished: its output is now also the output of `node`.
    Recover {
        /// The node that failed.
        node: usize,
        /// The node that took its place.
        by: usize,
    },
    /// Stop the running attempt; its end is still reported by `Finished` or `Failed`.
    Interrupt {
        /// The node.
        node: usize,
    },
    /// Every node is settled. The last command.
    Done,
}

/// Why a node is skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// `run_if` said no.
    RunIf,
    /// This dependency failed or was skipped.
    Dependency(usize),
    /// The graph stopped before its turn.
    Halted,
    /// A stand-in nobody needed.
    NotNeeded,
}

/// What history says about a node of a graph that is taken up again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Past {
    /// It finished; its output is known.
    Finished,
    /// It failed for good in this attempt.
    Failed {
        /// From 1.
        attempt: u32,
    },
    /// It was skipped.
    Skipped,
    /// This attempt had begun and did not end: it is repeated under the same number.
    Begun {
        /// From 1.
        attempt: u32,
    },
    /// This attempt had failed and another was due after a pause.
    Paused {
        /// The attempt that failed.
        attempt: u32,
        /// What is left of the pause.
        delay_ms: u64,
    },
}

/// How a node ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Final {
    /// It finished.
    Finished,
    /// It failed, and nobody took its place.
    Failed,
    /// It failed, and its stand-in finished.
    Recovered,
    /// It did not run.
    Skipped,
}
