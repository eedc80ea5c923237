//! One transaction for whatever waited together: new executions, events, leases that are given back.
//!
//! In this order, which is also the order in which one execution needs them. Each entry gets a verdict of its own; one
//! that is refused changes nothing.

use std::collections::HashSet;

use ice_core::ports::Failure;
use ice_core::problem::Problem;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::append::{Append, ends, insert, update};
use super::ends::{Create, Release, create, release};
use super::writer::{begin, finish};
use crate::fault::{Fault, primary_result};
use crate::list::Row;

/// Where the verdict goes.
pub(super) type Reply = oneshot::Sender<Result<(), Failure>>;

/// What joins a group.
pub(super) enum Entry {
    Create(Box<Create>),
    Append(Append),
    Release(Release),
}

impl Entry {
    /// How much of the transaction's memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Create(create) => create.bytes(),
            Self::Append(append) => append.bytes(),
            Self::Release(_) => 0,
        }
    }

    pub(super) fn execution(&self) -> &str {
        match self {
            Self::Create(create) => create.execution(),
            Self::Append(append) => append.execution(),
            Self::Release(release) => release.execution(),
        }
    }

    fn answer(self, verdict: Result<(), Failure>) {
        let reply = match self {
            Self::Create(create) => create.reply,
            Self::Append(append) => append.reply,
            Self::Release(release) => release.reply,
        };
        // Whoever asked may be gone; what was asked for is done all the same.
        let _unread = reply.send(verdict);
    }
}

/// Writes a group and replies to every one of its callers.
pub(super) async fn commit(connection: &mut SqliteConnection, group: Vec<Entry>, place: &str) {
    let fault = match write(connection, &group).await {
        Ok(verdicts) => {
            for (entry, verdict) in group.into_iter().zip(verdicts) {
                entry.answer(verdict.map_err(Failure::never));
            }
            return;
        }
        Err(fault) => fault,
    };
    // A lock concerns the whole group. Anything else may be one entry's own fault, such as an event that no longer
    // fits on the disk; alone, the others may still go through.
    let locked = matches!(&fault, Fault::Database(error) if matches!(primary_result(error), Some(5 | 6)));
    if locked || group.len() == 1 {
        let failure = fault.explain(place);
        for entry in group {
            entry.answer(Err(failure.clone()));
        }
        return;
    }
    for entry in group {
        let verdict = match write(connection, std::slice::from_ref(&entry)).await {
            Ok(mut verdicts) => verdicts.pop().expect("one verdict an entry").map_err(Failure::never),
            Err(fault) => Err(fault.explain(place)),
        };
        entry.answer(verdict);
    }
}

/// One transaction for the whole group; one verdict an entry.
async fn write(connection: &mut SqliteConnection, group: &[Entry]) -> Result<Vec<Result<(), Problem>>, Fault> {
    begin(connection).await?;
    let outcome = write_rows(connection, group).await;
    finish(connection, outcome).await
}

async fn write_rows(connection: &mut SqliteConnection, group: &[Entry]) -> Result<Vec<Result<(), Problem>>, Fault> {
    let (mut creates, mut appends, mut releases) = (Vec::new(), Vec::new(), Vec::new());
    for entry in group {
        match entry {
            Entry::Create(create) => creates.push(&**create),
            Entry::Append(append) => appends.push(append),
            Entry::Release(release) => releases.push(release),
        }
    }
    let created = create(connection, &creates).await?;
    let mut ends = ends(connection, &appends.iter().map(|append| append.execution()).collect::<Vec<_>>()).await?;
    let joined: Vec<Result<(), Problem>> = appends.iter().map(|append| append.join(&mut ends)).collect();
    let mut rows: Vec<(&str, &Row)> = Vec::new();
    rows.extend(creates.iter().zip(&created).filter(|(_, made)| made.is_ok()).flat_map(|(create, _)| create.rows()));
    rows.extend(appends.iter().zip(&joined).filter(|(_, joined)| joined.is_ok()).flat_map(|(append, _)| append.rows()));
    insert(connection, &rows).await?;
    update(connection, &ends).await?;
    let released = release(connection, &releases).await?;
    let (mut created, mut joined, mut released) = (created.into_iter(), joined.into_iter(), released.into_iter());
    let verdicts = group.iter().map(|entry| match entry {
        Entry::Create(_) => created.next(),
        Entry::Append(_) => joined.next(),
        Entry::Release(_) => released.next(),
    });
    Ok(verdicts.map(|verdict| verdict.expect("one verdict an entry")).collect())
}

/// Which entries a group may still take. One that comes after its execution's lease was given back waits for the next.
#[derive(Default)]
pub(super) struct Released(HashSet<String>);

impl Released {
    pub(super) fn allows(&mut self, entry: &Entry) -> bool {
        if self.0.contains(entry.execution()) {
            return false;
        }
        if let Entry::Release(release) = entry {
            self.0.insert(release.execution().to_owned());
        }
        true
    }
}
