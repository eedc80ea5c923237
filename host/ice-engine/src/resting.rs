//! Nodes that rest: what only somebody outside can make go on takes none of the places for running nodes, and a node
//! around graphs in which everything rests takes none either.

use std::sync::Mutex;

use crate::activity::{LooksOn, Resting};
use crate::context::{Frame, NodeRun};

/// Whether a running node takes one of the places for running nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rests {
    Begins,
    Ceases,
}

/// A node rests: it takes none of the places for running nodes, and does not keep its execution in memory.
pub(crate) struct NodeRests<'a> {
    frame: &'a Frame<'a>,
    index: usize,
    _counted: Counted<'a>,
}

/// How the execution counts it meanwhile; kept for its end.
enum Counted<'a> {
    Rests { _guard: Resting<'a> },
    LooksOn { _guard: LooksOn<'a> },
}

impl Drop for NodeRests<'_> {
    fn drop(&mut self) {
        self.frame.tell(self.index, Rests::Ceases);
    }
}

/// The graphs that run inside one node.
#[derive(Default)]
pub(crate) struct Holder(Mutex<Graphs>);

#[derive(Default)]
struct Graphs {
    running: usize,
    /// Of those, the ones in which everything rests.
    resting: usize,
}

impl Holder {
    /// A graph begins.
    pub(crate) fn begins(&self, frame: &Frame<'_>, index: usize) {
        self.change(frame, index, |graphs| graphs.running += 1);
    }

    /// A graph ended.
    pub(crate) fn ends(&self, frame: &Frame<'_>, index: usize) {
        self.change(frame, index, |graphs| graphs.running -= 1);
    }

    /// Changes the counts, and tells the driver around the node when that makes it rest or go on.
    fn change(&self, frame: &Frame<'_>, index: usize, change: impl FnOnce(&mut Graphs)) {
        let mut graphs = self.0.lock().expect("no panic while counting");
        let rests = |graphs: &Graphs| graphs.running > 0 && graphs.running == graphs.resting;
        let before = rests(&graphs);
        change(&mut graphs);
        match (before, rests(&graphs)) {
            (false, true) => frame.tell(index, Rests::Begins),
            (true, false) => frame.tell(index, Rests::Ceases),
            _ => {}
        }
    }
}

impl Frame<'_> {
    fn tell(&self, index: usize, rests: Rests) {
        self.rests.lock().expect("no panic while telling").push((index, rests));
        self.bell.notify_one();
    }

    /// Everything that runs in this graph rests, or no longer does: what holds only such graphs rests too.
    pub(crate) fn all_rest(&self, rests: bool) {
        if let (Some(parent), Some((index, holder))) = (self.parent, &self.holder) {
            holder.change(parent, *index, |graphs| if rests { graphs.resting += 1 } else { graphs.resting -= 1 });
        }
    }

    /// What nodes told since the last time.
    pub(crate) fn told(&self) -> Vec<(usize, Rests)> {
        std::mem::take(&mut *self.rests.lock().expect("no panic while telling"))
    }
}

impl<'a> NodeRun<'a> {
    /// The node rests until the guard is dropped: only somebody outside can make it go on.
    pub(crate) fn rest(&self) -> NodeRests<'a> {
        self.step_aside(Counted::Rests { _guard: self.frame.run.activity.rest() })
    }

    /// The node looks on until the guard is dropped: it neither keeps its execution in memory nor has it given back.
    pub(crate) fn watch(&self) -> NodeRests<'a> {
        self.step_aside(Counted::LooksOn { _guard: self.frame.run.activity.look_on() })
    }

    fn step_aside(&self, counted: Counted<'a>) -> NodeRests<'a> {
        self.frame.tell(self.index, Rests::Begins);
        NodeRests { frame: self.frame, index: self.index, _counted: counted }
    }
}
