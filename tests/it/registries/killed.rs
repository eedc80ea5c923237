//! `ice install` is killed at every moment that matters. What is left is whole, and the next installation completes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::home::Home;

use super::servers::DockerRegistry;
use super::valve::Valve;
use super::world::{Small, acme, is_whole, run, text, user_of};

const INSTALL: [&str; 4] = ["install", "acme/many", "--yes", "--grant"];
/// More than the registry and the system hold back between them.
const COMPONENTS: [usize; 12] = [60_000; 12];
/// A loaded machine takes a second for what is waited for here.
const WAITED_AT_MOST: Duration = Duration::from_secs(60);

/// A published plugin behind a valve, and a user of it who has installed nothing yet.
struct World {
    _registry: DockerRegistry,
    valve: Valve,
    user: Home,
    /// An installation that nobody killed.
    done: Home,
}

impl World {
    fn new() -> Self {
        let registry = DockerRegistry::start();
        let publisher = acme(&registry.address());
        let asked = serde_json::json!({"memory": {"read": ["*"], "write": []}});
        Small::with_components("acme/many", &COMPONENTS).asking(asked).publish(&publisher);
        let valve = Valve::before(&registry.address());
        let user = user_of(&publisher, &valve.address());
        // The store and what was seen of the time, so that locks can be held before the installation looks for them.
        user.run(&["list"]).exits(0);
        let state = user.path().join("trust/state");
        fs::create_dir_all(&state).unwrap();
        let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_secs(3_600);
        fs::write(state.join("clock.json"), soon.as_secs().to_string()).unwrap();
        let done = copy(&user);
        done.run(&INSTALL).exits(0);
        Self { _registry: registry, valve, user, done }
    }

    /// Installs into a new home and kills that when `now` says so. Then looks at what is left.
    fn kill(&self, what: &str, now: impl Fn(&Path) -> bool, hold: impl FnOnce(&Path) -> Option<File>) -> ExitStatus {
        let home = copy(&self.user);
        let held = hold(home.path());
        let mut command = home.ice();
        let mut child = command.args(INSTALL).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        wait(&mut child, what, || now(home.path()));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        drop(held);
        self.valve.open();

        home.run(&["verify"]).exits(0);
        home.run(&INSTALL).exits(0);
        is_whole(&home);
        for file in ["ice.lock", "ice.toml"] {
            assert_eq!(text(&home, file), text(&self.done, file), "{what}: {file}");
        }
        assert_eq!(blobs(home.path()), blobs(self.done.path()), "{what}");
        status
    }
}

/// Waits for a moment, or for the end of the process that it should happen in.
fn wait(child: &mut Child, what: &str, now: impl Fn() -> bool) {
    let start = Instant::now();
    while !now() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < WAITED_AT_MOST, "it never comes to: {what}");
        std::thread::yield_now();
    }
}

fn copy(home: &Home) -> Home {
    let other = Home::empty();
    run("cp", &["-a".as_ref(), home.path().join(".").as_os_str(), other.path().as_os_str()]);
    other
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn blobs(home: &Path) -> BTreeSet<String> {
    names(&home.join("store/blobs/sha256"))
}

fn hold(path: &Path) -> Option<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    file.lock().unwrap();
    Some(file)
}

fn is_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

#[test]
fn killed_while_the_registry_still_sends() {
    let world = World::new();
    let all: usize = COMPONENTS.iter().sum();
    // While versions are looked up, the envelope is read, and between one component and the next.
    let mut moments = vec![0, 300, 2_000];
    moments.extend((0..COMPONENTS.len()).step_by(2).map(|component| 10_000 + component * all / COMPONENTS.len()));
    for bytes in moments {
        world.valve.hold_after(bytes);
        let status = world.kill(&format!("{bytes} bytes"), |_| world.valve.is_holding(), |_| None);
        assert!(is_killed(status), "{bytes} bytes: {status}");
    }
}

#[test]
fn killed_while_it_writes() {
    let world = World::new();
    let complete = blobs(world.done.path()).len();
    // Everything is in place and nothing lists it.
    let status = world.kill(
        "before the index",
        |home| blobs(home).len() == complete,
        |home| hold(&home.join("store/.index-lock")),
    );
    assert!(is_killed(status), "{status}");
    // The store lists it; what was seen, the settings and the lock know nothing of it.
    let listed = |home: &Path| fs::read_to_string(home.join("store/index.json")).unwrap().contains("acme/many");
    let status = world.kill("after the index", listed, |home| hold(&home.join("trust/state/.lock")));
    assert!(is_killed(status), "{status}");

    // As soon as it is seen; the process may be a step or two further then.
    world.kill("a write begins", |home| !names(&home.join("store/ingest")).is_empty(), |_| None);
    for count in [1, COMPONENTS.len() / 2, COMPONENTS.len(), complete] {
        world.kill(&format!("{count} blobs"), |home| blobs(home).len() >= count, |_| None);
    }
    world.kill("the settings are written", |home| home.join("ice.toml").exists(), |_| None);
    world.kill("the lock is written", |home| home.join("ice.lock").exists(), |_| None);
}
