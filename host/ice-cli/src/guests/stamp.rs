//! Remembers what the components were built from, so that building them again does nothing.
//!
//! The stamp is a digest of every source file, the compiler and this program; it is trusted only when the components
//! are still the bytes that were placed.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ice_core::id::Digest;
use ice_core::problem::Problem;
use serde::{Deserialize, Serialize};

use super::{Built, COMPONENTS, Guest, Toolchain, cannot, javascript, python, write_if_changed};

/// Folders beside the plugin workspace that guests are built from.
const SHARED: &[&str] = &["../wit", "../sdk/rust", "../sdk/macros"];

/// Folders that compilers and interpreters leave beside the source.
const LEFT_OUT: &[&str] = &["target", "__pycache__", "node_modules"];

#[derive(Serialize, Deserialize)]
struct Stamp {
    sources: Digest,
    components: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    label: String,
    digest: Digest,
}

fn file(plugins: &Path) -> PathBuf {
    plugins.join(COMPONENTS).join("built.json")
}

/// Waits until no other build of this workspace runs, and keeps others away until the file is dropped.
pub(super) fn lock(plugins: &Path) -> Result<File, Problem> {
    let folder = plugins.join(COMPONENTS);
    std::fs::create_dir_all(&folder).map_err(|error| cannot("write", &folder, &error))?;
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(|error| cannot("write", &path, &error))?;
    file.lock().map_err(|error| cannot("lock", &path, &error))?;
    Ok(file)
}

/// Digest of everything the components are made from.
pub(super) fn fingerprint(plugins: &Path, toolchain: Option<&Toolchain>) -> Result<Digest, Problem> {
    let mut text = toolchain.map(ToString::to_string).unwrap_or_default();
    if let Ok(program) = std::env::current_exe().and_then(|path| path.metadata()) {
        // Texts and bundles are encoded by this program; another build of it may encode them otherwise.
        text += &format!("\n{} {:?}", program.len(), program.modified().ok());
    }
    for tool in [python::tool(plugins), javascript::tool(plugins)].into_iter().flatten() {
        text += &format!("\n{}", tool.name);
    }
    let mut files = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for folder in std::iter::once(plugins.to_owned()).chain(SHARED.iter().map(|folder| plugins.join(folder))) {
        walk(&folder, &mut seen, &mut files)?;
    }
    for file in files {
        let bytes = std::fs::read(&file).map_err(|error| cannot("read", &file, &error))?;
        text += &format!("\n{:?} {}", file, Digest::of(&bytes));
    }
    Ok(Digest::of(text.as_bytes()))
}

/// Collects files; leaves out what compilers and version control keep, and what starts with a dot. Follows links, and goes
/// into no folder twice, so that a link to a folder above ends.
pub(super) fn walk(folder: &Path, seen: &mut BTreeSet<PathBuf>, files: &mut BTreeSet<PathBuf>) -> Result<(), Problem> {
    let fail = |error: &std::io::Error| cannot("read", folder, error);
    let real = match std::fs::canonicalize(folder) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(&error)),
    };
    if !seen.insert(real) {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(|error| fail(&error))? {
        let entry = entry.map_err(|error| fail(&error))?;
        let (name, path) = (entry.file_name(), entry.path());
        // A link that leads nowhere is nothing that could be built from.
        let Ok(kind) = std::fs::metadata(&path) else { continue };
        if name.as_encoded_bytes().starts_with(b".") || (kind.is_dir() && LEFT_OUT.iter().any(|left| name == *left)) {
            continue;
        }
        if kind.is_dir() {
            walk(&path, seen, files)?;
        } else if kind.is_file() {
            files.insert(path);
        }
    }
    Ok(())
}

/// The components, when nothing they are made from changed and each is still what was placed.
pub(super) fn unchanged(plugins: &Path, sources: &Digest, guests: &[&Guest]) -> Option<Vec<Built>> {
    let stamp: Stamp = serde_json::from_slice(&std::fs::read(file(plugins)).ok()?).ok()?;
    if stamp.sources != *sources {
        return None;
    }
    guests
        .iter()
        .map(|guest| {
            let row = stamp.components.iter().find(|row| row.label == guest.label())?;
            let path = guest.component(plugins);
            let bytes = std::fs::read(&path).ok().filter(|bytes| Digest::of(bytes) == row.digest)?;
            let bytes = bytes.len() as u64;
            Some(Built { label: guest.label(), path, bytes, changed: false, after: Duration::ZERO })
        })
        .collect()
}

/// Leaves the stamp. Guests that were not asked for this time are left out, so that they are built when they are.
pub(super) fn write(plugins: &Path, sources: &Digest, built: &[Built]) -> Result<(), Problem> {
    let mut components = Vec::new();
    for built in built {
        let bytes = std::fs::read(&built.path).map_err(|error| cannot("read", &built.path, &error))?;
        components.push(Row { label: built.label.clone(), digest: Digest::of(&bytes) });
    }
    let stamp = Stamp { sources: *sources, components };
    let text = serde_json::to_vec_pretty(&stamp).expect("a stamp prints");
    write_if_changed(&file(plugins), &text).map(drop)
}
