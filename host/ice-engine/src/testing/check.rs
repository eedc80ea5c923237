//! What must hold of the events of every execution that ended, whatever happened to it.

use std::collections::{HashMap, HashSet};

use ice_core::event::{Event, Fact};
use ice_core::execution::replay;
use ice_core::id::NodePath;

/// Panics unless the events are numbered without gaps, every node has exactly one end, and no answer was paid twice. What
/// failed or was skipped inside a node that is tried again gets another chance, and another end.
pub fn check_events(events: &[Event]) {
    let mut finals: HashMap<&NodePath, usize> = HashMap::new();
    let (mut finished, mut answers) = (HashSet::new(), HashSet::new());
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event.seq, u64::try_from(position).expect("a list of events") + 1);
        if matches!(event.fact, Fact::NodeFinished { .. } | Fact::NodeFailed { .. } | Fact::NodeSkipped { .. }) {
            *finals.entry(&event.path).or_default() += 1;
        }
        match &event.fact {
            Fact::NodeFinished { .. } => drop(finished.insert(&event.path)),
            Fact::NodeRetried { .. } => {
                finals.retain(|path, _| finished.contains(path) || !is_below(path, &event.path));
            }
            _ => {}
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

fn is_below(path: &NodePath, outer: &NodePath) -> bool {
    path.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with(['[', '.', '/']))
}
