//! Resolves, verifies and compares. Reads envelopes; fetches no component and writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use ice_core::bundle::Needs;
use ice_core::grant::{Grant, widens};
use ice_core::lock::{Lock, LockedPackage, permitted_words};
use ice_core::manifest::{Manifest, near_names};
use ice_core::problem::{Code, Problem};
use semver::{Comparator, Op, VersionReq};

use super::lookup::{Desk, Found};
use super::{Change, Deprecated, Diff, Prepared, Request, Step, locked_entry};
use crate::catalog::permitted;
use crate::resolve::{Held, Question, Requirement};
use crate::source::Source;
use crate::store::{Store, exists};
use crate::trust::{State, Trust};

/// Finds out what `request` needs beyond `lock`, and verifies it. Changes nothing but the latest moment seen.
///
/// T038 when the clock went back and something may be installed: what expires cannot be judged. R010 and T048 when no versions fit together; T039 when a locked version is another plugin now; T040 and T044 when the
/// lock would have to change and may not; R001, R005 and the T-codes of verification for what was found; T027, and
/// T028 when nobody looks, for a new name that is close to a known one.
pub async fn prepare(
    request: &Request<'_>,
    lock: &Lock,
    store: &Store,
    trust: &Trust,
    state: &State,
    source: &dyn Source,
) -> Result<Prepared, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let entries = store.list().map_err(one)?;
    if request.closed().is_none_or(|closed| !closed.is_offline()) {
        state.check_clock(request.now).map_err(one)?;
    }
    let trust = &trust.clone().at(request.now);
    let desk = Desk { request, lock, store, entries, trust, state, source };
    let found = desk.resolve(&question(request, lock)?).await.map_err(one)?;
    let mut problems = Vec::new();
    let mut prepared = Prepared {
        steps: Vec::new(),
        lock: lock.clone(),
        dropped: Vec::new(),
        warnings: Vec::new(),
        deprecated: Vec::new(),
        accepted: false,
        closed: request.closed(),
    };
    for found in found.values() {
        prepared.deprecated.extend(deprecated(found.verified.value()));
        let (asked, granted) = grants(&desk, found.verified.value());
        let step = step(&desk, found, granted).await;
        if step.change != Change::Same {
            prepared.warnings.extend(asked);
            problems.extend(clash(&desk, &step));
        }
        prepared.steps.push(step);
    }
    for problem in near(&desk, &prepared.steps) {
        let stops = problem.code != Code::T028 || request.unattended;
        if stops { problems.push(problem) } else { prepared.warnings.push(problem) }
    }
    if request.updates().is_some() {
        let needed = |package: &&LockedPackage| found.contains_key(&package.name);
        prepared.dropped = lock.packages().iter().filter(|package| !needed(package)).cloned().collect();
    }
    complete_dependencies(&mut prepared, &found, request);
    if problems.is_empty() { Ok(prepared) } else { Err(problems) }
}

/// What the resolver is asked. Problems for a lock that cannot answer: T040, T044, R001.
fn question(request: &Request<'_>, lock: &Lock) -> Result<Question, Vec<Problem>> {
    let mut problems = Vec::new();
    let root = |by: &str, needs: &Needs| Requirement {
        name: needs.name.clone(),
        req: needs.req.clone(),
        statement: None,
        by: by.to_owned(),
    };
    let mut roots: Vec<Requirement> = request.constraints.iter().map(|needs| root("ice.toml", needs)).collect();
    roots.extend(request.wants.iter().map(|needs| root("this command", needs)));
    if let Some(closed) = request.closed() {
        for root in &roots {
            match lock.find(&root.name) {
                Some(locked) if root.req.matches(&locked.version) => {}
                Some(locked) => problems.push(closed.stale(&format!(
                    "{} wants `{}` {}, the lock has {}",
                    root.by, root.name, root.req, locked.version
                ))),
                None => problems.push(closed.stale(&format!("`{}` is not in the lock", root.name))),
            }
        }
    }
    let held = match request.updates() {
        Some(names) => {
            problems.extend(names.iter().filter(|name| lock.find(name).is_none()).map(|name| {
                let name = ice_core::manifest::printable(name);
                Problem::new(Code::R001, format!("`{name}` is not in the lock")).help(format!("`ice install {name}`"))
            }));
            roots.extend(kept_roots(&roots, lock));
            let stays = |package: &&LockedPackage| !names.is_empty() && !names.contains(&package.name);
            let held = |package: &LockedPackage| (package.name.clone(), Held::Preferred(package.version.clone()));
            lock.packages().iter().filter(stays).map(held).collect()
        }
        None => {
            problems.extend(doubled(lock));
            roots.extend(lock.packages().iter().map(|package| exactly(package, Op::Exact)));
            let held = |package: &LockedPackage| (package.name.clone(), Held::Firm(package.version.clone()));
            lock.packages().iter().map(held).collect()
        }
    };
    if problems.is_empty() { Ok(Question { roots, held }) } else { Err(problems) }
}

/// A lock with two versions of a name comes from a merge: which one is meant is not decided here.
fn doubled(lock: &Lock) -> Vec<Problem> {
    let twice = lock.packages().windows(2).filter(|pair| pair[0].name == pair[1].name);
    let problem = |pair: &[LockedPackage]| {
        let (name, one, two) = (&pair[0].name, &pair[0].version, &pair[1].version);
        Problem::new(Code::T040, format!("the lock has `{name}` twice, {one} and {two}"))
            .help(format!("`ice update {name}` chooses one and shows the difference"))
    };
    twice.map(problem).collect()
}

fn exactly(package: &LockedPackage, op: Op) -> Requirement {
    let version = &package.version;
    let comparator = Comparator {
        op,
        major: version.major,
        minor: Some(version.minor),
        patch: Some(version.patch),
        pre: version.pre.clone(),
    };
    Requirement {
        name: package.name.clone(),
        req: VersionReq { comparators: vec![comparator] },
        statement: None,
        by: "ice.lock".to_owned(),
    }
}

/// What was installed without a line in `ice.toml` stays, and moves only to compatible versions. What is there because
/// another plugin needs it goes when nothing needs it any more.
fn kept_roots(asked: &[Requirement], lock: &Lock) -> Vec<Requirement> {
    let needs = |package: &'_ LockedPackage| -> Vec<String> {
        package.dependencies.iter().filter_map(|text| text.split(' ').next()).map(str::to_owned).collect()
    };
    let needed: BTreeSet<String> = lock.packages().iter().flat_map(needs).collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut roots = Vec::new();
    // First what nothing needs; then circles, which only need themselves.
    let free = lock.packages().iter().filter(|package| !needed.contains(&package.name));
    for package in free.chain(lock.packages()) {
        if reached.contains(&package.name) {
            continue;
        }
        let mut open = vec![package.name.clone()];
        while let Some(name) = open.pop() {
            if reached.insert(name.clone()) {
                open.extend(lock.packages().iter().filter(|package| package.name == name).flat_map(needs));
            }
        }
        if !asked.iter().any(|root| root.name == package.name) {
            roots.extend(lock.find(&package.name).map(|package| exactly(package, Op::Caret)));
        }
    }
    roots
}

async fn step(desk: &Desk<'_>, found: &Found, granted: Vec<String>) -> Step {
    let manifest = found.verified.value();
    let mut locked = locked_entry(&found.verified, granted, Vec::new());
    locked.source.clone_from(&found.offer.source);
    locked.oci_digest = found.offer.oci_digest;
    let old = desk.lock.find(&manifest.name);
    let updating = desk.request.updates().is_some();
    let change = match old {
        None => Change::New,
        Some(old) if !updating || old.differs(&locked).is_empty() && old.signed_by == locked.signed_by => {
            locked = old.clone();
            Change::Same
        }
        Some(old) => {
            let before = desk.before(&manifest.name).await;
            Change::Update(Diff::of(old, before.as_ref(), &locked, manifest))
        }
    };
    let there = desk.entries.iter().find(|entry| entry.name == manifest.name && entry.version == manifest.version);
    let in_store = there.is_some_and(|entry| entry.statement == Some(found.verified.statement()));
    Step { verified: found.verified.clone(), envelope: found.offer.envelope.clone(), locked, change, in_store }
}

/// R003 when the store has this version with other content.
fn clash(desk: &Desk<'_>, step: &Step) -> Option<Problem> {
    let manifest = step.verified.value();
    let there = desk.entries.iter().find(|entry| entry.name == manifest.name && entry.version == manifest.version)?;
    (!step.in_store).then(|| exists(&format!("{}:{}", there.name, there.version)))
}

/// What is asked for and not granted (G003), and what is granted, in words.
fn grants(desk: &Desk<'_>, manifest: &Manifest) -> (Option<Problem>, Vec<String>) {
    let name = &manifest.name;
    let operator = permitted(name, desk.trust, desk.request.grants);
    let mut open = BTreeSet::new();
    for (_, requested) in manifest.requested() {
        let asked = Grant { limits: operator.limits, ..requested.clone() };
        open.extend(widens(&operator, &asked));
    }
    let open: Vec<String> = open.into_iter().collect();
    let problem = (!open.is_empty()).then(|| {
        let message = format!("`{name}` asks for more than is granted: {}", open.join(", "));
        Problem::new(Code::G003, message)
            .subject(format!("plugin `{name}`"))
            .help(format!("it runs without; `ice plugins grant {name} '{}'` allows it", open.join("' '")))
    });
    (problem, permitted_words(&operator, manifest))
}

fn deprecated(manifest: &Manifest) -> Vec<Deprecated> {
    let one = |component: &ice_core::manifest::Component| {
        let deprecation = component.deprecated.clone()?;
        Some(Deprecated { plugin: manifest.name.clone(), component: component.name.clone(), deprecation })
    };
    manifest.components.iter().filter_map(one).collect()
}

/// New names that are close to names somebody knows. Names that come together are not compared with each other.
fn near(desk: &Desk<'_>, steps: &[Step]) -> Vec<Problem> {
    let stored = desk.entries.iter().map(|entry| entry.name.as_str());
    let locked = desk.lock.packages().iter().map(|package| package.name.as_str());
    let indexed = desk.request.known_names.iter().map(String::as_str);
    let known: BTreeSet<&str> = stored.chain(locked).chain(indexed).collect();
    let fresh = steps.iter().filter(|step| step.change == Change::New && !step.in_store);
    fresh.flat_map(|step| near_names(&step.locked.name, known.iter().copied())).collect()
}

/// Writes down which version each dependency got, and makes the new lock.
fn complete_dependencies(prepared: &mut Prepared, found: &BTreeMap<String, Found>, request: &Request<'_>) {
    let version = |name: &String| found.get(name).map(|found| &found.verified.value().version);
    for step in &mut prepared.steps {
        let manifest = step.verified.value();
        let names = manifest.dependencies.iter().map(|dependency| &dependency.name);
        let lines: BTreeSet<String> = names.filter_map(|name| Some(format!("{name} {}", version(name)?))).collect();
        // An entry that stays, stays as it is.
        if step.change != Change::Same || request.updates().is_some() {
            step.locked.dependencies = lines.into_iter().collect();
        }
    }
    if prepared.closed.is_none() {
        prepared.lock = Lock::new(prepared.steps.iter().map(|step| step.locked.clone()));
    }
}
