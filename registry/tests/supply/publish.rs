//! Publishing and attesting: what a registry has afterwards, who wins, and what is refused.

use std::collections::BTreeSet;

use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use ice_registry::Envelope;
use ice_registry::install::Mode;
use ice_registry::publish::{
    MovingTags, PublishOptions, Published, Release, attest, attestations, part_manifests, part_path, publish,
};
use ice_registry::remote::Repository;
use serde_json::{Value, json};

use crate::fake::{Bench, PREFIX, component, importing, manifest, release, run, signed};
use crate::table::Row;
use crate::world::{NOW, key, publisher};

const CSV: &str = "acme/csv";

pub(crate) fn options() -> PublishOptions {
    PublishOptions {
        kit_parts: Vec::new(),
        moving_tags: MovingTags::Leave,
        now: NOW,
        known_names: Vec::new(),
        unattended: false,
    }
}

fn publish_with(bench: &Bench, release: &Release, options: &PublishOptions) -> Result<Published, Problem> {
    run(publish(&bench.fake, PREFIX, release, &bench.world.trust, options, &()))
}

fn published(bench: &Bench, release: &Release) -> Published {
    publish_with(bench, release, &options()).unwrap()
}

fn repository() -> Repository {
    Repository::parse(PREFIX, CSV).unwrap()
}

#[test]
fn what_is_published_can_be_installed() {
    let mut bench = Bench::new();
    let done = published(&bench, &release(CSV, "1.2.3"));
    assert_eq!((done.repository.as_str(), done.tag.as_str()), ("oci://registry.example/ice/acme/csv", "1.2.3"));
    assert_eq!(done.statement, release(CSV, "1.2.3").envelope.statement().unwrap());
    let puts: Vec<String> = bench.fake.calls().into_iter().filter(|call| call.starts_with("put")).collect();
    assert_eq!(puts.len(), 3, "{puts:?}");
    assert!(puts.last().unwrap().starts_with("put-manifest"), "the manifest comes last: {puts:?}");
    bench.add(&[CSV]);
    assert_eq!(bench.lock.find(CSV).unwrap().oci_digest, Some(done.oci_digest));
    let entry = bench.world.store.find(CSV, None).unwrap();
    assert_eq!(entry.oci.digest, done.oci_digest, "store and registry lay it out alike");
}

#[test]
fn publishing_is_reproducible_and_twice_is_no_change() {
    let (one, other) = (Bench::new(), Bench::new());
    let first = published(&one, &release(CSV, "1.0.0"));
    assert_eq!(published(&other, &release(CSV, "1.0.0")).oci_digest, first.oci_digest);
    one.fake.calls();
    let again = published(&one, &release(CSV, "1.0.0"));
    assert!(again.already_there && !first.already_there);
    assert_eq!((again.uploaded, again.oci_digest), (0, first.oci_digest));
    assert!(one.fake.calls().iter().all(|call| !call.starts_with("put")));
}

#[test]
fn a_wasm_tool_finds_what_it_knows_in_the_config() {
    let bench = Bench::new();
    let exporting = importing("ice:log/log@0.1.0");
    let mut release = signed(CSV, "1.0.0", &publisher(), |document| {
        document["components"][0]["artifact"] = json!(Digest::of(&exporting));
        document["components"][0]["size"] = json!(exporting.len());
        document["components"][0]["world"] = json!("iceos:plugin/tool@0.1.0");
    });
    release.blobs = vec![exporting.clone()];
    published(&bench, &release);
    let content = bench.fake.content();
    let manifest = &content.manifests[&("ice/acme/csv".to_owned(), "1.0.0".to_owned())];
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let digest = Digest::parse(manifest["config"]["digest"].as_str().unwrap()).unwrap();
    let config: Value = serde_json::from_slice(&content.blobs[&("ice/acme/csv".to_owned(), digest)]).unwrap();
    assert_eq!(config["component"]["imports"], json!(["ice:log/log@0.1.0"]));
    assert_eq!(config["component"]["exports"], json!(["again"]));
    assert_eq!(config["component"]["target"], "iceos:plugin/tool@0.1.0");
    assert_eq!((&config["author"], &config["os"]), (&json!("acme"), &json!("wasip2")));
    assert_eq!(config["created"], "2026-11-20T00:00:00Z");
    assert_eq!(config["layerDigests"], json!([Digest::of(&exporting)]));
}

type Attack = fn(&mut Bench) -> Problem;

/// This world's part of the table. Nothing gets into a store by publishing.
pub(crate) fn rows() -> Vec<Row> {
    let untouched = |attack: Attack| {
        let mut bench = Bench::new();
        let problem = attack(&mut bench);
        assert!(bench.world.store.list().unwrap().is_empty());
        problem
    };
    let refused =
        ROWS.iter().map(|&(row, attack, code, run)| Row::refused((row, attack, code), move || untouched(run)));
    let hidden = Row::accepted(21, "a plugin with its own signature, the referrers hidden", || {
        let mut bench = Bench::new();
        bench.fake.content().referrers_down = Some(Code::R005);
        bench.fake.serve(&release("acme/tsv", "1.0.0"));
        bench.add(&["acme/tsv"]);
    });
    refused.chain([hidden]).collect()
}

/// Another `acme/csv` 1.0.0, whose blobs are there already: repository, tag, manifest.
fn somebody_elses(bench: &Bench) -> (String, String, Vec<u8>) {
    let other = signed(CSV, "1.0.0", &publisher(), |document| document["description"] = json!("Other."));
    let theirs = Bench::new();
    published(&theirs, &other);
    let place = ("ice/acme/csv".to_owned(), "1.0.0".to_owned());
    let manifest = theirs.fake.content().manifests[&place].clone();
    bench.fake.content().blobs.extend(theirs.fake.content().blobs.clone());
    (place.0, place.1, manifest)
}

/// Row of the threat model, attack, code, how it is done.
const ROWS: &[(u8, &str, &str, Attack)] = &[
    (11, "a version is published with other content", "E_EXISTS", |bench| {
        published(bench, &release(CSV, "1.0.0"));
        let other = signed(CSV, "1.0.0", &publisher(), |document| document["description"] = json!("Other."));
        publish_with(bench, &other, &options()).unwrap_err()
    }),
    (11, "the version is something that was never signed", "E_EXISTS", |bench| {
        bench.fake.serve_manifest("ice/acme/csv", "1.0.0", foreign().as_bytes());
        publish_with(bench, &release(CSV, "1.0.0"), &options()).unwrap_err()
    }),
    (11, "somebody publishes the version at the same moment", "E_EXISTS", |bench| {
        let theirs = somebody_elses(bench);
        bench.fake.content().meanwhile.push(theirs);
        publish_with(bench, &release(CSV, "1.0.0"), &options()).unwrap_err()
    }),
    (11, "somebody publishes the version while it is read back", "E_EXISTS", |bench| {
        let theirs = somebody_elses(bench);
        bench.fake.content().once_read.insert(Digest::of(&component("acme/csv 1.0.0")), theirs);
        publish_with(bench, &release(CSV, "1.0.0"), &options()).unwrap_err()
    }),
    (4, "the own key is not trusted by consumers", "E_UNTRUSTED", |bench| {
        publish_with(bench, &signed(CSV, "1.0.0", &key(8), |_| {}), &options()).unwrap_err()
    }),
    (1, "the component is not the signed one", "E_DIGEST", |bench| {
        let release = Release { blobs: vec![component("another")], ..release(CSV, "1.0.0") };
        publish_with(bench, &release, &options()).unwrap_err()
    }),
    (1, "the registry gives other bytes back", "E_DIGEST", |bench| {
        let digest = Digest::of(&component("acme/csv 1.0.0"));
        bench.fake.content().swapped.insert(digest, component("evil"));
        publish_with(bench, &release(CSV, "1.0.0"), &options()).unwrap_err()
    }),
    (20, "a name that reads the same as another is published", "E_NAME_TAKEN", |bench| {
        let options = PublishOptions { known_names: vec!["acme/csv_reader".to_owned()], ..options() };
        publish_with(bench, &release("acme/csv-reader", "1.0.0"), &options).unwrap_err()
    }),
    (20, "a name that reads the same without its gap", "E_NAME_TAKEN", |bench| {
        let options = PublishOptions { known_names: vec!["acme/csv_reader".to_owned()], ..options() };
        publish_with(bench, &release("acme/csvreader", "1.0.0"), &options).unwrap_err()
    }),
    (20, "a name one letter away is published, and nobody looks", "W_NEAR", |bench| {
        let options = PublishOptions { known_names: vec!["acme/csv_reader".to_owned()], unattended: true, ..options() };
        publish_with(bench, &release("acme/csv_raeder", "1.0.0"), &options).unwrap_err()
    }),
    (21, "attestations are listed, the referrers hidden", "E_UNAVAILABLE", |bench| {
        bench.fake.content().referrers_down = Some(Code::R005);
        run(attestations(&bench.fake, &repository(), &Digest::of(b"subject"))).unwrap_err()
    }),
    (21, "an unsigned artifact, the referrers hidden", "E_UNAVAILABLE", |bench| {
        bench.fake.serve_manifest("ice/acme/csv", "1.0.0", foreign().as_bytes());
        bench.fake.content().referrers_down = Some(Code::R005);
        bench.refused(Mode::Add, &[CSV])
    }),
    (0, "a prefix that is no registry", "E_REFERENCE", |bench| {
        let release = release(CSV, "1.0.0");
        run(publish(&bench.fake, "Registry Example/ICE", &release, &bench.world.trust, &options(), &())).unwrap_err()
    }),
    (0, "a part of another kit", "E_NAME", |bench| {
        let mut options = options();
        options.kit_parts = vec![release("acme/stranger", "1.0.0")];
        publish_with(bench, &kit(), &options).unwrap_err()
    }),
    (0, "the registry is down while publishing", "E_UNAVAILABLE", |bench| {
        bench.fake.content().down = Some(Code::R005);
        publish_with(bench, &release(CSV, "1.0.0"), &options()).unwrap_err()
    }),
];

#[test]
fn what_is_refused_before_the_registry_is_asked_asks_it_nothing() {
    let bench = Bench::new();
    publish_with(&bench, &signed(CSV, "1.0.0", &key(8), |_| {}), &options()).unwrap_err();
    publish_with(&bench, &Release { blobs: Vec::new(), ..release(CSV, "1.0.0") }, &options()).unwrap_err();
    assert_eq!(bench.fake.calls(), Vec::<String>::new());
}

#[test]
fn a_near_name_is_a_warning_and_a_known_name_is_none() {
    let bench = Bench::new();
    let known = |name: &str| PublishOptions { known_names: vec![name.to_owned()], ..options() };
    let done = publish_with(&bench, &release("acme/csw", "1.0.0"), &known(CSV)).unwrap();
    assert_eq!(done.warnings[0].code.name(), "W_NEAR");
    let mut both = known(CSV);
    both.known_names.push("acme/csw".to_owned());
    assert!(publish_with(&bench, &release("acme/csw", "1.0.1"), &both).unwrap().warnings.is_empty());
}

#[test]
fn moving_tags_only_move_forward_and_only_when_asked() {
    let bench = Bench::new();
    let moving = PublishOptions { moving_tags: MovingTags::Forward, ..options() };
    let moved = |version: &str| publish_with(&bench, &release(CSV, version), &moving).unwrap().moved;
    published(&bench, &release(CSV, "0.9.0"));
    assert_eq!(bench.fake.tags_of("ice/acme/csv"), BTreeSet::from(["0.9.0".to_owned()]));
    assert_eq!(moved("1.0.0"), ["latest", "1.0"]);
    assert_eq!(moved("1.1.0"), ["latest", "1.1"]);
    assert_eq!(moved("1.0.1"), ["1.0"], "`latest` is newer");
    assert_eq!(moved("2.0.0-rc.1"), Vec::<String>::new());
    assert_eq!(moved("1.1.0"), Vec::<String>::new(), "they are there already");
    bench.fake.serve_manifest("ice/acme/csv", "latest", foreign().as_bytes());
    assert_eq!(moved("3.0.0"), ["3.0"], "what somebody else put there is left alone");
    let tagged = |tag: &str| bench.fake.content().manifests[&("ice/acme/csv".to_owned(), tag.to_owned())].clone();
    assert_eq!(tagged("1.0"), tagged("1.0.1"));
}

/// A kit of two components, one with two tools.
pub(crate) fn kit() -> Release {
    let bytes = [component("one"), component("two")];
    let tool = |name: &str, bytes: &[u8]| {
        json!({
            "node_type": "tool", "name": name, "import": format!("ice:plugin/tools@0.1.0#{name}"), "version": "1.0.0",
            "artifact": Digest::of(bytes), "size": bytes.len(),
        })
    };
    let mut kit = signed("acme/kit", "1.0.0", &publisher(), |document| {
        document["kind"] = json!("kit");
        document["components"] = json!([tool("Alpha", &bytes[0]), tool("beta", &bytes[1]), tool("gamma", &bytes[0])]);
    });
    kit.blobs = bytes.to_vec();
    kit
}

pub(crate) fn signed_parts(kit: &Release) -> Vec<Release> {
    let parts = part_manifests(&manifest(kit)).unwrap();
    let sign = |part: &ice_core::manifest::Manifest| {
        let blobs = kit.blobs.iter().filter(|bytes| Digest::of(bytes) == part.components[0].artifact).cloned();
        Release { envelope: Envelope::sign(part, &publisher(), "test").unwrap(), blobs: blobs.collect() }
    };
    parts.iter().map(sign).collect()
}

#[test]
fn a_kit_is_published_with_its_parts_which_are_mounted_where_that_works() {
    for modern in [true, false] {
        let mut bench = Bench::new();
        bench.fake.modern = modern;
        let kit = kit();
        let options = PublishOptions { kit_parts: signed_parts(&kit), ..options() };
        let done = publish_with(&bench, &kit, &options).unwrap();
        let repositories: Vec<&str> = done.parts.iter().map(|part| part.repository.as_str()).collect();
        let expected = ["oci://registry.example/ice/acme/kit/alpha", "oci://registry.example/ice/acme/kit/beta"];
        assert_eq!(repositories, expected);
        let calls = bench.fake.calls();
        let count = |what: &str| calls.iter().filter(|call| call.starts_with(what)).count();
        assert_eq!(count("mount"), 2);
        // Two components and a config of the kit; of each part a config, and the component where mounting failed.
        assert_eq!(count("put-blob"), 3 + 2 + if modern { 0 } else { 2 });
        let puts: Vec<&String> = calls.iter().filter(|call| call.starts_with("put-manifest")).collect();
        assert_eq!(puts.last().unwrap().as_str(), "put-manifest ice/acme/kit 1.0.0", "the kit itself comes last");
        let again = publish_with(&bench, &kit, &options).unwrap();
        assert!(again.already_there && again.parts.iter().all(|part| part.already_there));
        bench.add(&["acme/kit"]);
    }
}

#[test]
fn parts_are_plugins_that_say_what_the_kit_says() {
    let kit = manifest(&kit());
    let parts = part_manifests(&kit).unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["acme/kit-alpha", "acme/kit-beta"]);
    assert_eq!(parts[0].components, [kit.components[0].clone(), kit.components[2].clone()]);
    assert_eq!((&parts[1].version, parts[1].sequence), (&kit.version, kit.sequence));
    assert_eq!(part_path(&kit.name, &parts[0]), "acme/kit/alpha");
    assert_eq!(part_manifests(&manifest(&release(CSV, "1.0.0"))).unwrap(), []);
    let mut long = kit;
    long.name = format!("acme/{}", "k".repeat(60));
    assert_eq!(part_manifests(&long).unwrap_err()[0].code.name(), "E_NAME_FORM");
}

/// What `oras push` makes of a component.
fn foreign() -> String {
    let bytes = component("acme/csv 1.0.0");
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.unknown.artifact.v1",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2, "data": "e30="},
        "layers": [{"mediaType": "application/wasm", "digest": Digest::of(&bytes), "size": bytes.len()}],
    })
    .to_string()
}

/// A registry where somebody pushed `acme/csv` 1.0.0 with oras.
fn with_foreign(modern: bool) -> (Bench, Digest) {
    let mut bench = Bench::new();
    bench.fake.modern = modern;
    let bytes = component("acme/csv 1.0.0");
    bench.fake.content().blobs.insert(("ice/acme/csv".to_owned(), Digest::of(&bytes)), bytes);
    let subject = bench.fake.serve_manifest("ice/acme/csv", "1.0.0", foreign().as_bytes());
    (bench, subject)
}

#[test]
fn what_somebody_pushed_is_refused_unsigned_and_accepted_after_attest() {
    for modern in [true, false] {
        let (mut bench, subject) = with_foreign(modern);
        let problem = bench.refused(Mode::Add, &[CSV]);
        assert_eq!(problem.code.name(), "E_UNSIGNED");
        assert!(problem.help.unwrap().contains("ice attest"));
        let envelope = release(CSV, "1.0.0").envelope;
        let attested = run(attest(&bench.fake, &repository(), "1.0.0", &envelope, &bench.world.trust, NOW)).unwrap();
        assert!(attested.tag.starts_with("iceatt-") && attested.tag.len() == 7 + 12);
        let mut tags = BTreeSet::from(["1.0.0".to_owned(), attested.tag.clone()]);
        if !modern {
            tags.insert(format!("sha256-{}", subject.hex()));
        }
        assert_eq!(bench.fake.tags_of("ice/acme/csv"), tags);
        let again = run(attest(&bench.fake, &repository(), "1.0.0", &envelope, &bench.world.trust, NOW)).unwrap();
        assert_eq!(again, attested);
        let found = run(attestations(&bench.fake, &repository(), &subject)).unwrap();
        assert_eq!(found, [attested]);
        bench.add(&[CSV]);
        assert_eq!(bench.lock.find(CSV).unwrap().oci_digest, Some(subject));
    }
}

#[test]
fn a_referrer_that_is_somebody_elses_hides_nothing_and_counts_for_nothing() {
    let (mut bench, subject) = with_foreign(false);
    let evil = signed(CSV, "1.0.0", &key(8), |_| {});
    let mut theirs = Bench::new();
    theirs.world.believe(&key(8), "acme/*");
    let envelope = &evil.envelope;
    run(attest(&bench.fake, &repository(), "1.0.0", envelope, &theirs.world.trust, NOW)).unwrap();
    assert_eq!(bench.refused(Mode::Add, &[CSV]).code.name(), "E_UNTRUSTED");
    // Another tool's signature in the list, with members that are not ours to read.
    let list = format!("sha256-{}", subject.hex());
    let cosign = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(b"c"), "size": 9,
        "platform": {"os": "linux"}, "urls": ["https://elsewhere.example"]});
    let entry = cosign.clone();
    bench.fake.edit("ice/acme/csv", &list, |index| index["manifests"].as_array_mut().unwrap().insert(0, entry));
    let good = release(CSV, "1.0.0").envelope;
    run(attest(&bench.fake, &repository(), "1.0.0", &good, &bench.world.trust, NOW)).unwrap();
    let kept = bench.fake.content().manifests[&("ice/acme/csv".to_owned(), list)].clone();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["manifests"][0], cosign, "entries of others stay as they are");
    assert_eq!(kept["manifests"].as_array().unwrap().len(), 3);
    bench.add(&[CSV]);
}

#[test]
fn an_attestation_of_another_artifact_is_left_out() {
    let (bench, subject) = with_foreign(false);
    let envelope = release(CSV, "1.0.0").envelope;
    run(attest(&bench.fake, &repository(), "1.0.0", &envelope, &bench.world.trust, NOW)).unwrap();
    let list = format!("sha256-{}", subject.hex());
    let bytes = bench.fake.content().manifests[&("ice/acme/csv".to_owned(), list)].clone();
    let other = Digest::of(b"another manifest");
    bench.fake.serve_manifest("ice/acme/csv", &format!("sha256-{}", other.hex()), &bytes);
    assert_eq!(run(attestations(&bench.fake, &repository(), &other)).unwrap(), []);
}

#[test]
fn a_writer_in_between_is_noticed_and_the_list_ends_with_both() {
    let (bench, subject) = with_foreign(false);
    let envelope = release(CSV, "1.0.0").envelope;
    let list = format!("sha256-{}", subject.hex());
    let theirs = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(b"theirs"), "size": 6},
    ]});
    bench.fake.content().overwrite_list = Some((list.clone(), theirs.to_string().into_bytes()));
    run(attest(&bench.fake, &repository(), "1.0.0", &envelope, &bench.world.trust, NOW)).unwrap();
    let kept = bench.fake.content().manifests[&("ice/acme/csv".to_owned(), list)].clone();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn attest_refuses_what_is_not_about_the_artifact_or_not_trusted() {
    let (bench, _) = with_foreign(false);
    let attested = |reference: &str, envelope: &Envelope| {
        let done = run(attest(&bench.fake, &repository(), reference, envelope, &bench.world.trust, NOW));
        done.unwrap_err().code.name()
    };
    assert_eq!(attested("1.0.0", &release(CSV, "9.9.9").envelope), "E_DIGEST");
    assert_eq!(attested("1.0.0", &signed(CSV, "1.0.0", &key(8), |_| {}).envelope), "E_UNTRUSTED");
    assert_eq!(attested("none", &release(CSV, "1.0.0").envelope), "E_NOT_FOUND");
    assert_eq!(bench.fake.tags_of("ice/acme/csv"), BTreeSet::from(["1.0.0".to_owned()]));
}

#[test]
fn a_repository_has_one_spelling_of_its_place() {
    let good = Repository::parse("localhost:5000/a/b", CSV).unwrap();
    assert_eq!(good.uri(), "oci://localhost:5000/a/b/acme/csv");
    assert_eq!(Repository::parse("registry.example", CSV).unwrap().path, "acme/csv");
    for (prefix, name) in [
        ("", CSV),
        ("registry.example/..", CSV),
        ("registry.example/ICE", CSV),
        ("user@registry.example/ice", CSV),
        ("registry.example/ice", "acme/a_-b"),
        ("registry.example//ice", CSV),
        ("registry.example/ice/", CSV),
        ("Registry.Example/ice", CSV),
        ("registry.example/ice?x=1", CSV),
    ] {
        assert_eq!(Repository::parse(prefix, name).unwrap_err().code, Code::R014, "{prefix} {name}");
    }
}

#[test]
fn a_manifest_too_large_for_a_config_is_said_before_it_is_published() {
    let bench = Bench::new();
    let mut envelope = release(CSV, "1.0.0").envelope;
    envelope.timestamps = vec![json!("x".repeat(3 << 20))];
    let release = Release { envelope, ..release(CSV, "1.0.0") };
    assert_eq!(publish_with(&bench, &release, &options()).unwrap_err().code, Code::T029);
}
