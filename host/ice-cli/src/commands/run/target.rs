//! What `ice run` is asked to run: a file, a stored blueprint, or an entry of a bundle.

use std::path::{Path, PathBuf};

use ice_core::blueprint::{self, Parsed, did_you_mean};
use ice_core::catalog::{BundleEntry, Catalog};
use ice_core::id::Digest;
use ice_core::manifest::short;
use ice_core::ports::{Components, Documents};
use ice_core::problem::{Code, Problem};
use ice_engine::VERSIONS_MAX;

use crate::commands::blueprints::stored;
use crate::commands::build;
use crate::wire::Host;

/// How names of blueprint files end.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Files of the folder that are proposed.
const PROPOSED_MAX: usize = 100;

pub(in crate::commands) enum Target {
    /// `-` is standard input.
    File(PathBuf),
    /// The name it was found under, and its id.
    Stored(String, Digest),
    /// Its full name.
    Bundle(String),
}

impl Target {
    /// Reads the blueprint.
    pub(in crate::commands) async fn load(&self, host: &Host, store: &dyn Documents) -> Result<Parsed, Vec<Problem>> {
        match self {
            Self::File(path) => build::parse_file(path),
            Self::Stored(_, digest) => stored::read(store, digest).await,
            Self::Bundle(entry) => {
                let components: &dyn Components = &*host.runtime;
                let document = components.blueprint(entry).await.map_err(|failure| vec![failure.problem])?;
                blueprint::parse(&document.to_string(), entry)
            }
        }
    }

    /// How to name it when it is run again. What came from standard input is in the store by then.
    pub(in crate::commands) fn again(&self, digest: &Digest) -> String {
        match self {
            Self::File(path) if path == Path::new("-") => digest.to_string(),
            Self::File(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
            Self::Stored(name, _) | Self::Bundle(name) => name.clone(),
        }
    }
}

/// Finds what `name` means. What looks like a path is one; any other name must mean one thing only.
pub(in crate::commands) async fn find(name: &str, catalog: &Catalog, store: &dyn Documents) -> Result<Target, Problem> {
    let path = Path::new(name);
    let ends_as_file = path.extension().and_then(|end| end.to_str()).is_some_and(|end| ENDINGS.contains(&end));
    let begins_as_path = name.starts_with('/') || name.starts_with("./") || name.starts_with("../");
    if name == "-" || begins_as_path || (ends_as_file && path.exists()) {
        return Ok(Target::File(path.to_owned()));
    }
    let mut found = Vec::new();
    if path.is_file() {
        found.push((format!("the file `./{name}`"), Target::File(path.to_owned())));
    }
    for entry in entries(name, catalog) {
        found.push((format!("the blueprint `{entry}` of a bundle"), Target::Bundle(entry)));
    }
    if let Some(digest) = stored::find(store, name).await? {
        let range = if name.contains('@') || name.contains(':') { "" } else { "@*" };
        let target = Target::Stored(name.to_owned(), digest);
        found.push((format!("the stored blueprint `{name}{range}`"), target));
    }
    match found.len() {
        0 => Err(unknown(name, catalog, store).await),
        1 => Ok(found.remove(0).1),
        _ => {
            let words: Vec<&str> = found.iter().map(|(words, _)| words.as_str()).collect();
            let problem = Problem::new(Code::C001, format!("`{name}` means more than one thing"));
            Err(problem.help(format!("say which: {}", words.join(", or "))))
        }
    }
}

/// The full names of the entries that `name` means: an entry itself, or the one its bundle starts with.
fn entries(name: &str, catalog: &Catalog) -> Vec<String> {
    if catalog.blueprints.contains_key(name) {
        return vec![name.to_owned()];
    }
    let meant = |entry: &&std::sync::Arc<BundleEntry>| {
        entry.entrypoint && (entry.plugin == name || short(&entry.plugin) == name)
    };
    catalog.blueprints.values().filter(meant).map(|entry| entry.name.clone()).collect()
}

async fn unknown(name: &str, catalog: &Catalog, store: &dyn Documents) -> Problem {
    let problem = Problem::new(Code::R001, format!("there is no blueprint `{name}`: no file, stored or in a bundle"));
    let rows = match store.versions(None, VERSIONS_MAX).await {
        Ok(rows) => rows,
        Err(failure) => return failure.problem,
    };
    let of_name = name.split('@').next().filter(|_| name.contains('@'));
    let versions = rows.iter().filter(|row| of_name == Some(row.name.as_str()));
    let mut known: Vec<String> = versions.map(|row| format!("{}@{}", row.name, row.version)).collect();
    if known.is_empty() {
        known.extend(rows.into_iter().map(|row| row.name));
        known.extend(catalog.blueprints.keys().cloned());
        known.extend(catalog.blueprints.values().map(|entry| short(&entry.plugin).to_owned()));
        known.extend(files_here());
        known.sort();
        known.dedup();
    }
    match did_you_mean(
        of_name.filter(|_| !known.iter().any(|one| one.contains('@'))).unwrap_or(name),
        known.iter().map(String::as_str),
    ) {
        Some(help) => problem.help(help),
        None => problem.help("name a file, `ice blueprints push FILE` one, or `ice install` a bundle"),
    }
}

/// Names of files in this folder that could be blueprints.
fn files_here() -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(".") else { return Vec::new() };
    let names = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let ends = |name: &String| name.rsplit_once('.').is_some_and(|(_, end)| ENDINGS.contains(&end));
    names.filter(ends).take(PROPOSED_MAX).collect()
}
