//! The stations of a node.

/// Where a node is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Waits for dependencies, for being needed, or for the end of the others.
    Waiting,
    /// In the ready queue.
    Ready,
    Running,
    /// Waits for the pause before the next attempt.
    Paused,
    Finished,
    /// Failed; its stand-in has not settled yet.
    Failing,
    Failed,
    /// Failed, and a stand-in finished.
    Recovered,
    Skipped,
}

impl Phase {
    pub(super) fn settled(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Recovered | Self::Skipped)
    }
}
