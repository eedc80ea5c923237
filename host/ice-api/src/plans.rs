//! Checked blueprints, remembered: a request for one that was planned does not plan it again.
//!
//! A plan is made of a document and of what is installed. So it is good as long as the catalog is the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ice_client::wire::Runnable;
use ice_core::blueprint::Parsed;
use ice_core::catalog::Catalog;
use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use ice_engine::plan::Plan;
use serde_json::Value;

use crate::answer::Refusal;
use crate::app::Shared;

/// Plans kept: more blueprints than are in use at once, and bounded because each may be megabytes.
const PLANS_MAX: usize = 256;

/// How a request names a blueprint.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Digest(Digest),
    Entry(String),
}

struct Kept {
    plan: Arc<Plan>,
    catalog: Arc<Catalog>,
    /// The count of uses when it was last used.
    used: u64,
}

/// The plans of blueprints that were asked for last.
#[derive(Default)]
pub(crate) struct Plans(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    kept: HashMap<Key, Kept>,
    uses: u64,
}

impl Plans {
    fn find(&self, key: &Key, catalog: &Arc<Catalog>) -> Option<Arc<Plan>> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.uses += 1;
        let uses = shelf.uses;
        let kept = shelf.kept.get_mut(key).filter(|kept| Arc::ptr_eq(&kept.catalog, catalog))?;
        kept.used = uses;
        Some(Arc::clone(&kept.plan))
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).kept.len()
    }

    fn keep(&self, key: Key, plan: &Arc<Plan>, catalog: Arc<Catalog>) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.kept.len() >= PLANS_MAX && !shelf.kept.contains_key(&key) {
            let oldest = shelf.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| shelf.kept.remove(&oldest));
        }
        let used = shelf.uses;
        shelf.kept.insert(key, Kept { plan: Arc::clone(plan), catalog, used });
    }
}

impl Shared {
    /// The plan of what a request wants to run.
    pub(crate) async fn plan(&self, run: Runnable) -> Result<Arc<Plan>, Refusal> {
        let catalog = self.parts.components.catalog();
        let (key, document) = match run {
            Runnable::Document(document) => (Key::Digest(Digest::of_json(&document)), Some(document)),
            Runnable::Id(id) => (named(&id), None),
        };
        if let Some(plan) = self.plans.find(&key, &catalog) {
            return Ok(plan);
        }
        let (document, pointer) = match (document, &key) {
            (Some(document), _) => (document, "/blueprint"),
            (None, Key::Digest(digest)) => (self.stored(digest).await?, ""),
            (None, Key::Entry(entry)) => (self.installed(entry, &catalog).await?, ""),
        };
        let plan = Arc::new(self.check(document, pointer).await?);
        self.plans.keep(key, &plan, catalog);
        Ok(plan)
    }

    /// Checks a document; problems point into the body it came in, at `pointer`.
    pub(crate) async fn check(&self, document: Value, pointer: &str) -> Result<Plan, Refusal> {
        let below = |mut problem: Problem| {
            if let Some(inner) = problem.at.as_mut().and_then(|at| at.pointer.as_mut()) {
                inner.insert_str(0, pointer);
            }
            problem
        };
        let located = |problems: Vec<Problem>| Refusal::from(problems.into_iter().map(below).collect::<Vec<_>>());
        let parsed = Parsed::from_value(document).map_err(located)?;
        self.parts.engine.plan(&parsed).await.map_err(located)
    }

    /// The document stored under a digest.
    pub(crate) async fn stored(&self, digest: &Digest) -> Result<Value, Refusal> {
        let gone = || {
            Problem::new(Code::A016, format!("no blueprint is stored under `{digest}`"))
                .help("store it with `POST /api/v1/blueprints`")
        };
        Ok(self.parts.documents.get(digest).await?.ok_or_else(gone)?)
    }

    async fn installed(&self, entry: &str, catalog: &Catalog) -> Result<Value, Refusal> {
        if !catalog.blueprints.contains_key(entry) {
            let known = ice_core::blueprint::did_you_mean(entry, catalog.blueprints.keys().map(String::as_str));
            let problem = Problem::new(Code::A016, format!("no blueprint has the id `{}`", printable(entry)));
            let help = known.unwrap_or_else(|| "give the id of a stored blueprint, or `bundle.blueprint`".into());
            return Err(problem.help(help).pointer("/blueprint_id").into());
        }
        Ok(self.parts.components.blueprint(entry).await?)
    }
}

/// A stored blueprint by its digest, with or without `sha256:`; else one of a bundle.
fn named(id: &str) -> Key {
    parse_id(id).map_or_else(|| Key::Entry(id.to_owned()), Key::Digest)
}

/// Reads the id of a stored blueprint.
pub(crate) fn parse_id(id: &str) -> Option<Digest> {
    Digest::parse(id).or_else(|_| Digest::parse(&format!("sha256:{id}"))).ok()
}

/// Text from outside, for a message.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
