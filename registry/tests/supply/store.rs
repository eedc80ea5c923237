//! The store from outside: what enters, what comes out, and the catalog a host gets.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ice_core::catalog::Effects;
use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_core::ports::Artifacts as _;
use ice_core::problem::Code;
use ice_registry::{AddOptions, Added, Envelope, OnExisting, Selection, Store, catalog};
use serde_json::{Value, json};

use crate::world::{COMPONENT, World, changed, envelope, options, publisher, sign};

fn add(world: &World, manifest: &[u8], on_existing: OnExisting) -> Result<Added, ice_core::problem::Problem> {
    let options = AddOptions { on_existing, ..options(None) };
    world.store.add(&sign(manifest), &[COMPONENT.to_vec()], &world.trust, &options).map(|(added, _)| added)
}

fn version(version: &str, sequence: u64) -> Vec<u8> {
    changed(|document| {
        document["version"] = json!(version);
        document["sequence"] = json!(sequence);
    })
}

fn granted(world: &World) -> (ice_core::catalog::Catalog, Vec<ice_core::problem::Problem>) {
    newest(&world.store, world, &BTreeMap::new())
}

fn newest(
    store: &Store,
    world: &World,
    grants: &BTreeMap<String, Grant>,
) -> (ice_core::catalog::Catalog, Vec<ice_core::problem::Problem>) {
    let selected = catalog(store, &world.trust, grants, Selection::Newest);
    assert!(selected.unlisted.is_empty());
    (selected.catalog, selected.left_out)
}

#[tokio::test]
async fn a_signed_plugin_goes_in_and_its_checked_bytes_come_out() {
    let world = World::new();
    assert_eq!(world.add(&envelope(), &COMPONENT).unwrap(), Added::New);
    assert_eq!(world.add(&envelope(), &COMPONENT).unwrap(), Added::AlreadyThere);
    // Another process opens it: nothing is believed before the catalog was made.
    let store = Store::open(world.store.layout().root()).unwrap();
    let digest = Digest::of(&COMPONENT);
    assert_eq!(store.bytes(&digest).await.unwrap_err().problem.code, Code::T003);
    let (catalog, problems) = newest(&store, &world, &BTreeMap::new());
    assert_eq!((catalog.tools.len(), problems.len()), (1, 0));
    let entry = store.find("acme/csv_reader", None).unwrap();
    let statement = store.verified(&entry, &world.trust).unwrap().statement();
    assert!(catalog.tools.values().all(|tool| tool.statement == Some(statement) && tool.deprecated.is_none()));
    assert_eq!(store.bytes(&digest).await.unwrap(), COMPONENT);
    std::fs::write(store.layout().blob_path(&digest), b"\0asm\x0d\0\x01\x01").unwrap();
    assert_eq!(store.bytes(&digest).await.unwrap_err().problem.code, Code::T011);
    assert_eq!(store.bytes(&digest).await.unwrap_err().problem.code, Code::R001);
    assert_eq!(world.add(&envelope(), &COMPONENT).unwrap(), Added::AlreadyThere);
    assert_eq!(store.bytes(&digest).await.unwrap(), COMPONENT, "adding again mends the store");
}

#[test]
fn the_newest_version_is_found_and_a_released_one_never_changes() {
    let world = World::new();
    for (text, sequence) in [("1.2.3", 1), ("1.10.0", 3), ("1.9.0", 2)] {
        add(&world, &version(text, sequence), OnExisting::Refuse).unwrap();
    }
    let find = |req: Option<&str>| {
        let req = req.map(|req| req.parse().unwrap());
        world.store.find("acme/csv_reader", req.as_ref()).map(|entry| entry.version.to_string())
    };
    assert_eq!(find(None).unwrap(), "1.10.0");
    assert_eq!(find(Some("<1.10")).unwrap(), "1.9.0");
    assert_eq!(find(Some("^2")).unwrap_err().code, Code::R001);
    assert_eq!(world.store.find("acme/csv_raeder", None).unwrap_err().help.unwrap(), "did you mean `acme/csv_reader`?");
    assert_eq!(add(&world, &version("1.9.0", 4), OnExisting::Refuse).unwrap_err().code, Code::R003);
    assert_eq!(add(&world, &version("1.9.0", 4), OnExisting::Replace).unwrap(), Added::Replaced);
    assert_eq!(world.store.list().unwrap().len(), 3);
}

#[test]
fn one_bad_plugin_is_left_out_and_an_older_version_does_not_stand_in_for_it() {
    let world = World::new();
    add(&world, &version("1.2.3", 1), OnExisting::Refuse).unwrap();
    add(&world, &version("1.3.0", 2), OnExisting::Refuse).unwrap();
    let other = changed(|document| {
        document["name"] = json!("acme/other");
        document["components"][0]["name"] = json!("other");
    });
    add(&world, &other, OnExisting::Refuse).unwrap();
    let newest = world.store.find("acme/csv_reader", None).unwrap();
    std::fs::write(world.store.layout().blob_path(&newest.oci.digest), b"{}").unwrap();
    let (catalog, problems) = granted(&world);
    assert_eq!(catalog.tools.keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::T011]);
    assert!(problems[0].to_string().contains("plugin `acme/csv_reader` 1.3.0"));
}

#[test]
fn an_entry_of_the_index_cannot_name_another_plugin() {
    let world = World::new();
    add(&world, &version("1.2.3", 1), OnExisting::Refuse).unwrap();
    let path = world.store.layout().root().join("index.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("acme/csv_reader:1.2.3", "acme/csv_reader:1.2.4");
    std::fs::write(&path, text).unwrap();
    let (catalog, problems) = granted(&world);
    assert!(catalog.tools.is_empty());
    assert_eq!(problems[0].code, Code::T008);
}

#[test]
fn a_tool_belongs_to_the_plugin_that_was_installed_first() {
    let world = World::new();
    add(&world, &version("1.2.3", 1), OnExisting::Refuse).unwrap();
    add(&world, &changed(|document| document["name"] = json!("acme/a_twin")), OnExisting::Refuse).unwrap();
    let (catalog, problems) = granted(&world);
    assert_eq!(catalog.tools["csv_reader"].plugin, "acme/csv_reader");
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::M005]);
}

fn asking(document: &mut Value) {
    let component = &mut document["components"][0];
    component["capabilities"] = json!({"http": ["GET https://*.acme.example/*"], "limits": {"memory_mb": 64}});
    component["effects"] = json!("external");
}

#[test]
fn granted_is_what_was_asked_for_and_allowed() {
    let world = World::new();
    add(&world, &changed(asking), OnExisting::Refuse).unwrap();
    let (nothing, _) = granted(&world);
    assert!(nothing.tools["csv_reader"].granted.http.is_empty());
    assert_eq!(nothing.tools["csv_reader"].effects, Effects::External);
    let mut grant = Grant::default();
    for setting in ["http=* https://api.acme.example/v1/*", "http=https://evil.example", "llm=*"] {
        grant.set(setting).unwrap();
    }
    let grants = BTreeMap::from([("acme/csv_reader".to_owned(), grant)]);
    let (catalog, _) = newest(&world.store, &world, &grants);
    let got = &catalog.tools["csv_reader"].granted;
    assert_eq!(got.http, ["GET https://api.acme.example/v1/*"]);
    assert_eq!((got.llm.is_none(), got.limits.memory_mb), (true, Some(64)));
}

#[test]
fn a_bundle_offers_its_blueprints_and_keeps_its_files() {
    let world = World::new();
    let example = b"a,b\n1,2\n".to_vec();
    let manifest = canonical(&json!({
        "schema_version": "plugins.v0", "kind": "bundle", "name": "acme/shop", "version": "1.0.0", "sequence": 1,
        "created": "2026-11-20T00:00:00Z",
        "components": [{
            "node_type": "workflow", "name": "price_all", "import": "ice:plugin/blueprints@0.1.0#price_all",
            "version": "1.0.0", "artifact": Digest::of(&COMPONENT), "size": 8, "entrypoint": true, "description": "Prices.",
        }],
        "files": [{"path": "examples/items.csv", "artifact": Digest::of(&example), "size": 8, "media_type": "text/csv"}],
    }));
    let envelope = Envelope::sign_bytes(&manifest, &publisher(), "dev").unwrap();
    let blobs = [example.clone(), COMPONENT.to_vec()];
    assert_eq!(world.store.add(&envelope, &blobs[1..], &world.trust, &options(None)).unwrap_err().code, Code::T001);
    let (_, verified) = world.store.add(&envelope, &blobs, &world.trust, &options(None)).unwrap();
    assert_eq!(world.store.blob(&verified, &Digest::of(&example)).unwrap(), example);
    let (catalog, problems) = granted(&world);
    assert_eq!(problems, []);
    assert!(catalog.blueprints["shop.price_all"].entrypoint);
}

#[test]
fn what_nothing_needs_is_swept_and_what_something_needs_stays() {
    let world = World::new();
    let manifest = version("1.2.3", 1);
    add(&world, &manifest, OnExisting::Refuse).unwrap();
    add(&world, &version("1.3.0", 2), OnExisting::Refuse).unwrap();
    std::fs::write(world.store.layout().root().join("ingest/leftover"), b"half").unwrap();
    let later = SystemTime::now() + Duration::from_secs(60);
    assert_eq!(world.store.gc(Duration::from_secs(3600), later).unwrap(), 0, "young files are left alone");
    assert_eq!(world.store.remove("acme/csv_reader", Some(&"1.3.0".parse().unwrap())).unwrap(), 1);
    assert_eq!(world.store.gc(Duration::ZERO, later).unwrap(), 3, "config, manifest, leftover");
    let entry = world.store.find("acme/csv_reader", None).unwrap();
    world.store.check(&entry, &world.trust).unwrap();
    world.store.remove("acme/csv_reader", None).unwrap();
    assert_eq!(world.store.gc(Duration::ZERO, later).unwrap(), 3);
    assert_eq!(world.store.remove("acme/csv_reader", None).unwrap_err().code, Code::R001);
}

#[test]
fn the_same_plugin_makes_the_same_store() {
    let files = || {
        let world = World::new();
        world.add(&envelope(), &COMPONENT).unwrap();
        let root = world.store.layout().root().to_owned();
        let relative =
            |(path, bytes): (std::path::PathBuf, Vec<u8>)| (path.strip_prefix(&root).unwrap().to_owned(), bytes);
        world.files().into_iter().map(relative).collect::<Vec<_>>()
    };
    assert_eq!(files(), files());
}

#[test]
fn a_folder_that_is_no_layout_is_not_taken_over() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("oci-layout"), "{\"imageLayoutVersion\":\"2.0.0\"}").unwrap();
    assert_eq!(Store::open(home.path()).err().unwrap().code, Code::R002);
    let world = World::new();
    std::fs::write(world.store.layout().root().join("index.json"), "{").unwrap();
    let (catalog, problems) = granted(&world);
    assert_eq!((catalog.tools.len(), problems[0].code), (0, Code::R002));
}
