//! The lock's entry of a verified plugin, and whether what was found is what an entry pins.

use ice_core::id::Digest;
use ice_core::lock::{LockedArtifact, LockedPackage};
use ice_core::manifest::Manifest;
use ice_core::problem::{Code, Problem};

use super::keys;
use crate::verify::Verified;

/// The entry of a plugin. `granted` is in words; `dependencies` are `scope/name version`. Where it came from is left
/// out; whoever fetched it knows.
pub fn locked_entry(verified: &Verified<Manifest>, granted: Vec<String>, dependencies: Vec<String>) -> LockedPackage {
    let manifest = verified.value();
    let artifact = |(digest, size): (Digest, u64)| {
        let named = manifest.components.iter().find(|component| component.artifact == digest);
        LockedArtifact { name: named.map(|component| component.name.clone()).unwrap_or_default(), digest, size }
    };
    LockedPackage {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        kind: manifest.kind,
        sequence: manifest.sequence,
        source: None,
        oci_digest: None,
        statement: verified.statement(),
        manifest: verified.digest(),
        artifacts: manifest.artifacts().into_iter().map(artifact).collect(),
        signed_by: verified.signers().to_vec(),
        interface: manifest.interface(),
        granted,
        dependencies,
    }
}

/// T039 when what was found is not what the entry pins.
pub fn check_pin(locked: &LockedPackage, verified: &Verified<Manifest>) -> Result<(), Problem> {
    let differs = locked.differs(&locked_entry(verified, Vec::new(), Vec::new()));
    if differs.is_empty() {
        return Ok(());
    }
    let (name, version) = (&locked.name, &locked.version);
    let message = format!(
        "`{name}` {version} is not what the lock pins ({}): expected {}, got {}",
        differs.join(", "),
        locked.statement.short(),
        verified.statement().short()
    );
    Err(Problem::new(Code::T039, message).help(
        "a released version never changes: ask its publisher what happened; if the lock was edited, restore it from \
         version control",
    ))
}

/// T039 when a key that signed what was locked did not sign this, or the lock names none.
pub fn check_signers(locked: &LockedPackage, verified: &Verified<Manifest>) -> Result<(), Problem> {
    let missing = locked.missing_signers(verified.signers());
    if missing.is_empty() && !locked.signed_by.is_empty() {
        return Ok(());
    }
    let name = &locked.name;
    let message = format!(
        "the lock says `{name}` is signed by {}, this one is by {}",
        if missing.is_empty() { "nobody".to_owned() } else { keys(&missing) },
        keys(verified.signers())
    );
    Err(Problem::new(Code::T039, message).help(format!("`ice update {name}` shows who signed and asks about it")))
}
