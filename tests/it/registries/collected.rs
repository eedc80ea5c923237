//! What an operator of a registry does to save space takes nothing away that somebody installs.

use crate::home::Home;

use super::servers::{DockerRegistry, Untagged};
use super::world::{
    Small, acme, believe, first_party, installed, is_whole, pinned, public_key, user_of, with_project_of,
};

#[test]
fn a_garbage_collection_leaves_everything_that_was_published() {
    let registry = DockerRegistry::start();
    let publisher = first_party(&registry.address());
    publisher.run(&["publish", "chatkit", "--with-dependencies", "--yes"]).exits(0);
    let project = Home::empty();
    believe(&project, &public_key(&publisher, "test"), "iceos/*", &registry.address());
    project.run(&["install", "chatkit", "--yes", "--grant"]).exits(0);

    for untagged in [Untagged::Keep, Untagged::Delete] {
        registry.garbage_collect(untagged);
        let home = with_project_of(&project);
        believe(&home, &public_key(&publisher, "test"), "iceos/*", &registry.address());
        home.run(&["install", "--locked"]).exits(0);
        assert_eq!(installed(&home), pinned(&project), "{untagged:?}");
        is_whole(&home);
    }
    let again = publisher.run(&["publish", "chatkit", "--with-dependencies", "--yes", "--json"]).exits(0).json();
    assert!(again.as_array().unwrap().iter().all(|one| one["already_there"] == true), "{again}");
}

#[test]
fn a_signature_beside_an_artifact_stays_too() {
    let registry = DockerRegistry::start();
    let address = registry.address();
    let publisher = acme(&address);
    let plugin = Small::new("acme/table");
    super::peers::push_with_oras(&plugin, &address);
    super::peers::attest(&publisher, &plugin, &address);
    registry.garbage_collect(Untagged::Delete);
    let home = user_of(&publisher, &address);
    home.run(&["install", "acme/table", "--yes"]).exits(0);
    is_whole(&home);
}
