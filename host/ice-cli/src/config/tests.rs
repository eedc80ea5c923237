//! The schema of `ice.toml` and the types that read it agree.

use ice_core::schema::{Direction, Schema};
use serde_json::json;

use super::*;

/// The path of every key of `schema` that is not a free name, with the part of the schema that is for it.
fn keys(schema: &Value, root: &Value, path: &[String], found: &mut Vec<(Vec<String>, Value)>) {
    let schema = resolved(schema, root);
    if let Some(free) = schema.get("additionalProperties").filter(|free| free.is_object()) {
        keys(free, root, &[path, &["free".to_owned()]].concat(), found);
    }
    for (key, part) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = [path, std::slice::from_ref(key)].concat();
        found.push((path.clone(), resolved(part, root).clone()));
        keys(part, root, &path, found);
    }
}

/// What a `$ref` means; of several alternatives the one that is not null.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(pointer) = schema.get("$ref").and_then(Value::as_str) {
        return resolved(root.pointer(pointer.trim_start_matches('#')).expect("the definition is there"), root);
    }
    match schema.get("anyOf").and_then(Value::as_array) {
        Some(parts) => parts
            .iter()
            .find(|part| part.get("type") != Some(&json!("null")))
            .map_or(schema, |part| resolved(part, root)),
        None => schema,
    }
}

/// The words that a key of a fixed list takes.
fn words(part: &Value) -> impl Iterator<Item = &Value> {
    let list = |key: &str| part.get(key).and_then(Value::as_array).into_iter().flatten();
    list("enum").chain(list("oneOf").filter_map(|one| one.get("const")))
}

fn file(path: &[String], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| json!({ key.as_str(): inner }))
}

fn reads(document: &Value) -> bool {
    toml::from_str::<File>(&toml::to_string(document).expect("TOML")).is_ok()
}

#[test]
fn every_setting_is_read_as_the_schema_says() {
    let root = schema();
    let compiled = Schema::compile(&root, Direction::Input).expect("compiles");
    let mut all = Vec::new();
    keys(&root, &root, &[], &mut all);
    assert!(all.len() > 25, "{all:?}");
    let samples = [
        json!("a"),
        json!("0.50"),
        json!(1),
        json!(1.5),
        json!(true),
        json!(["a"]),
        json!([1]),
        json!({}),
        json!({ "a": "b" }),
        json!({ "a": ["b"] }),
    ];
    for (path, part) in &all {
        let mut fitting = 0;
        // Serde would also read the fields of a section from a list, in their order; nobody writes that.
        let is_section = part.get("properties").is_some();
        let fair = samples.iter().chain(words(part)).filter(|sample| !(is_section && sample.is_array()));
        for sample in fair {
            let document = file(path, sample);
            assert_eq!(compiled.is_valid(&document), reads(&document), "{document}");
            fitting += usize::from(reads(&document));
        }
        assert!(fitting > 0 && fitting < samples.len(), "{path:?} takes {fitting} of the samples");
        let (last, parents) = path.split_last().expect("a path has a key");
        let other = file(&[parents, &[format!("{last}x")]].concat(), &json!(1));
        assert!(!compiled.is_valid(&other) && !reads(&other), "{other}");
    }
}
