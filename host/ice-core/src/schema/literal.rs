//! Type literals: `{"x": "int", "y": "list[str]?"}` expanded to JSON Schema.
//!
//! `str int float bool dict list any`, their JSON Schema names, `list[T]`, `dict[T]` and `dict[str, T]`; a `?` at the
//! end means the field may be missing or null. Everything else must be there.

use serde_json::{Map, Value, json};

use super::{Direction, SchemaError};
use crate::blueprint::nearest;

/// Literal name, JSON Schema `type`; none for "anything".
const TYPES: &[(&str, Option<&str>)] = &[
    ("str", Some("string")),
    ("string", Some("string")),
    ("int", Some("integer")),
    ("integer", Some("integer")),
    ("float", Some("number")),
    ("number", Some("number")),
    ("bool", Some("boolean")),
    ("boolean", Some("boolean")),
    ("dict", Some("object")),
    ("object", Some("object")),
    ("list", Some("array")),
    ("array", Some("array")),
    ("null", Some("null")),
    ("none", Some("null")),
    ("any", None),
];

/// Keywords of JSON Schema 2020-12, and `definitions` of older drafts: a mapping that uses one is a JSON Schema.
const KEYWORDS: &[&str] = &[
    "$schema",
    "$id",
    "$ref",
    "$defs",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$comment",
    "$vocabulary",
    "definitions",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "items",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "unevaluatedItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// Levels of `list[list[…]]` and of mappings inside mappings.
pub(super) const DEPTH_MAX: usize = 32;

/// Whether a mapping is made of type literals. `{}` and anything that could be a JSON Schema is not, except that
/// `{"title": "str"}` names a field: its values are all types.
pub(super) fn is_literal(fields: &Map<String, Value>) -> bool {
    let candidates = fields.values().all(|value| value.is_string() || value.is_object());
    if fields.is_empty() || !candidates {
        return false;
    }
    let is_keyword = |key: &String| KEYWORDS.contains(&key.as_str());
    if !fields.keys().any(is_keyword) {
        return true;
    }
    let json_type = fields.get("type").and_then(Value::as_str).is_some_and(is_json_type);
    let all_types = fields.values().all(|value| value.as_str().is_some_and(|text| parse(text, DEPTH_MAX).is_ok()));
    all_types && !(json_type && fields.keys().all(is_keyword))
}

fn is_json_type(name: &str) -> bool {
    matches!(name, "object" | "array" | "string" | "number" | "integer" | "boolean" | "null")
}

/// Makes the JSON Schema of an object with these fields.
pub(super) fn expand(fields: &Map<String, Value>, direction: Direction) -> Result<Value, SchemaError> {
    object(fields, direction, DEPTH_MAX)
}

fn object(fields: &Map<String, Value>, direction: Direction, depth: usize) -> Result<Value, SchemaError> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, value) in fields {
        let refuse =
            |message| SchemaError { pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")), message };
        let (schema, optional) = match value {
            Value::String(text) => parse(text, DEPTH_MAX).map_err(refuse)?,
            Value::Object(inner) if is_literal(inner) && depth > 0 => (object(inner, direction, depth - 1)?, false),
            other => (other.clone(), false),
        };
        if !optional {
            required.push(Value::String(name.clone()));
        }
        properties.insert(name.clone(), schema);
    }
    Ok(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": direction == Direction::Output,
    }))
}

/// Reads one literal; the flag says it may be missing.
pub(super) fn parse(text: &str, depth: usize) -> Result<(Value, bool), String> {
    let text = text.trim();
    if let Some(inner) = text.strip_suffix('?') {
        let (schema, _) = parse(inner, depth)?;
        return Ok((json!({"anyOf": [schema, {"type": "null"}]}), true));
    }
    if depth == 0 {
        return Err(format!("the type is nested deeper than {DEPTH_MAX} levels"));
    }
    if let Some((name, rest)) = text.split_once('[') {
        let inner = rest.strip_suffix(']').ok_or_else(|| format!("`{text}` has no `]` at its end"))?;
        return Ok((container(text, name.trim(), inner, depth - 1)?, false));
    }
    let Some((_, json_type)) = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) else {
        return Err(unknown(text));
    };
    Ok((json_type.map_or_else(|| json!({}), |name| json!({"type": name})), false))
}

fn container(text: &str, name: &str, inner: &str, depth: usize) -> Result<Value, String> {
    match name.to_ascii_lowercase().as_str() {
        "list" | "array" => Ok(json!({"type": "array", "items": parse(inner, depth)?.0})),
        "dict" | "object" => {
            let value = match inner.split_once(',') {
                Some((key, value)) if matches!(key.trim(), "str" | "string") => value,
                Some(_) => return Err(format!("`{text}`: the keys of a mapping are `str`")),
                None => inner,
            };
            Ok(json!({"type": "object", "additionalProperties": parse(value, depth)?.0}))
        }
        _ => Err(unknown(text)),
    }
}

fn unknown(text: &str) -> String {
    let names = TYPES.iter().map(|(name, _)| *name);
    match nearest(text.split('[').next().unwrap_or(text), names) {
        Some(name) => format!("`{text}` is not a type; did you mean `{name}`?"),
        None => format!("`{text}` is not a type: use str, int, float, bool, dict, list[…], any, with `?` for optional"),
    }
}
