//! From what a project asks for to plugins in the store: [`prepare`] decides and shows, [`apply`] fetches and writes.
//!
//! Preparing reads envelopes and no component; nothing changes before [`apply`], and what was not accepted is not
//! applied. The lock file is written by the caller, after [`apply`] succeeded: a lock never names what is not there.

mod apply;
mod diff;
mod entry;
mod lookup;
mod prepare;

use std::collections::BTreeMap;

use ice_core::bundle::Needs;
use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::lock::{Lock, LockedPackage};
use ice_core::manifest::{Deprecation, Manifest, UnixSeconds};
use ice_core::problem::{Code, Problem};
use semver::Version;

pub use apply::{Applied, FETCHES_MAX, Inspect, apply};
pub use diff::{Diff, InterfaceChange};
pub use entry::{check_pin, check_signers, locked_entry};
pub use prepare::prepare;

use crate::envelope::Envelope;
use crate::verify::Verified;

/// What may change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The lock may grow; no entry changes.
    Add,
    /// Entries of these names may change, of every name when there are none; what they need may change with them.
    Update(Vec<String>),
    /// The lock stays as it is; what it names is fetched.
    Locked,
    /// The lock stays as it is, and everything comes from the store: no source is asked.
    Frozen,
}

/// What is asked for.
pub struct Request<'a> {
    /// Asked for now.
    pub wants: Vec<Needs>,
    /// Asked for by the project, in `ice.toml`.
    pub constraints: Vec<Needs>,
    /// What may change.
    pub mode: Mode,
    /// Seconds since 1970, against `expires`.
    pub now: UnixSeconds,
    /// This host's version, against `iceos_min`.
    pub host: Version,
    /// The host runs with `--no-dynamic`: as [`Mode::Frozen`], and whatever would change is T044.
    pub no_dynamic: bool,
    /// Nobody is there to look at warnings (`--yes`), so a name that is close to another one is refused.
    pub unattended: bool,
    /// What the operator granted, by plugin name.
    pub grants: &'a BTreeMap<String, Grant>,
    /// Names that indexes know, to compare new ones with.
    pub known_names: Vec<String>,
}

impl Request<'_> {
    /// Why the lock may not change, where it may not.
    fn closed(&self) -> Option<Closed> {
        match (&self.mode, self.no_dynamic) {
            (_, true) => Some(Closed::NoDynamic),
            (Mode::Locked, _) => Some(Closed::Locked),
            (Mode::Frozen, _) => Some(Closed::Frozen),
            (Mode::Add | Mode::Update(_), _) => None,
        }
    }

    /// The names whose entries may change, none for every name; `None` when no entry may.
    fn updates(&self) -> Option<&[String]> {
        match &self.mode {
            Mode::Update(names) if !self.no_dynamic => Some(names),
            _ => None,
        }
    }
}

/// Why the lock may not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closed {
    Locked,
    Frozen,
    NoDynamic,
}

impl Closed {
    /// Whether no source may be asked.
    fn is_offline(self) -> bool {
        self != Self::Locked
    }

    /// T040, or T044 under `--no-dynamic`, for a lock that would have to change.
    fn stale(self, why: &str) -> Problem {
        match self {
            Self::Locked => Problem::new(Code::T040, format!("{why}, and `--locked` keeps the lock as it is")),
            Self::Frozen => Problem::new(Code::T040, format!("{why}, and `--frozen` keeps the lock as it is")),
            Self::NoDynamic => Problem::new(Code::T044, format!("{why}, and `--no-dynamic` lets nothing change")),
        }
        .help("run `ice install` where the lock is made, look at the difference and commit it")
    }

    /// For something that the lock names and the store does not have.
    fn absent(self, what: &str) -> Problem {
        match self {
            Self::NoDynamic => {
                Problem::new(Code::T044, format!("the store has no {what}, and `--no-dynamic` installs nothing"))
            }
            Self::Locked | Self::Frozen => Problem::new(Code::R001, format!("the store has no {what}")),
        }
        .help("run `ice install --locked` first, or `ice bundle load` an archive that has it")
    }
}

/// What a step does to the lock.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A new entry.
    New,
    /// The entry stays.
    Same,
    /// The entry changes.
    Update(Diff),
}

/// One plugin of a prepared installation.
// Invariant: `verified` was made from `envelope`.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    verified: Verified<Manifest>,
    envelope: Envelope,
    locked: LockedPackage,
    change: Change,
    /// The store lists exactly this plugin.
    in_store: bool,
}

impl Step {
    /// The believed manifest.
    pub fn verified(&self) -> &Verified<Manifest> {
        &self.verified
    }

    /// Its envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The entry of the new lock.
    pub fn locked(&self) -> &LockedPackage {
        &self.locked
    }

    /// What it does to the lock.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Bytes that have to be fetched when the store has none of its blobs.
    pub fn size(&self) -> u64 {
        self.verified.blobs().iter().map(|(_, size)| size).sum()
    }
}

/// Something that is installed and out of use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deprecated {
    /// `scope/name`.
    pub plugin: String,
    /// Tool, agent or blueprint.
    pub component: String,
    /// Since when, and what to use instead.
    pub deprecation: Deprecation,
}

/// What would be done.
#[derive(Clone, PartialEq, Debug)]
pub struct Prepared {
    /// Every plugin that is needed, sorted by name.
    pub steps: Vec<Step>,
    /// The lock after it.
    pub lock: Lock,
    /// Entries of the old lock that nothing needs any more.
    pub dropped: Vec<LockedPackage>,
    /// What a person should look at: near names (T028), what is asked for and not granted (G003).
    pub warnings: Vec<Problem>,
    /// What is out of use.
    pub deprecated: Vec<Deprecated>,
    accepted: bool,
    closed: Option<Closed>,
}

impl Prepared {
    /// What nobody may let through without looking: G003 for wider capabilities, T047 for new signers and for a
    /// changed interface. Empty when nothing of that kind changes.
    pub fn needs_acceptance(&self) -> Vec<Problem> {
        let updates = self.steps.iter().filter_map(|step| match &step.change {
            Change::Update(diff) => Some((step, diff)),
            Change::New | Change::Same => None,
        });
        updates.flat_map(|(step, diff)| diff.problems(&step.locked.name)).collect()
    }

    /// Says that somebody looked at [`Prepared::needs_acceptance`] and wants it all the same.
    #[must_use]
    pub fn accept(mut self) -> Self {
        self.accepted = true;
        self
    }

    /// What may not be applied: everything that needs acceptance and has none.
    fn refusals(&self) -> Vec<Problem> {
        if self.accepted { Vec::new() } else { self.needs_acceptance() }
    }
}

/// The plugin of this name that an organisation locked. R001 for everything else, also for what other organisations
/// have in the same store: whether that exists is not theirs to know.
pub fn visible<'a>(name: &str, org_lock: &'a Lock) -> Result<&'a LockedPackage, Problem> {
    let name = ice_core::manifest::qualified(name);
    org_lock.find(&name).ok_or_else(|| {
        let shown = ice_core::manifest::printable(&name);
        Problem::new(Code::R001, format!("there is no plugin `{shown}`")).help("`ice list` shows what is there")
    })
}

/// For a message: whose keys.
fn keys(keys: &[Digest]) -> String {
    keys.iter().map(Digest::short).collect::<Vec<_>>().join(", ")
}
