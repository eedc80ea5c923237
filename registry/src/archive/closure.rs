//! What a bundle needs, out of what is in the store, and the order in which plugins need each other.
//!
//! Choosing among what registries offer is for [`resolve`](crate::resolve).

use std::collections::BTreeMap;

use ice_core::id::Digest;
use ice_core::manifest::Manifest;
use ice_core::problem::{Code, Problem};
use semver::VersionReq;

use crate::store::{Store, StoreEntry};
use crate::trust::Trust;
use crate::verify::Verified;

/// One signed wish.
#[derive(PartialEq)]
struct Asked {
    by: String,
    req: VersionReq,
    statement: Option<Digest>,
}

/// Finds everything that `entry` needs, by the signed `dependencies` of it and of what it needs: of each name the
/// newest version in the store that everybody who asks for it accepts, verified under its own publisher's policy.
/// Returns dependencies before what needs them, `entry` itself last. Fails with everything that is missing: R001 for
/// a name that is not in the store, R010 for one of which no version fits; and with what [`Store::verified`] says.
pub fn closure(store: &Store, trust: &Trust, entry: &StoreEntry) -> Result<Vec<StoreEntry>, Vec<Problem>> {
    let one = |problem| vec![problem];
    let entries = store.list().map_err(one)?;
    let root = store.verified(entry, trust).map_err(one)?;
    let mut chosen = BTreeMap::from([(entry.name.clone(), (entry.clone(), root))]);
    let mut asked: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
    let mut problems = BTreeMap::new();
    // Wishes are only ever added, so this ends.
    while let Some(name) = next_wish(&chosen, &mut asked).map_err(one)? {
        let only = [entry.clone()];
        let candidates = if name == entry.name { &only[..] } else { &entries };
        match choose(store, trust, candidates, &name, &asked[&name]) {
            Ok(found) => drop(chosen.insert(name, found)),
            Err(problem) => drop(problems.insert(name, problem)),
        }
    }
    if !problems.is_empty() {
        return Err(problems.into_values().collect());
    }
    // The root comes first, and so is reached before anything could reach it.
    let mut found: Vec<&(StoreEntry, Verified<Manifest>)> = chosen.values().collect();
    found.sort_by_key(|(found, _)| found.name != entry.name);
    let manifests: Vec<&Manifest> = found.iter().map(|(_, verified)| verified.value()).collect();
    Ok(dependencies_first(&manifests).into_iter().map(|number| found[number].0.clone()).collect())
}

/// Notes the first wish of a chosen plugin that is not noted yet. Returns the name it is about.
fn next_wish(
    chosen: &BTreeMap<String, (StoreEntry, Verified<Manifest>)>,
    asked: &mut BTreeMap<String, Vec<Asked>>,
) -> Result<Option<String>, Problem> {
    for (entry, verified) in chosen.values() {
        for dependency in &verified.value().dependencies {
            let by = format!("`{}` {}", entry.name, entry.version);
            let req = VersionReq::parse(&dependency.req).map_err(|error| {
                Problem::new(Code::R010, format!("{by} asks for `{}` in no known way: {error}", dependency.name))
            })?;
            let wish = Asked { by, req, statement: dependency.statement };
            let wishes = asked.entry(dependency.name.clone()).or_default();
            if !wishes.contains(&wish) {
                wishes.push(wish);
                return Ok(Some(dependency.name.clone()));
            }
        }
    }
    Ok(None)
}

/// The newest version of `name` that all of `asked` accept.
fn choose(
    store: &Store,
    trust: &Trust,
    entries: &[StoreEntry],
    name: &str,
    asked: &[Asked],
) -> Result<(StoreEntry, Verified<Manifest>), Problem> {
    let who: Vec<String> = asked.iter().map(|wish| format!("{} asks for {}", wish.by, wish.req)).collect();
    let named: Vec<&StoreEntry> = entries.iter().filter(|entry| entry.name == name).collect();
    if named.is_empty() {
        let message = format!("the store has no plugin `{name}`, and {}", who.join(", "));
        return Err(Problem::new(Code::R001, message).help(format!("install it: `ice install {name}`")));
    }
    let fits = |entry: &&&StoreEntry| asked.iter().all(|wish| wish.req.matches(&entry.version));
    let mut fitting: Vec<&&StoreEntry> = named.iter().filter(fits).collect();
    fitting.sort_by(|a, b| b.version.cmp(&a.version));
    for entry in fitting {
        let verified = store.verified(entry, trust)?;
        if asked.iter().all(|wish| wish.statement.is_none_or(|statement| statement == verified.statement())) {
            return Ok(((*entry).clone(), verified));
        }
    }
    let versions: Vec<String> = named.iter().map(|entry| entry.version.to_string()).collect();
    let exact: Vec<String> = asked.iter().filter_map(|wish| wish.statement.as_ref()).map(Digest::short).collect();
    let exactly = if exact.is_empty() { String::new() } else { format!(", exactly statement {}", exact.join(", ")) };
    let message = format!("no version of `{name}` in the store fits: {}{exactly}", who.join(", "));
    Err(Problem::new(Code::R010, message).help(format!("the store has {}", versions.join(", "))))
}

/// The numbers of `manifests`, each behind those of the plugins it depends on. Plugins that depend on each other in
/// a ring come in the order they have.
pub(super) fn dependencies_first(manifests: &[&Manifest]) -> Vec<usize> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, manifest) in manifests.iter().enumerate() {
        by_name.entry(&manifest.name).or_default().push(number);
    }
    let needs = |number: usize| -> Vec<usize> {
        let names = manifests[number].dependencies.iter().rev().map(|dependency| dependency.name.as_str());
        names.filter_map(|name| by_name.get(name)).flatten().copied().collect()
    };
    let mut seen = vec![false; manifests.len()];
    let mut order = Vec::with_capacity(manifests.len());
    for start in 0..manifests.len() {
        // A stack of its own: an archive may chain thousands of plugins.
        let mut open = Vec::new();
        if !std::mem::replace(&mut seen[start], true) {
            open.push((start, needs(start)));
        }
        while let Some((number, left)) = open.last_mut() {
            match left.pop() {
                Some(next) => {
                    if !std::mem::replace(&mut seen[next], true) {
                        open.push((next, needs(next)));
                    }
                }
                None => {
                    order.push(*number);
                    open.pop();
                }
            }
        }
    }
    order
}
