//! SHA-256 as text: what makes writing the same thing twice visible.

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of the parts, each with its length so that borders count, in hexadecimal.
pub(crate) fn of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first twelve digits: enough to tell names apart, short enough to read.
pub(crate) fn short(parts: &[&str]) -> String {
    of(parts)[..12].to_owned()
}
