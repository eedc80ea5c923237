//! Changing what is believed: keys, scopes, roots, revocations. Each change is one step under a lock, checked before it
//! is written, and what other programs read is the store before or after it.

use std::path::Path;

use ice_core::id::Digest;
use ice_core::manifest::UnixSeconds;
use ice_core::problem::{Code, Problem};
use toml_edit::ArrayOfTables;

use super::{KEYS, KeyNotes, POLICY, POLICY_BYTES_MAX, REVOKED, ROOT, Revoked, Scope, ScopeEdit, State, Trust, policy};
use crate::files::{self, Guard};
use crate::keys::PublicKey;
use crate::signed::{DocumentKind, Signed, check_fresh};
use crate::verify::Purpose;

/// What importing roots did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Imported {
    /// How many roots are new; 0 when all were known.
    pub added: usize,
    /// Version of the root that counts now.
    pub version: u64,
    /// SHA-256 of what that root's signatures are over.
    pub fingerprint: Digest,
    /// Whether there was no root before, so that this one is believed because the operator said so.
    pub first: bool,
}

impl Trust {
    /// Believes `key` for every name in `scopes`, writes that down, and returns the store as it is then. A scope that
    /// exists gets the key added; its threshold stays. A key that is here keeps what `notes` does not say, and its
    /// roles. T024 for scopes and notes that are not in their form.
    pub fn add_key(folder: &Path, key: &PublicKey, notes: &KeyNotes, scopes: &[&str]) -> Result<Self, Problem> {
        let edit = |name: &&str| ScopeEdit { name: (*name).to_owned(), ..ScopeEdit::default() };
        Self::add_key_with(folder, key, notes, &scopes.iter().map(edit).collect::<Vec<_>>())
    }

    /// Like [`Trust::add_key`], and changes lines of the scopes in the same step: when they cannot be changed, nothing
    /// is believed.
    pub fn add_key_with(
        folder: &Path,
        key: &PublicKey,
        notes: &KeyNotes,
        scopes: &[ScopeEdit],
    ) -> Result<Self, Problem> {
        for scope in scopes {
            policy::check_pattern(&scope.name)?;
        }
        let folder_of_keys = folder.join(KEYS);
        files::make_folder(&folder_of_keys)?;
        let _lock = Self::lock(folder)?;
        let before = Self::open(folder)?;
        let notes = before.keys.get(&key.id()).map_or_else(|| notes.with(notes), |known| known.notes.with(notes));
        notes.check()?;
        let policy = (!scopes.is_empty()).then(|| {
            before.edited_policy(|tables| {
                scopes.iter().try_for_each(|scope| {
                    policy::add_key(tables, &scope.name, &key.id());
                    policy::set_scope(tables, scope)
                })
            })
        });
        let policy = policy.transpose()?;
        let notes_text = toml::to_string(&notes).expect("notes are a flat table");
        files::replace(&folder_of_keys.join(format!("{}.toml", key.id().hex())), notes_text.as_bytes())?;
        files::replace(&folder_of_keys.join(format!("{}.pem", key.id().hex())), key.to_pem().as_bytes())?;
        if let Some(policy) = policy {
            files::replace(&folder.join(POLICY), policy.as_bytes())?;
        }
        Self::open(folder)
    }

    /// Stops believing a key: takes it out of every scope, a scope without keys out of the policy, and its files away.
    /// T024 when a scope would be left with fewer keys than its threshold, or the list of revocations without anybody
    /// who may have signed it; R001 when the key is not here.
    pub fn remove_key(folder: &Path, keyid: &Digest) -> Result<Self, Problem> {
        let absent = || {
            Problem::new(Code::R001, format!("key {} is not in the trust store", keyid.short()))
                .help("`ice trust list` shows those that are")
        };
        if !files::check_folder(folder)? {
            return Err(absent());
        }
        let _lock = Self::lock(folder)?;
        let before = Self::open(folder)?;
        let mut after = before.clone();
        after.keys.remove(keyid).ok_or_else(absent)?;
        let left =
            |scope: &&Scope| scope.keys.contains(keyid) && scope.keys.len() > 1 && scope.keys.len() <= scope.threshold;
        if let Some(scope) = before.policy.scopes.iter().find(left) {
            let message = format!("scope `{}` needs {} keys and would have fewer", scope.name, scope.threshold);
            return Err(Problem::new(Code::T024, message).help(format!("lower its `threshold` in {POLICY} first")));
        }
        if before.revoked.as_ref().is_some_and(|known| after.believed_list(&known.document).is_err()) {
            let message = format!("only key {} has signed the list of revocations that is here", keyid.short());
            return Err(Problem::new(Code::T024, message)
                .help("add the key that follows it, import a list that one signed, then remove this one"));
        }
        if before.policy.scopes.iter().any(|scope| scope.keys.contains(keyid)) {
            let policy = before.edited_policy(|tables| {
                policy::remove_key(tables, keyid);
                Ok(())
            })?;
            files::replace(&folder.join(POLICY), policy.as_bytes())?;
        }
        for ending in ["pem", "toml"] {
            let path = folder.join(KEYS).join(format!("{}.{ending}", keyid.hex()));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(files::io_problem(Code::R004, "remove", &path, &error));
                }
                _ => {}
            }
        }
        Self::open(folder)
    }

    /// Changes lines of a scope and returns the store as it is then. What is said about a scope that only the root names
    /// is written beside it: its keys stay the root's. R001 when nobody names the scope, T024 when the policy could not be
    /// read afterwards.
    pub fn set_scope(folder: &Path, edit: &ScopeEdit) -> Result<Self, Problem> {
        let of_root = |trust: &Self| trust.root().is_some_and(|root| root.roles().publishers.contains_key(&edit.name));
        let is_of_root = of_root(&Self::open(folder)?);
        Self::change_policy(folder, |tables| {
            if is_of_root {
                policy::add_scope_of_root(tables, &edit.name);
            }
            policy::set_scope(tables, edit)
        })
    }

    /// Takes a scope out of the policy, not its keys out of the store, and returns the store as it is then (R001).
    pub fn remove_scope(folder: &Path, name: &str) -> Result<Self, Problem> {
        Self::change_policy(folder, |tables| policy::remove_scope(tables, name))
    }

    fn change_policy(
        folder: &Path,
        edit: impl FnOnce(&mut ArrayOfTables) -> Result<(), Problem>,
    ) -> Result<Self, Problem> {
        files::make_folder(folder)?;
        let _lock = Self::lock(folder)?;
        let policy = Self::open(folder)?.edited_policy(edit)?;
        files::replace(&folder.join(POLICY), policy.as_bytes())?;
        Self::open(folder)
    }

    /// The policy after an edit: what its owner wrote beside, comments too, stays.
    fn edited_policy(&self, edit: impl FnOnce(&mut ArrayOfTables) -> Result<(), Problem>) -> Result<String, Problem> {
        let path = self.folder.join(POLICY);
        let bytes = files::read_guarded(&path, Guard::Own, POLICY_BYTES_MAX)?;
        policy::edit(bytes.as_deref(), edit).map_err(|problem| problem.file(path.display().to_string()))
    }

    /// Believes roots, in any order, that go on from the newest one here. Without one here the first of them is
    /// believed because the operator says so: show [`Signed::digest`] and ask before. Nothing is written when one of
    /// them does not fit (T042), the last one has expired (T043), the clock went back (T038), or a document is not in
    /// its form (T005, T007, T009, T012, T049). What was seen of an index whose keys changed is forgotten.
    pub fn import_root(folder: &Path, documents: &[Signed], now: UnixSeconds) -> Result<Imported, Problem> {
        let folder_of_roots = folder.join(ROOT);
        files::make_folder(&folder_of_roots)?;
        let _lock = Self::lock(folder)?;
        let state = State::of(folder);
        state.check_clock(now)?;
        let before = Self::open(folder)?;
        let mut chain = before.chain.clone();
        let added = chain.extend(documents)?;
        chain.check_expiry(now)?;
        let Some(last) = chain.links().last() else {
            return Err(Problem::new(Code::T042, "there is no root to import"));
        };
        // Oldest first, so that what a crash leaves is a chain too.
        for link in chain.links().iter().skip(chain.links().len() - added) {
            let path = folder_of_roots.join(format!("{}.json", link.root.version()));
            files::replace(&path, &link.document.to_bytes())?;
        }
        // Also when nothing was added: a crash may have come between the last time and this.
        state.forget_indexes_before(chain.index_keys_since())?;
        Ok(Imported {
            added,
            version: last.root.version(),
            fingerprint: last.document.digest()?,
            first: before.chain.links().is_empty(),
        })
    }

    /// Believes a list of what was taken back, and returns it. T021 when it is older than the one here, or another one
    /// of the same version; T020 when it has expired; T038 when the clock went back; T019 when nobody may sign one;
    /// T003, T004, T006 and T017 when the wrong ones did; T043 when the root has expired.
    pub fn import_revocations(folder: &Path, document: &Signed, now: UnixSeconds) -> Result<Revoked, Problem> {
        const KIND: DocumentKind = DocumentKind::Revocations;
        files::make_folder(folder)?;
        let _lock = Self::lock(folder)?;
        State::of(folder).check_clock(now)?;
        let before = Self::open(folder)?;
        let signers = before.signers(KIND, Purpose::Install { now })?;
        let list = Revoked::from_value(&document.check(KIND, &signers)?)?;
        check_fresh(KIND, list.expires(), now)?;
        // A list of keys that sign no more says nothing about versions: a stolen one could have said the highest.
        let known = before.revoked.as_ref().filter(|known| known.document.check(KIND, &signers).is_ok());
        if let Some(known) = known {
            let (old, new) = (known.list.version(), list.version());
            let refuse = |message: String| {
                Err(Problem::new(Code::T021, message).help("an older list was put in place of a newer one"))
            };
            if new < old {
                return refuse(format!("the revocations have version {new}, {old} was seen before"));
            }
            if new == old && known.document.digest()? != document.digest()? {
                return refuse(format!("these are other revocations of version {new} than those seen before"));
            }
        }
        files::replace(&folder.join(REVOKED), &document.to_bytes())?;
        Ok(list)
    }

    fn lock(folder: &Path) -> Result<std::fs::File, Problem> {
        let path = folder.join(".lock");
        let file = files::lock_file(&path)?;
        file.lock().map_err(|error| files::io_problem(Code::R004, "lock", &path, &error))?;
        Ok(file)
    }
}
