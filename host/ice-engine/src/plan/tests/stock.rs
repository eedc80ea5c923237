//! The fixed catalog and library that blueprints in `tests/blueprints` are planned against.

use std::sync::Arc;

use ice_core::blueprint::parse;
use ice_core::catalog::{CallKind, Callable, Catalog, Effects};
use ice_core::grant::Grant;
use ice_core::id::Digest;
use serde_json::{Value, json};

use crate::plan::Library;

fn callable(kind: CallKind, name: &str, effects: Effects, input: Value, output: Value) -> (String, Arc<Callable>) {
    let callable = Callable {
        kind,
        name: name.to_owned(),
        description: format!("does {name}"),
        input_schema: input,
        output_schema: output,
        tags: Vec::new(),
        plugin: "ice/stock".to_owned(),
        version: "1.0.0".to_owned(),
        artifact: Digest::of(name.as_bytes()),
        statement: None,
        deprecated: None,
        effects,
        granted: Arc::new(Grant::default()),
    };
    (name.to_owned(), Arc::new(callable))
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

/// Tools and agents of the kits, by their names and main fields.
pub(crate) fn catalog() -> Catalog {
    let tool = |name, effects, input, output| callable(CallKind::Tool, name, effects, input, output);
    let text = json!({"type": "string"});
    let whole = json!({"type": "integer"});
    let any = json!({});
    let listing = json!({"$ref": "#/$defs/listing"});
    let definitions = json!({"listing": object(json!({"sku": text, "price": {"type": "number"}}), &["sku"])});
    let with = |mut schema: Value| {
        schema["$defs"] = definitions.clone();
        schema
    };
    let tools = [
        tool(
            "writer_tool",
            Effects::None,
            object(json!({"notes": text, "style": text}), &["notes"]),
            json!({"type": "object", "properties": {"summary": text}, "required": ["summary"], "additionalProperties": false}),
        ),
        tool(
            "lookup_tool",
            Effects::None,
            object(json!({"query": text}), &["query"]),
            object(json!({"notes": text}), &["notes"]),
        ),
        tool(
            "memory_search_tool",
            Effects::External,
            object(json!({"query": text, "scope": text, "limit": whole, "session_id": text}), &["query"]),
            object(
                json!({"results": {"type": "array", "items": object(json!({"key": text}), &["key"])}}),
                &["results"],
            ),
        ),
        tool(
            "recent_session_tool",
            Effects::External,
            object(json!({"session_id": text, "limit": whole}), &["session_id"]),
            object(json!({"items": {"type": "array"}}), &["items"]),
        ),
        tool(
            "csv_loader",
            Effects::None,
            object(json!({"text": text}), &["text"]),
            object(json!({"rows": {"type": "array", "items": {"type": "object"}}}), &["rows"]),
        ),
        tool(
            "pricing_strategy",
            Effects::None,
            with(object(json!({"listing": listing, "margin": {"type": "number"}}), &["listing"])),
            with(object(json!({"listing": listing}), &["listing"])),
        ),
        tool(
            "http_post",
            Effects::External,
            object(json!({"url": text, "body": any}), &["url", "body"]),
            object(json!({"status": whole, "body": text}), &["status"]),
        ),
        tool(
            "python_run",
            Effects::None,
            object(json!({"code": text, "inputs": {"type": "object"}}), &["code"]),
            object(json!({"result": {}, "stdout": text}), &["result"]),
        ),
        tool(
            "aggregator_concat",
            Effects::None,
            object(json!({"inputs": {"type": "array"}, "sep": text}), &["inputs"]),
            object(json!({"text": text}), &[]),
        ),
    ];
    let agents = [callable(
        CallKind::Agent,
        "chat_agent",
        Effects::External,
        object(json!({"query": text, "context": any}), &["query"]),
        object(json!({"message": text}), &["message"]),
    )];
    Catalog { tools: tools.into_iter().collect(), agents: agents.into_iter().collect(), ..Catalog::default() }
}

/// Blueprints that `workflow` nodes in the examples refer to.
pub(crate) fn library() -> Library {
    let mut library = Library::default();
    for (name, version, text) in [
        (
            "summarize",
            None,
            "id: summarize\ninputs: {required: [notes], optional: [{name: style, default: short}]}\nnodes:\n  - {id: w, type: tool, tool_name: writer_tool, tool_args: {notes: '{{ inputs.notes }}'}}\noutputs: {summary: '{{ w.summary }}'}\n",
        ),
        (
            "news",
            Some("1.3.0"),
            "id: news\nnodes:\n  - {id: l, type: tool, tool_name: lookup_tool, tool_args: {query: x}}\noutputs: {notes: l.notes}\n",
        ),
        ("broken", None, "id: broken\nnodes:\n  - {id: l, type: tool, tool_name: nowhere}\n"),
        ("ping", None, "id: ping\nnodes:\n  - {id: p, type: workflow, workflow_ref: pong}\n"),
        ("pong", None, "id: pong\nnodes:\n  - {id: p, type: workflow, workflow_ref: ping}\n"),
    ] {
        let parsed = parse(text, name).expect("stock blueprints are YAML");
        library.add(name, version.map(|version: &str| version.parse().expect("a version")), Arc::new(parsed));
    }
    library
}
