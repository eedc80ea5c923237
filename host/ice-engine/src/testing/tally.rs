//! What the outside of a test saw: every effect, every paid question, also over processes that were killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Mutex;

use ice_core::budget::Usage;
use ice_core::id::ExecutionId;
use serde::{Deserialize, Serialize};

/// One thing that was done outside.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Effect {
    /// What a receiver tells a repetition by.
    pub key: String,
    /// The execution that did it, where the outside can tell.
    pub execution: Option<ExecutionId>,
    /// What and where, the same in every run.
    pub place: String,
    /// What was sent, the same in every run.
    pub body: String,
    /// What it cost.
    pub usage: Usage,
}

/// The list of everything that was done outside, in order.
#[derive(Default)]
pub struct Tally {
    seen: Mutex<Vec<Effect>>,
    file: Option<File>,
}

impl Tally {
    /// A list that goes on in a file: what was noted is there, however the process ends.
    pub fn at(path: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).read(true).open(path)?;
        let mut seen = Vec::new();
        for line in BufReader::new(File::open(path)?).lines() {
            seen.push(serde_json::from_str(&line?)?);
        }
        Ok(Self { seen: Mutex::new(seen), file: Some(file) })
    }

    /// Notes that something was done.
    pub fn note(&self, effect: Effect) {
        let mut seen = self.seen.lock().expect("no test panics in here");
        if let Some(mut file) = self.file.as_ref() {
            let line = serde_json::to_string(&effect).expect("plain data") + "\n";
            file.write_all(line.as_bytes()).expect("the file of a test can be written");
        }
        seen.push(effect);
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Effect> {
        self.seen.lock().expect("no test panics in here").clone()
    }

    /// How often each key was seen.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for effect in self.seen() {
            *counts.entry(effect.key).or_default() += 1;
        }
        counts
    }

    /// Each thing once, however often it was repeated. Panics when something else was sent under the same key.
    pub fn distinct(&self) -> BTreeMap<String, Effect> {
        let mut distinct: BTreeMap<String, Effect> = BTreeMap::new();
        for effect in self.seen() {
            let first = distinct.entry(effect.key.clone()).or_insert_with(|| effect.clone());
            assert_eq!(*first, effect, "a repetition is what was done before");
        }
        distinct
    }

    /// What everything cost, each thing once.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        self.distinct().values().for_each(|effect| sum.add(&effect.usage));
        sum
    }
}
