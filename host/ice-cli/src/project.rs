//! What a project asks for and pins: `[plugins]` and `[grants]` in `ice.toml`, and `ice.lock` beside it.
//!
//! Both files are edited in place: what people wrote beside, comments too, stays. Resolving is the registry's.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;

use ice_core::bundle::Needs;
use ice_core::grant::Grant;
use ice_core::lock::Lock;
use ice_core::problem::{Code, Problem};
use toml_edit::{DocumentMut, Item, Table};

use crate::config::Config;
use crate::files;
use crate::output::Output;

/// The right to change the project: nobody else does while it lives, and a process that dies gives it back.
pub(crate) struct Changing {
    _folder: File,
}

/// Waits until nobody else changes the project, and begins. Whoever writes the lock or the settings reads them after
/// this, so that what others wrote meanwhile stays.
pub(crate) fn begin(config: &Config, output: &Output) -> Result<Changing, Problem> {
    let path = config.lock.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let refuse = |error: std::io::Error| {
        Problem::new(Code::C002, format!("the project cannot be locked: {error}")).file(path.display().to_string())
    };
    // The folder itself, so that no file of ours lies beside what people keep in version control.
    let folder = File::open(path).map_err(refuse)?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            output.note("another command changes this project; waiting for it");
            folder.lock().map_err(refuse)?;
        }
        Err(TryLockError::Error(error)) => return Err(refuse(error)),
    }
    Ok(Changing { _folder: folder })
}

/// The lock; an empty one when there is no file (M007).
pub(crate) fn lock(config: &Config) -> Result<Lock, Problem> {
    if !config.lock.exists() {
        return Ok(Lock::default());
    }
    let text = files::read_text(&config.lock)?;
    Lock::parse(&text).map_err(|problem| problem.file(config.lock.display().to_string()))
}

/// Writes the lock in one step, when it differs from what is there.
pub(crate) fn write_lock(config: &Config, lock: &Lock) -> Result<(), Problem> {
    let text = lock.print();
    if std::fs::read_to_string(&config.lock).is_ok_and(|there| there == text) {
        return Ok(());
    }
    files::replace(&config.lock, text.as_bytes())
}

/// Writes grants into the settings file.
pub(crate) fn write_grants(config: &Config, grants: &BTreeMap<String, Grant>) -> Result<(), Problem> {
    edit(config, "grants", |table| {
        for (name, grant) in grants {
            let document = toml_edit::ser::to_document(grant).map_err(|error| error.to_string())?;
            table.insert(name, Item::Table(document.as_table().clone()));
        }
        Ok(())
    })
}

/// Writes requirements into the settings file: `"scope/name" = "^1"`.
pub(crate) fn write_wants(config: &Config, wants: &[Needs]) -> Result<(), Problem> {
    edit(config, "plugins", |table| {
        for needs in wants {
            table.insert(&needs.name, toml_edit::value(needs.req.to_string()));
        }
        Ok(())
    })
}

/// Takes a name out of `[plugins]` and `[grants]`.
pub(crate) fn forget(config: &Config, name: &str) -> Result<(), Problem> {
    for section in ["plugins", "grants"] {
        edit(config, section, |table| {
            table.remove(name);
            Ok(())
        })?;
    }
    Ok(())
}

fn edit(
    config: &Config,
    section: &str,
    edit: impl FnOnce(&mut dyn toml_edit::TableLike) -> Result<(), String>,
) -> Result<(), Problem> {
    let place = config.file.display().to_string();
    let text = if config.file.exists() { files::read_text(&config.file)? } else { String::new() };
    let refuse =
        |why: String| Problem::new(Code::C004, format!("the settings cannot be changed: {why}")).file(place.clone());
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| refuse(error.to_string()))?;
    let item = document.entry(section).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let table = item.as_table_like_mut().ok_or_else(|| refuse(format!("`{section}` is not a table")))?;
    edit(table).map_err(refuse)?;
    if table.is_empty() {
        document.remove(section);
    }
    let after = document.to_string();
    if after == text {
        return Ok(());
    }
    files::replace(&config.file, after.as_bytes())
}
