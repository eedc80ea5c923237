//! `policy.toml`: scopes of names, and the keys that may sign for each.
//!
//! Reading is strict, because a misspelt line would be a line that protects nothing. Editing keeps comments.

use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::manifest::{check_name, nearest, printable};
use ice_core::problem::{Code, Problem};
use serde::Deserialize;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

/// Who may sign for some names.
#[derive(Clone, PartialEq, Debug)]
pub struct Scope {
    /// `scope/name`, or a prefix with at least `scope/` and one `*`.
    pub name: String,
    /// The only registry such names come from, where one is named.
    pub registry: Option<String>,
    /// Ids of keys; no repeats.
    pub keys: Vec<Digest>,
    /// How many of them must have signed; from 1 to their number.
    pub threshold: usize,
    /// Pause between a release and its installation, where one is named.
    pub cooldown_hours: Option<u32>,
    /// What plugins of this scope get when the operator has granted them nothing by name.
    pub grant: Option<Grant>,
}

impl Scope {
    pub(super) fn holds(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.name == name,
        }
    }

    /// An exact name before every prefix, a longer prefix before a shorter.
    pub(super) fn rank(&self) -> (bool, usize) {
        (!self.name.ends_with('*'), self.name.len())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    default: Option<String>,
    #[serde(default)]
    scope: Vec<ScopeEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeEntry {
    name: String,
    #[serde(default)]
    registry: Option<String>,
    keys: Vec<Digest>,
    #[serde(default = "one")]
    threshold: usize,
    #[serde(default)]
    cooldown_hours: Option<u32>,
    #[serde(default)]
    grant: Option<Grant>,
}

fn one() -> usize {
    1
}

fn refuse(message: impl Into<String>) -> Problem {
    Problem::new(Code::T024, message)
}

/// Reads the scopes (T024).
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Scope>, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| refuse("the policy is not UTF-8"))?;
    let file: File = toml::from_str(text).map_err(|error| {
        let mut problem = refuse(format!("the policy cannot be read: {}", printable(error.message())));
        if let Some(span) = error.span() {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            problem.at.get_or_insert_default().line = u32::try_from(line).ok();
        }
        problem
    })?;
    if file.version != 1 {
        return Err(refuse(format!("the policy has version {}, this host reads 1", file.version)));
    }
    if let Some(default) = file.default.filter(|default| default != "deny") {
        let problem = refuse(format!("`default = \"{}\"` is not possible", printable(&default)));
        return Err(problem.help("write `default = \"deny\"`, and a scope for every publisher you believe"));
    }
    let mut scopes: Vec<Scope> = Vec::new();
    for entry in file.scope {
        let scope = read_scope(entry)?;
        if scopes.iter().any(|other| other.name == scope.name) {
            let problem = refuse(format!("two scopes are named `{}`, so neither decides", scope.name));
            return Err(problem.help("put their keys in one"));
        }
        scopes.push(scope);
    }
    Ok(scopes)
}

fn read_scope(entry: ScopeEntry) -> Result<Scope, Problem> {
    check_pattern(&entry.name)?;
    let mut keys = entry.keys.clone();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() != entry.keys.len() {
        return Err(refuse(format!("scope `{}` names a key twice", entry.name)));
    }
    if entry.threshold == 0 || entry.threshold > keys.len() {
        let (threshold, count) = (entry.threshold, keys.len());
        let problem = refuse(format!("scope `{}` needs {threshold} of {count} keys", entry.name));
        return Err(problem.help(format!("write a threshold from 1 to {count}")));
    }
    if let Some(problem) = entry.grant.as_ref().and_then(|grant| grant.check().into_iter().next()) {
        return Err(refuse(format!("grant of scope `{}`: {}", entry.name, problem.message)));
    }
    Ok(Scope {
        name: entry.name,
        registry: entry.registry,
        keys,
        threshold: entry.threshold,
        cooldown_hours: entry.cooldown_hours,
        grant: entry.grant,
    })
}

/// Refuses what is neither a name nor a prefix that holds at least a whole scope: `acme*` would hold `acme2/x` too.
pub(super) fn check_pattern(pattern: &str) -> Result<(), Problem> {
    let example = match pattern.strip_suffix('*') {
        Some(prefix) if prefix.ends_with('/') => format!("{prefix}a"),
        Some(prefix) => prefix.to_owned(),
        None => pattern.to_owned(),
    };
    if check_name(&example).is_ok() {
        return Ok(());
    }
    let problem = refuse(format!("`{}` is not a scope", printable(pattern)));
    let meant = nearest(pattern, ["*", "*/*"]).is_some() || pattern.is_empty();
    let help = "write `publisher/*`, `publisher/prefix*` or `publisher/name`";
    Err(problem.help(if meant { format!("{help}; there is no scope for everybody") } else { help.to_owned() }))
}

/// The policy to edit: what is there, or a new one.
pub(super) fn document(bytes: Option<&[u8]>) -> Result<DocumentMut, Problem> {
    const NEW: &str =
        "# Who may sign which plugins. Written by `ice keys trust`; edit it freely.\nversion = 1\ndefault = \"deny\"\n";
    let text = bytes.map_or(Ok(NEW), std::str::from_utf8).map_err(|_| refuse("the policy is not UTF-8"))?;
    text.parse().map_err(|error| refuse(format!("the policy cannot be read: {error}")))
}

/// Adds the key to the scope of this name, which is made when it is not there.
pub(super) fn add_key(document: &mut DocumentMut, name: &str, keyid: &Digest) {
    let scopes = document.entry("scope").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let Some(scopes) = scopes.as_array_of_tables_mut() else {
        return;
    };
    let keyid = keyid.to_string();
    let named = scopes.iter_mut().find(|scope| scope.get("name").and_then(Item::as_str) == Some(name));
    if let Some(keys) = named.and_then(|scope| scope.get_mut("keys")).and_then(Item::as_array_mut) {
        if !keys.iter().any(|key| key.as_str() == Some(&keyid)) {
            keys.push(keyid);
        }
        return;
    }
    let mut scope = Table::new();
    scope["name"] = value(name);
    scope["keys"] = value(Array::from_iter([keyid]));
    scope["threshold"] = value(1);
    scopes.push(scope);
}

/// Takes the key out of every scope, and scopes without keys out of the policy.
pub(super) fn remove_key(document: &mut DocumentMut, keyid: &Digest) {
    let Some(scopes) = document.get_mut("scope").and_then(Item::as_array_of_tables_mut) else {
        return;
    };
    let keyid = keyid.to_string();
    for scope in scopes.iter_mut() {
        if let Some(keys) = scope.get_mut("keys").and_then(Item::as_array_mut) {
            keys.retain(|key| key.as_str() != Some(&keyid));
        }
    }
    scopes.retain(|scope| scope.get("keys").and_then(Item::as_array).is_none_or(|keys| !keys.is_empty()));
}
