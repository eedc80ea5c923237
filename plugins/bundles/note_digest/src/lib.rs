//! Bundle `note_digest`: one blueprint, built by code instead of YAML. To read and to copy.

use ice_sdk::blueprint::{BlueprintBuilder, Catalog, NodeBuilder};
use serde_json::json;

ice_sdk::bundle!(digest);

/// How many notes are shortened at the same time.
const SIDE_BY_SIDE: u32 = 4;

/// What the kits under `dependencies` of `bundle.yaml` bring.
const TOOLS: [&str; 2] = ["writer_tool", "aggregator_concat"];

fn digest() -> BlueprintBuilder {
    let shorten = NodeBuilder::tool("one", "writer_tool").arg("notes", "{{ note }}").arg("style", "{{ inputs.style }}");
    BlueprintBuilder::new("note_digest.digest")
        .description("Shortens every note and puts them together.")
        .catalog(Catalog::new().tools(TOOLS))
        .input(
            "notes",
            json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "description": "The notes." }),
            None,
        )
        .input("style", json!({ "type": "string", "description": "How each line is marked." }), Some(json!("concise")))
        .node(NodeBuilder::repeat("shorten", "inputs.notes", "note", [shorten]).parallel(SIDE_BY_SIDE))
        .node(
            NodeBuilder::tool("together", "aggregator_concat")
                .after("shorten")
                .arg("inputs", "{{ shorten.results }}")
                .arg("key", "summary"),
        )
        .output("text", "{{ together.text }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_lists_and_returns_its_blueprint() {
        let listed = BUNDLE.list();
        assert_eq!(listed, [("digest".to_owned(), "Shortens every note and puts them together.".to_owned(), true)]);
        let text = BUNDLE.get("digest").unwrap().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["id"], "note_digest.digest");
        assert_eq!(document["nodes"][0]["body"][0]["tool_name"], "writer_tool");
        assert_eq!(BUNDLE.get("other"), Ok(None));
    }
}
