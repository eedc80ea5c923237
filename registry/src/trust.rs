//! The trust store: which keys the operator believes, and for which names.
//!
//! ```text
//! ~/.iceos/trust/  keys/<hex>.pem, <hex>.toml   policy.toml   root/<version>.json   revoked.json   state/
//! ```
//!
//! Nothing in it is secret; everything in it decides what runs, so only its owner may write there. There is no way to
//! say "believe anyone". The verdict about a plugin is in [`verify`](mod@crate::verify).

mod chain;
mod edit;
mod notes;
mod policy;
pub mod revoked;
pub mod root;
pub mod state;
mod warnings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, check_name};
use ice_core::problem::{Code, Problem};

pub use edit::Imported;
pub use notes::{KeyNotes, KeyRole, TrustedKey};
pub use policy::{Expiry, Origin, Scope, ScopeEdit};
pub use revoked::{Revoked, RevokedKey, RevokedStatement};
pub use root::{Role, Roles, Root};
pub use state::{SeenIndex, State};

use crate::files::{self, Guard};
use crate::keys::PublicKey;
use crate::signed::{DocumentKind, SIGNED_BYTES_MAX, Signed, Signers};
use crate::verify::Purpose;
use chain::Chain;
use policy::Policy;

/// A policy of hundreds of scopes stays far below.
const POLICY_BYTES_MAX: u64 = 1 << 20;
const POLICY: &str = "policy.toml";
const KEYS: &str = "keys";
const ROOT: &str = "root";
const REVOKED: &str = "revoked.json";

/// The list of what was taken back, with the document it was read from.
#[derive(Clone, PartialEq, Debug)]
struct BelievedList {
    list: Revoked,
    document: Signed,
}

/// The trust store as it was when it was opened.
#[derive(Clone, PartialEq, Debug)]
pub struct Trust {
    folder: PathBuf,
    moment: Option<UnixSeconds>,
    keys: BTreeMap<Digest, TrustedKey>,
    chain: Chain,
    policy: Policy,
    /// Those of the policy, then those of the root that the policy does not name.
    scopes: Vec<Scope>,
    revoked: Option<BelievedList>,
}

impl Trust {
    /// Reads the folder. One that is not there is a store that trusts nobody. Fails with T010 for a folder, file or
    /// link that others could change, T005 and T025 for keys, T024 for the policy, T042 for the roots, and the codes of
    /// [`Signed::check`] for roots and revocations. A root that has expired is no failure: what is installed runs.
    pub fn open(folder: &Path) -> Result<Self, Problem> {
        let mut trust = Self {
            folder: folder.to_owned(),
            moment: None,
            keys: BTreeMap::new(),
            chain: Chain::default(),
            policy: Policy::default(),
            scopes: Vec::new(),
            revoked: None,
        };
        if !files::check_folder(folder)? {
            return Ok(trust);
        }
        trust.keys = notes::read_keys(&folder.join(KEYS))?;
        trust.chain = Chain::read(&folder.join(ROOT))?;
        let path = folder.join(POLICY);
        if let Some(bytes) = files::read_guarded(&path, Guard::Own, POLICY_BYTES_MAX)? {
            let at = |problem: Problem| problem.file(path.display().to_string());
            trust.policy = policy::parse(&bytes).map_err(at)?;
            trust.check_scopes().map_err(at)?;
        }
        trust.scopes = trust.all_scopes();
        let path = folder.join(REVOKED);
        if let Some(bytes) = files::read_guarded(&path, Guard::Own, SIGNED_BYTES_MAX as u64)? {
            let at = |problem: Problem| problem.file(path.display().to_string());
            let document = Signed::parse(&bytes).map_err(at)?;
            let list = trust.believed_list(&document).map_err(at)?;
            trust.revoked = Some(BelievedList { list, document });
        }
        Ok(trust)
    }

    /// The same store, asked at this moment. Needed for running under a policy that says `expiry = "run"`; whoever
    /// installs says the time with [`Purpose::Install`].
    #[must_use]
    pub fn at(self, now: UnixSeconds) -> Self {
        Self { moment: Some(now), ..self }
    }

    fn check_scopes(&self) -> Result<(), Problem> {
        for scope in &self.policy.scopes {
            if let Some(missing) = scope.keys.iter().find(|keyid| !self.keys.contains_key(keyid)) {
                let message = format!("scope `{}` names key {}, which is not in `keys/`", scope.name, missing.short());
                return Err(Problem::new(Code::T024, message)
                    .help(format!("add it: `ice trust add KEY.pem --scope '{}'`, or remove the line", scope.name)));
            }
        }
        Ok(())
    }

    /// Those of the policy that have keys; then those of the root that the policy gives no keys to, with what the policy
    /// says beside. What the policy says about a scope that the root does not name any more is nothing.
    fn all_scopes(&self) -> Vec<Scope> {
        let own = self.policy.scopes.iter().filter(|scope| scope.origin == Origin::Policy);
        let mut scopes: Vec<Scope> = own.cloned().collect();
        let publishers = self.root().map(|root| &root.roles().publishers);
        for (name, role) in publishers.into_iter().flatten() {
            let said = self.policy.scopes.iter().find(|scope| scope.name == *name);
            if said.is_some_and(|scope| scope.origin == Origin::Policy) {
                continue;
            }
            scopes.push(Scope {
                name: name.clone(),
                registry: said.and_then(|scope| scope.registry.clone()),
                keys: role.keys().keys().copied().collect(),
                threshold: role.threshold(),
                cooldown_hours: said.and_then(|scope| scope.cooldown_hours),
                grant: said.and_then(|scope| scope.grant.clone()),
                origin: Origin::Root,
            });
        }
        scopes
    }

    /// Reads a list that was believed when it came: signed by the role of today's root, of one before it, or by a key
    /// whose notes say so. The first may have changed since; nobody but the owner can have put another one here.
    fn believed_list(&self, document: &Signed) -> Result<Revoked, Problem> {
        const KIND: DocumentKind = DocumentKind::Revocations;
        let noted = Signers { keys: self.noted(KeyRole::Revocations).collect(), threshold: 1 };
        let mut refused = None;
        for signers in self.chain.roles(KIND).map(Role::signers).chain([noted]) {
            match document.check(KIND, &signers) {
                Ok(value) => return Revoked::from_value(&value),
                Err(problem) if signers.keys.is_empty() => drop(problem),
                Err(problem) => {
                    refused.get_or_insert(problem);
                }
            }
        }
        let problem = refused.unwrap_or_else(|| nobody(KIND));
        Err(problem.help("restore the file, or move it away and import the newest list"))
    }

    /// The folder this was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every key the operator believes with its notes, by id. Those of the root are in [`Trust::root`].
    pub fn trusted_keys(&self) -> &BTreeMap<Digest, TrustedKey> {
        &self.keys
    }

    /// Every scope: those of the policy in its order, then those of the root that the policy does not name.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The newest root.
    pub fn root(&self) -> Option<&Root> {
        self.chain.current()
    }

    /// Version of the newest root; 0 without one.
    pub fn root_version(&self) -> u64 {
        self.chain.version()
    }

    /// Every root as it was signed, oldest first: to hand them on.
    pub fn root_documents(&self) -> impl Iterator<Item = &Signed> {
        self.chain.links().iter().map(|link| &link.document)
    }

    /// What was taken back.
    pub fn revoked(&self) -> Option<&Revoked> {
        self.revoked.as_ref().map(|known| &known.list)
    }

    /// What was taken back as it was signed: to hand it on.
    pub fn revocations_document(&self) -> Option<&Signed> {
        self.revoked.as_ref().map(|known| &known.document)
    }

    /// Whether the notes of this key say that it is for plugins being developed here.
    pub fn is_development(&self, keyid: &Digest) -> bool {
        self.keys.get(keyid).is_some_and(|trusted| trusted.notes.roles.contains(&KeyRole::Dev))
    }

    pub(crate) fn key(&self, keyid: &Digest) -> Option<&PublicKey> {
        let own = self.keys.get(keyid).map(|trusted| &trusted.key);
        own.or_else(|| {
            let publishers = self.root().map(|root| root.roles().publishers.values());
            publishers.into_iter().flatten().find_map(|role| role.keys().get(keyid))
        })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        let publishers = self.root().map(|root| root.roles().publishers.values());
        let of_root = publishers.into_iter().flatten().flat_map(|role| role.keys().values());
        self.keys.values().map(|trusted| &trusted.key).chain(of_root)
    }

    fn noted(&self, role: KeyRole) -> impl Iterator<Item = (Digest, &PublicKey)> {
        let holders = self.keys.iter().filter(move |(_, trusted)| trusted.notes.roles.contains(&role));
        holders.map(|(keyid, trusted)| (*keyid, &trusted.key))
    }

    /// Whether the operator's notes, where there are any, let this key count for what is newly installed.
    pub(crate) fn is_valid(&self, keyid: &Digest, now: UnixSeconds) -> bool {
        self.keys.get(keyid).is_none_or(|trusted| trusted.notes.valid_at(now))
    }

    /// The moment to judge a manifest's expiry by: that of an installation, or that of the store where the policy says
    /// that expiry stops running too. `Ok(None)` when it does not matter, T023 when it does and nobody said the time.
    pub(crate) fn expiry_moment(&self, purpose: Purpose) -> Result<Option<UnixSeconds>, Problem> {
        match (purpose, self.policy.expiry) {
            (Purpose::Install { now }, _) => Ok(Some(now)),
            (Purpose::Run, Expiry::Install) => Ok(None),
            (Purpose::Run, Expiry::Run) => self.moment.map(Some).ok_or_else(|| {
                let message = "the policy says `expiry = \"run\"`, and this program did not say what time it is";
                Problem::new(Code::T023, message).help("report this as a fault of the program")
            }),
        }
    }

    /// T043 when `scope` is the root's and the root has expired.
    pub(crate) fn check_scope_fresh(&self, scope: &Scope, now: UnixSeconds) -> Result<(), Problem> {
        match scope.origin {
            Origin::Policy => Ok(()),
            Origin::Root => self.chain.check_expiry(now),
        }
    }

    /// Who may sign documents of this kind: the role of the root, or without a root every key whose notes name the
    /// role `index` or `revocations`, of which one is enough. To install, keys outside their dates do not count. T019
    /// names the one command to run when there is nobody, T043 the expired root when it is to install, T022 and T023
    /// say that too few are left whose keys were not revoked and are within their dates.
    pub fn signers(&self, kind: DocumentKind, purpose: Purpose) -> Result<Signers<'_>, Problem> {
        let role = match kind {
            DocumentKind::Index => Some(KeyRole::Index),
            DocumentKind::Revocations => Some(KeyRole::Revocations),
            DocumentKind::Root => None,
        };
        let mut signers = match self.root() {
            Some(root) => root.roles().of(kind).signers(),
            None => {
                let keys = role.into_iter().flat_map(|role| self.noted(role)).collect();
                Signers { keys, threshold: 1 }
            }
        };
        if signers.keys.is_empty() {
            return Err(nobody(kind));
        }
        if let (DocumentKind::Index, Some(revoked)) = (kind, self.revoked()) {
            signers.keys.retain(|keyid, _| !revoked.keys().contains_key(keyid));
            too_few(&signers, Code::T022, kind, "keys that were not revoked")?;
        }
        if let Purpose::Install { now } = purpose {
            self.chain.check_expiry(now)?;
            signers.keys.retain(|keyid, _| self.is_valid(keyid, now));
            too_few(&signers, Code::T023, kind, "keys that are within their dates")?;
        }
        Ok(signers)
    }

    /// The scope that decides about `name`: of the policy before the root, the exact one, else the longest prefix.
    /// T019 names the one command to run when there is none, T018 refuses what is no name.
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
            Problem::new(Code::T019, message)
                .help(format!("get the publisher's public key and run `ice trust add KEY.pem --scope '{publisher}/*'`"))
        })
    }
}

fn too_few(signers: &Signers<'_>, code: Code, kind: DocumentKind, left: &str) -> Result<(), Problem> {
    let (count, threshold) = (signers.keys.len(), signers.threshold);
    if count >= threshold {
        return Ok(());
    }
    let message = format!("the {} needs {threshold} signatures, and {count} {left} may sign it", kind.as_str());
    Err(Problem::new(code, message).help(match kind {
        DocumentKind::Root => "get the next root from those who hold its keys".to_owned(),
        DocumentKind::Index | DocumentKind::Revocations => {
            format!("`ice trust add KEY.pem --role {}` adds a key, `ice trust import-root` a root", kind.as_str())
        }
    }))
}

fn nobody(kind: DocumentKind) -> Problem {
    let what = kind.as_str();
    let problem = Problem::new(Code::T019, format!("nobody is trusted yet to sign the {what}"));
    problem.help(match kind {
        DocumentKind::Root => "get the first root and run `ice trust import-root 1.json`".to_owned(),
        DocumentKind::Index | DocumentKind::Revocations => {
            format!("get the public key of its owner and run `ice trust add KEY.pem --role {what}`")
        }
    })
}
