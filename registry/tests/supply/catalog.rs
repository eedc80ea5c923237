//! What a host can call: with a lock, with nothing but a lock, and what it says when they disagree.

use std::collections::BTreeMap;

use ice_core::lock::{Lock, LockedPackage};
use ice_core::problem::Code;
use ice_registry::install::Mode;
use ice_registry::trust::{KeyNotes, KeyRole};
use ice_registry::{Selected, Selection, Trust, catalog};
use serde_json::json;

use crate::fake::{Bench, release, signed};
use crate::world::{key, options, publisher};

const CSV: &str = "acme/csv";

/// A store with `acme/csv` 1.0.0, which is locked, and 1.1.0, which is not.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.fake.serve(&release(CSV, "1.0.0"));
    bench.add(&[CSV]);
    stored(&bench, &release(CSV, "1.1.0"));
    bench
}

fn stored(bench: &Bench, release: &ice_registry::publish::Release) {
    bench.world.store.add(&release.envelope, &release.blobs, &bench.world.trust, &options(None)).unwrap();
}

fn selected(bench: &Bench, selection: Selection<'_>) -> Selected {
    catalog(&bench.world.store, &bench.world.trust, &BTreeMap::new(), selection)
}

fn callable(selected: &Selected) -> Vec<String> {
    selected.catalog.tools.values().map(|tool| format!("{} {}", tool.plugin, tool.version)).collect()
}

/// The first problem for which a host with `--no-dynamic` does not start.
fn stops(bench: &Bench, lock: &Lock) -> ice_core::problem::Problem {
    selected(bench, Selection::OnlyLocked(lock)).whole().unwrap_err().swap_remove(0)
}

#[test]
fn with_a_lock_the_locked_version_is_called_and_not_the_newest() {
    let bench = bench();
    assert_eq!(callable(&selected(&bench, Selection::Newest)), ["acme/csv 1.1.0"]);
    let locked = selected(&bench, Selection::Locked(&bench.lock));
    assert_eq!(callable(&locked), ["acme/csv 1.0.0"]);
    assert!(locked.left_out.is_empty() && locked.unlisted.is_empty());
    let only = selected(&bench, Selection::OnlyLocked(&bench.lock));
    assert_eq!(callable(&only), ["acme/csv 1.0.0"]);
    assert_eq!(only.whole().unwrap().tools.len(), 1);
}

#[test]
fn an_unlisted_plugin_is_a_warning_and_stops_a_host_that_runs_only_its_lock() {
    let bench = bench();
    stored(&bench, &release("acme/extra", "1.0.0"));
    let locked = selected(&bench, Selection::Locked(&bench.lock));
    assert_eq!(callable(&locked), ["acme/csv 1.0.0", "acme/extra 1.0.0"]);
    assert_eq!(locked.unlisted.iter().map(|problem| problem.code.name()).collect::<Vec<_>>(), ["E_UNLISTED"]);
    let only = selected(&bench, Selection::OnlyLocked(&bench.lock));
    assert_eq!(callable(&only), ["acme/csv 1.0.0"], "an unlisted plugin is never callable");
    assert_eq!(only.whole().unwrap_err()[0].code, Code::T045);
}

#[test]
fn what_is_not_what_the_lock_pins_is_left_out() {
    let bench = bench();
    let entry = bench.lock.packages()[0].clone();
    let other = ice_core::id::Digest::of(b"other");
    let edits: [(&str, LockedPackage); 5] = [
        ("statement", LockedPackage { statement: other, ..entry.clone() }),
        ("manifest", LockedPackage { manifest: other, ..entry.clone() }),
        ("artifacts", LockedPackage { artifacts: Vec::new(), ..entry.clone() }),
        ("interface", LockedPackage { interface: other, ..entry.clone() }),
        ("signed", LockedPackage { signed_by: vec![key(9).public().id()], ..entry }),
    ];
    for (word, edited) in edits {
        let lock = Lock::new([edited]);
        let locked = selected(&bench, Selection::Locked(&lock));
        assert_eq!(callable(&locked), Vec::<String>::new(), "{word}");
        assert_eq!(locked.left_out[0].code.name(), "E_LOCK");
        assert!(locked.left_out[0].message.contains(word), "{}", locked.left_out[0]);
        assert_eq!(stops(&bench, &lock).code.name(), "E_LOCK", "{word}");
    }
}

#[test]
fn a_development_key_counts_only_when_the_lock_names_it() {
    let mut bench = bench();
    let notes = KeyNotes { roles: vec![KeyRole::Dev], ..KeyNotes::default() };
    let trust = Trust::add_key(&bench.world.trust_folder(), key(8).public(), &notes, &["acme/*"]).unwrap();
    bench.world.trust = trust;
    // The same plugin, signed by the development key too: the statement stays.
    let mut twice = release(CSV, "1.0.0");
    twice.envelope.add_signature(&key(8), "dev").unwrap();
    stored(&bench, &twice);
    let problem = stops(&bench, &bench.lock);
    assert_eq!(problem.code.name(), "E_LOCK");
    assert!(problem.message.contains("development key"), "{problem}");
    let entry = bench.lock.packages()[0].clone();
    let mut signed_by = vec![publisher().public().id(), key(8).public().id()];
    signed_by.sort_unstable();
    let lock = Lock::new([LockedPackage { signed_by, ..entry }]);
    assert_eq!(selected(&bench, Selection::OnlyLocked(&lock)).whole().unwrap().tools.len(), 1);
}

#[test]
fn a_lost_or_changed_blob_is_named_before_the_host_starts() {
    let bench = bench();
    let digest = bench.lock.packages()[0].artifacts[0].digest;
    let path = bench.world.store.layout().blob_path(&digest);
    std::fs::write(&path, b"poison").unwrap();
    let problem = stops(&bench, &bench.lock);
    assert_eq!(problem.code.name(), "E_STORE");
    let problem = stops(&bench, &bench.lock);
    assert_eq!(problem.code.name(), "E_NOT_FOUND", "it was moved away");
    assert!(problem.message.contains("component `csv`"), "{problem}");
    bench.world.store.remove(CSV, None).unwrap();
    let problem = stops(&bench, &bench.lock);
    assert_eq!(problem.code.name(), "E_NOT_FOUND");
    assert!(problem.message.contains("`csv`"), "{problem}");
}

#[test]
fn an_edited_lock_makes_nothing_trusted() {
    let mut bench = bench();
    let evil = signed("acme/evil", "1.0.0", &key(8), |document| document["description"] = json!("Nice."));
    let mut theirs = Bench::new();
    theirs.world.believe(&key(8), "acme/*");
    theirs.fake.serve(&evil);
    theirs.install(Mode::Add, &["acme/evil"]).unwrap();
    // Whoever can write to the store and the lock still has no key.
    bench.world.store = ice_registry::Store::open(theirs.world.store.layout().root()).unwrap();
    assert_eq!(stops(&bench, &theirs.lock).code.name(), "E_UNTRUSTED");
}
