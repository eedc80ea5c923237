//! Writing an archive: everything is verified first, laid out anew from what was verified, and sorted.
//!
//! Equal plugins give equal bytes, on every machine and on every day.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use ice_core::id::Digest;
use ice_core::manifest::Manifest;
use ice_core::problem::{Code, Problem};
use semver::Version;

use super::form::{self, BLOCK, Member};
use super::gzip::Packer;
use super::{Extras, Limits};
use crate::files;
use crate::layout::LAYOUT;
use crate::oci::{Index, to_json};
use crate::store::{Store, StoreEntry};
use crate::trust::Trust;
use crate::verify::Verified;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Plugins, kits and bundles.
    pub entries: usize,
    /// Bytes before compression.
    pub expanded: u64,
    /// Bytes of the archive.
    pub compressed: u64,
}

/// Where the bytes of an entry are.
enum Content {
    Here(Vec<u8>),
    /// In the store: this artifact or file of the plugin of this number.
    Stored(usize, Digest),
}

/// Writes `entries` and `extras`. Each plugin and each of its blobs is verified before it is written; names of files
/// come from digests, never from what a plugin calls them. Fails like [`Store::verified`] and [`Store::blob`], with
/// R003 when one version is there with two contents, T029 when nobody could read it back, R004 when `out` fails.
pub fn write(
    store: &Store,
    trust: &Trust,
    entries: &[StoreEntry],
    extras: &Extras,
    out: &mut dyn Write,
) -> Result<Written, Problem> {
    let limits = Limits::STANDARD;
    let plugins = verify_all(store, trust, entries)?;
    let contents = lay_out(store, &plugins, extras)?;
    if contents.len() > limits.entries {
        let message = format!("the archive would have {} entries, the limit is {}", contents.len(), limits.entries);
        return Err(Problem::new(Code::T029, message).help("split it: one archive for each bundle"));
    }
    let mut packer = Packer::new(out, limits)?;
    for (member, content) in contents.values() {
        let stored;
        let bytes = match content {
            Content::Here(bytes) => bytes,
            Content::Stored(plugin, digest) => {
                stored = store.blob(&plugins[*plugin].1, digest)?;
                &stored
            }
        };
        let size = bytes.len() as u64;
        packer.write(&form::write(member, size))?;
        packer.write(bytes)?;
        packer.write(&[0; BLOCK][..form::padding(size)])?;
    }
    packer.write(&[0; 2 * BLOCK])?;
    let (expanded, compressed) = packer.finish()?;
    Ok(Written { entries: plugins.len(), expanded, compressed })
}

/// Every plugin once, sorted by name and version.
fn verify_all<'a>(
    store: &Store,
    trust: &Trust,
    entries: &'a [StoreEntry],
) -> Result<Vec<(&'a StoreEntry, Verified<Manifest>)>, Problem> {
    let mut plugins: BTreeMap<(&str, &Version), (&StoreEntry, Verified<Manifest>)> = BTreeMap::new();
    for entry in entries {
        let verified = store.verified(entry, trust)?;
        let before = plugins.insert((&entry.name, &entry.version), (entry, verified));
        let now = &plugins[&(entry.name.as_str(), &entry.version)].1;
        if before.is_some_and(|(_, before)| before.statement() != now.statement()) {
            let message = format!("`{}` {} is to be written with two contents", entry.name, entry.version);
            return Err(Problem::new(Code::R003, message).help("name each version once"));
        }
    }
    Ok(plugins.into_values().collect())
}

/// Every entry by its name. A plugin's OCI documents are made anew from its verified manifest.
fn lay_out(
    store: &Store,
    plugins: &[(&StoreEntry, Verified<Manifest>)],
    extras: &Extras,
) -> Result<BTreeMap<String, (Member, Content)>, Problem> {
    let mut contents = BTreeMap::new();
    let mut put = |member: Member, content: Content| {
        contents.insert(member.name(), (member, content));
    };
    let mut index = Index::default();
    for (number, (entry, verified)) in plugins.iter().enumerate() {
        let packed = store.ready(verified.clone(), &store.envelope(entry)?)?.packed;
        for (digest, _) in verified.blobs() {
            put(Member::Blob(digest), Content::Stored(number, digest));
        }
        for bytes in [packed.config, packed.manifest] {
            put(Member::Blob(Digest::of(&bytes)), Content::Here(bytes));
        }
        index.manifests.push(packed.entry);
    }
    put(Member::Layout, Content::Here(LAYOUT.as_bytes().to_vec()));
    put(Member::Index, Content::Here(to_json(&index)));
    for (member, document) in [(Member::Revoked, &extras.revoked), (Member::MarketIndex, &extras.index)] {
        if let Some(document) = document {
            put(member, Content::Here(document.to_bytes()));
        }
    }
    Ok(contents)
}

/// Like [`write()`], into a file that appears when it is whole, in place of one that was there.
pub fn to_file(
    store: &Store,
    trust: &Trust,
    entries: &[StoreEntry],
    extras: &Extras,
    path: &Path,
) -> Result<Written, Problem> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = files::fresh_name(folder, ".new-")?;
    let failed = |error: io::Error| files::io_problem(Code::R004, "write", path, &error);
    // Nothing in it is secret: it gets the mode that other files of this user get.
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(failed)?;
    let mut out = BufWriter::new(&mut file);
    let written = write(store, trust, entries, extras, &mut out);
    drop(out);
    let written = written.and_then(|written| {
        let placed = file.sync_all().and_then(|()| std::fs::rename(&temporary, path));
        placed.and_then(|()| files::sync_folder(folder)).map_err(failed).map(|()| written)
    });
    if written.is_err() {
        // Best effort: what matters is the error.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
