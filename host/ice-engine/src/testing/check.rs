//! What must hold of the events of every execution that ended, whatever happened to it.

use std::collections::{HashMap, HashSet};

use ice_core::event::{Event, Fact};
use ice_core::execution::replay;
use ice_core::id::NodePath;

/// Panics unless the events are numbered without gaps, every node has exactly one end, and no answer was paid twice.
pub fn check_events(events: &[Event]) {
    let mut finals: HashMap<&NodePath, usize> = HashMap::new();
    let mut answers = HashSet::new();
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event.seq, u64::try_from(position).expect("a list of events") + 1);
        if matches!(event.fact, Fact::NodeFinished { .. } | Fact::NodeFailed { .. } | Fact::NodeSkipped { .. }) {
            *finals.entry(&event.path).or_default() += 1;
        }
        if let Fact::CapabilityUsed(used) = &event.fact {
            let first = answers.insert((&event.path, event.attempt, used.ordinal));
            assert!(first, "answer {} at {} was paid twice", used.ordinal, event.path);
        }
    }
    for (path, node) in &replay(events).expect("a list of events").nodes {
        assert!(node.state.is_final(), "{path} has no end");
        assert_eq!(finals[path], 1, "{path} has several ends");
    }
}
