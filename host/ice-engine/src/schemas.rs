//! JSON Schemas of what users write, for editors. Pure.
//!
//! A schema says less than `check` does: it knows the form of a blueprint, not which tools are installed or what a
//! template may name. What it refuses, `check` refuses too. The keys of each kind are those of
//! [`NODES`](crate::nodes::NODES); a test sees to it.

use ice_core::blueprint::{COMMON_KEYS, MAX_PARALLEL_MAX};
use serde_json::{Map, Value, json};

use crate::nodes::NODES;

mod keys;
mod network;

pub use network::network;

/// JSON Schema of a blueprint, with every node kind.
pub fn blueprint() -> Value {
    let node: Vec<Value> = NODES.iter().map(|kind| kind_rule(kind.name())).collect();
    let kinds: Vec<&str> = NODES.iter().map(|kind| kind.name()).collect();
    let mut definitions = keys::definitions();
    definitions["node"] = json!({
        "type": "object",
        "required": ["id", "type"],
        "properties": { "id": { "$ref": "#/$defs/id" }, "type": { "enum": kinds, "description": "The kind of node." } },
        "allOf": node,
    });
    definitions["nodes"] = json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/node" } });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:iceos:blueprint:1.2.0",
        "title": "blueprint",
        "description": "Nodes that run in the order of what they need. `ice blueprints check` knows more.",
        "type": "object",
        "required": ["nodes"],
        "additionalProperties": false,
        "properties": top(),
        "$defs": definitions,
    })
}

fn top() -> Value {
    json!({
        "id": { "type": ["string", "null"], "description": "What others call it by." },
        "blueprint_id": { "type": ["string", "null"], "description": "Another word for `id`." },
        "schema_version": { "enum": ["1.1.0", "1.2.0", null] },
        "metadata": { "type": ["object", "null"], "description": "For people: `name`, `description`, `tags`." },
        "inputs": {
            "type": ["object", "null"],
            "description": "What an execution is given: `{required: [name], optional: [name]}`, type literals or JSON Schema.",
        },
        "nodes": { "$ref": "#/$defs/nodes" },
        "outputs": { "type": ["object", "null"], "description": "Name and template." },
        "failure_policy": { "$ref": "#/$defs/failure_policy" },
        "budget": {
            "type": ["object", "null"],
            "additionalProperties": false,
            "properties": {
                "usd": { "type": ["number", "null"], "minimum": 0, "maximum": 1e9 },
                "tokens": { "type": ["integer", "null"], "minimum": 0 },
                "seconds": { "$ref": "#/$defs/seconds" },
            },
        },
        "max_parallel": { "type": ["integer", "null"], "minimum": 1, "maximum": MAX_PARALLEL_MAX },
        "retry_policy": { "$ref": "#/$defs/retry_policy" },
        "timeout_seconds": { "$ref": "#/$defs/seconds" },
    })
}

/// What a node of one kind may and must have.
fn kind_rule(kind: &str) -> Value {
    let mut properties: Map<String, Value> =
        COMMON_KEYS.iter().map(|key| ((*key).to_owned(), keys::common(key))).collect();
    let (required, own) = keys::of_kind(kind);
    properties.extend(own);
    let mut then = json!({ "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        then["required"] = json!(required);
    }
    json!({ "if": { "properties": { "type": { "const": kind } }, "required": ["type"] }, "then": then })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use ice_core::blueprint::{parse, read_document};
    use ice_core::schema::{Direction, Schema};

    use super::*;
    use crate::plan::{plan, tests::stock};

    fn documents(folder: &str) -> Vec<(String, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/blueprints").join(folder);
        let paths = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("entry").path());
        let written = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "json"));
        written.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("readable"))).collect()
    }

    #[test]
    fn every_kind_has_exactly_the_keys_it_reads() {
        for kind in NODES {
            let written: BTreeSet<String> = keys::of_kind(kind.name()).1.keys().cloned().collect();
            let read: BTreeSet<String> = kind.keys().iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(written, read, "{}", kind.name());
        }
    }

    #[test]
    fn good_blueprints_fit_and_what_does_not_fit_is_bad() {
        let schema = Schema::compile(&blueprint(), Direction::Input).expect("compiles");
        for (name, text) in documents("ok") {
            let (document, _) = read_document(&text, &name).expect("readable");
            assert_eq!(schema.check(&document), [], "{name}");
        }
        let mut refused = 0;
        for (name, text) in documents("bad") {
            let Ok((document, _)) = read_document(&text, &name) else { continue };
            refused += usize::from(!schema.is_valid(&document));
            let planned = parse(&text, &name).and_then(|parsed| plan(&parsed, &stock::catalog(), &stock::library()));
            assert!(planned.is_err(), "{name}");
        }
        assert!(refused >= 20, "only {refused} bad blueprints are refused by their form");
    }
}
