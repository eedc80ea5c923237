//! Warns about tools, agents and blueprints that went out of use. They still run: what replaces them is said, not done.

use std::collections::BTreeMap;

use ice_core::catalog::Catalog;
use ice_core::manifest::{Deprecation, Manifest, printable};
use ice_core::problem::{Code, Problem};
use ice_engine::plan::Plan;

/// One warning a component of `manifest` that went out of use.
pub(crate) fn offered(manifest: &Manifest) -> Vec<Problem> {
    let of = |deprecation: &Option<Deprecation>, name: &str| {
        deprecation.as_ref().map(|deprecation| warning(name, &manifest.name, deprecation))
    };
    manifest.components.iter().filter_map(|component| of(&component.deprecated, &component.name)).collect()
}

/// One warning for each of what `plan` uses and that went out of use; `entry` is the blueprint of a bundle it was made of.
pub(crate) fn used(catalog: &Catalog, entry: Option<&str>, plan: &Plan) -> Vec<Problem> {
    let mut found = BTreeMap::new();
    if let Some(entry) = entry.and_then(|entry| catalog.blueprints.get(entry))
        && let Some(deprecation) = &entry.deprecated
    {
        found.insert(entry.name.as_str(), warning(&entry.name, &entry.plugin, deprecation));
    }
    for (name, artifact) in &plan.components {
        let callables = [catalog.tools.get(name), catalog.agents.get(name)];
        for callable in callables.into_iter().flatten().filter(|callable| callable.artifact == *artifact) {
            if let Some(deprecation) = &callable.deprecated {
                found.insert(name, warning(name, &callable.plugin, deprecation));
            }
        }
    }
    found.into_values().collect()
}

/// For example: deprecated since 1.2.0, use `quote_v2`.
pub(crate) fn words(deprecation: &Deprecation) -> String {
    let since = printable(&deprecation.since);
    match &deprecation.replacement {
        Some(replacement) => format!("deprecated since {since}, use `{}`", printable(replacement)),
        None => format!("deprecated since {since}; nothing replaces it"),
    }
}

/// `name` is a tool, agent or blueprint of `plugin`.
pub(crate) fn warning(name: &str, plugin: &str, deprecation: &Deprecation) -> Problem {
    let message = format!("`{}` of `{}` is {}", printable(name), printable(plugin), words(deprecation));
    Problem::new(Code::M006, message)
}
