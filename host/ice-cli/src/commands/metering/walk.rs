//! Walks over stored events in a fixed order and hands on the records that were asked for, one at a time.

use std::collections::BTreeSet;

use ice_core::event::{Event, Fact};
use ice_core::id::{ExecutionId, UnixMs};
use ice_core::ports::Events;
use ice_core::problem::{Code, Problem};
use ice_store::{Every, Store};

use super::record::{Reader, Record};
use crate::view;

/// Executions and events are read in pieces of these sizes, so that no amount of either has to fit into memory.
const EXECUTIONS_PAGE: u32 = 500;
const EVENTS_PAGE: u32 = 1_000;

/// An id begins with the time its execution started, and a child has the time of its parent: so much of an id is shared
/// by everything below one execution (`0193a1b2-c3d4-`).
const TIME_CHARACTERS: usize = 14;

/// Which records are wanted; the default is all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Filter {
    /// Those that ended at this moment or later.
    pub(super) since: Option<UnixMs>,
    /// Those that ended before this moment.
    pub(super) until: Option<UnixMs>,
    /// Those of this org.
    pub(super) org: Option<String>,
    /// Those of this execution and of those below it.
    pub(super) execution: Option<ExecutionId>,
}

impl Filter {
    fn lets_through(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.ended >= since)
            && self.until.is_none_or(|until| record.ended < until)
            && self.org.as_ref().is_none_or(|org| record.org == *org)
    }
}

/// Hands every record that `filter` lets through to `each`, which may end the walk with a problem. The order is that of
/// execution ids and of events, the same every time. Fails with X-codes for an execution that does not exist.
pub(super) async fn walk(
    store: &Store,
    filter: &Filter,
    each: &mut dyn FnMut(Record) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if let Some(root) = &filter.execution {
        for id in family(store, root).await? {
            read(store, &id, filter, each).await?;
        }
        return Ok(());
    }
    let which = Every {
        updated_since: filter.since,
        started_before: filter.until,
        org: filter.org.clone(),
        ..Every::default()
    };
    let mut last = None;
    loop {
        let ids = store.every(&which, last.as_ref(), EXECUTIONS_PAGE).await.map_err(|failure| failure.problem)?;
        for id in &ids {
            read(store, id, filter, each).await?;
        }
        last = ids.into_iter().last();
        if last.is_none() {
            return Ok(());
        }
    }
}

async fn read(
    store: &Store,
    id: &ExecutionId,
    filter: &Filter,
    each: &mut dyn FnMut(Record) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut reader = Reader::new(id.clone());
    let mut after = 0;
    loop {
        let events = page(store, id, after, EVENTS_PAGE).await?;
        let Some(last) = events.last() else { return Ok(()) };
        after = last.seq;
        for record in events.iter().filter_map(|event| reader.take(event)).filter(|record| filter.lets_through(record))
        {
            each(record)?;
        }
    }
}

async fn page(store: &Store, id: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>, Problem> {
    Events::read(store, id, after, limit).await.map_err(|failure| failure.problem)
}

/// An execution and everything below it, in the order of ids.
pub(crate) async fn family(store: &Store, root: &ExecutionId) -> Result<BTreeSet<ExecutionId>, Problem> {
    match Events::read(store, root, 0, 1).await {
        Ok(events) if !events.is_empty() => {}
        Err(failure) if failure.problem.code != Code::X041 => return Err(failure.problem),
        _ => return Err(view::not_found(&root.0)),
    }
    let prefix = root.0.get(..TIME_CHARACTERS).unwrap_or(&root.0).to_owned();
    let which = Every { prefix: Some(prefix), ..Every::default() };
    let mut parents: Vec<(ExecutionId, ExecutionId)> = Vec::new();
    let mut last = None;
    loop {
        let ids = store.every(&which, last.as_ref(), EXECUTIONS_PAGE).await.map_err(|failure| failure.problem)?;
        for id in &ids {
            let first = page(store, id, 0, 1).await?;
            if let Some(Fact::ExecutionStarted { parent: Some((parent, _)), .. }) =
                first.first().map(|event| &event.fact)
            {
                parents.push((parent.clone(), id.clone()));
            }
        }
        last = ids.into_iter().last();
        if last.is_none() {
            break;
        }
    }
    let mut family = BTreeSet::from([root.clone()]);
    loop {
        let before = family.len();
        let below = parents.iter().filter(|(parent, _)| family.contains(parent)).map(|(_, child)| child.clone());
        let below: Vec<ExecutionId> = below.collect();
        family.extend(below);
        if family.len() == before {
            return Ok(family);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ice_core::budget::{Budget, Receipt, Usage};
    use ice_core::id::{Digest, Identity, NodePath};
    use serde_json::json;

    use super::*;

    /// An execution of `org` with one finished call a second, from second `begin`.
    async fn execution(store: &Store, id: &str, org: &str, parent: Option<&str>, begin: u64, calls: u64) {
        let who = Identity { org: org.into(), user: "anna".into(), session: None };
        let event = |seq: u64, fact| Event {
            seq,
            at: (begin + seq) * 1_000,
            path: NodePath(if seq == 1 { "" } else { "a" }.into()),
            attempt: 1,
            fact,
        };
        let start = Fact::ExecutionStarted {
            blueprint: Digest::of(b"b"),
            name: "n".into(),
            inputs: json!({}),
            identity: who.clone(),
            components: Default::default(),
            blueprints: Default::default(),
            parent: parent.map(|parent| (ExecutionId(parent.into()), NodePath("w".into()))),
            budget: Budget::default(),
            origin: None,
        };
        let finished = || Fact::NodeFinished {
            output: json!(1),
            cached: false,
            receipt: Some(Box::new(Receipt::default())),
            usage: Usage::default(),
        };
        let mut events = vec![event(1, start)];
        events.extend((2..2 + calls).map(|seq| event(seq, finished())));
        store.create(&ExecutionId(id.into()), "n", &who, &events, 1).await.unwrap();
    }

    async fn records(store: &Store, filter: Filter) -> Vec<String> {
        let mut found = Vec::new();
        walk(store, &filter, &mut |record| {
            found.push(record.record);
            Ok(())
        })
        .await
        .unwrap();
        found
    }

    async fn filled() -> Store {
        let clock = Arc::new(ice_capabilities::SystemClock);
        let store = ice_store::open("sqlite::memory:", clock).await.unwrap();
        execution(&store, "00000000-0001-7000-b", "acme", None, 10, 2).await;
        execution(&store, "00000000-0001-7000-a", "acme", Some("00000000-0001-7000-b"), 10, 1).await;
        execution(&store, "00000000-0001-7000-c", "acme", None, 10, 1).await;
        execution(&store, "00000000-0002-7000-d", "other", None, 20, 1).await;
        store
    }

    #[tokio::test]
    async fn the_order_is_that_of_ids_and_events() {
        let expected = ["1-7000-a/a/1/2", "1-7000-b/a/1/2", "1-7000-b/a/1/3", "1-7000-c/a/1/2", "2-7000-d/a/1/2"];
        assert_eq!(records(&filled().await, Filter::default()).await, expected.map(|id| format!("00000000-000{id}")));
    }

    #[tokio::test]
    async fn filters_look_at_the_end_of_a_call_and_at_its_owner() {
        let store = filled().await;
        // The second call of `b` ended in second 13, `d` in second 22.
        let since = Filter { since: Some(13_000), ..Filter::default() };
        assert_eq!(records(&store, since.clone()).await, ["00000000-0001-7000-b/a/1/3", "00000000-0002-7000-d/a/1/2"]);
        let between = Filter { until: Some(22_000), ..since };
        assert_eq!(records(&store, between).await, ["00000000-0001-7000-b/a/1/3"]);
        let other = Filter { org: Some("other".into()), ..Filter::default() };
        assert_eq!(records(&store, other).await, ["00000000-0002-7000-d/a/1/2"]);
    }

    #[tokio::test]
    async fn an_execution_comes_with_its_children_and_no_neighbours() {
        let store = filled().await;
        let of = |id: &str| Filter { execution: Some(ExecutionId(id.into())), ..Filter::default() };
        assert_eq!(records(&store, of("00000000-0001-7000-b")).await.len(), 3);
        assert_eq!(records(&store, of("00000000-0001-7000-a")).await, ["00000000-0001-7000-a/a/1/2"]);
        let missing = walk(&store, &of("nobody"), &mut |_| Ok(())).await.unwrap_err();
        assert!(missing.message.contains("`nobody`"), "{missing}");
    }
}
