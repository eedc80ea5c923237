//! The keys of nodes: a schema for each.

use serde_json::{Map, Value, json};

/// Types that several keys share. Null counts as missing, as everywhere in a blueprint.
pub(super) fn definitions() -> Value {
    json!({
        "id": { "type": "string", "minLength": 1 },
        "text": { "type": ["string", "null"] },
        "words": { "type": "string", "minLength": 1 },
        "texts": { "type": ["array", "null"], "items": { "type": "string" } },
        "flag": { "type": ["boolean", "null"] },
        "map": { "type": ["object", "null"] },
        "list": { "type": ["array", "null"] },
        "count": { "type": ["integer", "null"], "minimum": 1 },
        "seconds": { "type": ["number", "null"], "exclusiveMinimum": 0 },
        "pause": { "type": ["number", "null"], "minimum": 0 },
        "temperature": { "type": ["number", "null"], "minimum": 0, "maximum": 2 },
        "choice": { "type": ["string", "null"] },
        "schema": { "type": ["object", "null"], "description": "JSON Schema, or type literals such as `{x: int, y: 'list[str]?'}`." },
        "failure_policy": { "type": ["string", "null"], "description": "halt, continue_possible (default) or always." },
        "llm_config": {
            "type": "object",
            "description": "Which model, and how: `{provider: echo, model: echo}` answers offline. Other keys go to the provider.",
            "properties": {
                "provider": { "$ref": "#/$defs/text" }, "model": { "$ref": "#/$defs/text" },
                "temperature": { "$ref": "#/$defs/temperature" }, "max_tokens": { "$ref": "#/$defs/count" },
                "timeout": { "$ref": "#/$defs/seconds" }, "api_key": { "type": "null" }, "base_url": { "type": "null" },
                "custom_parameters": { "$ref": "#/$defs/map" },
            },
        },
        "retry_policy": {
            "type": ["object", "null"],
            "additionalProperties": false,
            "properties": {
                "max_attempts": { "type": ["integer", "null"], "minimum": 1, "maximum": 1000 },
                "backoff_strategy": { "type": ["string", "null"], "description": "fixed, linear or exponential." },
                "backoff_seconds": { "$ref": "#/$defs/pause" }, "max_backoff_seconds": { "$ref": "#/$defs/pause" },
                "jitter": { "type": ["string", "null"], "description": "none or full." },
                "retry_on": { "$ref": "#/$defs/texts" },
            },
        },
        "input_mapping": {
            "type": "object",
            "required": ["source_node_id", "source_output_key"],
            "additionalProperties": false,
            "properties": {
                "source_node_id": { "$ref": "#/$defs/words" }, "source_output_key": { "$ref": "#/$defs/words" }, "rules": {},
            },
        },
        "inner_nodes": { "type": ["array", "null"], "items": { "$ref": "#/$defs/node" } },
    })
}

pub(super) fn is(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

pub(super) fn said(definition: &str, description: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}"), "description": description })
}

/// A key that nodes of every kind have.
pub(super) fn common(key: &str) -> Value {
    match key {
        "id" => said("id", "Letters, digits, `_` and `-`; templates name it."),
        "name" => is("text"),
        "type" => is("words"),
        "dependencies" => said("texts", "Nodes that are done before."),
        "input_schema" | "output_schema" => is("schema"),
        "input_mappings" => {
            json!({ "type": ["object", "null"], "additionalProperties": { "$ref": "#/$defs/input_mapping" } })
        }
        "output_mappings" => json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } }),
        "timeout_seconds" | "cache_ttl_seconds" => is("seconds"),
        "retries" => json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 999 }),
        "backoff_seconds" => is("pause"),
        "retry_policy" => is("retry_policy"),
        "use_cache" => is("flag"),
        "finally" => said("flag", "Runs at the end, whatever happened."),
        "run_if" => {
            json!({ "type": ["string", "boolean", "null"], "description": "A template that must be true, or `always`." })
        }
        "fallback" => said("text", "The node that takes this one's place when it failed."),
        "metadata" => is("map"),
        _ => json!({}),
    }
}

/// What an agent that is made of data takes; a recursive node hands it on.
const AGENT: &[(&str, &str)] = &[
    ("system_prompt", "text"),
    ("tools", "list"),
    ("memory", "map"),
    ("llm_config", "llm_config"),
    ("model", "text"),
    ("temperature", "temperature"),
    ("max_tokens", "count"),
    ("agent_config", "map"),
    ("input", "map"),
    ("task", "text"),
];

/// The keys that must be there, and the schema of each key only this kind has.
pub(super) fn of_kind(kind: &str) -> (Vec<&'static str>, Map<String, Value>) {
    let (required, keys): (&[&'static str], &[(&str, &str)]) = match kind {
        "tool" => (&["tool_name"], &[("tool_name", "words"), ("tool_args", "map")]),
        "llm" => (&["llm_config"], LLM),
        "agent" => (&[], AGENT_ONLY),
        "condition" => (&["expression"], &[("true_path", "inner_nodes"), ("false_path", "inner_nodes")]),
        "loop" => (&["items_source", "body"], LOOP),
        "parallel" => (&["branches"], &[("max_concurrency", "count"), ("merge_outputs", "flag")]),
        "workflow" => (&["workflow_ref"], WORKFLOW),
        "recursive" => (&[], RECURSIVE),
        "code" => (&["code"], CODE),
        "human" => (&["prompt_message"], HUMAN),
        "monitor" => (&["metric_expression"], MONITOR),
        "swarm" => (&["agents"], SWARM),
        "webhook" => (&["url"], WEBHOOK),
        _ => (&[], &[]),
    };
    let mut own: Map<String, Value> = keys.iter().map(|(key, of)| ((*key).to_owned(), is(of))).collect();
    if matches!(kind, "agent" | "recursive") {
        own.extend(AGENT.iter().map(|(key, of)| ((*key).to_owned(), is(of))));
    }
    own.extend(special(kind));
    (required.to_vec(), own)
}

const LLM: &[(&str, &str)] = &[
    ("prompt", "text"),
    ("llm_config", "llm_config"),
    ("model", "text"),
    ("temperature", "temperature"),
    ("max_tokens", "count"),
    ("json_schema", "schema"),
];
const AGENT_ONLY: &[(&str, &str)] =
    &[("package", "text"), ("max_iterations", "count"), ("agent_attr", "text"), ("version_constraint", "text")];
const LOOP: &[(&str, &str)] = &[
    ("item_var", "text"),
    ("body", "nodes"),
    ("parallel", "flag"),
    ("max_concurrency", "count"),
    ("max_iterations", "count"),
    ("on_item_error", "choice"),
];
const WORKFLOW: &[(&str, &str)] =
    &[("workflow_ref", "words"), ("inputs", "map"), ("exposed_outputs", "map"), ("config_overrides", "map")];
const RECURSIVE: &[(&str, &str)] = &[
    ("agent_package", "text"),
    ("workflow_ref", "text"),
    ("recursive_sources", "texts"),
    ("convergence_condition", "text"),
    ("max_iterations", "count"),
    ("max_rounds", "count"),
    ("preserve_context", "flag"),
    ("context_key", "text"),
    ("inputs", "map"),
    ("exposed_outputs", "map"),
    ("config_overrides", "map"),
];
const CODE: &[(&str, &str)] = &[("language", "choice"), ("code", "words"), ("inputs", "map")];
const HUMAN: &[(&str, &str)] = &[
    ("prompt_message", "words"),
    ("approval_type", "choice"),
    ("form", "schema"),
    ("auto_approve_after", "seconds"),
    ("on_timeout", "choice"),
];
const MONITOR: &[(&str, &str)] = &[
    ("metric_expression", "words"),
    ("action_on_trigger", "choice"),
    ("alert_channels", "texts"),
    ("alert_targets", "map"),
    ("check_interval_seconds", "seconds"),
    ("watch", "texts"),
];
const SWARM: &[(&str, &str)] = &[
    ("coordination_strategy", "choice"),
    ("max_rounds", "count"),
    ("lead", "text"),
    ("task", "text"),
    ("llm_config", "llm_config"),
];
const WEBHOOK: &[(&str, &str)] = &[
    ("url", "words"),
    ("method", "choice"),
    ("headers", "map"),
    ("signing_secret", "text"),
    ("signature_header", "text"),
    ("max_body_bytes", "count"),
];

/// Keys whose form is their own.
fn special(kind: &str) -> Vec<(String, Value)> {
    let statuses = json!({ "type": ["array", "null"], "items": { "type": "integer", "minimum": 100, "maximum": 599 } });
    let keys: Vec<(&str, Value)> = match kind {
        "llm" => vec![
            (
                "messages",
                json!({ "type": ["array", "null"], "minItems": 1, "items": {
                "type": "object", "required": ["role", "content"], "additionalProperties": false,
                "properties": { "role": { "type": "string" }, "content": { "type": "string", "minLength": 1 } },
            } }),
            ),
            ("repair_attempts", json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 5 })),
            ("output_format", json!({})),
            ("format_specifications", json!({})),
            ("coerce_input_types", json!({})),
            ("coerce_output_types", json!({})),
        ],
        "condition" => vec![("expression", json!({ "type": ["string", "boolean"] }))],
        "loop" => vec![("items_source", json!({ "type": ["string", "array"] }))],
        "parallel" => vec![
            ("branches", json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/nodes" } })),
            (
                "wait",
                json!({ "type": ["string", "integer", "null"], "description": "all (default), any, or how many." }),
            ),
        ],
        "code" => vec![("imports", json!({})), ("sandbox", json!({}))],
        "human" => vec![
            ("choices", json!({ "type": ["array", "string", "null"] })),
            ("escalation_path", json!({ "type": ["array", "string", "null"] })),
        ],
        "swarm" => vec![
            ("agents", json!({ "type": "array", "minItems": 2, "items": { "type": "object", "required": ["role"] } })),
            ("consensus_threshold", json!({ "type": ["number", "null"], "minimum": 0.5, "maximum": 1 })),
        ],
        "webhook" => vec![("body", json!({})), ("retry_on_status", statuses.clone()), ("accept_status", statuses)],
        _ => Vec::new(),
    };
    keys.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect()
}
