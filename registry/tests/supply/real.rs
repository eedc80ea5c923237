//! Publishing and installing through the one network door, with a registry that an operator runs.

use ice_registry::client::Client;
use ice_registry::install::{Mode, apply, prepare};
use ice_registry::publish::{PublishOptions, publish};
use ice_registry::remote::Remote;

use crate::fake::{Bench, PREFIX, anything, policy, run};
use crate::network::{credentials, open};
use crate::publish::{kit, options, signed_parts};
use crate::registries::{DockerRegistry, Untagged};
use crate::table::Row;

/// Row 22 of the table.
pub(crate) fn rows() -> impl Iterator<Item = Row> {
    [Row::accepted(22, "a kit after a garbage collection with --delete-untagged", a_kit_outlives_a_garbage_collection)]
        .into_iter()
}

/// A bench whose policy names this registry.
fn bench_of(prefix: &str) -> Bench {
    let mut bench = Bench::new();
    policy(&mut bench.world, |text| text.replace(PREFIX, prefix));
    bench
}

/// Installs through the door. Returns how many plugins are new.
fn install(bench: &mut Bench, client: &Client, mode: Mode, wants: &[&str]) -> usize {
    let (world, state, request) = (&bench.world, bench.state(), bench.request(mode, wants));
    let remote = Remote::new(client, &world.trust);
    let prepared = run(prepare(&request, &bench.lock, &world.store, &world.trust, &state, &remote)).unwrap();
    let applied = run(apply(&prepared, &world.store, &state, &remote, &anything, &())).unwrap();
    bench.lock = prepared.lock;
    applied.added.len()
}

fn a_kit_outlives_a_garbage_collection() {
    let registry = DockerRegistry::start();
    let prefix = format!("{}/ice", registry.address());
    let client = open(&registry.address(), credentials());
    let mut author = bench_of(&prefix);
    let options = PublishOptions { kit_parts: signed_parts(&kit()), ..options() };
    run(publish(&client, &prefix, &kit(), &author.world.trust, &options, &())).unwrap();
    assert_eq!(install(&mut author, &client, Mode::Add, &["acme/kit"]), 1);
    registry.garbage_collect(Untagged::Delete);
    let mut clean = Bench { lock: author.lock.clone(), ..bench_of(&prefix) };
    assert_eq!(install(&mut clean, &client, Mode::Locked, &[]), 1);
    drop(registry);
    assert_eq!(install(&mut clean, &client, Mode::Frozen, &[]), 0, "and from then on without the registry");
    let entry = clean.world.store.find("acme/kit", None).unwrap();
    clean.world.store.check(&entry, &clean.world.trust).unwrap();
}
