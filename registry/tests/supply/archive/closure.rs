//! What is saved with a bundle: everything it needs, each under its own publisher's policy.

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_core::problem::{Code, Problem};
use ice_registry::archive::{self, Extras};
use ice_registry::{Envelope, PrivateKey, StoreEntry};
use serde_json::{Value, json};

use crate::world::{COMPONENT, NOW, World, changed, key, options, publisher};

fn add(world: &World, manifest: &[u8], key: &PrivateKey) -> Digest {
    let envelope = Envelope::sign_bytes(manifest, key, "dev").unwrap();
    let (_, verified) = world.store.add(&envelope, &[COMPONENT.to_vec()], &world.trust, &options(None)).unwrap();
    verified.statement()
}

fn plugin(name: &str, version: &str, needs: Value) -> Vec<u8> {
    changed(|document| {
        document["name"] = json!(name);
        document["version"] = json!(version);
        document["dependencies"] = needs;
    })
}

fn bundle(needs: Value) -> Vec<u8> {
    canonical(&json!({
        "schema_version": "plugins.v0", "kind": "bundle", "name": "acme/shop", "version": "1.0.0", "sequence": 1,
        "created": "2026-11-20T00:00:00Z", "dependencies": needs,
        "components": [{
            "node_type": "workflow", "name": "price_all", "import": "ice:plugin/blueprints@0.1.0#price_all",
            "version": "1.0.0", "artifact": Digest::of(&COMPONENT), "size": 8, "entrypoint": true,
        }],
    }))
}

/// A world with two publishers, and `search` and `words` of the second.
fn two_publishers() -> World {
    let mut world = World::new();
    world.believe(&key(8), "find/*");
    for (version, words) in [("1.0.0", "^1"), ("1.4.0", "^1"), ("2.0.0", "^2")] {
        let needs = json!([{"name": "find/words", "req": words}]);
        add(&world, &plugin("find/search", version, needs), &key(8));
    }
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        add(&world, &plugin("find/words", version, json!([])), &key(8));
    }
    world
}

fn closure(world: &World) -> Result<Vec<String>, Vec<Problem>> {
    let entry = world.store.find("acme/shop", None).unwrap();
    let named = |entry: StoreEntry| format!("{} {}", entry.name, entry.version);
    archive::closure(&world.store, &world.trust, &entry).map(|found| found.into_iter().map(named).collect())
}

#[test]
fn the_newest_that_fits_everybody_comes_before_what_needs_it() {
    let world = two_publishers();
    add(&world, &bundle(json!([{"name": "find/search", "req": "^1.0"}])), &publisher());
    assert_eq!(closure(&world).unwrap(), ["find/words 1.1.0", "find/search 1.4.0", "acme/shop 1.0.0"]);
}

#[test]
fn two_wishes_for_one_name_are_met_by_one_version() {
    let world = two_publishers();
    let needs = json!([{"name": "find/search", "req": "^1.0"}, {"name": "find/words", "req": "<1.1"}]);
    add(&world, &bundle(needs), &publisher());
    assert_eq!(closure(&world).unwrap(), ["find/words 1.0.0", "find/search 1.4.0", "acme/shop 1.0.0"]);
}

#[test]
fn a_wish_for_exactly_this_statement_is_kept() {
    let world = two_publishers();
    let old = world.store.find("find/search", Some(&"=1.0.0".parse().unwrap())).unwrap().statement.unwrap();
    let needs = json!([{"name": "find/search", "req": "^1.0", "statement": old}]);
    add(&world, &bundle(needs), &publisher());
    assert_eq!(closure(&world).unwrap()[1], "find/search 1.0.0");
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let world = two_publishers();
    let needs = json!([
        {"name": "acme/absent", "req": "^1.0"},
        {"name": "find/search", "req": "^3.0"},
        {"name": "find/words", "req": "^1.0", "statement": Digest::of(b"another")},
    ]);
    add(&world, &bundle(needs), &publisher());
    let problems = closure(&world).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::R001, Code::R010, Code::R010]);
    assert!(problems[0].message.contains("`acme/shop` 1.0.0 asks for ^1.0"), "{}", problems[0]);
    assert_eq!(problems[1].help.as_deref(), Some("the store has 1.0.0, 1.4.0, 2.0.0"));
}

#[test]
fn plugins_that_need_each_other_end() {
    let world = World::new();
    add(&world, &plugin("acme/a", "1.0.0", json!([{"name": "acme/b", "req": "*"}])), &publisher());
    add(&world, &plugin("acme/b", "1.0.0", json!([{"name": "acme/shop", "req": "*"}])), &publisher());
    add(&world, &bundle(json!([{"name": "acme/a", "req": "*"}])), &publisher());
    assert_eq!(closure(&world).unwrap(), ["acme/b 1.0.0", "acme/a 1.0.0", "acme/shop 1.0.0"]);
}

#[test]
fn a_dependency_is_checked_under_its_own_publishers_policy() {
    let world = two_publishers();
    add(&world, &bundle(json!([{"name": "find/search", "req": "^1.0"}])), &publisher());
    let entry = world.store.find("acme/shop", None).unwrap();
    // A machine that believes the bundle's publisher only.
    let narrow = World::new();
    let problems = archive::closure(&world.store, &narrow.trust, &entry).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::T019]);

    let entries = archive::closure(&world.store, &world.trust, &entry).unwrap();
    let mut bytes = Vec::new();
    archive::write(&world.store, &world.trust, &entries, &Extras::default(), &mut bytes).unwrap();
    let load = |world: &World| {
        let archive = archive::read(&bytes[..], &world.store.layout().ingest_folder()).unwrap();
        archive.load(&world.store, &world.trust, NOW)
    };
    let codes: Vec<Code> = load(&narrow).unwrap_err().iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::T019, Code::T019]);
    assert!(narrow.store.list().unwrap().is_empty(), "the bundle itself is good, and is not added either");
    let mut wide = World::new();
    wide.believe(&key(8), "find/*");
    let order: Vec<String> = load(&wide).unwrap().into_iter().map(|(_, plugin)| plugin.value().name.clone()).collect();
    assert_eq!(order, ["find/words", "find/search", "acme/shop"]);
}
