//! Roots: which keys may sign the index, the revocations, the plugins of a publisher, and the next root.
//!
//! ```json
//! {"version":1,"expires":"2027-11-20T00:00:00Z","keys":{"sha256:…":"<32 bytes in base64>"},
//!  "roles":{"root":{"keys":["sha256:…"],"threshold":2},"index":…,"revocations":…,
//!           "publishers":[{"scope":"acme/*","keys":["sha256:…"],"threshold":1}]}}
//! ```
//!
//! The rules are those of TUF 5.3: the next root has exactly the next version and is signed by the threshold of the
//! old root and of the new one; only the last root of a chain may not have expired. Members that this host does not
//! know are signed and passed over, so that an old host can follow a chain to its end. Files are read by
//! [`Trust::open`](super::Trust::open).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, parse_date, print_date, printable};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy;
use crate::keys::PublicKey;
use crate::signed::{AGAIN, DocumentKind, Signed, Signers};

/// A new root carries the signatures of the old set and of the new one, and a signed document holds at most 32.
pub const ROLE_KEYS_MAX: usize = 16;

/// The largest whole number that every JSON reader agrees about.
pub(super) const VERSION_MAX: u64 = (1 << 53) - 1;

/// Keys, and how many of them must have signed.
// Invariant: from 1 to ROLE_KEYS_MAX keys; the threshold is from 1 to their number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Role {
    keys: BTreeMap<Digest, PublicKey>,
    threshold: usize,
}

impl Role {
    /// The role of these keys; a key that is given twice is one. T049 for no keys, too many, or a threshold that they
    /// cannot reach.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>, threshold: usize) -> Result<Self, Problem> {
        let keys: BTreeMap<Digest, PublicKey> = keys.into_iter().map(|key| (key.id(), key)).collect();
        let count = keys.len();
        if count > ROLE_KEYS_MAX {
            return Err(refuse(format!("a role has {count} keys, the limit is {ROLE_KEYS_MAX}")));
        }
        if threshold == 0 || threshold > count {
            return Err(refuse(format!("a role needs {threshold} of {count} keys"))
                .help(format!("choose a threshold from 1 to {}", count.max(1))));
        }
        Ok(Self { keys, threshold })
    }

    /// The keys, by id.
    pub fn keys(&self) -> &BTreeMap<Digest, PublicKey> {
        &self.keys
    }

    /// How many of them must have signed.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    pub(super) fn signers(&self) -> Signers<'_> {
        Signers { keys: self.keys.iter().map(|(keyid, key)| (*keyid, key)).collect(), threshold: self.threshold }
    }
}

/// Who may sign what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roles {
    /// The next root.
    pub root: Role,
    /// The index.
    pub index: Role,
    /// The list of what was taken back.
    pub revocations: Role,
    /// Plugins, by scope: `publisher/*`, `publisher/prefix*` or `publisher/name`.
    pub publishers: BTreeMap<String, Role>,
}

impl Roles {
    /// The role that signs documents of this kind.
    pub fn of(&self, kind: DocumentKind) -> &Role {
        match kind {
            DocumentKind::Index => &self.index,
            DocumentKind::Revocations => &self.revocations,
            DocumentKind::Root => &self.root,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Role> {
        [&self.root, &self.index, &self.revocations].into_iter().chain(self.publishers.values())
    }
}

/// A root. That it is in its form says nothing about who signed it.
// Invariant: a version from 1 to VERSION_MAX, a date that can be printed, scopes in their form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    version: u64,
    expires: UnixSeconds,
    roles: Roles,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u64,
    expires: String,
    keys: BTreeMap<Digest, String>,
    roles: RolesEntry,
}

#[derive(Serialize, Deserialize)]
struct RolesEntry {
    root: RoleEntry,
    index: RoleEntry,
    revocations: RoleEntry,
    #[serde(default)]
    publishers: Vec<PublisherEntry>,
}

#[derive(Serialize, Deserialize)]
struct RoleEntry {
    keys: Vec<Digest>,
    threshold: usize,
}

#[derive(Serialize, Deserialize)]
struct PublisherEntry {
    scope: String,
    keys: Vec<Digest>,
    threshold: usize,
}

impl Root {
    /// The root that follows `previous`, or the first one: sign [`Root::to_value`] with the keys of both. T049 for a
    /// date after the year 9999 and for a publisher's scope that is none.
    pub fn after(previous: Option<&Self>, expires: UnixSeconds, roles: Roles) -> Result<Self, Problem> {
        let version = previous.map_or(0, Self::version) + 1;
        Self::new(version, expires, roles)
    }

    fn new(version: u64, expires: UnixSeconds, roles: Roles) -> Result<Self, Problem> {
        if !(1..=VERSION_MAX).contains(&version) {
            return Err(refuse(format!("a root cannot have version {version}")));
        }
        check_date(expires)?;
        for scope in roles.publishers.keys() {
            policy::check_pattern(scope).map_err(|problem| Problem { code: Code::T049, ..problem })?;
        }
        Ok(Self { version, expires, roles })
    }

    /// Counted from 1; each root has the next one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// From this moment on nothing is newly believed because of it, seconds since 1970.
    pub fn expires(&self) -> UnixSeconds {
        self.expires
    }

    /// Who may sign what.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The document to sign as [`DocumentKind::Root`].
    pub fn to_value(&self) -> Value {
        let role = |role: &Role| RoleEntry { keys: role.keys.keys().copied().collect(), threshold: role.threshold };
        let publishers = self.roles.publishers.iter().map(|(scope, publisher)| {
            let RoleEntry { keys, threshold } = role(publisher);
            PublisherEntry { scope: scope.clone(), keys, threshold }
        });
        let keys = self.roles.all().flat_map(|role| &role.keys);
        let document = Document {
            version: self.version,
            expires: print_date(self.expires),
            keys: keys.map(|(keyid, key)| (*keyid, STANDARD.encode(key.as_bytes()))).collect(),
            roles: RolesEntry {
                root: role(&self.roles.root),
                index: role(&self.roles.index),
                revocations: role(&self.roles.revocations),
                publishers: publishers.collect(),
            },
        };
        serde_json::to_value(document).expect("a root has only string keys")
    }

    /// Reads a document (T049 for its form, T005 for a weak key).
    pub fn from_value(document: &Value) -> Result<Self, Problem> {
        let document = Document::deserialize(document)
            .map_err(|error| refuse(format!("this is no root: {}", printable(&error.to_string()))))?;
        let keys = read_keys(&document.keys)?;
        let mut publishers = BTreeMap::new();
        for PublisherEntry { scope, keys: keyids, threshold } in document.roles.publishers {
            let role = read_role(&RoleEntry { keys: keyids, threshold }, &keys)?;
            if publishers.insert(scope.clone(), role).is_some() {
                return Err(refuse(format!("two publishers have the scope `{}`", printable(&scope))));
            }
        }
        let roles = Roles {
            root: read_role(&document.roles.root, &keys)?,
            index: read_role(&document.roles.index, &keys)?,
            revocations: read_role(&document.roles.revocations, &keys)?,
            publishers,
        };
        Self::new(document.version, read_date("expires", &document.expires)?, roles)
    }

    /// What a root says, whoever signed it: to show it before anybody believes it (T007, T049, T005).
    pub fn unchecked(document: &Signed) -> Result<Self, Problem> {
        Self::from_value(&document.unchecked()?)
    }

    /// Reads a root that enough of its own root keys signed: the beginning of a chain. T042 for other and for too few
    /// keys, T006 for broken signatures, T005, T007, T009, T012 and T049 for its form.
    pub fn check_first(document: &Signed) -> Result<Self, Problem> {
        let root = Self::unchecked(document)?;
        root.signed(document, &root, "its own")?;
        Ok(root)
    }

    /// Reads the root that follows this one: exactly the next version, signed by the old keys and the new (T042
    /// and the codes of [`Root::check_first`]).
    pub fn check_next(&self, document: &Signed) -> Result<Self, Problem> {
        let next = Self::unchecked(document)?;
        if next.version != self.version + 1 {
            let message = format!("root {} does not follow root {}", next.version, self.version);
            return Err(Problem::new(Code::T042, message)
                .help(format!("get root {} and every one after it, and import them together", self.version + 1)));
        }
        next.signed(document, self, "the old")?;
        next.signed(document, &next, "its own")?;
        Ok(next)
    }

    fn signed(&self, document: &Signed, by: &Self, whose: &str) -> Result<(), Problem> {
        let checked = document.check(DocumentKind::Root, &by.roles.root.signers());
        checked.map(|_| ()).map_err(|problem| {
            let code = match problem.code {
                Code::T003 | Code::T004 | Code::T017 => Code::T042,
                code => code,
            };
            let message = format!("root {} is not signed by {whose} root keys: {}", self.version, problem.message);
            Problem::new(code, message).help("get it again from those who hold the root keys")
        })
    }
}

fn refuse(message: impl Into<String>) -> Problem {
    Problem::new(Code::T049, message).help(AGAIN)
}

pub(super) fn read_date(member: &str, text: &str) -> Result<UnixSeconds, Problem> {
    parse_date(text).ok_or_else(|| {
        refuse(format!("`{}` in `{member}` is not a date", printable(text))).help("write it as `2027-11-20T00:00:00Z`")
    })
}

/// A date that is printed must read back as itself, and one beyond the year 9999 does not.
pub(super) fn check_date(date: UnixSeconds) -> Result<(), Problem> {
    const LAST: UnixSeconds = 253_402_300_799;
    if date <= LAST { Ok(()) } else { Err(refuse("a date is after the year 9999")) }
}

fn read_keys(entries: &BTreeMap<Digest, String>) -> Result<BTreeMap<Digest, PublicKey>, Problem> {
    let mut keys = BTreeMap::new();
    for (keyid, text) in entries {
        let bytes: Option<[u8; 32]> = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or_else(|| refuse(format!("key {} is not 32 bytes in base64", keyid.short())))?;
        let key = PublicKey::from_bytes(&bytes).map_err(|problem| match problem.code {
            Code::T025 => refuse(format!("key {} is not an ed25519 public key", keyid.short())),
            _ => problem,
        })?;
        if key.id() != *keyid {
            return Err(refuse(format!("key {} stands under the id {}", key.id().short(), keyid.short())));
        }
        keys.insert(*keyid, key);
    }
    Ok(keys)
}

fn read_role(entry: &RoleEntry, keys: &BTreeMap<Digest, PublicKey>) -> Result<Role, Problem> {
    let mut found = Vec::new();
    for keyid in &entry.keys {
        let key = keys.get(keyid);
        found.push(key.ok_or_else(|| refuse(format!("a role names key {}, which is not in `keys`", keyid.short())))?);
    }
    let role = Role::new(found.into_iter().cloned(), entry.threshold)?;
    if role.keys.len() == entry.keys.len() { Ok(role) } else { Err(refuse("a role names a key twice")) }
}
