//! Walking over the executions of everybody.

use std::sync::Arc;

use ice_core::id::{ExecutionId, Identity};
use ice_core::ports::Events as _;

use super::{ManualClock, anna, id, lines};
use crate::{Every, Store};

/// Four executions: `b1` and `b2` of anna, `a1` and `c1` of another org; `c1` has the newest event.
async fn fill(store: &Store) {
    let other = Identity { org: "other".into(), ..anna() };
    for (name, who, events) in [("b2", &anna(), 2), ("a1", &other, 3), ("b1", &anna(), 1), ("c1", &other, 4)] {
        store.create(&id(name), "n", who, &lines(1, events), 10).await.expect("created");
    }
}

async fn names(store: &Store, which: &Every, after: Option<&str>, limit: u32) -> Vec<String> {
    let after = after.map(|name| ExecutionId(name.into()));
    store.every(which, after.as_ref(), limit).await.expect("listed").into_iter().map(|id| id.0).collect()
}

/// Pages follow each other in the order of ids.
pub async fn pages_follow_each_other(store: Store, _clock: Arc<ManualClock>) {
    fill(&store).await;
    let all = Every::default();
    assert_eq!(names(&store, &all, None, 3).await, ["a1", "b1", "b2"]);
    assert_eq!(names(&store, &all, Some("b2"), 3).await, ["c1"]);
    assert_eq!(names(&store, &all, Some("c1"), 3).await, [""; 0]);
}

/// Every condition narrows the walk, and is no pattern.
pub async fn only_what_is_asked_for_is_walked_over(store: Store, _clock: Arc<ManualClock>) {
    fill(&store).await;
    let newest = lines(1, 4).last().expect("four").at;
    let first = lines(1, 1)[0].at;
    let cases = [
        (Every { org: Some("other".into()), ..Every::default() }, vec!["a1", "c1"]),
        (Every { prefix: Some("b".into()), ..Every::default() }, vec!["b1", "b2"]),
        // In SQL patterns this would mean any character.
        (Every { prefix: Some("_".into()), ..Every::default() }, vec![]),
        (Every { updated_since: Some(newest), ..Every::default() }, vec!["c1"]),
        (Every { started_before: Some(first), ..Every::default() }, vec![]),
        (Every { started_before: Some(first + 1), ..Every::default() }, vec!["a1", "b1", "b2", "c1"]),
    ];
    for (which, expected) in cases {
        assert_eq!(names(&store, &which, None, 9).await, expected, "{which:?}");
    }
}
