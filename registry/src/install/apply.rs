//! Fetches what is missing, checks every byte, and lists the plugins: all of them or none.
//!
//! First every blob is in place, then the index, then what this machine has seen. Whoever dies in between leaves blobs
//! that nothing lists and that the next run finds.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use ice_core::id::Digest;
use ice_core::manifest::Manifest;
use ice_core::problem::{Code, Problem};
use semver::Version;

use super::{Prepared, Step};
use crate::layout::Writing;
use crate::source::{Progress, Source};
use crate::store::{Added, OnExisting, Store, check_component, missing};
use crate::trust::State;
use crate::verify::Verified;

/// Downloads at the same time: each may hold an artifact of 64 MiB in memory.
pub const FETCHES_MAX: usize = 4;

/// Looks at the bytes of a component before they enter the store: what it imports against what its manifest declares.
pub type Inspect<'a> = &'a (dyn Fn(&Verified<Manifest>, &Digest, &[u8]) -> Result<(), Problem> + Sync);

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Plugins that the store lists and did not before: name, version.
    pub added: Vec<(String, Version)>,
    /// Bytes that were fetched.
    pub fetched: u64,
}

/// Does what was prepared. Afterwards the caller writes [`Prepared::lock`]. When it fails, the store lists what it
/// listed before: G003 and T047 for what nobody accepted, T001 for other bytes, T013, T014 and what `inspect` says for
/// components, R001 and T044 for what is missing and may not be fetched, R003, R004 for the store.
pub async fn apply(
    prepared: &Prepared,
    store: &Store,
    state: &State,
    source: &dyn Source,
    inspect: Inspect<'_>,
    progress: &dyn Progress,
) -> Result<Applied, Vec<Problem>> {
    let refusals = prepared.refusals();
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let one = |problem: Problem| vec![problem];
    let mut applied = Applied::default();
    // Nothing is swept meanwhile: what is in place before anything lists it must stay.
    let writing = store.layout().begin().map_err(one)?;
    let hand = Hand { prepared, store, writing: &writing, source, inspect, progress };
    let blobs = prepared.steps.iter().flat_map(|step| step.verified.blobs().into_iter().map(move |blob| (step, blob)));
    let mut fetches = futures_util::stream::iter(blobs)
        .map(|(step, (digest, size))| hand.bring(step, digest, size))
        .buffered(FETCHES_MAX);
    while let Some(fetched) = fetches.next().await {
        applied.fetched += fetched.map_err(one)?;
    }
    drop(fetches);
    let missing: Vec<&Step> = prepared.steps.iter().filter(|step| !step.in_store).collect();
    let mut ready = Vec::new();
    for step in &missing {
        let plugin = store.ready(step.verified.clone(), &step.envelope).map_err(one)?;
        store.place(&writing, &plugin, &[]).map_err(one)?;
        ready.push(plugin);
    }
    let added = store.enlist(&ready, OnExisting::Refuse).map_err(one)?;
    let new = missing.iter().zip(added).filter(|(_, added)| *added == Added::New);
    applied.added.extend(new.map(|(step, _)| (step.locked.name.clone(), step.locked.version.clone())));
    let sequence = |step: &Step| (step.locked.name.clone(), step.verified.value().sequence);
    let seen: BTreeMap<String, u64> = prepared.steps.iter().map(sequence).collect();
    if prepared.closed.is_none_or(|closed| !closed.is_offline()) {
        state.saw_sequences(&seen).map_err(one)?;
    }
    Ok(applied)
}

struct Hand<'a> {
    prepared: &'a Prepared,
    store: &'a Store,
    writing: &'a Writing,
    source: &'a dyn Source,
    inspect: Inspect<'a>,
    progress: &'a dyn Progress,
}

impl Hand<'_> {
    /// Has one blob of a plugin in place. Returns how many bytes were fetched.
    async fn bring(&self, step: &Step, digest: Digest, size: u64) -> Result<u64, Problem> {
        let manifest = step.verified.value();
        let about = |problem: Problem| problem.subject(format!("plugin `{}` {}", manifest.name, manifest.version));
        let offline = self.prepared.closed.filter(|closed| closed.is_offline());
        let there = match self.store.layout().read(&digest, size) {
            // Damaged, and moved away: it comes again.
            Err(problem) if problem.code == Code::T011 && offline.is_none() => None,
            read => read.map_err(about)?,
        };
        let is_component = manifest.artifacts().iter().any(|(artifact, _)| *artifact == digest);
        match (there, offline) {
            (Some(_), _) if step.in_store => Ok(0),
            (Some(bytes), _) => self.check(step, &digest, &bytes, is_component).map(|()| 0).map_err(about),
            (None, Some(closed)) => {
                let named = manifest.components.iter().find(|component| component.artifact == digest);
                let what = named.map_or("a file".to_owned(), |component| format!("component `{}`", component.name));
                let blob = missing(&digest, &manifest.name).message;
                Err(about(closed.absent(&format!("{what}: {blob}"))))
            }
            (None, None) => {
                let (name, version) = (&manifest.name, &manifest.version);
                let bytes = self.source.blob(name, version, &digest, size, self.progress).await.map_err(about)?;
                self.check(step, &digest, &bytes, is_component).map_err(about)?;
                self.store.layout().put(self.writing, &bytes).map_err(about)?;
                Ok(size)
            }
        }
    }

    /// Of this very buffer: size, digest, form, imports.
    fn check(&self, step: &Step, digest: &Digest, bytes: &[u8], is_component: bool) -> Result<(), Problem> {
        step.verified.check_blob(digest, bytes)?;
        if !is_component {
            return Ok(());
        }
        check_component(bytes)?;
        (self.inspect)(&step.verified, digest, bytes)
    }
}
