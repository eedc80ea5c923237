//! `ice schemas`: what is exported is what is committed and what files of this home fit; what is imported is taken by a node.

use ice_core::schema::{Direction, Schema};
use serde_json::{Value, json};

use crate::home::{Home, root};

fn read(path: impl AsRef<std::path::Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn what_is_exported_is_committed_and_a_difference_is_told() {
    let home = Home::empty();
    let out = home.file("schemas");
    let missing = home.run(&["schemas", "check", "--out", &out, "--json"]).exits(1).json();
    let written = home.run(&["schemas", "export", "--out", &out, "--json"]).exits(0).json();
    let files: Vec<&str> = written["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert_eq!(missing["problems"].as_array().unwrap().len(), files.len(), "{missing}");
    for name in ["blueprint", "network.v1", "bundle", "plugins.v0", "ice.toml", "ice.lock"] {
        assert!(files.contains(&format!("{name}.schema.json").as_str()), "{name}: {files:?}");
    }
    for file in &files {
        let text = read(home.path().join("schemas").join(file));
        assert!(
            text == read(root().join("manifests/schemas").join(file)),
            "`ice schemas export` writes another {file}"
        );
        let schema: Value = serde_json::from_str(&text).unwrap();
        Schema::compile(&schema, Direction::Input).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(schema["$schema"].is_string() && schema["$id"].is_string() && schema["title"].is_string(), "{file}");
    }
    let committed = std::fs::read_dir(root().join("manifests/schemas")).unwrap().count();
    assert_eq!(committed, files.len(), "a schema is committed that nothing writes");

    home.run(&["schemas", "check", "--out", &out]).exits(0);
    std::fs::write(home.path().join("schemas/ice.toml.schema.json"), "{}").unwrap();
    let ran = home.run(&["schemas", "check", "--out", &out]).exits(1);
    assert!(ran.err.contains("ice.toml.schema.json") && ran.err.contains("ice schemas export"), "{}", ran.err);
    assert!(!ran.err.contains("ice.lock.schema.json"), "{}", ran.err);
}

/// What this program writes by itself fits, and what an operator writes.
#[test]
fn the_files_of_a_home_fit() {
    let home = Home::new();
    home.set("budget", "usd = 1.5");
    home.set("limits.agent", "timeout_seconds = 9");
    let out = home.file("schemas");
    home.run(&["schemas", "export", "--out", &out, "--installed"]).exits(0);
    let schema = |name: &str| {
        let text = read(home.path().join("schemas").join(format!("{name}.schema.json")));
        Schema::compile(&serde_json::from_str(&text).unwrap(), Direction::Input).unwrap()
    };
    for name in ["ice.toml", "ice.lock"] {
        let document: Value = toml::from_str(&read(home.path().join(name))).unwrap();
        assert_eq!(schema(name).check(&document), [], "{name}");
    }
    let lock: Value = toml::from_str(&read(home.path().join("ice.lock"))).unwrap();
    assert!(lock["package"].as_array().unwrap().len() > 5, "{lock}");
    assert_eq!(schema("tools/writer_tool.input").check(&json!({ "notes": "x" })), []);
    assert!(!schema("tools/writer_tool.input").is_valid(&json!({ "notes": 1 })));

    // A wrong word is refused by the schema and by the program.
    home.set("budgets", "usd = 1");
    let document: Value = toml::from_str(&read(home.path().join("ice.toml"))).unwrap();
    assert!(!schema("ice.toml").is_valid(&document));
    assert!(home.run(&["list"]).exits(2).err.contains("budgets"));
}

const ORDER: &str = r#"
title: order
type: object
required: [sku, tags]
additionalProperties: false
properties:
  sku: {type: string, description: What is ordered.}
  tags: {type: array, items: {type: string}}
"#;

/// Runs a blueprint whose code node takes what was imported.
fn takes(home: &Home, schema: &Value, inputs: &Value) -> bool {
    let blueprint = json!({
        "schema_version": "1.2.0",
        "nodes": [{
            "id": "n", "type": "llm", "llm_config": { "provider": "echo", "model": "echo" }, "prompt": "{{ inputs.sku }}",
            "input_schema": schema,
        }],
        "inputs": { "type": "object" },
        "outputs": { "text": "{{ n.text }}" },
    });
    let file = home.write("order.json", blueprint.to_string());
    home.run(&["blueprints", "check", &file]).exits(0);
    let inputs = home.write("inputs.json", inputs.to_string());
    home.run(&["run-blueprint", &file, "--inputs", &inputs, "--json"]).code == Some(0)
}

#[test]
fn what_is_imported_is_what_a_node_takes() {
    let home = Home::empty();
    let plain = home.write("order.schema.yaml", ORDER);
    let bounded =
        home.write("bounded.json", r#"{"type": "object", "properties": {"sku": {"type": "string", "maxLength": 3}}}"#);
    let found = home.run(&["schemas", "import", &plain, &bounded, "--json"]).exits(0).json();
    assert_eq!(found[0], json!({ "file": plain, "schema": { "sku": "str", "tags": "list[str]" } }));
    let kept: Value = serde_json::from_str(&read(&bounded)).unwrap();
    assert_eq!(found[1], json!({ "file": bounded, "schema": kept }), "a bound is not lost");
    assert!(takes(&home, &found[0]["schema"], &json!({ "sku": "a", "tags": ["b"] })));
    assert!(!takes(&home, &found[0]["schema"], &json!({ "sku": "a", "tags": "b" })));
    assert!(takes(&home, &found[1]["schema"], &json!({ "sku": "abc" })));
    assert!(!takes(&home, &found[1]["schema"], &json!({ "sku": "abcd" })));

    let printed = home.run(&["schemas", "import", &plain]).exits(0).out;
    assert!(printed.contains(r#"input_schema: {"sku":"str","tags":"list[str]"}"#), "{printed}");
}

#[test]
fn a_schema_that_is_none_or_fetches_is_refused_with_its_place() {
    let home = Home::empty();
    let good = home.write("good.json", "{}");
    let wrong = home.write("wrong.json", r#"{"type": "object", "properties": {"a": {"type": "strnig"}}}"#);
    let remote = home.write("remote.json", r#"{"$ref": "http://127.0.0.1:9/x.json"}"#);
    let broken = home.write("broken.json", "{\"type\": ");
    let ran = home.run(&["schemas", "import", &good, &wrong, &remote, &broken]).exits(2);
    assert!(ran.out.is_empty(), "all or nothing: {}", ran.out);
    for words in ["wrong.json", "remote.json", "broken.json", "/properties/a/type"] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    let ran = home.run(&["schemas", "import", &home.file("gone.json")]).exits(2);
    assert!(ran.err.contains("ICE-C002") && ran.err.contains("gone.json"), "{}", ran.err);
}
