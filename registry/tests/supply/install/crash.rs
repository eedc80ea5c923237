//! Installing under crashes and crowds: whole after a death at any write, and one store for eight processes.

use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use ice_core::lock::Lock;
use ice_core::problem::Code;
use ice_registry::install::{Mode, apply, prepare};
use ice_registry::layout::{Layout, Step};
use ice_registry::trust::State;
use ice_registry::{Store, Trust};

use crate::fake::{Bench, anything, needing, release, run};

const STEPS: [Step; 5] = [Step::Ingested, Step::Durable, Step::Placed, Step::BeforeIndex, Step::AfterIndex];

/// Two plugins, one of which needs the other.
fn crash_bench() -> Bench {
    let bench = Bench::new();
    serve_pair(&bench.fake);
    bench
}

fn serve_pair(fake: &crate::fake::Fake) {
    fake.serve(&needing("acme/app", "1.0.0", &[("acme/lib", "^1")]));
    fake.serve(&release("acme/lib", "1.0.0"));
}

fn assert_whole(bench: &mut Bench, context: &str) {
    for entry in bench.world.store.list().unwrap() {
        bench.world.store.check(&entry, &bench.world.trust).expect(context);
    }
    bench.install(Mode::Add, &["acme/app"]).expect(context);
    assert_eq!(bench.locked(), ["acme/app 1.0.0", "acme/lib 1.0.0"], "{context}");
    for entry in bench.world.store.list().unwrap() {
        bench.world.store.check(&entry, &bench.world.trust).expect(context);
    }
}

#[test]
fn a_full_disk_at_any_write_leaves_a_whole_store_and_the_next_install_completes() {
    for step in STEPS {
        for nth in 0..6 {
            let mut bench = crash_bench();
            let seen = AtomicUsize::new(0);
            let layout = Layout::open(bench.world.store.layout().root()).unwrap().with_hook(move |now| {
                let hit = now == step && seen.fetch_add(1, Ordering::SeqCst) == nth;
                if hit { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
            });
            let prepared = bench.prepare(Mode::Add, &["acme/app"]).unwrap();
            if let Err(problems) = bench.apply_in(&prepared, &Store::of(layout)) {
                assert_eq!(problems[0].code, Code::R004, "{step:?} {nth}");
                assert_eq!(bench.state().sequence("acme/app").unwrap(), None, "seen before it was there");
            }
            assert_whole(&mut bench, &format!("{step:?} {nth}"));
        }
    }
}

/// Runs `test` of this binary as a process that installs into the home of `bench`.
fn child(test: &str, bench: &Bench, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command.env("SUPPLY_TEST_HOME", bench.world.home.path()).env("SUPPLY_TEST_ARGUMENT", argument);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
#[ignore = "the other half of tests that start it as a process"]
fn child_installs() {
    let home = std::path::PathBuf::from(std::env::var_os("SUPPLY_TEST_HOME").expect("started by another test"));
    let fatal = std::env::var("SUPPLY_TEST_ARGUMENT").unwrap();
    let seen = AtomicUsize::new(0);
    let layout = Layout::open(&home.join("store")).unwrap().with_hook(move |_| {
        if seen.fetch_add(1, Ordering::SeqCst).to_string() == fatal {
            std::process::abort();
        }
        Ok(())
    });
    let (store, trust) = (Store::of(layout), Trust::open(&home.join("trust")).unwrap());
    let state = State::of(&home.join("trust"));
    let bench = crash_bench();
    let remote = ice_registry::remote::Remote::new(&bench.fake, &trust);
    let request = bench.request(Mode::Add, &["acme/app"]);
    let prepared = run(prepare(&request, &Lock::default(), &store, &trust, &state, &remote)).unwrap();
    run(apply(&prepared, &store, &state, &remote, &anything, &())).unwrap();
}

#[test]
fn a_process_that_is_killed_at_any_write_leaves_a_whole_store_and_the_next_install_completes() {
    let mut deaths = 0;
    loop {
        let mut bench = crash_bench();
        if child("install::crash::child_installs", &bench, &deaths.to_string()).status().unwrap().success() {
            break;
        }
        assert_whole(&mut bench, &format!("write {deaths}"));
        deaths += 1;
    }
    // Three steps for each of two components, configs and manifests, two for the index, which is
    // written once.
    assert_eq!(deaths, 3 * 6 + 2);
}

#[test]
fn eight_processes_that_install_the_same_make_one_store() {
    let mut bench = crash_bench();
    let children: Vec<_> =
        (0..8).map(|_| child("install::crash::child_installs", &bench, "never").spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(bench.world.store.list().unwrap().len(), 2);
    assert_eq!(std::fs::read_dir(bench.world.store.layout().root().join("ingest")).unwrap().count(), 0);
    assert_whole(&mut bench, "after eight processes");
}
