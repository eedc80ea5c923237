//! From an archive into the store: all of it, or nothing.
//!
//! What an archive brings along as revocations is for whoever keeps the trust store to judge, before this.

use std::collections::BTreeMap;

use ice_core::manifest::{Manifest, UnixSeconds};
use ice_core::problem::{Code, Problem};

use super::closure::dependencies_first;
use super::{Archive, ArchiveEntry, read};
use crate::oci;
use crate::store::{Added, Checked, OnExisting, Store, StoreEntry, check_blobs, lone_component};
use crate::trust::{State, Trust};
use crate::verify::{Purpose, Verified, VerifyOptions, Wanted, verify};

/// What adding did to each plugin, and what is believed of it.
type Loaded = Vec<(Added, Verified<Manifest>)>;

impl Archive {
    /// Puts every artifact into the store, dependencies before what needs them. Each passes the same checks as one
    /// from a registry, rollback too; when one is refused, none is added. Fails with the problem of every artifact
    /// that is refused: T-codes, R003 for a version that is there with other content; T038 for a clock that went
    /// back, R004 for the disk.
    pub fn load(&self, store: &Store, trust: &Trust, now: UnixSeconds) -> Result<Loaded, Vec<Problem>> {
        let one = |problem| vec![problem];
        let present = store.list().map_err(one)?;
        let state = State::of(trust.folder());
        let (mut good, mut problems) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            match self.judge(entry, &present, &state, trust, now) {
                Ok(checked) => good.push(checked),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        state.check_clock(now).map_err(one)?;
        let manifests: Vec<&Manifest> = good.iter().map(|checked| checked.verified.value()).collect();
        let order = dependencies_first(&manifests);
        let mut good: Vec<Option<Checked>> = good.into_iter().map(Some).collect();
        let good: Vec<Checked> = order.into_iter().filter_map(|number| good[number].take()).collect();
        self.put(store, good, &state).map_err(one)
    }

    /// The verdict about one artifact and each of its blobs. Changes nothing.
    fn judge(
        &self,
        entry: &ArchiveEntry,
        present: &[StoreEntry],
        state: &State,
        trust: &Trust,
        now: UnixSeconds,
    ) -> Result<Checked, Problem> {
        let about = |problem: Problem| problem.subject(format!("`{}` {} of the archive", entry.name, entry.version));
        let envelope = self.envelope(entry).map_err(about)?;
        let statement = envelope.statement().map_err(about)?;
        let there = present.iter().find(|there| there.name == entry.name && there.version == entry.version);
        let same = there.is_some_and(|there| there.statement == Some(statement));
        let wanted = Wanted { name: entry.name.clone(), version: Some(entry.version.clone()), kind: Some(entry.kind) };
        let verify_options = VerifyOptions {
            wanted: Some(&wanted),
            purpose: Purpose::Install { now },
            // What is in the store already is no step back.
            sequence_seen: if same { None } else { state.sequence(&entry.name).map_err(about)? },
            ..VerifyOptions::RUN
        };
        let verified = verify(&envelope, trust, &verify_options)?;
        let blobs = self.blobs_of(&verified).map_err(about)?;
        let blobs = check_blobs(&verified, &blobs)?;
        if there.is_some() && !same {
            let message = format!("`{}` {} is in the store with other content", entry.name, entry.version);
            return Err(about(
                Problem::new(Code::R003, message)
                    .help("the new content needs a new version, or remove the old one first"),
            ));
        }
        let packed = oci::pack(verified.value(), &envelope, lone_component(&verified, &blobs)).map_err(about)?;
        Ok(Checked { verified, packed })
    }

    fn blobs_of(&self, verified: &Verified<Manifest>) -> Result<Vec<Vec<u8>>, Problem> {
        verified.blobs().into_iter().map(|(digest, size)| read::blob(&self.blobs, &digest, size)).collect()
    }

    /// All blobs first, then all lines of the index in one step.
    fn put(&self, store: &Store, plugins: Vec<Checked>, state: &State) -> Result<Loaded, Problem> {
        let writing = store.layout().begin()?;
        for plugin in &plugins {
            let blobs = self.blobs_of(&plugin.verified)?;
            store.place(&writing, plugin, &check_blobs(&plugin.verified, &blobs)?)?;
        }
        let added = store.enlist(&plugins, OnExisting::Refuse)?;
        drop(writing);
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for Checked { verified, .. } in &plugins {
            let highest = seen.entry(verified.value().name.clone()).or_default();
            *highest = (*highest).max(verified.value().sequence);
        }
        state.saw_sequences(&seen)?;
        Ok(added.into_iter().zip(plugins.into_iter().map(|plugin| plugin.verified)).collect())
    }
}
