//! Publish, mirror with skopeo, install by the lock: the same plugins, whoever hands them over.

use crate::home::Home;

use super::servers::{DockerRegistry, Ferro};
use super::world::{
    believe, first_party, installed, is_whole, locked, pinned, prefix, public_key, remote_digest, silent, skopeo_copy,
    text, with_project_of,
};

const QUESTION: &str = "Does this license grant permission to use the trade names of the Licensor?";

/// A home that published chatkit, and the project of a user who installed it from there.
fn published(address: &str) -> (Home, Home) {
    let publisher = first_party(address);
    publisher.run(&["publish", "chatkit", "--with-dependencies", "--yes"]).exits(0);
    let project = Home::empty();
    believe(&project, &public_key(&publisher, "test"), "iceos/*", address);
    project.run(&["install", "chatkit", "--yes", "--grant"]).exits(0);
    assert_eq!(locked(&project).into_keys().collect::<Vec<_>>(), ["iceos/chat_agent", "iceos/chatkit", "iceos/memory"]);
    (publisher, project)
}

/// Copies what the lock names: straight to `/ice` of the other registry, and by way of a folder to `/by-folder`.
fn mirror(project: &Home, from: &str, to: &str) {
    let folder = tempfile::tempdir().unwrap();
    for (name, package) in locked(project) {
        let source = format!("docker://{from}/ice/{name}:1.0.0");
        let layout = format!("oci:{}:{name}:1.0.0", folder.path().display());
        let copies = [format!("docker://{to}/ice/{name}:1.0.0"), format!("docker://{to}/by-folder/{name}:1.0.0")];
        skopeo_copy(&source, &copies[0]);
        skopeo_copy(&source, &layout);
        skopeo_copy(&layout, &copies[1]);
        for copy in &copies {
            assert_eq!(remote_digest(copy), package["oci_digest"].as_str().unwrap(), "{copy} is another manifest");
        }
    }
}

/// A user with the project and nothing else, who takes `iceos/*` from `prefix`.
fn newcomer(publisher: &Home, project: &Home, prefix: &str) -> Home {
    let home = with_project_of(project);
    let key = public_key(publisher, "test");
    home.run(&["trust", "add", key.to_str().unwrap(), "--scope", "iceos/*", "--registry", prefix, "--yes"]).exits(0);
    home
}

fn answers(home: &Home) {
    let run = ["--no-dynamic", "bundle", "run", "chatkit", "--file", "LICENSE", "--query", QUESTION, "--json"];
    let answer = home.run(&[&run[..], &["--session", "s1"]].concat()).exits(0).json();
    let quote = answer["outputs"]["citations"][0]["quote"].as_str().unwrap();
    let document = std::fs::read_to_string(crate::home::root().join("LICENSE")).unwrap();
    assert!(quote.to_lowercase().contains("trade") && document.contains(quote), "{answer}");
}

#[test]
fn a_mirror_gives_what_the_lock_pins_and_it_runs() {
    let (first, second) = (DockerRegistry::start(), Ferro::start());
    let (publisher, project) = published(&first.address());
    mirror(&project, &first.address(), &second.address());

    let home = newcomer(&publisher, &project, &prefix(&second.address()));
    home.run(&["registry", "add", &prefix(&second.address()), "--plain-http"]).exits(0);
    home.run(&["install", "--locked"]).exits(0);
    home.run(&["install", "chatkit", "--locked"]).exits(0);
    assert_eq!(installed(&home), pinned(&project));
    for file in ["ice.lock", "ice.toml"] {
        assert_eq!(text(&home, file), text(&project, file), "{file} changed");
    }
    is_whole(&home);
    answers(&home);

    let by_folder = format!("{}/by-folder", second.address());
    let home = newcomer(&publisher, &project, &by_folder);
    home.run(&["registry", "add", &by_folder, "--plain-http"]).exits(0);
    home.run(&["install", "--locked"]).exits(0);
    assert_eq!(installed(&home), pinned(&project));
}

#[test]
fn a_mirror_stands_in_for_a_registry_that_is_gone() {
    let (first, second) = (DockerRegistry::start(), Ferro::start());
    let (publisher, project) = published(&first.address());
    mirror(&project, &first.address(), &second.address());
    let gone = first.address();
    drop(first);
    let _silent = silent(&gone);

    let home = newcomer(&publisher, &project, &prefix(&gone));
    let (gone, mirror) = (prefix(&gone), prefix(&second.address()));
    home.run(&["registry", "add", &gone, "--plain-http"]).exits(0);
    let refused = home.run(&["install", "--locked"]).exits(1);
    assert!(refused.err.contains("error[ICE-R005]") && refused.err.contains("mirror"), "{}", refused.err);
    assert!(installed(&home).is_empty());

    home.run(&["registry", "add", &gone, "--plain-http", "--mirror", &mirror]).exits(0);
    home.run(&["registry", "add", &mirror, "--plain-http"]).exits(0);
    home.run(&["install", "--locked"]).exits(0);
    assert_eq!(installed(&home), pinned(&project));
    assert_eq!(text(&home, "ice.lock"), text(&project, "ice.lock"));
    is_whole(&home);
}
