//! Tools that know nothing of ice read what we publish; what they publish is refused until somebody signs it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::home::Home;

use super::servers::{DockerRegistry, Ferro};
use super::world::{
    Small, acme, digest, first_party, installed, is_whole, locked, prefix, public_key, python, refuses, user_of,
};

/// Digests of the files in a folder.
fn digests(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| digest(&std::fs::read(path).unwrap())).collect()
}

/// `oras pull` and an independent verifier agree with what the lock of the publisher says.
fn is_read_by_others(publisher: &Home, key: &str, name: &str, address: &str) {
    let folder = tempfile::tempdir().unwrap();
    let reference = format!("{}/{name}:1.0.0", prefix(address));
    let files = folder.path().join("files");
    python("artifacts.py", &["pull", &reference, files.to_str().unwrap()]);
    let package = &locked(publisher)[name];
    let artifacts = package["artifacts"].as_array().unwrap().iter();
    let expected: BTreeSet<String> = artifacts.map(|one| one["digest"].as_str().unwrap().to_owned()).collect();
    assert_eq!(digests(&files), expected, "{name}");

    let envelope = folder.path().join("envelope.json");
    python("artifacts.py", &["envelope", &reference, envelope.to_str().unwrap()]);
    let mut arguments = vec!["verify".into(), envelope.clone().into_os_string(), public_key(publisher, key).into()];
    arguments.extend(std::fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path().into_os_string()));
    assert_eq!(python("verify.py", &arguments).trim(), package["statement"].as_str().unwrap());
    python("verify.py", &["dsse".as_ref(), envelope.as_os_str(), public_key(publisher, key).as_os_str()]);
}

#[test]
fn oras_and_an_independent_verifier_read_what_we_publish() {
    let registry = DockerRegistry::start();
    let publisher = first_party(&registry.address());
    publisher.run(&["publish", "chatkit", "--with-dependencies", "--yes"]).exits(0);
    for name in ["iceos/chat_agent", "iceos/memory", "iceos/chatkit"] {
        is_read_by_others(&publisher, "test", name, &registry.address());
    }
    let registry = Ferro::start();
    let publisher = acme(&registry.address());
    Small::with_components("acme/many", &[10, 20, 300]).publish(&publisher);
    is_read_by_others(&publisher, "acme", "acme/many", &registry.address());
    assert!(!registry.log().contains("panicked"), "{}", registry.log());
}

/// Tools that fetch one component each get it, here as elsewhere; the library of wkg is tried beside the client.
#[test]
fn parts_of_a_kit_are_pulled_one_by_one() {
    let (docker, ferro) = (DockerRegistry::start(), Ferro::start());
    for address in [docker.address(), ferro.address()] {
        let publisher = acme(&address);
        let kit = Small::with_components("acme/pair", &[10, 2000]);
        kit.sign(&publisher, "acme");
        publisher.run(&["publish", "acme/pair", "--parts", "acme", "--yes"]).exits(0);
        for (at, bytes) in kit.components.iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let reference = format!("{}/acme/pair/tool_{at:02}:1.0.0", prefix(&address));
            python("artifacts.py", &["pull", &reference, folder.path().to_str().unwrap()]);
            assert_eq!(digests(folder.path()), [digest(bytes)].into());
        }
        // Again is no change, also with parts.
        let again = publisher.run(&["publish", "acme/pair", "--parts", "acme", "--yes", "--json"]).exits(0).json();
        assert!(again[0]["already_there"] == true && again[0]["parts"][1]["already_there"] == true, "{again}");
    }
}

/// Pushes the components as somebody without ice does.
pub(super) fn push_with_oras(plugin: &Small, address: &str) {
    let folder = tempfile::tempdir().unwrap();
    plugin.write(folder.path());
    let reference = format!("{}/{}:1.0.0", prefix(address), plugin.name());
    let mut arguments = vec!["push".to_owned(), reference];
    let files = std::fs::read_dir(folder.path().join("components")).unwrap().map(|entry| entry.unwrap().path());
    arguments.extend(files.map(|path| path.to_str().unwrap().to_owned()));
    python("artifacts.py", &arguments);
}

/// Signs what is there, with the key `acme` of `home`.
pub(super) fn attest(home: &Home, plugin: &Small, address: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, reference) = (plugin.write(folder.path()), format!("{}/{}:1.0.0", prefix(address), plugin.name()));
    home.run(&["attest", "add", &reference, "--manifest", manifest.to_str().unwrap(), "--key", "acme"]).exits(0);
    let listed = home.run(&["attest", "list", &reference, "--json"]).exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn what_oras_pushed_is_refused_until_a_key_of_the_scope_signs_it() {
    let (docker, ferro) = (DockerRegistry::start(), Ferro::start());
    for address in [docker.address(), ferro.address()] {
        let publisher = acme(&address);
        let plugin = Small::with_components("acme/table", &[10, 20]);
        push_with_oras(&plugin, &address);
        let home = user_of(&publisher, &address);
        let ran = refuses(home.run(&["install", "acme/table", "--yes"]).exits(3), "T003");
        assert!(ran.err.contains("carries no signature") && ran.err.contains("`ice attest`"), "{}", ran.err);
        assert!(installed(&home).is_empty());

        // A key that nobody believes for the name makes no difference.
        let stranger = acme(&address);
        attest(&stranger, &plugin, &address);
        refuses(home.run(&["install", "acme/table", "--yes"]).exits(3), "T004");

        let folder = tempfile::tempdir().unwrap();
        let manifest = plugin.write(folder.path());
        let reference = format!("{}/acme/table:1.0.0", prefix(&address));
        let add = ["attest", "add", &reference, "--manifest", manifest.to_str().unwrap(), "--key", "acme"];
        publisher.run(&add).exits(0);
        home.run(&["install", "acme/table", "--yes"]).exits(0);
        is_whole(&home);
    }
}

#[test]
fn what_python_signs_is_published_and_installed() {
    let registry = DockerRegistry::start();
    let address = registry.address();
    let publisher = acme(&address);
    let (folder, plugin) = (tempfile::tempdir().unwrap(), Small::new("acme/table"));
    let manifest = plugin.write(folder.path());
    let key = publisher.path().join("keys/acme.pem");
    let envelope = folder.path().join("envelope.json");
    let text = python("verify.py", &["sign".as_ref(), manifest.as_path(), &key, "elsewhere".as_ref()]);
    std::fs::write(&envelope, text).unwrap();
    let component = folder.path().join("components/tool_00.wasm");
    let statement = python("verify.py", &["verify".as_ref(), &*envelope, &public_key(&publisher, "acme"), &component]);

    let add = ["plugins", "add", envelope.to_str().unwrap(), "--component", component.to_str().unwrap()];
    publisher.run(&add).exits(0);
    publisher.run(&["publish", "acme/table", "--yes"]).exits(0);
    let home = user_of(&publisher, &address);
    home.run(&["install", "acme/table", "--yes"]).exits(0);
    assert_eq!(installed(&home)["acme/table"], statement.trim());
    is_whole(&home);

    let stranger = acme(&address);
    refuses(stranger.run(&add).exits(3), "T004");
}
