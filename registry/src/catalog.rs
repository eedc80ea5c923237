//! What a host can call: the catalog of the verified plugins of a store, with what the operator granted each.
//!
//! One bad plugin is left out with its problem; it never takes the others down. Components are not read here.

use std::collections::BTreeMap;
use std::sync::Arc;

use ice_core::catalog::{BundleEntry, CallKind, Callable, Catalog, Effects};
use ice_core::grant::Grant;
use ice_core::manifest::{Component, Manifest, NodeType, short};
use ice_core::problem::{Code, Problem};
use semver::Version;

use crate::store::Store;
use crate::trust::Trust;
use crate::verify::Verified;

/// Builds the catalog from the newest version of every plugin in `store`. `grants` is by plugin name; a plugin that is
/// not there gets the grant of its scope in the trust policy, or nothing. What is granted is what both the manifest
/// asks for and the operator allows. When the newest version of a plugin does not verify, an older one does not stand
/// in for it. Of two plugins with a tool of the same name the one installed first keeps it (M005).
pub fn catalog(store: &Store, trust: &Trust, grants: &BTreeMap<String, Grant>) -> (Catalog, Vec<Problem>) {
    let mut problems = Vec::new();
    let entries = store.list().unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    let mut newest: BTreeMap<&str, &Version> = BTreeMap::new();
    for entry in &entries {
        let version = newest.entry(&entry.name).or_insert(&entry.version);
        *version = (*version).max(&entry.version);
    }
    let mut catalog = Catalog::default();
    for entry in &entries {
        // Older versions are verified too: an execution that started with one goes on with it.
        match store.verified(entry, trust) {
            Ok(verified) if newest.get(entry.name.as_str()) == Some(&&entry.version) => {
                let scope = trust.scope_for(&entry.name).ok().and_then(|scope| scope.grant.as_ref());
                let operator = grants.get(&entry.name).or(scope).cloned().unwrap_or_default();
                problems.extend(insert(&mut catalog, &verified, &operator));
            }
            Ok(_) => {}
            Err(problem) => problems.push(problem.subject(format!("plugin `{}` {}", entry.name, entry.version))),
        }
    }
    (catalog, problems)
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
                (insert_callable(&mut catalog.tools, CallKind::Tool, manifest, component, granted), "tool")
            }
            NodeType::Agent => {
                (insert_callable(&mut catalog.agents, CallKind::Agent, manifest, component, granted), "agent")
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
    manifest: &Manifest,
    component: &Component,
    granted: &Arc<Grant>,
) -> Option<String> {
    if let Some(there) = callables.get(&component.name) {
        return Some(there.plugin.clone());
    }
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
    };
    blueprints.insert(name, Arc::new(entry));
    None
}
