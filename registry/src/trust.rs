//! The trust store: which keys the operator believes, and for which names.
//!
//! `~/.iceos/trust/` holds `keys/<hex>.pem`, `keys/<hex>.toml` and `policy.toml`. Nothing in it is secret; everything
//! in it decides what runs, so only its owner may write there. There is no way to say "believe anyone".

mod policy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ice_core::id::Digest;
use ice_core::manifest::{check_name, printable};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};

pub use policy::Scope;

use crate::files::{self, Guard};
use crate::keys::PublicKey;
use crate::verify::short;

/// A policy of hundreds of scopes stays far below.
const POLICY_BYTES_MAX: u64 = 1 << 20;
const KEY_BYTES_MAX: u64 = 16 << 10;
const POLICY: &str = "policy.toml";

/// What people wrote down about a key. Decides nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct KeyNotes {
    /// A name for the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Whose it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// What it is used for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
}

/// A believed key with its notes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// What people wrote down.
    pub notes: KeyNotes,
}

/// The trust store as it was when it was opened.
#[derive(Clone, PartialEq, Debug)]
pub struct Trust {
    folder: PathBuf,
    keys: BTreeMap<Digest, TrustedKey>,
    scopes: Vec<Scope>,
}

impl Trust {
    /// Reads the folder. One that is not there is a store that trusts nobody. Fails with T010 for a folder, file or
    /// link that others could change, T005 and T025 for keys, T024 for the policy.
    pub fn open(folder: &Path) -> Result<Self, Problem> {
        let mut trust = Self { folder: folder.to_owned(), keys: BTreeMap::new(), scopes: Vec::new() };
        if !files::check_folder(folder)? {
            return Ok(trust);
        }
        trust.keys = read_keys(&folder.join("keys"))?;
        let path = folder.join(POLICY);
        if let Some(bytes) = files::read_guarded(&path, Guard::Own, POLICY_BYTES_MAX)? {
            let at = |problem: Problem| problem.file(path.display().to_string());
            trust.scopes = policy::parse(&bytes).map_err(at)?;
            trust.check_scopes().map_err(at)?;
        }
        Ok(trust)
    }

    fn check_scopes(&self) -> Result<(), Problem> {
        for scope in &self.scopes {
            if let Some(missing) = scope.keys.iter().find(|keyid| !self.keys.contains_key(keyid)) {
                let message = format!("scope `{}` names key {}, which is not in `keys/`", scope.name, short(missing));
                return Err(Problem::new(Code::T024, message)
                    .help(format!("add it: `ice keys trust KEY.pem --scope '{}'`, or remove the line", scope.name)));
            }
        }
        Ok(())
    }

    /// The folder this was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every believed key with its notes, by id.
    pub fn trusted_keys(&self) -> &BTreeMap<Digest, TrustedKey> {
        &self.keys
    }

    /// Every scope, in the order of the policy.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    pub(crate) fn key(&self, keyid: &Digest) -> Option<&PublicKey> {
        self.keys.get(keyid).map(|trusted| &trusted.key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values().map(|trusted| &trusted.key)
    }

    /// The scope that decides about `name`: the exact one, else the longest prefix. T019 names the one command to run
    /// when there is none, T018 refuses what is no name.
    pub fn scope_for(&self, name: &str) -> Result<&Scope, Problem> {
        check_name(name)?;
        let fitting = self.scopes.iter().filter(|scope| scope.holds(name));
        fitting.max_by_key(|scope| scope.rank()).ok_or_else(|| {
            let message = if self.scopes.is_empty() {
                format!("nobody is trusted yet, so nobody can have signed `{name}`")
            } else {
                format!("the trust policy has no scope for `{name}`")
            };
            let publisher = name.split('/').next().unwrap_or(name);
            Problem::new(Code::T019, message).help(format!(
                "get the publisher's public key and run `ice keys trust KEY.pem --scope '{publisher}/*'`"
            ))
        })
    }

    /// Believes `key` for every name in `scopes`, writes that down, and returns the store as it is then. A scope that
    /// exists gets the key added; its threshold stays.
    pub fn add_key(folder: &Path, key: &PublicKey, notes: &KeyNotes, scopes: &[&str]) -> Result<Self, Problem> {
        for scope in scopes {
            policy::check_pattern(scope)?;
        }
        let folder_of_keys = folder.join("keys");
        files::make_folder(&folder_of_keys)?;
        let _lock = Self::lock(folder)?;
        let before = Self::open(folder)?;
        let notes_text = toml::to_string(notes).expect("notes are a flat table");
        files::replace(&folder_of_keys.join(format!("{}.toml", key.id().hex())), notes_text.as_bytes())?;
        files::replace(&folder_of_keys.join(format!("{}.pem", key.id().hex())), key.to_pem().as_bytes())?;
        if !scopes.is_empty() {
            before.edit_policy(|document| {
                scopes.iter().for_each(|scope| policy::add_key(document, scope, &key.id()));
            })?;
        }
        Self::open(folder)
    }

    /// Stops believing a key: takes it out of every scope, a scope without keys out of the policy, and its files away.
    /// T024 when a scope would be left with fewer keys than its threshold; R001 when the key is not here.
    pub fn remove_key(folder: &Path, keyid: &Digest) -> Result<Self, Problem> {
        let absent = || {
            Problem::new(Code::R001, format!("key {} is not in the trust store", short(keyid)))
                .help("`ice keys list` shows those that are")
        };
        if !files::check_folder(folder)? {
            return Err(absent());
        }
        let _lock = Self::lock(folder)?;
        let before = Self::open(folder)?;
        if !before.keys.contains_key(keyid) {
            return Err(absent());
        }
        let left =
            |scope: &&Scope| scope.keys.contains(keyid) && scope.keys.len() > 1 && scope.keys.len() <= scope.threshold;
        if let Some(scope) = before.scopes.iter().find(left) {
            let message = format!("scope `{}` needs {} keys and would have fewer", scope.name, scope.threshold);
            return Err(Problem::new(Code::T024, message).help(format!("lower its `threshold` in {POLICY} first")));
        }
        before.edit_policy(|document| policy::remove_key(document, keyid))?;
        for ending in ["pem", "toml"] {
            let path = folder.join("keys").join(format!("{}.{ending}", keyid.hex()));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(files::io_problem(Code::R004, "remove", &path, &error));
                }
                _ => {}
            }
        }
        Self::open(folder)
    }

    /// Edits the policy in place: what its owner wrote beside, comments too, stays.
    fn edit_policy(&self, edit: impl FnOnce(&mut toml_edit::DocumentMut)) -> Result<(), Problem> {
        let path = self.folder.join(POLICY);
        let bytes = files::read_guarded(&path, Guard::Own, POLICY_BYTES_MAX)?;
        let mut document = policy::document(bytes.as_deref())?;
        edit(&mut document);
        files::replace(&path, document.to_string().as_bytes())
    }

    fn lock(folder: &Path) -> Result<std::fs::File, Problem> {
        let path = folder.join(".lock");
        let file = files::lock_file(&path)?;
        file.lock().map_err(|error| files::io_problem(Code::R004, "lock", &path, &error))?;
        Ok(file)
    }
}

/// Reads `<hex>.pem` and `<hex>.toml`. A key under another name than its own id is refused: it would be two keys.
fn read_keys(folder: &Path) -> Result<BTreeMap<Digest, TrustedKey>, Problem> {
    let mut keys = BTreeMap::new();
    if !files::check_folder(folder)? {
        return Ok(keys);
    }
    let entries = std::fs::read_dir(folder).map_err(|error| files::io_problem(Code::C002, "read", folder, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| files::io_problem(Code::C002, "read", folder, &error))?.path();
        if path.extension().is_none_or(|ending| ending != "pem") {
            continue;
        }
        let key = read_key(&path)?;
        let stem = path.file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        if stem != key.id().hex() {
            let message = format!("`{}` holds key {}", printable(&path.display().to_string()), short(&key.id()));
            return Err(Problem::new(Code::T024, message).help(format!(
                "remove the file and add the key again with `ice keys trust` (it becomes `{}.pem`)",
                key.id().hex()
            )));
        }
        let notes = read_notes(&path.with_extension("toml"))?;
        keys.insert(key.id(), TrustedKey { key, notes });
    }
    Ok(keys)
}

fn read_key(path: &Path) -> Result<PublicKey, Problem> {
    let bytes = files::read_guarded(path, Guard::Own, KEY_BYTES_MAX)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    PublicKey::from_pem(&text).map_err(|problem| problem.file(path.display().to_string()))
}

fn read_notes(path: &Path) -> Result<KeyNotes, Problem> {
    let Some(bytes) = files::read_guarded(path, Guard::Own, KEY_BYTES_MAX)? else {
        return Ok(KeyNotes::default());
    };
    toml::from_str(&String::from_utf8_lossy(&bytes)).map_err(|error| {
        let message = format!("notes of a key: {}", printable(error.message()));
        Problem::new(Code::T024, message).file(path.display().to_string())
    })
}
