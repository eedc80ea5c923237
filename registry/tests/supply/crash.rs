//! The store under crashes and crowds: whole after a death at any step, and one store for eight writers.

use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use ice_core::problem::Code;
use ice_registry::layout::{Layout, Step};
use ice_registry::{Added, Store};
use serde_json::json;

use crate::world::{COMPONENT, World, changed, envelope, options, sign, wanted};

const STEPS: [Step; 5] = [Step::Ingested, Step::Durable, Step::Placed, Step::BeforeIndex, Step::AfterIndex];

fn opened(world: &World) -> Layout {
    Layout::open(world.store.layout().root()).unwrap()
}

#[test]
fn a_write_that_fails_at_any_step_leaves_a_whole_store_and_the_next_one_succeeds() {
    for step in STEPS {
        for nth in 0..3 {
            let world = World::new();
            let seen = AtomicUsize::new(0);
            let failing = Store::of(opened(&world).with_hook(move |now| {
                let hit = now == step && seen.fetch_add(1, Ordering::SeqCst) == nth;
                if hit { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
            }));
            let result = failing.add(&envelope(), &[COMPONENT.to_vec()], &world.trust, &options(Some(wanted())));
            if let Err(problem) = &result {
                assert_eq!(problem.code, Code::R004, "{step:?} {nth}");
                assert!(problem.help.as_ref().unwrap().contains("free some space"));
            }
            for entry in world.store.list().unwrap() {
                world.store.check(&entry, &world.trust).unwrap();
            }
            world.add(&envelope(), &COMPONENT).unwrap();
            let entry = world.store.find("acme/csv_reader", None).unwrap();
            world.store.check(&entry, &world.trust).unwrap();
            assert_eq!(std::fs::read_dir(world.store.layout().root().join("ingest")).unwrap().count(), 0);
        }
    }
}

/// Runs `test` of this binary in a process of its own, in the home of `world`.
fn child(test: &str, world: &World, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command.env("SUPPLY_TEST_HOME", world.home.path()).env("SUPPLY_TEST_ARGUMENT", argument);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn child_world() -> (std::path::PathBuf, String) {
    let home = std::env::var_os("SUPPLY_TEST_HOME").expect("started by another test");
    (home.into(), std::env::var("SUPPLY_TEST_ARGUMENT").unwrap())
}

#[test]
#[ignore = "the other half of a test that starts it as a process"]
fn child_dies_at_a_step() {
    let (home, step) = child_world();
    let layout = Layout::open(&home.join("store")).unwrap();
    let store = Store::of(layout.with_hook(move |now| {
        if format!("{now:?}") == step {
            std::process::abort();
        }
        Ok(())
    }));
    let trust = ice_registry::Trust::open(&home.join("trust")).unwrap();
    let _ = store.add(&envelope(), &[COMPONENT.to_vec()], &trust, &options(None));
}

#[test]
fn a_process_that_dies_at_any_step_leaves_a_whole_store_and_the_next_one_succeeds() {
    for step in STEPS {
        let world = World::new();
        let status = child("crash::child_dies_at_a_step", &world, &format!("{step:?}")).status().unwrap();
        assert!(!status.success(), "{step:?}");
        for entry in world.store.list().unwrap() {
            world.store.check(&entry, &world.trust).unwrap();
        }
        let expected = if step == Step::AfterIndex { Added::AlreadyThere } else { Added::New };
        assert_eq!(world.add(&envelope(), &COMPONENT).unwrap(), expected, "{step:?}");
        let entry = world.store.find("acme/csv_reader", None).unwrap();
        world.store.check(&entry, &world.trust).unwrap();
    }
}

/// Twelve small plugins, the same for everybody.
fn crowd() -> Vec<(ice_registry::Envelope, Vec<u8>)> {
    let plugin = |index: u8| {
        let component = [&COMPONENT[..], &[0x00, 0x02, 0x01, index]].concat();
        let manifest = changed(|document| {
            document["name"] = json!(format!("acme/plugin_{index}"));
            document["components"][0]["name"] = json!(format!("tool_{index}"));
            document["components"][0]["artifact"] = json!(ice_core::id::Digest::of(&component));
            document["components"][0]["size"] = json!(component.len());
        });
        (sign(&manifest), component)
    };
    (0..12).map(plugin).collect()
}

fn add_crowd(store: &Store, trust: &ice_registry::Trust) {
    for (envelope, component) in crowd() {
        store.add(&envelope, &[component], trust, &options(None)).unwrap();
    }
}

fn assert_crowd(world: &World) {
    let entries = world.store.list().unwrap();
    assert_eq!(entries.len(), 12);
    for entry in &entries {
        world.store.check(entry, &world.trust).unwrap();
    }
    assert_eq!(std::fs::read_dir(world.store.layout().root().join("ingest")).unwrap().count(), 0);
}

#[test]
fn eight_threads_that_add_the_same_plugins_make_one_store() {
    let world = World::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| add_crowd(&Store::open(world.store.layout().root()).unwrap(), &world.trust));
        }
        scope.spawn(|| {
            for _ in 0..20 {
                // A sweep in between takes nothing that somebody is about to list.
                world.store.gc(std::time::Duration::ZERO, std::time::SystemTime::now()).unwrap();
            }
        });
    });
    assert_crowd(&world);
}

#[test]
#[ignore = "the other half of a test that starts it as a process"]
fn child_adds_the_crowd() {
    let (home, _) = child_world();
    add_crowd(&Store::open(&home.join("store")).unwrap(), &ice_registry::Trust::open(&home.join("trust")).unwrap());
}

#[test]
fn eight_processes_that_add_the_same_plugins_make_one_store() {
    let world = World::new();
    std::fs::remove_dir_all(world.store.layout().root()).unwrap();
    let children: Vec<_> = (0..8).map(|_| child("crash::child_adds_the_crowd", &world, "").spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_crowd(&world);
}
