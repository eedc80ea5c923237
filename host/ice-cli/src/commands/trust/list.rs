//! `ice trust list` and `show`: whom this machine believes, whether the operator or a root said so.

use std::collections::BTreeMap;

use ice_core::id::Digest;
use ice_core::manifest::{print_date, printable};
use ice_core::problem::{Code, Problem};
use ice_registry::trust::{KeyNotes, KeyRole, Root};
use ice_registry::{DocumentKind, PublicKey, Trust};
use serde_json::{Value, json};

use crate::config::Config;
use crate::output::Output;
use crate::wire::{Layout, now};

/// Every key that is believed for something: those of the newest root, and those the operator added.
fn keys(trust: &Trust) -> BTreeMap<Digest, &PublicKey> {
    let roles = trust.root().map(Root::roles).into_iter();
    let roles = roles
        .flat_map(|roles| [&roles.root, &roles.index, &roles.revocations].into_iter().chain(roles.publishers.values()));
    let of_root = roles.flat_map(|role| role.keys().iter().map(|(id, key)| (*id, key)));
    of_root.chain(trust.trusted_keys().iter().map(|(id, trusted)| (*id, &trusted.key))).collect()
}

/// The one believed key whose id begins with this.
pub(super) fn believed(trust: &Trust, keyid: &str) -> Result<Digest, Problem> {
    let wanted = keyid.strip_prefix("sha256:").unwrap_or(keyid);
    let fitting: Vec<Digest> =
        keys(trust).into_keys().filter(|id| !wanted.is_empty() && id.hex().starts_with(wanted)).collect();
    match fitting[..] {
        [id] => Ok(id),
        _ => {
            let message = format!("{} believed keys begin with `{}`", fitting.len(), printable(keyid));
            Err(Problem::new(Code::R001, message).help("`ice trust list` shows their ids"))
        }
    }
}

fn notes_of(trust: &Trust, id: &Digest) -> KeyNotes {
    trust.trusted_keys().get(id).map(|key| key.notes.clone()).unwrap_or_default()
}

fn scopes_of<'a>(trust: &'a Trust, id: &Digest) -> Vec<&'a str> {
    trust.scopes().iter().filter(|scope| scope.keys.contains(id)).map(|scope| scope.name.as_str()).collect()
}

/// What else it may sign. With a root, documents are signed by the keys of its roles and by no others.
fn roles_of(trust: &Trust, id: &Digest) -> Vec<&'static str> {
    let kinds = [DocumentKind::Root, DocumentKind::Index, DocumentKind::Revocations];
    let of_root = |kind: &DocumentKind| trust.root().is_some_and(|root| root.roles().of(*kind).keys().contains_key(id));
    let mut roles: Vec<&str> = kinds.into_iter().filter(of_root).map(DocumentKind::as_str).collect();
    let noted = notes_of(trust, id).roles;
    let counts = |role: &&KeyRole| **role == KeyRole::Dev || trust.root().is_none();
    roles.extend(noted.iter().filter(counts).map(|role| role.as_str()));
    roles
}

fn value(trust: &Trust, id: &Digest) -> Value {
    let notes = notes_of(trust, id);
    json!({ "keyid": id, "label": notes.label, "owner": notes.owner, "roles": roles_of(trust, id),
            "scopes": scopes_of(trust, id), "valid_from": notes.valid_from, "valid_until": notes.valid_until,
            "from": if trust.trusted_keys().contains_key(id) { "operator" } else { "root" } })
}

fn lines(trust: &Trust, id: &Digest) -> Vec<String> {
    let notes = notes_of(trust, id);
    let label = match trust.root() {
        Some(root) if !trust.trusted_keys().contains_key(id) => format!("(root {})", root.version()),
        _ => printable(&notes.label),
    };
    let mut lines = vec![format!("{id} {label}")];
    let mut line = |what: &str, text: String| {
        if !text.is_empty() {
            lines.push(format!("  {what:<8} {text}"));
        }
    };
    line("owner", printable(&notes.owner));
    line("signs", scopes_of(trust, id).join(", "));
    line("roles", roles_of(trust, id).join(", "));
    line("until", notes.valid_until.unwrap_or_default());
    lines
}

pub(super) fn run(config: &Config, output: &Output) -> Result<(), Problem> {
    let trust = Trust::open(&Layout(&config.home).trust())?;
    let ids: Vec<Digest> = keys(&trust).into_keys().collect();
    output.either(
        || json!(ids.iter().map(|id| value(&trust, id)).collect::<Vec<_>>()),
        || ids.iter().flat_map(|id| lines(&trust, id)).collect(),
    );
    if ids.is_empty() {
        output.note("nobody is trusted yet; `ice trust add KEY --scope 'NAME/*'` believes a key");
    }
    if let Some(root) = trust.root() {
        output.note(&format!("root {}, until {}", root.version(), print_date(root.expires())));
    }
    trust.warnings(now()).iter().for_each(|problem| output.warn(problem));
    Ok(())
}

pub(super) fn show(what: &str, config: &Config, output: &Output) -> Result<(), Problem> {
    let trust = Trust::open(&Layout(&config.home).trust())?;
    if what.contains('/') {
        return show_scope(what, &trust, output);
    }
    let id = believed(&trust, what)?;
    let pem = keys(&trust).get(&id).map(|key| key.to_pem()).unwrap_or_default();
    output.either(
        || {
            let mut value = value(&trust, &id);
            value["pem"] = json!(pem);
            value
        },
        || lines(&trust, &id).into_iter().chain([pem.trim_end().to_owned()]).collect(),
    );
    Ok(())
}

fn show_scope(name: &str, trust: &Trust, output: &Output) -> Result<(), Problem> {
    let scope = trust.scope_for(name)?;
    output.either(
        || {
            json!({ "name": name, "scope": scope.name, "registry": scope.registry, "threshold": scope.threshold,
                    "cooldown_hours": scope.cooldown_hours, "grant": scope.grant, "keys": scope.keys })
        },
        || {
            let mut shown = vec![format!("`{}` decides about {name}", scope.name)];
            shown.push(format!("  {} of {} keys have to sign", scope.threshold, scope.keys.len()));
            shown.extend(scope.registry.iter().map(|registry| format!("  it comes from {registry} only")));
            shown.extend(scope.cooldown_hours.iter().map(|hours| format!("  {hours} hours after its release")));
            shown.extend(scope.keys.iter().flat_map(|id| lines(trust, id)).map(|line| format!("  {line}")));
            shown
        },
    );
    Ok(())
}
