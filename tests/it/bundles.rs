//! The other bundles, and bundles as components.

use serde_json::json;

use crate::home::{Home, root};
use crate::servers::Server;

const ITEMS: &str = "plugins/bundles/seller_assistant/examples/items.csv";

#[test]
fn seller_assistant_posts_every_listing_to_the_bin_it_starts() {
    let home = Home::new();
    let ran = home.run(&["bundle", "run", "seller_assistant", "--file", ITEMS]).exits(0);
    let result = ran.json();
    assert_eq!(
        (&result["total"], &result["success"], &result["failures"]),
        (&json!(9), &json!(9), &json!(0)),
        "{result}"
    );
    assert_eq!(result["items"].as_array().unwrap().len(), 9);
    assert!(result["items"].as_array().unwrap().iter().all(|item| item["status"] == 201 && item["price"].is_number()));
    assert!(ran.err.contains("HTTP bin"), "says where it posts to: {}", ran.err);
    assert!(ran.err.contains("received 9"), "{}", ran.err);
}

#[test]
fn a_malformed_row_is_one_failure_with_its_line_and_the_others_succeed() {
    let home = Home::new();
    let good = std::fs::read_to_string(root().join(ITEMS)).unwrap();
    let bad = good.replace("Road bike,sports,good,480.00,36", "Road bike,sports,good");
    let file = home.path().join("items.csv");
    std::fs::write(&file, bad).unwrap();
    let bin = Server::start(|_, _| (201, "application/json", "{}".into()));
    home.run(&["plugins", "grant", "iceos/web", &format!("http=POST {}/*", bin.url())]).exits(0);
    home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", bin.port));
    let ran = home
        .run(&[
            "bundle",
            "run",
            "seller_assistant",
            "--file",
            file.to_str().unwrap(),
            "--input",
            &format!("post_url={}/listings", bin.url()),
            "--json",
        ])
        .exits(0);
    let outputs = &ran.json()["outputs"];
    assert_eq!(
        (&outputs["total"], &outputs["success"], &outputs["failures"]),
        (&json!(9), &json!(8), &json!(1)),
        "{outputs}"
    );
    assert_eq!(outputs["items"][8]["line"], 4, "{outputs}");
    assert_eq!(bin.received().len(), 8);
}

#[test]
fn every_first_party_bundle_runs() {
    let home = Home::new();
    for (entry, args) in [
        ("getting_started.llm_only", &[][..]),
        ("getting_started.agent_demo", &[]),
        ("getting_started.tools_in_a_loop", &[]),
        ("note_digest", &["--input", "notes=[\"one\",\"two\"]"]),
        ("library_assistant.ask_my_library", &["--query", "What is a Contributor?", "--file", "LICENSE"]),
    ] {
        let mut all = vec!["bundle", "run", entry, "--json"];
        all.extend(args);
        let result = home.run(&all).exits(0).json();
        assert_eq!(result["status"], "completed", "{entry}: {result}");
    }
}

#[test]
fn a_bundle_builds_to_the_same_bytes_and_to_checked_json() {
    let home = Home::new();
    let (first, second) = (home.path().join("a.wasm"), home.path().join("b.wasm"));
    for path in [&first, &second] {
        home.run(&["bundle", "build", "plugins/bundles/chatkit", "--out", path.to_str().unwrap()]).exits(0);
    }
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());

    let (from_wasm, from_yaml) = (home.path().join("wasm.json"), home.path().join("yaml.json"));
    home.run(&["build", first.to_str().unwrap(), "--output", from_wasm.to_str().unwrap()]).exits(0);
    let yaml = "plugins/bundles/chatkit/workflows/rag_chat.yaml";
    home.run(&["build", yaml, "--output", from_yaml.to_str().unwrap()]).exits(0);
    assert_eq!(std::fs::read(from_wasm).unwrap(), std::fs::read(from_yaml).unwrap());
}

#[test]
fn a_bundle_that_is_code_is_built_in_the_same_place() {
    let home = Home::new();
    let (wasm, json) = (home.path().join("digest.wasm"), home.path().join("digest.json"));
    home.run(&["bundle", "build", "plugins/bundles/note_digest", "--out", wasm.to_str().unwrap()]).exits(0);
    home.run(&["build", wasm.to_str().unwrap(), "--output", json.to_str().unwrap()]).exits(0);
    let ran = home.run(&["run-blueprint", json.to_str().unwrap(), "-i", "notes=[\"one\",\"two\"]", "--json"]).exits(0);
    assert_eq!(ran.json()["status"], "completed");
}
