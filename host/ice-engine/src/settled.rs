//! Which nodes of a running graph are settled, for nodes that watch others.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::plan::Graph;

/// Which nodes of a graph are settled.
pub(crate) struct Settled {
    nodes: Vec<AtomicBool>,
    bell: Notify,
}

impl Settled {
    /// A graph of which nothing ran.
    pub(crate) fn none(graph: &Graph) -> Self {
        let nodes = std::iter::repeat_with(AtomicBool::default).take(graph.nodes.len()).collect();
        Self { nodes, bell: Notify::new() }
    }

    pub(crate) fn set(&self, node: usize) {
        self.nodes[node].store(true, Ordering::Relaxed);
        self.bell.notify_waiters();
    }

    pub(crate) fn is(&self, node: usize) -> bool {
        self.nodes[node].load(Ordering::Relaxed)
    }

    /// Returns when one more node is settled, counted from this call.
    pub(crate) fn listen(&self) -> impl Future<Output = ()> + '_ {
        self.bell.notified()
    }
}
