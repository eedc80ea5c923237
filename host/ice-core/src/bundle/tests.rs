//! Bundles as people write them, good and bad.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::schema::{Direction, Schema};

fn problems(document: &Value) -> String {
    let problems = Bundle::from_value(document).unwrap_err();
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn the_keys_of_the_first_bundles_are_read() {
    let bundle = Bundle::from_value(&json!({
        "name": "chatkit",
        "version": "1.0.0",
        "description": "Chat over your documents",
        "entrypoint": "chatkit.rag_chat",
        "dependencies": {"toolkits": ["search@^1.0.0", "memory@^1.0.0"]},
        "workflows": {"rag_chat": "workflows/rag_chat.yaml"},
        "http_bin": "post_url",
        "examples": ["examples/note.md"],
    }))
    .unwrap();
    assert_eq!(bundle.qualified_name(), "iceos/chatkit");
    assert_eq!(bundle.entrypoint, "rag_chat");
    assert_eq!(bundle.dependencies[0].name, "iceos/memory");
    assert!(bundle.dependencies[0].req.matches(&Version::new(1, 4, 0)));
    assert_eq!(bundle.http_bin.as_deref(), Some("post_url"));
}

#[test]
fn a_single_blueprint_needs_no_entrypoint() {
    let bundle = Bundle::from_value(&json!({"name": "acme/x", "version": "0.1.0", "workflows": {"only": "only.yaml"}}));
    assert_eq!(bundle.unwrap().entrypoint, "only");
}

#[test]
fn every_problem_is_reported_at_once() {
    expect![[r#"
        error[ICE-M003]: there is no key `worflows`
          at: /worflows
          help: did you mean `workflows`?
        error[ICE-T018]: `iceos/Chat Kit` is not a plugin name
          at: /name
          help: write `scope/name`; each part begins with `a-z` or `0-9` and goes on with `a-z`, `0-9`, `_`, `-`
        error[ICE-M002]: `version` is a number here
          at: /version
          help: write it in quotes: `version: "1.0.0"`
        error[ICE-M002]: `Rag` is not a blueprint name
          at: /workflows/Rag
          help: begin with a letter and use `a-z`, `0-9` and `_`
        error[ICE-M002]: this is not a relative path inside the bundle
          at: /workflows/up
        error[ICE-M002]: the entrypoint `other.rag` is in another bundle than `Chat Kit`
          at: /entrypoint
        error[ICE-M003]: there is no key `toolkit`
          at: /dependencies/toolkit
          help: did you mean `toolkits`?
        error[ICE-M002]: `memory@one` needs a version that cannot be read: unexpected character 'o' while parsing major version number
          at: /dependencies/toolkits/0
          help: write it like `memory@^1.0.0`
        error[ICE-M002]: `http_bin` is not a text
          at: /http_bin
    "#]]
    .assert_eq(&problems(&json!({
        "name": "Chat Kit",
        "version": 1.0,
        "worflows": {},
        "entrypoint": "other.rag",
        "workflows": {"Rag": "rag.yaml", "up": "../up.yaml"},
        "dependencies": {"toolkit": [], "toolkits": ["memory@one"]},
        "http_bin": 3,
    })));
}

#[test]
fn a_document_that_is_no_map_is_refused() {
    assert!(problems(&json!(["name"])).contains("M002"));
    assert!(problems(&json!({})).contains("`name` is missing"));
}

#[test]
fn the_schema_has_every_key_and_says_less_than_the_reader() {
    let schema = Schema::compile(&schema(), Direction::Input).unwrap();
    let whole = json!({
        "name": "acme/chatkit", "version": "1.0.0", "description": "x", "license": "MIT", "entrypoint": "chatkit.a",
        "dependencies": {"toolkits": ["memory@^1"], "agents": ["chat"], "plugins": ["csv"]},
        "workflows": {"a": "a.yaml"}, "examples": ["e.md"], "http_bin": "url",
    });
    assert_eq!(whole.as_object().unwrap().len(), KEYS.len());
    assert_eq!(whole["dependencies"].as_object().unwrap().len(), DEPENDENCY_KINDS.len());
    assert!(Bundle::from_value(&whole).is_ok());
    assert_eq!(schema.check(&whole), []);
    for key in KEYS {
        for value in [json!(null), json!(1), json!([[1]]), json!({"x": 1}), json!("")] {
            let mut document = whole.clone();
            document[key] = value;
            let (fits, reads) = (schema.is_valid(&document), Bundle::from_value(&document).is_ok());
            assert!(fits || !reads, "the schema refuses what is read: {document}");
            assert!(!fits || document[key].is_null() || document[key] == "", "`{key}` takes anything: {document}");
        }
    }
    for (place, key) in [("", "workflow"), ("/dependencies", "kits"), ("/workflows", "Bad Name")] {
        let mut document = whole.clone();
        document.pointer_mut(place).unwrap()[key] = json!("x");
        assert!(!schema.is_valid(&document) && Bundle::from_value(&document).is_err(), "{key}");
    }
}
