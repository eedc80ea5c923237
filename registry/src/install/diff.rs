//! What an update changes, for a person to look at: version, signers, capabilities, and what the model reads.

use ice_core::grant::{Grant, widens};
use ice_core::id::Digest;
use ice_core::lock::LockedPackage;
use ice_core::manifest::{Component, Manifest};
use ice_core::problem::{Code, Problem};
use semver::Version;
use serde_json::Value;

use super::keys;

/// What changes between two entries of a lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diff {
    /// The version before.
    pub from: Version,
    /// The version after.
    pub to: Version,
    /// Keys that signed the new one and not the old one.
    pub signers_added: Vec<Digest>,
    /// Keys that signed the old one and not the new one.
    pub signers_removed: Vec<Digest>,
    /// What is asked for and was not before, as `ice plugins grant` takes it, with the component that asks.
    pub capabilities: Vec<String>,
    /// What the model reads and what changes there. Not empty exactly when the interface has another digest.
    pub interface: Vec<InterfaceChange>,
}

/// One text that the model reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceChange {
    /// Tool, agent or blueprint.
    pub component: String,
    /// `description`, `input` or `output`.
    pub part: &'static str,
    /// As it was; `None` when it was not there or is not known.
    pub before: Option<String>,
    /// As it is now; `None` when it is gone.
    pub after: Option<String>,
}

impl Diff {
    /// What changes from the entry `old` to `new`. Without the manifest of the old one everything that is asked for
    /// counts as new.
    pub(super) fn of(old: &LockedPackage, before: Option<&Manifest>, new: &LockedPackage, after: &Manifest) -> Self {
        let fresh = |keys: &[Digest], than: &[Digest]| keys.iter().filter(|key| !than.contains(key)).copied().collect();
        let mut interface = Vec::new();
        if old.interface != new.interface {
            interface = texts(before, after);
            if interface.is_empty() {
                // The order of components is all that is left.
                let order = |manifest: &Manifest| -> String {
                    manifest.components.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
                };
                let (before, after) = (before.map(order), Some(order(after)));
                interface.push(InterfaceChange { component: new.name.clone(), part: "order", before, after });
            }
        }
        Self {
            from: old.version.clone(),
            to: new.version.clone(),
            signers_added: fresh(&new.signed_by, &old.signed_by),
            signers_removed: fresh(&old.signed_by, &new.signed_by),
            capabilities: wider(before, after),
            interface,
        }
    }

    /// What needs acceptance: G003 for capabilities, T047 for signers and interface.
    pub(super) fn problems(&self, name: &str) -> Vec<Problem> {
        let Self { from, to, .. } = self;
        let help = format!("look at what changes, then `ice update {name} --accept`");
        let mut problems = Vec::new();
        let mut add = |code, message: String| problems.push(Problem::new(code, message).help(&help));
        if !self.capabilities.is_empty() {
            let asked = self.capabilities.join(", ");
            add(Code::G003, format!("`{name}` {from} → {to} asks for more: {asked}"));
        }
        if !self.signers_added.is_empty() {
            let signers = keys(&self.signers_added);
            add(Code::T047, format!("`{name}` {from} → {to} has another signer: {signers}"));
        }
        if !self.interface.is_empty() {
            let mut parts: Vec<String> =
                self.interface.iter().map(|change| format!("{} of `{}`", change.part, change.component)).collect();
            parts.dedup();
            let more = parts.len().saturating_sub(5);
            parts.truncate(5);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            add(
                Code::T047,
                format!("`{name}` {from} → {to} tells the model something else: {}{more}", parts.join(", ")),
            );
        }
        problems
    }
}

fn same_part<'a>(manifest: Option<&'a Manifest>, component: &Component) -> Option<&'a Component> {
    let same = |other: &&Component| other.node_type == component.node_type && other.name == component.name;
    manifest?.components.iter().find(same)
}

/// Each component is compared with itself: what one may do says nothing about another.
fn wider(before: Option<&Manifest>, after: &Manifest) -> Vec<String> {
    let nothing = Grant::default();
    let mut lines = Vec::new();
    for component in &after.components {
        let old = same_part(before, component).and_then(|old| old.capabilities.as_ref()).unwrap_or(&nothing);
        let new = component.capabilities.as_ref().unwrap_or(&nothing);
        lines.extend(widens(old, new).into_iter().map(|line| format!("{line} ({})", component.name)));
    }
    lines
}

fn texts(before: Option<&Manifest>, after: &Manifest) -> Vec<InterfaceChange> {
    let mut changes = Vec::new();
    for component in &after.components {
        let old = before.zip(same_part(before, component)).map(|(manifest, old)| parts(manifest, old));
        for (index, (part, text)) in parts(after, component).into_iter().enumerate() {
            let before = old.as_ref().map(|old| old[index].1.clone());
            if before.as_ref() != Some(&text) {
                changes.push(InterfaceChange { component: component.name.clone(), part, before, after: Some(text) });
            }
        }
    }
    for (manifest, old) in before.into_iter().flat_map(|m| m.components.iter().map(move |old| (m, old))) {
        if same_part(Some(after), old).is_none() {
            let gone = parts(manifest, old).into_iter().map(|(part, text)| InterfaceChange {
                component: old.name.clone(),
                part,
                before: Some(text),
                after: None,
            });
            changes.extend(gone);
        }
    }
    changes
}

fn parts(manifest: &Manifest, component: &Component) -> [(&'static str, String); 3] {
    let schema = |schema: Value| serde_json::to_string_pretty(&schema).unwrap_or_default();
    [
        ("description", component.description.clone()),
        ("input", schema(manifest.input_schema(component))),
        ("output", schema(manifest.output_schema(component))),
    ]
}
