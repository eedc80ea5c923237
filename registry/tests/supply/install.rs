//! Installing, updating and locking from a registry: what comes, what a lock keeps, what a person is shown.

mod attacks;
mod crash;

pub(crate) use attacks::rows;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use ice_core::bundle::Needs;
use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::lock::Lock;
use ice_core::problem::{Code, Problem};
use ice_registry::install::{Change, FETCHES_MAX, Mode, Prepared, apply, prepare};
use ice_registry::source::Offer;
use ice_registry::{Available, Progress, Source};
use semver::Version;
use serde_json::json;

use crate::fake::{Bench, Listed, PREFIX, anything, component, needing, policy, release, run, sequenced, signed};
use crate::world::{NOW, key, publisher};

const CSV: &str = "acme/csv";

fn all() -> Mode {
    Mode::Update(Vec::new())
}

/// A bench whose project has `acme/csv` 1.0.0 installed and locked.
fn installed() -> Bench {
    let mut bench = Bench::new();
    bench.fake.serve(&release(CSV, "1.0.0"));
    bench.add(&[CSV]);
    bench.fake.calls();
    bench
}

fn change_of(prepared: &Prepared, name: &str) -> Change {
    prepared.steps.iter().find(|step| step.locked().name == name).unwrap().change().clone()
}

/// What a signed index says of a version that it saw at that moment.
fn seen(version: &str, first_seen: u64) -> Available {
    Available { first_seen: Some(first_seen), ..Available::of(version.parse().unwrap()) }
}

#[test]
fn a_plugin_comes_with_what_it_needs_and_is_locked() {
    let mut bench = Bench::new();
    bench.fake.serve(&needing("acme/app", "1.0.0", &[("acme/lib", "^1")]));
    bench.fake.serve(&release("acme/lib", "1.4.0"));
    bench.fake.serve(&release("acme/lib", "2.0.0"));
    let (prepared, applied) = bench.install(Mode::Add, &["acme/app@^1"]).unwrap();
    assert_eq!(applied.added.len(), 2);
    assert_eq!(change_of(&prepared, "acme/lib"), Change::New);
    assert_eq!(bench.locked(), ["acme/app 1.0.0", "acme/lib 1.4.0"]);
    let app = bench.lock.find("acme/app").unwrap();
    assert_eq!(app.dependencies, ["acme/lib 1.4.0"]);
    assert_eq!(app.source.as_deref(), Some("oci://registry.example/ice/acme/app"));
    assert_eq!(app.signed_by, [publisher().public().id()]);
    assert!(app.oci_digest.is_some());
    assert_eq!(Lock::parse(&bench.lock.print()).unwrap(), bench.lock);
    for entry in bench.world.store.list().unwrap() {
        bench.world.store.check(&entry, &bench.world.trust).unwrap();
    }
    assert_eq!(bench.state().sequence("acme/lib").unwrap(), Some(1));
}

#[test]
fn installing_again_changes_nothing_and_asks_nobody() {
    let mut bench = installed();
    bench.fake.serve(&release(CSV, "1.5.0"));
    let before = (bench.lock.clone(), bench.world.files());
    let (prepared, applied) = bench.install(Mode::Add, &["acme/csv@^1"]).unwrap();
    assert_eq!(prepared.steps[0].change(), &Change::Same);
    assert_eq!((applied.fetched, applied.added.len()), (0, 0));
    assert_eq!((bench.lock.clone(), bench.world.files()), before);
    assert_eq!(bench.fake.calls(), Vec::<String>::new());
    let problem = bench.refused(Mode::Add, &["acme/csv@^2"]);
    assert_eq!(problem.code.name(), "E_RESOLVE");
    assert!(problem.help.unwrap().contains("`ice update acme/csv`"));
}

#[test]
fn adding_a_plugin_leaves_every_entry_as_it_is() {
    let mut bench = installed();
    bench.fake.serve(&release(CSV, "1.5.0"));
    bench.fake.serve(&needing("acme/app", "2.0.0", &[(CSV, "^1.5")]));
    bench.fake.serve(&needing("acme/app", "1.0.0", &[(CSV, "^1.0")]));
    let entry = bench.lock.packages()[0].clone();
    bench.add(&["acme/app"]);
    assert_eq!(bench.locked(), ["acme/app 1.0.0", "acme/csv 1.0.0"]);
    assert_eq!(bench.lock.find(CSV), Some(&entry));
}

#[test]
fn a_mirror_fills_another_machine_and_the_lock_stays() {
    let bench = installed();
    let mut other = bench.elsewhere();
    policy(&mut other.world, |text| text.replace(PREFIX, "mirror.example/copy"));
    other.fake.serve_at("copy/acme/csv", "1.0.0", &release(CSV, "1.0.0"));
    let before = other.lock.print();
    let (_, applied) = other.install(Mode::Locked, &[]).unwrap();
    assert_eq!(other.lock.print(), before);
    assert_eq!(applied.added, [(CSV.to_owned(), Version::new(1, 0, 0))]);
    assert!(other.fake.calls().iter().all(|call| call.contains("copy/acme/csv")));
}

#[test]
fn a_locked_older_release_installs_where_a_newer_one_was_seen() {
    let mut bench = Bench::new();
    bench.fake.serve(&sequenced(CSV, "1.0.0", 3));
    bench.add(&[CSV]);
    let mut other = bench.elsewhere();
    other.state().saw_sequences(&BTreeMap::from([(CSV.to_owned(), 9)])).unwrap();
    other.install(Mode::Locked, &[]).unwrap();
    assert_eq!(other.state().sequence(CSV).unwrap(), Some(9));
}

/// A source that nobody may ask.
struct Nobody;

#[async_trait]
impl Source for Nobody {
    async fn versions(&self, name: &str) -> Result<Vec<Available>, Problem> {
        panic!("asked for versions of {name}")
    }

    async fn offer(&self, name: &str, version: &Version) -> Result<Offer, Problem> {
        panic!("asked for {name} {version}")
    }

    async fn blob(&self, _: &str, _: &Version, digest: &Digest, _: u64, _: &dyn Progress) -> Result<Vec<u8>, Problem> {
        panic!("asked for {digest}")
    }
}

fn offline(bench: &Bench, mode: Mode, wants: &[&str]) -> Result<(), Vec<Problem>> {
    let (world, state) = (&bench.world, bench.state());
    let request = bench.request(mode, wants);
    let prepared = run(prepare(&request, &bench.lock, &world.store, &world.trust, &state, &Nobody))?;
    assert_eq!(prepared.lock, bench.lock);
    run(apply(&prepared, &world.store, &state, &Nobody, &anything, &())).map(|_| ())
}

#[test]
fn frozen_and_no_dynamic_ask_no_source_at_all() {
    let mut bench = installed();
    let digest = bench.lock.packages()[0].artifacts[0].digest;
    for (no_dynamic, mode, stale, absent) in [
        (false, Mode::Frozen, "E_LOCK_STALE", "E_NOT_FOUND"),
        (true, Mode::Add, "E_NO_DYNAMIC", "E_NO_DYNAMIC"),
        (true, all(), "E_NO_DYNAMIC", "E_NO_DYNAMIC"),
    ] {
        bench.no_dynamic = no_dynamic;
        offline(&bench, mode.clone(), &[]).unwrap();
        offline(&bench, mode.clone(), &["acme/csv@^1"]).unwrap();
        let code = |result: Result<(), Vec<Problem>>| result.unwrap_err()[0].code.name();
        assert_eq!(code(offline(&bench, mode.clone(), &["acme/other"])), stale);
        assert_eq!(code(offline(&bench, mode.clone(), &["acme/csv@^2"])), stale);
        let path = bench.world.store.layout().blob_path(&digest);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let problem = offline(&bench, mode.clone(), &[]).unwrap_err().swap_remove(0);
        assert_eq!(problem.code.name(), absent);
        assert!(problem.message.contains("component `csv`"), "{problem}");
        std::fs::write(&path, b"poison").unwrap();
        assert_eq!(code(offline(&bench, mode.clone(), &[])), "E_STORE");
        std::fs::write(&path, bytes).unwrap();
        bench.world.store.remove(CSV, None).unwrap();
        assert_eq!(code(offline(&bench, mode, &[])), absent);
        bench.no_dynamic = false;
        bench.install(Mode::Locked, &[]).unwrap();
    }
}

#[test]
fn a_poisoned_or_lost_blob_comes_again() {
    let mut bench = installed();
    let digest = bench.lock.packages()[0].artifacts[0].digest;
    let path = bench.world.store.layout().blob_path(&digest);
    for damage in [Some(b"poison".as_slice()), None] {
        match damage {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let (_, applied) = bench.install(Mode::Locked, &[]).unwrap();
        assert_eq!(applied.fetched, component("acme/csv 1.0.0").len() as u64);
        let entry = bench.world.store.find(CSV, None).unwrap();
        bench.world.store.check(&entry, &bench.world.trust).unwrap();
    }
    let quarantine = bench.world.store.layout().root().join("quarantine");
    assert_eq!(std::fs::read_dir(quarantine).unwrap().count(), 1);
}

#[test]
fn an_update_shows_what_changes_and_waits_for_yes() {
    let mut bench = installed();
    bench.world.believe(&key(8), "acme/*");
    bench.fake.serve(&signed(CSV, "1.1.0", &key(8), |document| {
        document["sequence"] = json!(2);
        document["components"][0]["description"] = json!("Reads faster.");
        document["components"][0]["capabilities"] = json!({"http": ["GET https://a.example/*"]});
    }));
    let prepared = bench.prepare(all(), &[]).unwrap();
    let Change::Update(diff) = change_of(&prepared, CSV) else { panic!("not an update") };
    assert_eq!((diff.from.to_string(), diff.to.to_string()), ("1.0.0".to_owned(), "1.1.0".to_owned()));
    assert_eq!(diff.signers_added, [key(8).public().id()]);
    assert_eq!(diff.signers_removed, [publisher().public().id()]);
    assert_eq!(diff.capabilities, ["http=GET https://a.example/* (csv)"]);
    assert_eq!(diff.interface.len(), 1);
    assert_eq!(diff.interface[0].before.as_deref(), Some("Reads."));
    assert_eq!(diff.interface[0].after.as_deref(), Some("Reads faster."));
    let codes: Vec<&str> = prepared.needs_acceptance().iter().map(|problem| problem.code.name()).collect();
    assert_eq!(codes, ["E_CAPABILITY", "E_CHANGED", "E_CHANGED"]);
    let before = bench.world.files();
    assert_eq!(bench.apply(&prepared).unwrap_err(), prepared.needs_acceptance());
    assert_eq!(bench.world.files(), before);
    let prepared = prepared.accept();
    bench.apply(&prepared).unwrap();
    bench.lock = prepared.lock.clone();
    assert_eq!(bench.locked(), ["acme/csv 1.1.0"]);
    assert_eq!(bench.state().sequence(CSV).unwrap(), Some(2));
}

#[test]
fn an_update_that_changes_nothing_but_code_needs_no_yes() {
    let mut bench = installed();
    bench.fake.serve(&release(CSV, "1.0.1"));
    bench.fake.serve(&release(CSV, "2.0.0"));
    bench.install(all(), &[]).unwrap();
    assert_eq!(bench.locked(), ["acme/csv 1.0.1"], "without a line in ice.toml only compatible versions are taken");
    bench.install(Mode::Update(vec![CSV.to_owned()]), &["acme/csv@^2"]).unwrap();
    assert_eq!(bench.locked(), ["acme/csv 2.0.0"]);
    let problem = bench.refused(Mode::Update(vec!["acme/none".to_owned()]), &[]);
    assert_eq!(problem.code.name(), "E_NOT_FOUND");
}

#[test]
fn an_update_compares_with_the_old_manifest_even_when_the_store_lost_it() {
    let bench = installed();
    bench.fake.serve(&release(CSV, "1.0.1"));
    let other = bench.elsewhere();
    let prepared = other.prepare(all(), &[]).unwrap();
    let Change::Update(diff) = change_of(&prepared, CSV) else { panic!("not an update") };
    assert!(diff.capabilities.is_empty() && diff.interface.is_empty());
    // An old manifest that nobody has anymore: everything counts as new.
    let mut alone = other;
    alone.fake = crate::fake::Fake::default();
    alone.fake.serve(&signed(CSV, "1.0.1", &publisher(), |document| {
        document["components"][0]["capabilities"] = json!({"http": ["GET https://a.example/*"]});
    }));
    let prepared = alone.prepare(all(), &[]).unwrap();
    assert_eq!(prepared.needs_acceptance()[0].code.name(), "E_CAPABILITY");
}

#[test]
fn updating_one_name_leaves_the_others() {
    let mut bench = Bench::new();
    for name in ["acme/first", "acme/second"] {
        bench.fake.serve(&release(name, "1.0.0"));
    }
    bench.add(&["acme/first", "acme/second"]);
    for name in ["acme/first", "acme/second"] {
        bench.fake.serve(&release(name, "1.1.0"));
    }
    bench.install(Mode::Update(vec!["acme/first".to_owned()]), &[]).unwrap();
    assert_eq!(bench.locked(), ["acme/first 1.1.0", "acme/second 1.0.0"]);
}

#[test]
fn what_nothing_needs_any_more_leaves_the_lock_with_an_update() {
    let mut bench = Bench::new();
    bench.fake.serve(&needing("acme/app", "1.0.0", &[("acme/lib", "^1")]));
    bench.fake.serve(&release("acme/lib", "1.0.0"));
    bench.fake.serve(&release("acme/own", "1.0.0"));
    bench.add(&["acme/app", "acme/own"]);
    bench.fake.serve(&release("acme/app", "1.1.0"));
    let (prepared, _) = bench.install(all(), &[]).unwrap();
    assert_eq!(bench.locked(), ["acme/app 1.1.0", "acme/own 1.0.0"]);
    assert_eq!(prepared.dropped.len(), 1);
}

#[test]
fn plugins_that_need_each_other_stay_in_the_lock() {
    let mut bench = Bench::new();
    bench.fake.serve(&needing("acme/one", "1.0.0", &[("acme/two", "^1")]));
    bench.fake.serve(&needing("acme/two", "1.0.0", &[("acme/one", "^1")]));
    bench.add(&["acme/one"]);
    bench.install(all(), &[]).unwrap();
    assert_eq!(bench.locked(), ["acme/one 1.0.0", "acme/two 1.0.0"]);
}

#[test]
fn a_merged_lock_with_a_name_twice_is_mended_by_an_update() {
    let mut bench = installed();
    bench.fake.serve(&release(CSV, "1.1.0"));
    let mut theirs = bench.lock.clone();
    bench.install(all(), &[]).unwrap();
    theirs.insert(bench.lock.packages()[0].clone());
    bench.lock = theirs;
    assert_eq!(bench.refused(Mode::Add, &[]).code.name(), "E_LOCK_STALE");
    bench.install(Mode::Update(vec![CSV.to_owned()]), &[]).unwrap();
    assert_eq!(bench.locked(), ["acme/csv 1.1.0"]);
}

#[test]
fn the_project_file_decides_and_a_newer_host_is_waited_for() {
    let mut bench = Bench::new();
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        bench.fake.serve(&release(CSV, version));
    }
    bench.fake.serve(&signed(CSV, "1.2.0", &publisher(), |document| document["iceos_min"] = json!("9.0.0")));
    bench.constraints = vec![Needs::parse("acme/csv@^1").unwrap()];
    bench.add(&[]);
    assert_eq!(bench.locked(), ["acme/csv 1.1.0"]);
    let problem = bench.elsewhere();
    let mut problem = Bench { lock: Lock::default(), ..problem };
    problem.constraints = vec![Needs::parse("acme/csv@=1.2.0").unwrap()];
    assert!(problem.refused(Mode::Add, &[]).message.contains("needs ice 9.0.0"));
}

#[test]
fn a_broken_newest_version_is_not_replaced_by_an_older_one() {
    let mut bench = Bench::new();
    bench.fake.serve(&release(CSV, "1.0.0"));
    bench.fake.serve(&signed(CSV, "1.1.0", &key(8), |_| {}));
    assert_eq!(bench.refused(Mode::Add, &[CSV]).code.name(), "E_UNTRUSTED");
}

#[test]
fn a_revoked_version_gives_way_to_an_older_good_one() {
    let mut bench = Bench::new();
    bench.fake.serve(&release(CSV, "1.0.0"));
    bench.fake.serve(&release(CSV, "1.2.0"));
    bench.revoke(&[&release(CSV, "1.2.0")]);
    bench.add(&[CSV]);
    assert_eq!(bench.locked(), ["acme/csv 1.0.0"]);
    bench.revoke(&[&release(CSV, "1.0.0"), &release(CSV, "1.2.0")]);
    assert_eq!(bench.refused(Mode::Frozen, &[]).code.name(), "E_REVOKED", "taken back after it was installed");
}

#[test]
fn a_young_release_waits_unless_it_mends_something_and_what_is_locked_need_not_wait() {
    let mut bench = installed();
    bench.fake.serve(&release(CSV, "1.1.0"));
    bench.fake.serve(&release(CSV, "1.2.0"));
    let all_seen = |young: Available| vec![seen("1.0.0", 0), seen("1.1.0", NOW - 73 * 60 * 60), young];
    bench.index = Listed::of(CSV, all_seen(seen("1.2.0", NOW - 71 * 60 * 60)));
    bench.install(all(), &[]).unwrap();
    assert_eq!(bench.locked(), ["acme/csv 1.1.0"]);
    bench.index = Listed::of(CSV, all_seen(Available { security: true, ..seen("1.2.0", NOW) }));
    bench.install(all(), &[]).unwrap();
    assert_eq!(bench.locked(), ["acme/csv 1.2.0"]);
    let mut other = bench.elsewhere();
    other.index = Listed::of(CSV, all_seen(seen("1.2.0", NOW)));
    other.install(Mode::Locked, &[]).unwrap();
}

#[test]
fn a_yanked_version_stays_where_it_is_locked() {
    let mut bench = installed();
    let listed = |version: u64, yanked: Option<&str>| Available {
        yanked: yanked.map(str::to_owned),
        ..Available::of(Version::new(1, version, 0))
    };
    bench.fake.serve(&release(CSV, "1.1.0"));
    let versions = vec![listed(0, None), listed(1, Some("broken"))];
    bench.index = Listed::of(CSV, versions);
    bench.install(all(), &[]).unwrap();
    assert_eq!(bench.locked(), ["acme/csv 1.0.0"], "a yanked version is not newly installed");
    let versions = vec![listed(0, Some("broken"))];
    bench.index = Listed::of(CSV, versions);
    let mut bench = bench.elsewhere();
    bench.install(Mode::Locked, &[]).unwrap();
}

#[test]
fn a_plugin_that_only_the_store_has_is_used_and_locked_without_a_source() {
    let mut bench = Bench::new();
    let local = release("acme/local", "0.1.0");
    let options = crate::world::options(None);
    bench.world.store.add(&local.envelope, &local.blobs, &bench.world.trust, &options).unwrap();
    bench.fake.serve(&needing("acme/app", "1.0.0", &[("acme/local", "*")]));
    bench.add(&["acme/app"]);
    let locked = bench.lock.find("acme/local").unwrap();
    assert_eq!((locked.source.as_deref(), locked.oci_digest), (None, None));
    bench.fake.content().down = Some(Code::R005);
    bench.lock = Lock::default();
    assert_eq!(bench.refused(Mode::Add, &["acme/local"]).code.name(), "E_UNAVAILABLE", "it may have a newer one");
}

#[test]
fn another_content_of_a_version_in_the_store_is_said_before_anything_is_fetched() {
    let bench = Bench::new();
    let local = signed(CSV, "1.0.0", &publisher(), |document| document["description"] = json!("Mine."));
    let options = crate::world::options(None);
    bench.world.store.add(&local.envelope, &local.blobs, &bench.world.trust, &options).unwrap();
    bench.fake.serve(&release(CSV, "1.0.0"));
    let problems = bench.prepare(Mode::Add, &[CSV]).unwrap_err();
    assert_eq!(problems[0].code.name(), "E_EXISTS");
}

#[test]
fn what_is_asked_for_and_not_granted_is_shown_and_not_locked() {
    let mut bench = Bench::new();
    bench.fake.serve(&signed(CSV, "1.0.0", &publisher(), |document| {
        document["components"][0]["capabilities"] =
            json!({"http": ["GET https://a.example/*"], "secrets": {"KEY": ["a.example"]}});
        document["components"][0]["deprecated"] = json!({"since": "1.0.0", "replacement": "acme/tsv"});
    }));
    let grant: Grant = serde_json::from_value(json!({"http": ["GET https://a.example/v1/*"]})).unwrap();
    bench.grants.insert(CSV.to_owned(), grant);
    let (prepared, _) = bench.install(Mode::Add, &[CSV]).unwrap();
    assert_eq!(prepared.warnings.len(), 1);
    assert_eq!(prepared.warnings[0].code.name(), "E_CAPABILITY");
    assert!(prepared.warnings[0].message.contains("secrets.KEY=a.example"), "{}", prepared.warnings[0]);
    assert_eq!(bench.lock.find(CSV).unwrap().granted, ["http:GET https://a.example/v1/*"]);
    assert_eq!(prepared.deprecated[0].deprecation.replacement.as_deref(), Some("acme/tsv"));
}

#[test]
fn a_near_name_is_a_warning_for_somebody_who_looks() {
    let mut bench = installed();
    bench.fake.serve(&release("acme/csw", "1.0.0"));
    let (prepared, _) = bench.install(Mode::Add, &["acme/csw"]).unwrap();
    assert_eq!(prepared.warnings[0].code.name(), "W_NEAR");
    // Once it is locked nobody asks again.
    bench.unattended = true;
    bench.install(Mode::Add, &[]).unwrap();
}

/// A kit of twelve components of which the store has one already.
fn kit() -> ice_registry::publish::Release {
    let bytes = |index: usize| component(&format!("part {index:02}"));
    let components: Vec<_> = (0..12)
        .map(|index| {
            json!({
                "node_type": "tool", "name": format!("tool_{index:02}"), "import": "ice:plugin/tools@0.1.0#x",
                "version": "1.0.0", "artifact": Digest::of(&bytes(index)), "size": bytes(index).len(),
            })
        })
        .collect();
    let mut kit = signed("acme/kit", "1.0.0", &publisher(), |document| {
        document["kind"] = json!("kit");
        document["components"] = json!(components);
    });
    kit.blobs = (0..12).map(bytes).collect();
    kit
}

#[test]
fn missing_blobs_are_fetched_a_few_at_a_time_and_the_others_are_not() {
    let mut bench = Bench::new();
    let kit = kit();
    bench.fake.serve(&kit);
    let layout = bench.world.store.layout();
    layout.put(&layout.begin().unwrap(), &kit.blobs[3]).unwrap();
    let (_, applied) = bench.install(Mode::Add, &["acme/kit"]).unwrap();
    let expected: usize = kit.blobs.iter().map(Vec::len).sum::<usize>() - kit.blobs[3].len();
    assert_eq!(applied.fetched, expected as u64);
    let fetched = bench.fake.calls().iter().filter(|call| call.starts_with("blob ")).count();
    assert_eq!(fetched, 11 + 1, "eleven components and the config");
    assert_eq!(bench.fake.crowd.load(Ordering::SeqCst), FETCHES_MAX);
}

#[test]
fn when_one_blob_is_bad_nothing_is_listed() {
    let mut bench = Bench::new();
    let kit = kit();
    bench.fake.serve(&kit);
    bench.fake.serve(&release("acme/app", "1.0.0"));
    bench.fake.content().swapped.insert(Digest::of(&kit.blobs[11]), component("evil"));
    let problem = bench.install(Mode::Add, &["acme/app", "acme/kit"]).unwrap_err().swap_remove(0);
    assert_eq!(problem.code.name(), "E_DIGEST");
    assert_eq!(bench.world.store.list().unwrap(), []);
    assert_eq!(bench.state().sequence("acme/app").unwrap(), None);
    assert!(!bench.world.store.layout().blob_path(&Digest::of(&component("evil"))).exists());
}
