//! What this machine has seen, so that nobody can show it less: sequences, index versions, the time.
//!
//! `trust/state/{sequences,index,clock}.json`, replaced in one step under a lock. Losing them loses protection against
//! rollbacks of what was seen before, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ice_core::manifest::UnixSeconds;
use ice_core::problem::{Code, Problem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::{self, Guard};

/// Tens of thousands of names stay below.
const STATE_BYTES_MAX: u64 = 16 << 20;

/// Clocks of good machines differ by less. A day back is a changed clock.
const CLOCK_SLACK_SECONDS: UnixSeconds = 24 * 60 * 60;

/// The newest header of an index that was believed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct SeenIndex {
    /// Its version; a lower one is a rollback.
    pub version: u64,
    /// The root under which it was believed. A root that changes the index keys makes `version` void.
    pub root_version: u64,
    /// When it was last fetched and believed, seconds since 1970.
    pub refreshed: UnixSeconds,
}

/// The folder of what was seen.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// The state beside a trust store. Nothing is made until something is written.
    pub fn of(trust_folder: &Path) -> Self {
        Self { folder: trust_folder.join("state") }
    }

    /// The highest sequence seen of `scope/name`.
    pub fn sequence(&self, name: &str) -> Result<Option<u64>, Problem> {
        Ok(self.read::<BTreeMap<String, u64>>("sequences.json")?.get(name).copied())
    }

    /// Remembers sequences; a lower one than remembered changes nothing.
    pub fn saw_sequences(&self, seen: &BTreeMap<String, u64>) -> Result<(), Problem> {
        self.edit("sequences.json", |all: &mut BTreeMap<String, u64>| {
            for (name, sequence) in seen {
                let highest = all.entry(name.clone()).or_default();
                *highest = (*highest).max(*sequence);
            }
        })
    }

    /// What was last believed of the index of this registry prefix, such as `registry.example/ice`.
    pub fn index(&self, prefix: &str) -> Result<Option<SeenIndex>, Problem> {
        Ok(self.read::<BTreeMap<String, SeenIndex>>("index.json")?.remove(prefix))
    }

    /// Remembers what is believed now.
    pub fn saw_index(&self, prefix: &str, seen: &SeenIndex) -> Result<(), Problem> {
        self.edit("index.json", |all: &mut BTreeMap<String, SeenIndex>| {
            all.insert(prefix.to_owned(), seen.clone());
        })
    }

    /// Drops what was believed of indexes under roots older than `root_version`: their keys sign no index anymore, and
    /// a version that a stolen one made up must not stand in the way of the real next one.
    pub(crate) fn forget_indexes_before(&self, root_version: u64) -> Result<(), Problem> {
        if !self
            .read::<BTreeMap<String, SeenIndex>>("index.json")?
            .values()
            .any(|seen| seen.root_version < root_version)
        {
            return Ok(());
        }
        self.edit("index.json", |all: &mut BTreeMap<String, SeenIndex>| {
            all.retain(|_, seen| seen.root_version >= root_version);
        })
    }

    /// Compares the clock with the latest moment seen and remembers the later one. T038 when it went back by more than
    /// a day: what expires cannot be judged then.
    pub fn check_clock(&self, now: UnixSeconds) -> Result<(), Problem> {
        let last: UnixSeconds = self.read("clock.json")?;
        if now.saturating_add(CLOCK_SLACK_SECONDS) < last {
            let message = format!(
                "the clock says {}, and this machine has seen {}",
                ice_core::manifest::print_date(now),
                ice_core::manifest::print_date(last)
            );
            return Err(Problem::new(Code::T038, message).help(format!(
                "set the clock; if the later one was wrong, remove `{}`",
                self.path("clock.json").display()
            )));
        }
        if now <= last {
            return Ok(());
        }
        self.edit("clock.json", |last: &mut UnixSeconds| *last = (*last).max(now))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn read<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, Problem> {
        if !files::check_folder(&self.folder)? {
            return Ok(T::default());
        }
        let path = self.path(name);
        let Some(bytes) = files::read_guarded(&path, Guard::Own, STATE_BYTES_MAX)? else {
            return Ok(T::default());
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(Code::T024, format!("what this machine has seen cannot be read: {error}"))
                .file(path.display().to_string())
                .help("restore the file; removing it gives up the protection against older releases")
        })
    }

    fn edit<T: DeserializeOwned + Serialize + Default>(
        &self,
        name: &str,
        edit: impl FnOnce(&mut T),
    ) -> Result<(), Problem> {
        files::make_folder(&self.folder)?;
        let lock_path = self.path(".lock");
        let lock = files::lock_file(&lock_path)?;
        lock.lock().map_err(|error| files::io_problem(Code::R004, "lock", &lock_path, &error))?;
        let mut value: T = self.read(name)?;
        edit(&mut value);
        let bytes = serde_json::to_vec(&value).expect("state has only string keys");
        files::replace(&self.path(name), &bytes)
    }
}
