//! The folder an index is built from: one file a plugin, one line a release, made to be kept in git.
//!
//! `rows/<scope>/<name>.jsonl`: the plugin on the first line, then its releases. Who may write here decides what the
//! index says, as with the source of a program; the index key signs the result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ice_core::id::Digest;
use ice_core::manifest::{Manifest, UnixSeconds, canonical, hidden, parse_strict, printable};
use ice_core::problem::{Code, Problem};
use semver::Version;
use serde_json::Value;

use super::header::ROWS_MAX;
use super::read_bounded;
use super::row::{ROW_BYTES_MAX, Row};
use crate::files;
use crate::verify::Verified;

const REASON_CHARS_MAX: usize = 120;

/// The rows of an index with the folder they live in.
#[derive(Clone, PartialEq, Debug)]
pub struct Ledger {
    folder: PathBuf,
    rows: BTreeMap<String, Row>,
    /// Names as they read: without `-` and `_`.
    // Invariant: one entry a row.
    read_as: BTreeMap<String, String>,
}

impl Ledger {
    /// Reads the folder; one that is not there is an empty ledger. T049 names the file that cannot be read.
    pub fn open(folder: &Path) -> Result<Self, Problem> {
        let mut ledger = Self { folder: folder.to_owned(), rows: BTreeMap::new(), read_as: BTreeMap::new() };
        for scope in entries(&folder.join("rows"))? {
            for path in entries(&scope)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "jsonl")) {
                let at = |problem: Problem| problem.file(path.display().to_string());
                let bytes = read_bounded(&path, ROW_BYTES_MAX as u64 * 2)?.unwrap_or_default();
                let row = read(&bytes).map_err(at)?;
                if ledger.path(&row.name) != path {
                    return Err(at(refuse(&format!("it is about `{}`, which belongs into another file", row.name))));
                }
                ledger.keep(row).map_err(at)?;
            }
        }
        Ok(ledger)
    }

    /// Every row, by name.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// What is known of `scope/name`.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.get(name)
    }

    /// Adds a release, as [`Row::add_version`] does. T027 for a new name that reads the same as one that is there.
    pub fn add(
        &mut self,
        verified: &Verified<Manifest>,
        oci_digest: Digest,
        first_seen: UnixSeconds,
    ) -> Result<&Row, Problem> {
        let name = &verified.value().name;
        let row = match self.rows.get(name) {
            Some(row) => {
                let mut row = row.clone();
                row.add_version(verified, oci_digest, first_seen)?;
                row
            }
            None => Row::new(verified, oci_digest, first_seen)?,
        };
        self.check_name(name)?;
        self.save(row)
    }

    /// Says why a version should no longer be installed newly; where it is locked it still runs. R001, T016.
    pub fn yank(&mut self, name: &str, version: &Version, reason: &str) -> Result<&Row, Problem> {
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
            let message = format!("a reason to yank has 1 to {REASON_CHARS_MAX} characters");
            return Err(Problem::new(Code::C001, message).help("say in a sentence what is wrong with the version"));
        }
        if let Some((character, what)) = hidden(reason) {
            let message = format!("the reason holds {what}, U+{:04X}", u32::from(character));
            return Err(Problem::new(Code::T016, message).help("remove it; plain text needs none"));
        }
        self.change(name, version, |row| row.yanked = Some(reason.to_owned()))
    }

    /// Takes a yank back (R001).
    pub fn unyank(&mut self, name: &str, version: &Version) -> Result<&Row, Problem> {
        self.change(name, version, |row| row.yanked = None)
    }

    /// Lists a version as a security release, which need not wait out a cooldown (R001).
    pub fn mark_security(&mut self, name: &str, version: &Version) -> Result<&Row, Problem> {
        self.change(name, version, |row| row.security = true)
    }

    fn change(
        &mut self,
        name: &str,
        version: &Version,
        change: impl FnOnce(&mut super::row::VersionRow),
    ) -> Result<&Row, Problem> {
        let absent = || {
            Problem::new(Code::R001, format!("the index has no plugin `{}`", printable(name)))
                .help("`ice search` shows the plugins that are there")
        };
        let mut row = self.rows.get(name).cloned().ok_or_else(absent)?;
        change(row.version_mut(version)?);
        self.save(row)
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        match self.read_as.get(&read_as(name)).filter(|other| *other != name) {
            Some(other) => Err(Problem::new(Code::T027, format!("`{name}` reads the same as `{other}`, which exists"))
                .help("choose a name that differs by more than `-` and `_`")),
            None => Ok(()),
        }
    }

    fn save(&mut self, row: Row) -> Result<&Row, Problem> {
        let path = self.path(&row.name);
        files::make_folder(path.parent().unwrap_or(&self.folder))?;
        files::replace(&path, &write(&row))?;
        self.keep(row)
    }

    fn keep(&mut self, row: Row) -> Result<&Row, Problem> {
        self.check_name(&row.name)?;
        if self.rows.len() as u64 >= ROWS_MAX && !self.rows.contains_key(&row.name) {
            return Err(Problem::new(Code::T029, format!("an index has at most {ROWS_MAX} plugins")));
        }
        self.read_as.insert(read_as(&row.name), row.name.clone());
        let entry = self.rows.entry(row.name.clone()).insert_entry(row);
        Ok(entry.into_mut())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join("rows").join(format!("{name}.jsonl"))
    }
}

fn read_as(name: &str) -> String {
    name.chars().filter(|character| !matches!(character, '-' | '_')).collect()
}

fn refuse(why: &str) -> Problem {
    Problem::new(Code::T049, format!("a file of the ledger cannot be used: {why}"))
        .help("restore it from the history of the ledger")
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(files::io_problem(Code::C002, "read", folder, &error)),
    };
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(|error| files::io_problem(Code::C002, "read", folder, &error))
}

/// A release a line, so that a release is a line of a diff.
fn write(row: &Row) -> Vec<u8> {
    let mut document = serde_json::to_value(row).expect("a row has only string keys");
    let versions = document.get_mut("versions").map(Value::take).unwrap_or_default();
    let mut bytes = canonical(&document);
    for version in versions.as_array().into_iter().flatten() {
        bytes.push(b'\n');
        bytes.extend(canonical(version));
    }
    bytes.push(b'\n');
    bytes
}

fn read(bytes: &[u8]) -> Result<Row, Problem> {
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse_strict);
    let mut document = lines.next().unwrap_or_else(|| Err(refuse("it is empty")))?;
    let versions: Result<Vec<Value>, Problem> = lines.collect();
    let members = document.as_object_mut().ok_or_else(|| refuse("its first line is not a JSON object"))?;
    members.insert("versions".to_owned(), Value::Array(versions?));
    Row::parse(&canonical(&document))
}
