//! Many at once: processes that install into one home, publishers of one version.

use std::process::{Child, Stdio};

use crate::home::{Home, Ran};

use super::servers::DockerRegistry;
use super::valve::Valve;
use super::world::{Small, acme, installed, is_whole, pinned, prefix, refuses, run, text, user_of};

const PROCESSES: usize = 8;

/// Starts a command and does not wait for it.
fn start(home: &Home, args: &[&str]) -> Child {
    home.ice().args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(children: Vec<Child>) -> Vec<Ran> {
    children.into_iter().map(|child| Ran::from(child.wait_with_output().unwrap())).collect()
}

#[test]
fn eight_processes_install_the_same_set_into_one_home() {
    let registry = DockerRegistry::start();
    let publisher = acme(&registry.address());
    let names = ["acme/alpha", "acme/bravo", "acme/charlie"];
    for name in names {
        Small::with_components(name, &[30_000, 30_000, 30_000]).publish(&publisher);
    }
    let install = [&["install"], &names[..], &["--yes"]].concat();
    let alone = user_of(&publisher, &registry.address());
    alone.run(&install).exits(0);

    let home = user_of(&publisher, &registry.address());
    let children = (0..PROCESSES).map(|_| start(&home, &install)).collect();
    for ran in end(children) {
        ran.exits(0);
    }
    for file in ["ice.lock", "ice.toml"] {
        assert_eq!(text(&home, file), text(&alone, file), "{file}");
    }
    is_whole(&home);
    let left: Vec<_> = std::fs::read_dir(home.path().join("store/ingest")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn eight_processes_install_eight_plugins_into_one_home() {
    let registry = DockerRegistry::start();
    let publisher = acme(&registry.address());
    let name =
        |at: usize| format!("acme/{}", ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"][at]);
    for at in 0..PROCESSES {
        Small::new(&name(at)).asking(serde_json::json!({"memory": {"read": ["*"], "write": []}})).publish(&publisher);
    }
    let home = user_of(&publisher, &registry.address());
    let children = (0..PROCESSES).map(|at| start(&home, &["install", &name(at), "--yes", "--grant"])).collect();
    for ran in end(children) {
        ran.exits(0);
    }
    let settings: toml::Table = text(&home, "ice.toml").parse().unwrap();
    for at in 0..PROCESSES {
        assert!(pinned(&home).contains_key(&name(at)), "the lock forgot {}", name(at));
        for section in ["plugins", "grants"] {
            assert!(settings[section].get(name(at)).is_some(), "[{section}] forgot {}", name(at));
        }
    }
    is_whole(&home);
}

/// Two machines with one key, as of two people of one team, and their user.
fn team(address: &str) -> (Home, Home, Home) {
    let (one, other) = (acme(address), Home::empty());
    for folder in ["keys", "trust"] {
        run("cp", &["-a".as_ref(), one.path().join(folder).as_os_str(), other.path().as_os_str()]);
    }
    let user = user_of(&one, address);
    (one, other, user)
}

/// Signs something else under one name and version at each of them.
fn sign_both(one: &Home, other: &Home, name: &str) {
    Small::new(name).sign(one, "acme");
    Small::new(name).described("Says something else.").sign(other, "acme");
}

/// Waits until the valve holds something back.
fn held(valve: &Valve, child: &mut Child) {
    while !valve.is_holding() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::yield_now();
    }
}

/// Both looked before either pushed: the first to push reads something else back.
#[test]
fn who_is_overwritten_while_publishing_learns_it() {
    let registry = DockerRegistry::start();
    let (one, other, user) = team(&registry.address());
    sign_both(&one, &other, "acme/table");
    let behind = |home: &Home| {
        let valve = Valve::before(&registry.address());
        home.run(&["registry", "add", &prefix(&valve.address()), "--plain-http"]).exits(0);
        valve
    };
    let (first, second) = (behind(&one), behind(&other));
    let publish = |home: &Home, valve: &Valve| {
        start(home, &["publish", "acme/table", "--to", &prefix(&valve.address()), "--yes"])
    };
    // Before the blobs, and once more right before the manifest: that there is no such version.
    second.hold_answer(2, "HEAD /v2/ice/acme/table/manifests/1.0.0 ");
    let mut later = publish(&other, &second);
    held(&second, &mut later);
    first.hold_answer(1, "PUT /v2/ice/acme/table/manifests/1.0.0 ");
    let mut earlier = publish(&one, &first);
    held(&first, &mut earlier);
    second.open();
    end(vec![later]).remove(0).exits(0);
    first.open();
    let lost = refuses(end(vec![earlier]).remove(0).exits(2), "R003");
    assert!(lost.err.contains(&installed(&other)["acme/table"][7..19]), "{}", lost.err);
    user.run(&["install", "acme/table", "--yes"]).exits(0);
    assert_eq!(installed(&user), installed(&other));
}

#[test]
fn of_two_who_publish_one_version_one_wins() {
    let registry = DockerRegistry::start();
    let (one, other, user) = team(&registry.address());
    for name in ["acme/alpha", "acme/bravo", "acme/charlie"] {
        sign_both(&one, &other, name);
        let publish = ["publish", name, "--yes"];
        for ran in end(vec![start(&one, &publish), start(&other, &publish)]) {
            if ran.code != Some(0) {
                refuses(ran.exits(2), "R003");
            }
        }
        // Whatever each was told then: from now on there is one.
        let again = [&one, &other].map(|home| home.run(&publish));
        let (won, lost): (Vec<_>, Vec<_>) =
            [&one, &other].into_iter().zip(again).partition(|(_, ran)| ran.code == Some(0));
        let ([(winner, _)], [_]) = (&won[..], &lost[..]) else { panic!("{} of two have {name}", won.len()) };
        for (_, ran) in lost {
            refuses(ran.exits(2), "R003");
        }
        user.run(&["install", name, "--yes"]).exits(0);
        assert_eq!(installed(&user)[name], installed(winner)[name]);
    }
    is_whole(&user);
}
