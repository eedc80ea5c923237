//! Finds the blueprint that a `workflow` node names among those the caller loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use ice_core::blueprint::Parsed;
use semver::{Version, VersionReq};

/// Resolves `workflow_ref`. Purely from what is in memory: planning does no I/O.
pub trait Blueprints {
    /// Finds a blueprint by id, by `name@range` (the newest version in a semver range), or by bundle entry.
    fn find(&self, reference: &str) -> Option<Arc<Parsed>>;
    /// Every name there is, for "did you mean".
    fn names(&self) -> Vec<String>;
}

/// Blueprints by name and version.
#[derive(Clone, Debug, Default)]
pub struct Library {
    entries: BTreeMap<String, Versions>,
}

#[derive(Clone, Debug, Default)]
struct Versions {
    /// Without a version: a stored blueprint's id, a bundle entry.
    bare: Option<Arc<Parsed>>,
    numbered: BTreeMap<Version, Arc<Parsed>>,
}

impl Library {
    /// Adds a blueprint under a name; the last one added under a name and version wins.
    pub fn add(&mut self, name: impl Into<String>, version: Option<Version>, blueprint: Arc<Parsed>) {
        let versions = self.entries.entry(name.into()).or_default();
        match version {
            Some(version) => drop(versions.numbered.insert(version, blueprint)),
            None => versions.bare = Some(blueprint),
        }
    }

    /// Adds a name that is not loaded: it is proposed to who wrote a similar one.
    pub fn know(&mut self, name: impl Into<String>) {
        self.entries.entry(name.into()).or_default();
    }
}

impl Blueprints for Library {
    fn find(&self, reference: &str) -> Option<Arc<Parsed>> {
        if let Some(versions) = self.entries.get(reference) {
            return versions.bare.clone().or_else(|| versions.numbered.values().next_back().cloned());
        }
        let (name, range) = reference.rsplit_once('@')?;
        let range = VersionReq::parse(range).ok()?;
        let numbered = &self.entries.get(name)?.numbered;
        numbered.iter().rev().find(|(version, _)| range.matches(version)).map(|(_, found)| found.clone())
    }

    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }
}
