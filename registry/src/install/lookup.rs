//! What the resolver asks for: versions from a source or the store, and one version verified.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use ice_core::id::Digest;
use ice_core::lock::Lock;
use ice_core::manifest::Manifest;
use ice_core::problem::{Code, Problem};
use semver::{Version, VersionReq};

use super::entry::{check_pin, check_signers};
use super::{Closed, Request};
use crate::resolve::{Answer, Ask, Facts, Known, Question, Refusal, Requirement, solve};
use crate::source::{Available, Offer, Source};
use crate::store::{Store, StoreEntry};
use crate::trust::{State, Trust};
use crate::verify::{Purpose, Release, Verified, VerifyOptions, Wanted, verify};

/// Answers to one set of plugins. Each is a request or two; honest sets need a few for each name.
const ASKS_MAX: usize = 2_048;

/// Questions to a source at the same time.
const ASKS_AT_ONCE: usize = 4;

/// Refusals of one version that say nothing about the others.
const OTHER_VERSION_MAY_DO: [Code; 3] = [Code::T022, Code::T023, Code::T041];

/// One version, verified.
pub(super) struct Found {
    pub(super) verified: Verified<Manifest>,
    pub(super) offer: Offer,
}

/// Everything that decides.
pub(super) struct Desk<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) lock: &'a Lock,
    pub(super) store: &'a Store,
    pub(super) entries: Vec<StoreEntry>,
    pub(super) trust: &'a Trust,
    pub(super) state: &'a State,
    pub(super) source: &'a dyn Source,
}

/// What was learned so far.
#[derive(Default)]
struct Learned {
    known: Known,
    /// Names that only the store has.
    local: BTreeSet<String>,
    found: BTreeMap<(String, Version), Found>,
}

enum Lesson {
    Versions { name: String, versions: Vec<Available>, local: bool },
    Facts { key: (String, Version), found: Result<Box<Found>, Refusal> },
}

impl Desk<'_> {
    /// One verified version of every name that is needed.
    pub(super) async fn resolve(&self, question: &Question) -> Result<BTreeMap<String, Found>, Problem> {
        let mut learned = Learned::default();
        let mut asked = 0;
        let chosen = loop {
            match solve(question, &learned.known).map_err(|problem| self.refused(problem))? {
                Answer::Chosen(chosen) => break chosen,
                Answer::Ask(asks) => {
                    asked += asks.len();
                    if asked > ASKS_MAX {
                        let message = format!("no set of versions was found after looking at {ASKS_MAX} of them");
                        return Err(Problem::new(Code::R010, message).help("name versions in `ice.toml`"));
                    }
                    let lessons = futures_util::stream::iter(asks).map(|ask| self.answer(ask, &learned));
                    let lessons: Vec<_> = lessons.buffered(ASKS_AT_ONCE).collect().await;
                    for lesson in lessons {
                        learned.take(lesson?);
                    }
                }
            }
        };
        let taken = chosen.into_iter().filter_map(|(name, version)| {
            let found = learned.found.remove(&(name.clone(), version))?;
            Some((name, found))
        });
        Ok(taken.collect())
    }

    /// A lock whose entries do not fit together is one that would have to change.
    fn refused(&self, problem: Problem) -> Problem {
        match self.request.closed() {
            Some(closed) if problem.code == Code::R010 => closed.stale(&problem.message),
            _ => problem,
        }
    }

    async fn answer(&self, ask: Ask, learned: &Learned) -> Result<Lesson, Problem> {
        match ask {
            Ask::Versions(name) => {
                let about = |problem: Problem| problem.subject(format!("plugin `{name}`"));
                let (versions, local) = self.versions(&name).await.map_err(about)?;
                Ok(Lesson::Versions { name, versions, local })
            }
            Ask::Facts(name, version) => {
                let about = |problem: Problem| problem.subject(format!("plugin `{name}` {version}"));
                let found = self.candidate(&name, &version, learned).await.map(Box::new);
                let found = found.map_err(|refusal| match refusal {
                    Refusal::Other(problem) => Refusal::Other(about(problem)),
                    Refusal::Stop(problem) => Refusal::Stop(about(problem)),
                });
                Ok(Lesson::Facts { key: (name, version), found })
            }
        }
    }

    /// What the source has; what the store has for a name that no registry is known for, or that its registry does
    /// not have. A registry that does not answer is not replaced: it may have newer ones.
    async fn versions(&self, name: &str) -> Result<(Vec<Available>, bool), Problem> {
        if let Some(closed) = self.request.closed() {
            return Err(closed.stale(&format!("`{name}` is needed and not in the lock")));
        }
        let problem = match self.source.versions(name).await {
            Ok(versions) => return Ok((versions, false)),
            Err(problem) => problem,
        };
        let there = self.entries.iter().filter(|entry| entry.name == name);
        let there: Vec<Available> = there.map(|entry| Available::of(entry.version.clone())).collect();
        match problem.code {
            Code::T019 | Code::R001 if !there.is_empty() => Ok((there, true)),
            _ => Err(problem),
        }
    }

    /// Finds one version and verifies it.
    async fn candidate(&self, name: &str, version: &Version, learned: &Learned) -> Result<Found, Refusal> {
        let locked = self.lock.get(name, version);
        let pin = locked.map(|locked| locked.statement);
        let fetched = self.offer(name, version, pin, learned.local.contains(name)).await.map_err(Refusal::Stop)?;
        let (offer, from_store) = fetched;
        let listed = learned.known.versions.get(name).into_iter().flatten().find(|one| one.version == *version);
        let new = Release {
            first_seen: listed.and_then(|one| one.first_seen),
            security: listed.is_some_and(|one| one.security),
        };
        let verified = self.verify(
            &offer,
            &VerifyOptions {
                wanted: Some(&Wanted::exactly(name, version)),
                purpose: if from_store { Purpose::Run } else { Purpose::Install { now: self.request.now } },
                // An older release that the lock names is no rollback, and was waited for when it was locked.
                sequence_seen: if pin.is_some() { None } else { self.state.sequence(name).map_err(Refusal::Stop)? },
                release: (pin.is_none() && !from_store).then_some(new),
                host: Some(&self.request.host),
            },
        )?;
        if let Some(locked) = locked {
            check_pin(locked, &verified).map_err(Refusal::Stop)?;
            if self.request.updates().is_none() {
                check_signers(locked, &verified).map_err(Refusal::Stop)?;
            }
        }
        if let Some(first) = listed.and_then(|listed| listed.statement).filter(|first| *first != verified.statement()) {
            let message = format!(
                "`{name}` {version} is not what the signed index saw first: expected {}, got {}",
                first.short(),
                verified.statement().short()
            );
            return Err(Refusal::Stop(
                Problem::new(Code::T039, message)
                    .help("a released version never changes: ask its publisher what happened"),
            ));
        }
        Ok(Found { verified, offer })
    }

    /// The envelope, and whether it is the store's. The store is asked first for what is locked: it needs no network.
    async fn offer(
        &self,
        name: &str,
        version: &Version,
        pin: Option<Digest>,
        local: bool,
    ) -> Result<(Offer, bool), Problem> {
        let there = self.entries.iter().find(|entry| entry.name == name && entry.version == *version);
        let there = there.filter(|entry| local || pin.is_some() && entry.statement == pin);
        let offline = self.request.closed().filter(|closed| closed.is_offline());
        if let Some(entry) = there {
            match self.store.envelope(entry) {
                Ok(envelope) => return Ok((Offer { envelope, oci_digest: None, source: None }, true)),
                Err(problem) if local || offline.is_some() => return Err(problem),
                // Damaged: it is quarantined, and comes again from where it came.
                Err(_) => {}
            }
        }
        match offline {
            Some(closed) => Err(closed.absent(&format!("`{name}` {version}, which is needed"))),
            None => Ok((self.source.offer(name, version).await?, false)),
        }
    }

    fn verify(&self, offer: &Offer, options: &VerifyOptions<'_>) -> Result<Verified<Manifest>, Refusal> {
        verify(&offer.envelope, self.trust, options).map_err(|problem| {
            let only_host = || verify(&offer.envelope, self.trust, &VerifyOptions { host: None, ..*options }).is_ok();
            if OTHER_VERSION_MAY_DO.contains(&problem.code) || problem.code == Code::T008 && only_host() {
                Refusal::Other(problem)
            } else {
                Refusal::Stop(problem)
            }
        })
    }

    /// The manifest of an entry that is locked now, to compare with. Its digest is in the lock; more is not asked of it.
    pub(super) async fn before(&self, name: &str) -> Option<Manifest> {
        let locked = self.lock.find(name)?;
        let content =
            |bytes: Vec<u8>| (Digest::of(&bytes) == locked.manifest).then(|| Manifest::parse(&bytes).ok()).flatten();
        let there = self.entries.iter().find(|entry| entry.name == name && entry.statement == Some(locked.statement));
        let stored = there.and_then(|entry| self.store.envelope(entry).ok());
        if let Some(manifest) = stored.and_then(|envelope| envelope.manifest_bytes().ok()).and_then(content) {
            return Some(manifest);
        }
        if self.request.closed().is_some_and(Closed::is_offline) {
            return None;
        }
        let offer = self.source.offer(name, &locked.version).await.ok()?;
        offer.envelope.manifest_bytes().ok().and_then(content)
    }
}

impl Learned {
    fn take(&mut self, lesson: Lesson) {
        match lesson {
            Lesson::Versions { name, versions, local } => {
                if local {
                    self.local.insert(name.clone());
                }
                self.known.versions.insert(name, versions);
            }
            Lesson::Facts { key, found } => {
                let facts = found.as_ref().map(|found| facts(&found.verified)).map_err(Clone::clone);
                self.known.facts.insert(key.clone(), facts);
                if let Ok(found) = found {
                    self.found.insert(key, *found);
                }
            }
        }
    }
}

fn facts(verified: &Verified<Manifest>) -> Facts {
    let manifest = verified.value();
    let requirement = |dependency: &ice_core::manifest::Dependency| Requirement {
        name: dependency.name.clone(),
        // The manifest was checked; what is no requirement did not come through.
        req: VersionReq::parse(&dependency.req).unwrap_or(VersionReq::STAR),
        statement: dependency.statement,
        by: format!("`{}` {}", manifest.name, manifest.version),
    };
    Facts { statement: verified.statement(), requirements: manifest.dependencies.iter().map(requirement).collect() }
}
