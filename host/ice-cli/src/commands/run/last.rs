//! What was run last, for `ice run --last`: one entry a folder, in the home.

use std::collections::BTreeMap;

use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::files;
use crate::wire::{Layout, now};

/// Folders that are remembered; beyond it the one that was not used for longest is forgotten.
const FOLDERS_MAX: usize = 100;

/// What was run.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Last {
    /// As `ice run` takes it; a file with its whole path.
    pub(super) target: String,
    pub(super) inputs: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    at: u64,
    #[serde(flatten)]
    last: Last,
}

type Folders = BTreeMap<String, Entry>;

/// What was run last in this folder.
pub(super) fn read(config: &Config) -> Result<Last, Problem> {
    let nothing =
        || Problem::new(Code::C001, "nothing was run in this folder yet").help("`ice run FILE` runs something");
    load(config)?.remove(&folder()?).map(|entry| entry.last).ok_or_else(nothing)
}

/// Remembers what was run.
pub(super) fn write(config: &Config, last: Last) -> Result<(), Problem> {
    // A file that cannot be read any more is written anew.
    let mut folders = load(config).unwrap_or_default();
    folders.insert(folder()?, Entry { at: now(), last });
    while folders.len() > FOLDERS_MAX {
        let oldest = folders.iter().min_by_key(|(_, entry)| entry.at).map(|(folder, _)| folder.clone());
        oldest.and_then(|folder| folders.remove(&folder));
    }
    let text = serde_json::to_string_pretty(&folders).expect("plain data prints");
    files::replace(&Layout(&config.home).last_runs(), text.as_bytes())
}

fn load(config: &Config) -> Result<Folders, Problem> {
    let path = Layout(&config.home).last_runs();
    if !path.exists() {
        return Ok(Folders::new());
    }
    serde_json::from_str(&files::read_text(&path)?).map_err(|error| {
        Problem::new(Code::C002, format!("what was run last cannot be read: {error}"))
            .file(path.display().to_string())
            .help("name what to run; the file is then written anew")
    })
}

fn folder() -> Result<String, Problem> {
    let folder = std::env::current_dir()
        .map_err(|error| Problem::new(Code::C003, format!("the current folder is not known: {error}")))?;
    Ok(folder.display().to_string())
}
