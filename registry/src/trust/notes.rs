//! `keys/<hex>.pem` and `keys/<hex>.toml`: believed keys, and what people wrote down about them.
//!
//! For which names a key counts is in the policy and the root.

use std::collections::BTreeMap;
use std::path::Path;

use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, parse_date, printable};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};

use crate::files::{self, Guard};
use crate::keys::PublicKey;

const KEY_BYTES_MAX: u64 = 16 << 10;

/// What a key is used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum KeyRole {
    /// To sign plugins. The policy says which; this says nothing more.
    Publisher,
    /// To sign the index, where no root says who does.
    Index,
    /// To sign the list of what was taken back, where no root says who does.
    Revocations,
    /// To sign plugins that are being developed here: not meant for others.
    Dev,
}

impl KeyRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Publisher, Self::Index, Self::Revocations, Self::Dev];

    /// The word in notes and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Index => "index",
            Self::Revocations => "revocations",
            Self::Dev => "dev",
        }
    }

    /// Reads the word (T024).
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            Problem::new(Code::T024, format!("`{}` is not a role of a key", printable(text)))
                .help(format!("roles are {}", Self::ALL.map(|role| format!("`{}`", role.as_str())).join(", ")))
        })
    }
}

/// What people wrote down about a key.
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
    pub roles: Vec<KeyRole>,
    /// From then on it counts for what is newly installed; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// From then on it no longer counts for what is newly installed; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
}

impl KeyNotes {
    /// Refuses dates in another form or order, and a role that is there twice (T024).
    pub fn check(&self) -> Result<(), Problem> {
        let dates = [("valid_from", &self.valid_from), ("valid_until", &self.valid_until)];
        for (line, date) in dates {
            if let Some(text) = date.as_deref().filter(|text| parse_date(text).is_none()) {
                let message = format!("`{line} = \"{}\"` in the notes of a key is not a date", printable(text));
                return Err(Problem::new(Code::T024, message).help("write it as `2027-11-20T00:00:00Z`"));
            }
        }
        if let (Some(from), Some(until)) = (self.from(), self.until())
            && from >= until
        {
            return Err(Problem::new(Code::T024, "a key is valid until before it is valid"));
        }
        if self.roles.iter().enumerate().any(|(index, role)| self.roles[..index].contains(role)) {
            return Err(Problem::new(Code::T024, "the notes of a key name a role twice"));
        }
        Ok(())
    }

    fn from(&self) -> Option<UnixSeconds> {
        self.valid_from.as_deref().and_then(parse_date)
    }

    pub(super) fn until(&self) -> Option<UnixSeconds> {
        self.valid_until.as_deref().and_then(parse_date)
    }

    /// Whether the key counts at this moment for what is newly installed.
    pub fn valid_at(&self, now: UnixSeconds) -> bool {
        self.from().is_none_or(|from| from <= now) && self.until().is_none_or(|until| now < until)
    }

    /// These notes with what `newer` adds: its roles, and every line that it has.
    pub(super) fn with(&self, newer: &Self) -> Self {
        let text = |old: &String, new: &String| if new.is_empty() { old.clone() } else { new.clone() };
        let mut roles = [&self.roles[..], &newer.roles[..]].concat();
        roles.sort_unstable();
        roles.dedup();
        Self {
            label: text(&self.label, &newer.label),
            owner: text(&self.owner, &newer.owner),
            roles,
            valid_from: newer.valid_from.clone().or_else(|| self.valid_from.clone()),
            valid_until: newer.valid_until.clone().or_else(|| self.valid_until.clone()),
        }
    }
}

/// A believed key with its notes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// What people wrote down.
    pub notes: KeyNotes,
}

/// Reads `<hex>.pem` and `<hex>.toml`. A key under another name than its own id is refused: it would be two keys.
pub(super) fn read_keys(folder: &Path) -> Result<BTreeMap<Digest, TrustedKey>, Problem> {
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
            let message = format!("`{}` holds key {}", printable(&path.display().to_string()), key.id().short());
            return Err(Problem::new(Code::T024, message).help(format!(
                "remove the file and add the key again with `ice trust add` (it becomes `{}.pem`)",
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
    let notes = toml::from_str::<KeyNotes>(&String::from_utf8_lossy(&bytes)).map_err(|error| {
        let message = format!("notes of a key: {}", printable(error.message()));
        Problem::new(Code::T024, message)
    });
    let checked = notes.and_then(|notes| notes.check().map(|()| notes));
    checked.map_err(|problem| problem.file(path.display().to_string()))
}
