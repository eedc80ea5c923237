//! What the lock lets run: archives, the check of imports, and which installed plugins make the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ice_core::catalog::Catalog;
use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::lock::{Lock, granted_words};
use ice_core::manifest::{Manifest, printable};
use ice_core::problem::{Code, Problem};
use ice_registry::archive::{self, Archive};
use ice_registry::catalog::{Selected, Selection, catalog};
use ice_registry::store::Store as Plugins;
use ice_registry::trust::{Revoked, Trust};
use ice_registry::{Added, Signed, Verified};

use super::{Layout, now};
use crate::config::Config;
use crate::files;

/// What archives of plugins are called.
pub(crate) const ARCHIVE_ENDING: &str = ".ice.tgz";

/// This host's version, against `iceos_min`.
pub(crate) fn host_version() -> semver::Version {
    env!("CARGO_PKG_VERSION").parse().expect("cargo checks the version of a crate")
}

/// Compares what a component imports with what its signed manifest declares for it (T015, T035, T036).
pub(crate) fn inspect(verified: &Verified<Manifest>, digest: &Digest, bytes: &[u8]) -> Result<(), Problem> {
    let inspection = ice_runtime::inspect::inspect(bytes)?;
    let manifest = verified.value();
    for component in manifest.components.iter().filter(|component| component.artifact == *digest) {
        let declared = component.capabilities.as_ref().map(Grant::capabilities).unwrap_or_default();
        if let Some(hidden) = inspection.capabilities.difference(&declared).next() {
            let message = format!("`{}` imports `{hidden}`, its manifest does not declare it", component.name);
            return Err(Problem::new(Code::T015, message)
                .subject(format!("plugin `{}`", manifest.name))
                .help("ask its publisher for a release whose manifest says what it uses"));
        }
    }
    Ok(())
}

/// Reads an archive; its blobs lie in the store's `ingest` until it is dropped.
pub(crate) fn archive(file: &Path, plugins: &Plugins) -> Result<Archive, Problem> {
    let place = || file.display().to_string();
    if !place().ends_with(ARCHIVE_ENDING) || file.is_dir() {
        let message = format!("`{}` is no signed archive", printable(&place()));
        return Err(Problem::new(Code::T003, message).help("`ice bundle save NAME` writes one"));
    }
    let input = std::fs::File::open(file)
        .map_err(|error| Problem::new(Code::C002, format!("the file cannot be read: {error}")).file(place()))?;
    archive::read(std::io::BufReader::new(input), &plugins.layout().ingest_folder())
        .map_err(|problem| problem.file(place()))
}

/// Takes over the list of revocations that an archive brings, when somebody is believed to sign one and it is newer.
pub(crate) fn take_revocations(archive: &Archive, config: &Config) -> Result<(), Problem> {
    let Some(signed) = &archive.extras().revoked else { return Ok(()) };
    let folder = Layout(&config.home).trust();
    let trust = Trust::open(&folder)?;
    take_back(&folder, &trust, signed)
}

/// Takes a list of revocations over when it is newer than the one here. One that nobody here is believed to sign is
/// left alone.
pub(super) fn take_back(folder: &Path, trust: &Trust, signed: &Signed) -> Result<(), Problem> {
    let newest = trust.revoked().map_or(0, Revoked::version);
    let offered = Revoked::from_value(&signed.unchecked()?)?;
    if offered.version() <= newest {
        return Ok(());
    }
    match Trust::import_revocations(folder, signed, now()) {
        Err(problem) if problem.code == Code::T019 => Ok(()),
        imported => imported.map(|_| ()),
    }
}

/// The archives of `ICEOS_EXTRA_PLUGINS`, each with its file. What they say was taken back is taken over.
pub(super) fn read_extra(config: &Config, plugins: &Plugins) -> Result<Vec<(PathBuf, Archive)>, Problem> {
    let read = |file: &PathBuf| {
        let archive = archive(file, plugins)?;
        take_revocations(&archive, config).map_err(|problem| in_file(problem, file))?;
        Ok((file.clone(), archive))
    };
    config.extra_plugins.iter().map(read).collect()
}

fn in_file(problem: Problem, file: &Path) -> Problem {
    match problem.at {
        Some(ref at) if at.file.is_some() => problem,
        _ => problem.file(file.display().to_string()),
    }
}

/// Puts archives into the store. Under `--no-dynamic` the lock has to list what is in them (T045), and the store has to
/// be writable only for what it does not have yet.
pub(super) fn load_extra(
    archives: &[(PathBuf, Archive)],
    config: &Config,
    plugins: &Plugins,
    trust: &Trust,
    lock: &Lock,
) -> Result<(), Vec<Problem>> {
    for (file, archive) in archives {
        for entry in archive.entries().iter().filter(|_| config.no_dynamic) {
            let statement = archive.envelope(entry).and_then(|envelope| envelope.statement());
            if !lock.covers(&statement.map_err(|problem| vec![in_file(problem, file)])?) {
                let message = format!("`{}` {} is not in the lock", entry.name, entry.version);
                return Err(vec![in_file(unlisted(message, &entry.name), file)]);
            }
        }
        let at =
            |problems: Vec<Problem>| problems.into_iter().map(|problem| in_file(problem, file)).collect::<Vec<_>>();
        let loaded = archive.load(plugins, trust, now()).map_err(at)?;
        for (added, verified) in &loaded {
            keep_inspected(*added, verified, plugins).map_err(|problem| vec![in_file(problem, file)])?;
        }
    }
    Ok(())
}

/// Looks at what a loaded plugin imports. One that imports more than it declares goes again.
fn keep_inspected(added: Added, verified: &Verified<Manifest>, plugins: &Plugins) -> Result<(), Problem> {
    let manifest = verified.value();
    let mut artifacts = manifest.artifacts().into_iter();
    let found = artifacts.try_for_each(|(digest, _)| inspect(verified, &digest, &plugins.blob(verified, &digest)?));
    if found.is_err() && added == Added::New {
        plugins.remove(&manifest.name, Some(&manifest.version))?;
    }
    found
}

fn unlisted(message: String, name: &str) -> Problem {
    Problem::new(Code::T045, message).help(format!("`ice install {name}` where the lock is made, and deploy the lock"))
}

/// Which plugins can be called. Under `--no-dynamic` everything has to be as the lock says, or nothing starts.
pub(super) fn select(config: &Config, plugins: &Plugins, trust: &Trust, lock: &Lock) -> Result<Selected, Vec<Problem>> {
    if !config.no_dynamic {
        return Ok(catalog(plugins, trust, &config.grants, Selection::Locked(lock)));
    }
    let selected = catalog(plugins, trust, &config.grants, Selection::OnlyLocked(lock));
    let mut problems: Vec<Problem> = selected.left_out.iter().chain(&selected.unlisted).cloned().collect();
    problems.extend(wider_than_locked(&selected.catalog, lock));
    if problems.is_empty() { Ok(selected) } else { Err(problems) }
}

/// Grants that were widened after the lock was written (T039): the lock says what may be done, too. Looks at what every
/// component would be given, so it does not matter whether `ice.toml` or a scope of the trust policy gives it.
fn wider_than_locked(catalog: &Catalog, lock: &Lock) -> Vec<Problem> {
    let mut wider: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for callable in catalog.tools.values().chain(catalog.agents.values()) {
        let locked = lock.packages().iter().find(|package| Some(package.statement) == callable.statement);
        let written = locked.map(|package| package.granted.as_slice()).unwrap_or_default();
        let more = granted_words(&callable.granted).into_iter().filter(|word| !written.contains(word));
        wider.entry(&callable.plugin).or_default().extend(more);
    }
    wider.retain(|_, more| !more.is_empty());
    let problem = |(name, more): (&str, BTreeSet<String>)| {
        let more: Vec<String> = more.into_iter().collect();
        Problem::new(Code::T039, format!("`{name}` may do more than the lock says: {}", more.join(", ")))
            .subject(format!("plugin `{name}`"))
            .help(format!("`ice plugins grant {name}` where the lock is made writes it down there"))
    };
    wider.into_iter().map(problem).collect()
}

/// One warning for all of them.
pub(super) fn unlisted_together(unlisted: &[Problem]) -> Option<Problem> {
    let first = unlisted.first()?;
    if unlisted.len() == 1 {
        return Some(first.clone());
    }
    let names: Vec<&str> = subjects(unlisted).collect();
    let message = format!("the lock does not list {} of the plugins here: {}", names.len(), names.join(", "));
    Some(Problem::new(Code::T045, message).help("`ice install NAME` adds one; `ice remove NAME` takes it away"))
}

fn subjects(unlisted: &[Problem]) -> impl Iterator<Item = &str> {
    unlisted.iter().filter_map(|problem| problem.at.as_ref()?.subject.as_deref())
}

/// Keeps what a run warned about; nothing to warn about removes it.
pub(super) fn remember_unlisted(config: &Config, unlisted: &[Problem]) -> Result<(), Problem> {
    let path = Layout(&config.home).unlisted();
    if unlisted.is_empty() {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Problem::new(Code::C002, format!("the file cannot be removed: {error}")))
            }
            _ => Ok(()),
        };
    }
    files::replace(&path, &serde_json::to_vec(unlisted).expect("problems have only string keys"))
}

/// What the last run warned about: plugins that it could call although no lock lists them.
pub(crate) fn unlisted_before(config: &Config) -> Vec<Problem> {
    let bytes = std::fs::read(Layout(&config.home).unlisted()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
