//! From a built component to a plugin that may do something.

use serde_json::Value;

use crate::home::{Home, root};

const COMPONENT: &str = "plugins/target/components/kits/csv.wasm";

#[test]
fn export_gives_the_manifest_that_make_plugins_wrote() {
    let home = Home::empty();
    let exported =
        home.run(&["plugins", "export", COMPONENT, "--source", "plugins/kits/csv", "--json"]).exits(0).json();
    let bytes = std::fs::read(root().join("manifests/kits/csv.json")).unwrap();
    let mut written: Value = serde_json::from_slice(&bytes).unwrap();
    written["created"] = exported["created"].clone();
    assert_eq!(exported, written);
    assert_eq!(exported["components"][0]["name"], "csv_loader");
    assert_eq!(exported["components"][0]["effects"], "none", "a kit that imports no capability has no effects");
}

#[test]
fn a_component_that_is_none_and_a_declaration_that_lies_are_refused() {
    let home = Home::empty();
    let text = home.path().join("not.wasm");
    std::fs::write(&text, "(component)").unwrap();
    let ran = home.run(&["plugins", "export", text.to_str().unwrap(), "--source", "plugins/kits/csv"]).exits(3);
    assert!(ran.err.contains("error[ICE-T014]"), "{}", ran.err);

    let settings = std::fs::read_to_string(root().join("plugins/kits/csv/plugin.toml")).unwrap();
    std::fs::write(
        home.path().join("plugin.toml"),
        settings.replace("[capabilities]", "[capabilities]\nhttp = [\"GET https://a.example/*\"]"),
    )
    .unwrap();
    let ran = home.run(&["plugins", "export", COMPONENT, "--source", home.path().to_str().unwrap()]);
    assert!(ran.code != Some(0) && ran.err.contains("does not import it"), "{}", ran.err);
}

#[test]
fn lint_finds_nothing_to_mend_in_first_party_manifests() {
    let home = Home::empty();
    for kind in ["kits", "agents", "bundles"] {
        for entry in std::fs::read_dir(root().join("manifests").join(kind)).unwrap().flatten() {
            home.run(&["plugins", "lint", entry.path().to_str().unwrap()]).exits(0);
        }
    }
}

#[test]
fn listed_plugins_verify_and_say_what_they_ask_for_and_may_do() {
    let home = Home::new();
    let listed = home.run(&["list", "--json"]).exits(0).json();
    assert!(listed.as_array().unwrap().iter().all(|row| row["signed_by"][0].is_string()), "{listed}");
    let verified = home.run(&["verify", "--json"]).exits(0).json();
    assert_eq!(verified.as_array().unwrap().len(), listed.as_array().unwrap().len());

    home.run(&["plugins", "grant", "iceos/memory", "memory.write=", "memory.read=", "memory.read=kb"]).exits(0);
    let grants = home.run(&["plugins", "grants", "memory", "--json"]).exits(0).json();
    assert_eq!(grants[0]["may"]["memory"]["read"], serde_json::json!(["kb"]), "{grants}");
    assert!(home.run(&["plugins", "grants", "memory"]).out.contains("asks also"));
    let ran = home.run(&["bundle", "run", "chatkit", "--query", "x", "--file", "LICENSE"]).exits(3);
    assert!(ran.err.contains("ice plugins grant memory"), "{}", ran.err);

    let ran = home.run(&["plugins", "grant", "iceos/memory", "memry.read=kb"]).exits(2);
    assert!(ran.err.contains("error[ICE-G002]"), "{}", ran.err);
}

#[test]
fn a_released_version_is_not_replaced_by_accident() {
    let home = Home::new();
    let manifest = home.path().join("csv.json");
    let text = std::fs::read_to_string(root().join("manifests/kits/csv.json")).unwrap();
    std::fs::write(&manifest, text.replace("\"license\": \"Apache-2.0\"", "\"license\": \"MIT\"")).unwrap();
    let sign = ["plugins", "sign", manifest.to_str().unwrap(), "--key", "test"];
    let ran = home.run(&sign);
    assert!(ran.code == Some(2) && ran.err.contains("error[ICE-R003]"), "{}", ran.err);
    home.run(&[&sign[..], &["--replace"]].concat()).exits(0);
}
