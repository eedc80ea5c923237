//! One version of every plugin that is needed: the lock's where it has one, else the newest that fits.
//!
//! Pure: [`solve`] says what it has to know next, and is asked again when it is known. Fetching and verifying what it
//! asks for is [`install`](crate::install)'s. The order in which requirements and versions are given does not matter.

mod explain;

use std::collections::{BTreeMap, BTreeSet};

use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use semver::{Version, VersionReq};

use crate::source::Available;

/// A bundle of hundreds of plugins is a mistake or an attack.
pub const NAMES_MAX: usize = 512;

/// Tries of a version. Real sets need a few for each name; more means the requirements fight each other.
pub const STEPS_MAX: usize = 10_000;

/// That somebody needs a plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// `scope/name`.
    pub name: String,
    /// Which versions. One with a `-pre` part only when this names it.
    pub req: VersionReq,
    /// Exactly this plugin.
    pub statement: Option<Digest>,
    /// Who, for a person: `ice.toml`, `acme/chat 1.0.0`.
    pub by: String,
}

/// What a lock says about a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// This version or none.
    Firm(Version),
    /// This version if it fits.
    Preferred(Version),
}

impl Held {
    fn version(&self) -> &Version {
        match self {
            Self::Firm(version) | Self::Preferred(version) => version,
        }
    }
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Question {
    /// What is needed from outside.
    pub roots: Vec<Requirement>,
    /// What the lock has, by name.
    pub held: BTreeMap<String, Held>,
}

/// What a version is, once its signed manifest is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// S.
    pub statement: Digest,
    /// What it needs itself.
    pub requirements: Vec<Requirement>,
}

/// Why a version cannot be chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Another version may do: this one is too new for the host, revoked, expired.
    Other(Problem),
    /// No other version stands in for it: something is wrong with what was found.
    Stop(Problem),
}

/// Everything that is known so far.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Versions by name.
    pub versions: BTreeMap<String, Vec<Available>>,
    /// What a version is, or why it cannot be chosen.
    pub facts: BTreeMap<(String, Version), Result<Facts, Refusal>>,
}

/// What has to be known next.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ask {
    /// The versions of a name.
    Versions(String),
    /// What one version is.
    Facts(String, Version),
}

/// What [`solve`] says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// One version a name.
    Chosen(BTreeMap<String, Version>),
    /// This first; never empty, and nothing that is known.
    Ask(BTreeSet<Ask>),
}

/// Chooses one version of every name that `question` needs. R010 with who wants what when none fit together; T048 when
/// only yanked ones fit; the problem in [`Known::facts`] when every version that fits has one, or a chosen one stops.
pub fn solve(question: &Question, known: &Known) -> Result<Answer, Problem> {
    let mut search = Search { held: &question.held, known, steps: 0, conflict: None };
    let mut needed = Needed::default();
    let mut roots: Vec<&Requirement> = question.roots.iter().collect();
    roots.sort_by_key(|root| (&root.name, &root.by, root.req.to_string(), root.statement));
    roots.into_iter().for_each(|root| needed.add(root));
    match search.go(&needed, &mut BTreeMap::new())? {
        Found::Chosen(chosen) => {
            Ok(Answer::Chosen(chosen.into_iter().map(|(name, version)| (name.to_owned(), version.clone())).collect()))
        }
        Found::Ask(asks) => Ok(Answer::Ask(asks)),
        Found::Nothing => Err(search.conflict.unwrap_or_else(|| Problem::new(Code::R010, "nothing fits together"))),
    }
}

/// Requirements by name, so that each name is looked at once and in one order.
#[derive(Clone, Default)]
struct Needed<'a>(BTreeMap<&'a str, Vec<&'a Requirement>>);

impl<'a> Needed<'a> {
    fn add(&mut self, requirement: &'a Requirement) {
        self.0.entry(&requirement.name).or_default().push(requirement);
    }
}

type Chosen<'a> = BTreeMap<&'a str, &'a Version>;

enum Found<'a> {
    Chosen(Chosen<'a>),
    Ask(BTreeSet<Ask>),
    Nothing,
}

struct Search<'a> {
    held: &'a BTreeMap<String, Held>,
    known: &'a Known,
    steps: usize,
    /// The first one met: it is about the versions that were wanted most.
    conflict: Option<Problem>,
}

impl<'a> Search<'a> {
    fn go(&mut self, needed: &Needed<'a>, chosen: &mut Chosen<'a>) -> Result<Found<'a>, Problem> {
        if needed.0.len() > NAMES_MAX {
            return Err(Problem::new(Code::R010, format!("more than {NAMES_MAX} plugins are needed"))
                .help("split the bundle, or ask its publisher why it needs so many"));
        }
        let open: Vec<&'a str> = needed.0.keys().filter(|name| !chosen.contains_key(*name)).copied().collect();
        let Some(name) = open.first().copied() else {
            return Ok(Found::Chosen(chosen.clone()));
        };
        // Asked for together, because each costs a round trip.
        let unknown = |name: &&&str| !self.held.contains_key(**name) && !self.known.versions.contains_key(**name);
        let asks: BTreeSet<Ask> = open.iter().filter(unknown).map(|name| Ask::Versions((*name).to_owned())).collect();
        if !asks.is_empty() {
            return Ok(Found::Ask(asks));
        }
        if let Some(held) = self.held.get(name) {
            match self.attempt(name, held.version(), needed, chosen)? {
                Found::Nothing => {}
                found => return Ok(found),
            }
            if matches!(held, Held::Firm(_)) {
                self.remember(|search| search.explain(name, needed));
                return Ok(Found::Nothing);
            }
        }
        let Some(versions) = self.known.versions.get(name) else {
            return Ok(Found::Ask(BTreeSet::from([Ask::Versions(name.to_owned())])));
        };
        let held = self.held.get(name).map(Held::version);
        let mut tries: Vec<&'a Available> =
            versions.iter().filter(|one| one.yanked.is_none() && Some(&one.version) != held).collect();
        tries.sort_by(|a, b| b.version.cmp(&a.version));
        tries.dedup_by(|a, b| a.version == b.version);
        for available in tries {
            match self.attempt(name, &available.version, needed, chosen)? {
                Found::Nothing => {}
                found => return Ok(found),
            }
        }
        self.remember(|search| search.explain(name, needed));
        Ok(Found::Nothing)
    }

    /// Tries one version of `name`, and everything that follows from it.
    fn attempt(
        &mut self,
        name: &'a str,
        version: &'a Version,
        needed: &Needed<'a>,
        chosen: &mut Chosen<'a>,
    ) -> Result<Found<'a>, Problem> {
        let wanted = &needed.0[name];
        if !wanted.iter().all(|requirement| requirement.req.matches(version)) {
            return Ok(Found::Nothing);
        }
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Problem::new(Code::R010, format!("no set of versions was found in {STEPS_MAX} tries"))
                .help("name versions in `ice.toml`, so that there is less to choose from"));
        }
        let facts = match self.known.facts.get(&(name.to_owned(), version.clone())) {
            None => {
                let mut asks = self.likely(needed, chosen);
                asks.insert(Ask::Facts(name.to_owned(), version.clone()));
                return Ok(Found::Ask(asks));
            }
            Some(Err(Refusal::Stop(problem))) => return Err(problem.clone()),
            Some(Err(Refusal::Other(problem))) => {
                self.remember(|_| problem.clone());
                return Ok(Found::Nothing);
            }
            Some(Ok(facts)) => facts,
        };
        if wanted.iter().any(|requirement| requirement.statement.is_some_and(|pin| pin != facts.statement)) {
            return Ok(Found::Nothing);
        }
        let mut with = needed.clone();
        chosen.insert(name, version);
        for requirement in &facts.requirements {
            with.add(requirement);
            if !self.fits(requirement, chosen) {
                chosen.remove(name);
                self.remember(|search| search.explain(&requirement.name, &with));
                return Ok(Found::Nothing);
            }
        }
        let found = self.go(&with, chosen)?;
        chosen.remove(name);
        Ok(found)
    }

    /// What will most likely be asked for next, so that it is fetched at the same time.
    fn likely(&self, needed: &Needed<'a>, chosen: &Chosen<'a>) -> BTreeSet<Ask> {
        let open = needed.0.iter().filter(|(name, _)| !chosen.contains_key(*name));
        let first = open.filter_map(|(name, wanted)| {
            let versions = self.known.versions.get(*name).into_iter().flatten();
            let listed = versions.filter(|one| one.yanked.is_none()).map(|one| &one.version);
            let fits = |version: &&Version| wanted.iter().all(|requirement| requirement.req.matches(version));
            let held = self.held.get(*name).map(Held::version).filter(fits);
            let key = ((*name).to_owned(), held.or_else(|| listed.filter(fits).max())?.clone());
            (!self.known.facts.contains_key(&key)).then(|| Ask::Facts(key.0, key.1))
        });
        first.collect()
    }

    /// Whether a requirement is met by what is chosen, or still can be.
    fn fits(&self, requirement: &Requirement, chosen: &Chosen<'a>) -> bool {
        let Some(version) = chosen.get(requirement.name.as_str()) else {
            return true;
        };
        let key = (requirement.name.clone(), (*version).clone());
        let facts = self.known.facts.get(&key).and_then(|facts| facts.as_ref().ok());
        let pinned = requirement.statement.is_none_or(|pin| facts.is_some_and(|facts| facts.statement == pin));
        requirement.req.matches(version) && pinned
    }

    fn remember(&mut self, explain: impl FnOnce(&Self) -> Problem) {
        if self.conflict.is_none() {
            self.conflict = Some(explain(self));
        }
    }
}
