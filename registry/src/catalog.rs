//! What a host can call: the catalog of the verified plugins of a store, with what the operator granted each.
//!
//! One bad plugin is left out with its problem; it never takes the others down. Components are not read here, but for a
//! host that runs exactly its lock: that one wants to know before it starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use ice_core::catalog::{BundleEntry, CallKind, Callable, Catalog, Effects};
use ice_core::grant::Grant;
use ice_core::lock::{Lock, LockedPackage};
use ice_core::manifest::{Component, Manifest, NodeType, short};
use ice_core::problem::{Code, Problem};
use semver::Version;

use crate::install::{check_pin, check_signers};
use crate::store::{Store, StoreEntry};
use crate::trust::Trust;
use crate::verify::Verified;

/// Which versions can be called.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// The newest of every plugin.
    Newest,
    /// The locked one of every plugin in the lock, the newest of the others; those come with a T045.
    Locked(&'a Lock),
    /// What the lock names and nothing else (`--no-dynamic`): the same statement, manifest, artifacts and signers, and
    /// every blob there and whole. See [`Selected::whole`].
    OnlyLocked(&'a Lock),
}

impl<'a> Selection<'a> {
    fn lock(self) -> Option<&'a Lock> {
        match self {
            Self::Newest => None,
            Self::Locked(lock) | Self::OnlyLocked(lock) => Some(lock),
        }
    }
}

/// What can be called, and what cannot.
#[derive(Debug, Default)]
pub struct Selected {
    /// What can be called.
    pub catalog: Catalog,
    /// Plugins, or tools of them, that were left out, each with why: the T-codes of verification, T039 when it is not
    /// what the lock pins, R001 when what the lock names is not there, M005.
    pub left_out: Vec<Problem>,
    /// A T045 for every plugin of the store that the lock does not name.
    pub unlisted: Vec<Problem>,
}

impl Selected {
    /// The catalog when nothing is left out and nothing unlisted: what a host with `--no-dynamic` starts with. Else
    /// every problem, and the process must not start.
    pub fn whole(self) -> Result<Catalog, Vec<Problem>> {
        let problems: Vec<Problem> = self.left_out.into_iter().chain(self.unlisted).collect();
        if problems.is_empty() { Ok(self.catalog) } else { Err(problems) }
    }
}

/// What the operator lets the plugin `name` do: `grants` by its name, else the grant of its scope in the trust policy,
/// else nothing. It gets what it asks for of this, and no more.
pub fn permitted(name: &str, trust: &Trust, grants: &BTreeMap<String, Grant>) -> Grant {
    let of_scope = || trust.scope_for(name).ok().and_then(|scope| scope.grant.clone());
    grants.get(name).cloned().or_else(of_scope).unwrap_or_default()
}

/// Builds the catalog from one version of every plugin in `store`. What is granted is what both the manifest asks for and
/// [`permitted`] allows. When the version that is to be called does not verify, another one does not stand in
/// for it. Of two plugins with a tool of the same name the one installed first keeps it (M005).
pub fn catalog(store: &Store, trust: &Trust, grants: &BTreeMap<String, Grant>, selection: Selection<'_>) -> Selected {
    let mut selected = Selected::default();
    let entries = store.list().unwrap_or_else(|problem| {
        selected.left_out.push(problem);
        Vec::new()
    });
    let called = called(&entries, selection);
    for entry in &entries {
        let is_called = called.get(entry.name.as_str()) == Some(&&entry.version);
        let locked = selection.lock().map(|lock| lock.get(&entry.name, &entry.version));
        let about = |problem: Problem| problem.subject(format!("plugin `{}` {}", entry.name, entry.version));
        let unlisted = selection.lock().is_some_and(|lock| lock.find(&entry.name).is_none());
        if unlisted && is_called {
            selected.unlisted.push(about(unlisted_problem(entry)));
        }
        let only_locked = matches!(selection, Selection::OnlyLocked(_));
        if only_locked && (unlisted || !is_called) {
            continue;
        }
        // Other versions are verified too: an execution that started with one goes on with it.
        match check(store, entry, trust, locked.flatten(), selection) {
            Ok(verified) if is_called => {
                let operator = permitted(&entry.name, trust, grants);
                selected.left_out.extend(insert(&mut selected.catalog, &verified, &operator));
            }
            Ok(_) => {}
            Err(problem) => selected.left_out.push(about(problem)),
        }
    }
    let there = |locked: &&LockedPackage| {
        entries.iter().any(|entry| entry.name == locked.name && entry.version == locked.version)
    };
    let absent = selection.lock().into_iter().flat_map(Lock::packages).filter(|locked| !there(locked));
    selected.left_out.extend(absent.map(absent_problem));
    selected
}

/// Which version of each name can be called. A name of the lock has only the locked one.
fn called<'a>(entries: &'a [StoreEntry], selection: Selection<'a>) -> BTreeMap<&'a str, &'a Version> {
    let mut called: BTreeMap<&str, &Version> = BTreeMap::new();
    for entry in entries {
        let version = called.entry(&entry.name).or_insert(&entry.version);
        *version = (*version).max(&entry.version);
    }
    for locked in selection.lock().into_iter().flat_map(Lock::packages) {
        called.insert(&locked.name, &locked.version);
    }
    called
}

/// Believes an entry, and that it is what the lock pins.
fn check(
    store: &Store,
    entry: &StoreEntry,
    trust: &Trust,
    locked: Option<&LockedPackage>,
    selection: Selection<'_>,
) -> Result<Verified<Manifest>, Problem> {
    let verified = store.verified(entry, trust)?;
    let Some(locked) = locked else {
        return Ok(verified);
    };
    check_pin(locked, &verified)?;
    check_signers(locked, &verified)?;
    if matches!(selection, Selection::OnlyLocked(_)) {
        if let Some(keyid) = verified.signers().iter().find(|keyid| !locked.signed_by.contains(keyid)) {
            let role = if trust.is_development(keyid) { "development " } else { "" };
            let message =
                format!("`{}` is signed by {role}key {}, which the lock does not name", entry.name, keyid.short());
            return Err(Problem::new(Code::T039, message).help(format!("`ice update {}` shows who signed", entry.name)));
        }
        for (digest, _) in verified.blobs() {
            store.blob(&verified, &digest).map_err(|problem| name_component(problem, &verified, &digest))?;
        }
    }
    Ok(verified)
}

/// Says which component a blob is, because nobody knows digests by heart.
fn name_component(problem: Problem, verified: &Verified<Manifest>, digest: &ice_core::id::Digest) -> Problem {
    let named = verified.value().components.iter().find(|component| component.artifact == *digest);
    match named {
        Some(component) => {
            Problem { message: format!("component `{}`: {}", component.name, problem.message), ..problem }
        }
        None => problem,
    }
}

fn unlisted_problem(entry: &StoreEntry) -> Problem {
    Problem::new(Code::T045, format!("`{}` {} is in the store and not in the lock", entry.name, entry.version))
        .help(format!("`ice install {0}` locks it, `ice remove {0}` takes it away", entry.name))
}

fn absent_problem(locked: &LockedPackage) -> Problem {
    let components: Vec<String> = locked.artifacts.iter().map(|artifact| format!("`{}`", artifact.name)).collect();
    let message = format!(
        "the lock names `{}` {} (components {}), and the store does not have it",
        locked.name,
        locked.version,
        components.join(", ")
    );
    Problem::new(Code::R001, message)
        .help("`ice install --locked` fetches it")
        .subject(format!("plugin `{}`", locked.name))
}

/// Adds everything one plugin offers; returns what it could not.
fn insert(catalog: &mut Catalog, verified: &Verified<Manifest>, operator: &Grant) -> Vec<Problem> {
    let manifest = verified.value();
    let mut granted: BTreeMap<_, Arc<Grant>> = BTreeMap::new();
    for (artifact, requested) in manifest.requested() {
        granted.insert(artifact, Arc::new(operator.intersect(requested)));
    }
    let nothing = Arc::new(Grant { limits: operator.limits, ..Grant::default() });
    let mut problems = Vec::new();
    for component in &manifest.components {
        let granted = granted.get(&component.artifact).unwrap_or(&nothing);
        let (taken, kind) = match component.node_type {
            NodeType::Tool => {
                (insert_callable(&mut catalog.tools, CallKind::Tool, verified, component, granted), "tool")
            }
            NodeType::Agent => {
                (insert_callable(&mut catalog.agents, CallKind::Agent, verified, component, granted), "agent")
            }
            NodeType::Workflow => (insert_blueprint(&mut catalog.blueprints, manifest, component), "blueprint"),
        };
        if let Some(owner) = taken {
            let message = format!(
                "the {kind} `{}` of `{}` is not used: `{owner}` has one already",
                component.name, manifest.name
            );
            problems.push(Problem::new(Code::M005, message).help(format!("remove `{owner}` or `{}`", manifest.name)));
        }
    }
    problems
}

/// Returns the plugin that has this name already.
fn insert_callable(
    callables: &mut BTreeMap<String, Arc<Callable>>,
    kind: CallKind,
    verified: &Verified<Manifest>,
    component: &Component,
    granted: &Arc<Grant>,
) -> Option<String> {
    if let Some(there) = callables.get(&component.name) {
        return Some(there.plugin.clone());
    }
    let manifest = verified.value();
    let callable = Callable {
        kind,
        name: component.name.clone(),
        description: component.description.clone(),
        input_schema: manifest.input_schema(component),
        output_schema: manifest.output_schema(component),
        tags: component.tags.clone(),
        plugin: manifest.name.clone(),
        version: manifest.version.to_string(),
        artifact: component.artifact,
        statement: Some(verified.statement()),
        deprecated: component.deprecated.clone(),
        effects: component.effects.unwrap_or(Effects::External),
        granted: Arc::clone(granted),
    };
    callables.insert(component.name.clone(), Arc::new(callable));
    None
}

/// Returns the plugin that has this name already.
fn insert_blueprint(
    blueprints: &mut BTreeMap<String, Arc<BundleEntry>>,
    manifest: &Manifest,
    component: &Component,
) -> Option<String> {
    let name = format!("{}.{}", short(&manifest.name), component.name);
    if let Some(there) = blueprints.get(&name) {
        return Some(there.plugin.clone());
    }
    let entry = BundleEntry {
        name: name.clone(),
        description: component.description.clone(),
        plugin: manifest.name.clone(),
        artifact: component.artifact,
        entrypoint: component.entrypoint,
        deprecated: component.deprecated.clone(),
    };
    blueprints.insert(name, Arc::new(entry));
    None
}
