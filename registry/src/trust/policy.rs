//! `policy.toml`: scopes of names, the keys that may sign for each, and what a plugin's expiry stops.
//!
//! An entry without keys adds to a scope of the root where it comes from and how long its releases wait.
//!
//! Reading is strict, because a misspelt line would be a line that protects nothing. Editing keeps comments. Scopes of
//! the root are added by [`trust`](crate::trust).

use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::manifest::{check_name, nearest, printable};
use ice_core::problem::{Code, Problem};
use serde::Deserialize;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

/// Who said that a scope is to be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The operator, in `policy.toml`. Decides before every root.
    Policy,
    /// Those who hold the root keys.
    Root,
}

/// What the expiry in a manifest stops.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Expiry {
    /// New installations. What is installed goes on running.
    #[default]
    Install,
    /// New installations, and running what is installed.
    Run,
}

/// What the operator wrote.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Policy {
    pub(super) expiry: Expiry,
    pub(super) scopes: Vec<Scope>,
}

/// What to change about a scope of the policy. `None` leaves a line as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScopeEdit {
    /// The scope, as the policy names it.
    pub name: String,
    /// The only registry such names come from.
    pub registry: Option<String>,
    /// How many of its keys must have signed.
    pub threshold: Option<usize>,
    /// Pause between a release and its installation.
    pub cooldown_hours: Option<u32>,
}

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
    /// Who said so.
    pub origin: Origin,
}

impl Scope {
    pub(super) fn holds(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.name == name,
        }
    }

    /// The operator's word before the root's, whatever its length: else a root could take over names that the operator
    /// has given to somebody. Then an exact name before every prefix, a longer prefix before a shorter.
    pub(super) fn rank(&self) -> (bool, bool, usize) {
        (self.origin == Origin::Policy, !self.name.ends_with('*'), self.name.len())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    default: Option<String>,
    #[serde(default)]
    expiry: Expiry,
    #[serde(default)]
    scope: Vec<ScopeEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeEntry {
    name: String,
    #[serde(default)]
    registry: Option<String>,
    /// Without them the root says who signs, and this entry says the rest.
    #[serde(default)]
    keys: Option<Vec<Digest>>,
    #[serde(default)]
    threshold: Option<usize>,
    #[serde(default)]
    cooldown_hours: Option<u32>,
    #[serde(default)]
    grant: Option<Grant>,
}

fn refuse(message: impl Into<String>) -> Problem {
    Problem::new(Code::T024, message)
}

/// Reads the policy (T024).
pub(super) fn parse(bytes: &[u8]) -> Result<Policy, Problem> {
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
    Ok(Policy { expiry: file.expiry, scopes })
}

fn read_scope(entry: ScopeEntry) -> Result<Scope, Problem> {
    check_pattern(&entry.name)?;
    let origin = if entry.keys.is_some() { Origin::Policy } else { Origin::Root };
    let named = entry.keys.unwrap_or_default();
    let mut keys = named.clone();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() != named.len() {
        return Err(refuse(format!("scope `{}` names a key twice", entry.name)));
    }
    let threshold = match (origin, entry.threshold) {
        (Origin::Root, None) => 0,
        (Origin::Root, Some(_)) => {
            let problem = refuse(format!("scope `{}` has a threshold and no keys", entry.name));
            return Err(problem.help("name the keys too, or leave both to the root"));
        }
        (Origin::Policy, threshold) => threshold.unwrap_or(1),
    };
    if origin == Origin::Policy && !(1..=keys.len()).contains(&threshold) {
        let count = keys.len();
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
        threshold,
        cooldown_hours: entry.cooldown_hours,
        grant: entry.grant,
        origin,
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

/// Edits the text of the policy, or of a new one, and reads the outcome: what could not be opened again is not written.
pub(super) fn edit(
    bytes: Option<&[u8]>,
    edit: impl FnOnce(&mut ArrayOfTables) -> Result<(), Problem>,
) -> Result<String, Problem> {
    const NEW: &str =
        "# Who may sign which plugins. Written by `ice trust add`; edit it freely.\nversion = 1\ndefault = \"deny\"\n";
    let text = bytes.map_or(Ok(NEW), std::str::from_utf8).map_err(|_| refuse("the policy is not UTF-8"))?;
    let mut document: DocumentMut =
        text.parse().map_err(|error| refuse(format!("the policy cannot be read: {error}")))?;
    let scopes = document.entry("scope").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let scopes = scopes.as_array_of_tables_mut().ok_or_else(|| {
        refuse("the scopes of the policy are written as one line").help("write each as a `[[scope]]` table")
    })?;
    edit(scopes)?;
    if scopes.is_empty() {
        document.remove("scope");
    }
    let text = document.to_string();
    parse(text.as_bytes())?;
    Ok(text)
}

fn named<'a>(scopes: &'a mut ArrayOfTables, name: &str) -> Option<&'a mut Table> {
    scopes.iter_mut().find(|scope| scope.get("name").and_then(Item::as_str) == Some(name))
}

/// Adds the key to the scope of this name, which is made when it is not there.
pub(super) fn add_key(scopes: &mut ArrayOfTables, name: &str, keyid: &Digest) {
    let keyid = keyid.to_string();
    if let Some(keys) = named(scopes, name).and_then(|scope| scope.get_mut("keys")).and_then(Item::as_array_mut) {
        if !keys.iter().any(|key| key.as_str() == Some(&keyid)) {
            keys.push(keyid);
        }
        return;
    }
    let keys = value(Array::from_iter([keyid]));
    // An entry that left the keys to the root names its own from now on.
    if let Some(scope) = named(scopes, name) {
        scope["keys"] = keys;
        return;
    }
    let mut scope = Table::new();
    scope["name"] = value(name);
    scope["keys"] = keys;
    scope["threshold"] = value(1);
    scopes.push(scope);
}

/// Takes the key out of every scope, and scopes without keys out of the policy.
pub(super) fn remove_key(scopes: &mut ArrayOfTables, keyid: &Digest) {
    let keyid = keyid.to_string();
    for scope in scopes.iter_mut() {
        if let Some(keys) = scope.get_mut("keys").and_then(Item::as_array_mut) {
            keys.retain(|key| key.as_str() != Some(&keyid));
        }
    }
    scopes.retain(|scope| scope.get("keys").and_then(Item::as_array).is_none_or(|keys| !keys.is_empty()));
}

/// Makes an entry without keys for a scope that the root names, unless there is one.
pub(super) fn add_scope_of_root(scopes: &mut ArrayOfTables, name: &str) {
    if named(scopes, name).is_none() {
        let mut scope = Table::new();
        scope["name"] = value(name);
        scopes.push(scope);
    }
}

/// Changes lines of a scope (R001 when it is not there).
pub(super) fn set_scope(scopes: &mut ArrayOfTables, edit: &ScopeEdit) -> Result<(), Problem> {
    let scope = named(scopes, &edit.name).ok_or_else(|| absent(&edit.name))?;
    let threshold = edit.threshold.map(|count| value(i64::try_from(count).unwrap_or(i64::MAX)));
    let changes = [
        ("registry", edit.registry.as_deref().map(value)),
        ("threshold", threshold),
        ("cooldown_hours", edit.cooldown_hours.map(|hours| value(i64::from(hours)))),
    ];
    for (line, item) in changes {
        let Some(Item::Value(mut new)) = item else { continue };
        if let Some(old) = scope.get(line).and_then(Item::as_value) {
            *new.decor_mut() = old.decor().clone();
        }
        scope.insert(line, Item::Value(new));
    }
    Ok(())
}

/// Takes a scope out (R001 when it is not there).
pub(super) fn remove_scope(scopes: &mut ArrayOfTables, name: &str) -> Result<(), Problem> {
    let before = scopes.len();
    scopes.retain(|scope| scope.get("name").and_then(Item::as_str) != Some(name));
    if scopes.len() < before { Ok(()) } else { Err(absent(name)) }
}

fn absent(name: &str) -> Problem {
    let name = printable(name);
    Problem::new(Code::R001, format!("the trust policy has no scope `{name}`"))
        .help(format!("`ice trust list` shows them; `ice trust add KEY.pem --scope '{name}'` makes one"))
}
