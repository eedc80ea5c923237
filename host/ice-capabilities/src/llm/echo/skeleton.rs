//! The smallest JSON that fits a JSON Schema, always the same. Pure. Understands what schemas of tools and agents use:
//! types, `enum`, `const`, `default`, `required`, bounds, `anyOf`/`oneOf`/`allOf`, and references into the document.

use std::cell::Cell;

use serde_json::{Map, Value};

/// Deeper schemas are recursive.
const DEPTH_MAX: u32 = 32;
/// A minimum beyond this is not met: memory is not worth it.
const COUNT_MAX: u64 = 10_000;
/// Values in all. Recursive schemas with two branches would otherwise double with every level.
const VALUES_MAX: u32 = 20_000;

/// Makes the value.
pub(super) fn minimal(schema: &Value) -> Value {
    make(schema, schema, 0, &Cell::new(VALUES_MAX))
}

fn make(schema: &Value, root: &Value, depth: u32, left: &Cell<u32>) -> Value {
    let Value::Object(members) = schema else {
        return Value::Null;
    };
    if left.get() == 0 {
        return Value::Null;
    }
    // Counted even where it is too deep: a list of ten thousand such values is as large.
    left.set(left.get() - 1);
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let deeper = |schema: &Value| make(schema, root, depth + 1, left);
    for key in ["const", "default"] {
        if let Some(value) = members.get(key) {
            return value.clone();
        }
    }
    if let Some(first) = ["enum", "examples"].iter().find_map(|key| members.get(*key)?.as_array()?.first()) {
        return first.clone();
    }
    if let Some(target) = members.get("$ref").and_then(Value::as_str).and_then(|at| root.pointer(at.strip_prefix('#')?))
    {
        return deeper(target);
    }
    if let Some(Value::Array(parts)) = members.get("allOf") {
        return deeper(&merged(members, parts, root));
    }
    if let Some(options) = ["anyOf", "oneOf"].iter().find_map(|key| members.get(*key)?.as_array()) {
        // An optional value is `anyOf` with null: null is the smaller one.
        let null = options.iter().find(|option| option["type"] == "null");
        return null.or(options.first()).map_or(Value::Null, deeper);
    }
    match kind(members) {
        "object" => object(members, deeper, || left.get() > 0),
        "array" => array(members, deeper, || left.get() > 0),
        "string" => {
            let text = string(members);
            // A long text counts as many values.
            let size = u32::try_from(text.len() / 16).unwrap_or(u32::MAX);
            left.set(left.get().saturating_sub(size));
            text.into()
        }
        "integer" => integer(members),
        "number" => number(members),
        "boolean" => false.into(),
        _ => Value::Null,
    }
}

fn kind(members: &Map<String, Value>) -> &str {
    match members.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) if kinds.iter().any(|kind| kind == "null") => "null",
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ if members.contains_key("properties") || members.contains_key("required") => "object",
        _ if members.contains_key("items") || members.contains_key("prefixItems") => "array",
        _ => "null",
    }
}

fn object(members: &Map<String, Value>, make: impl Fn(&Value) -> Value, go_on: impl Fn() -> bool) -> Value {
    let required = members.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let properties = members.get("properties");
    let one = |name: &str| {
        let schema = properties.and_then(|properties| properties.get(name));
        (name.to_owned(), schema.map_or(Value::Null, &make))
    };
    required.iter().filter_map(Value::as_str).take_while(|_| go_on()).map(one).collect::<Map<_, _>>().into()
}

fn array(members: &Map<String, Value>, make: impl Fn(&Value) -> Value, go_on: impl Fn() -> bool) -> Value {
    let count = members.get("minItems").and_then(Value::as_u64).unwrap_or_default().min(COUNT_MAX);
    let first = members.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let rest = members.get("items").unwrap_or(&Value::Null);
    (0..usize::try_from(count).unwrap_or_default())
        .take_while(|_| go_on())
        .map(|at| make(first.get(at).unwrap_or(rest)))
        .collect()
}

fn string(members: &Map<String, Value>) -> String {
    let fixed = match members.get("format").and_then(Value::as_str) {
        Some("date-time") => "1970-01-01T00:00:00Z",
        Some("date") => "1970-01-01",
        Some("time") => "00:00:00Z",
        Some("email") => "nobody@example.com",
        Some("uri" | "url" | "iri") => "https://example.com/",
        Some("uuid") => "00000000-0000-0000-0000-000000000000",
        _ => "",
    };
    let least = members.get("minLength").and_then(Value::as_u64).unwrap_or_default().min(COUNT_MAX);
    let missing = usize::try_from(least).unwrap_or_default().saturating_sub(fixed.chars().count());
    format!("{fixed}{}", "x".repeat(missing))
}

fn integer(members: &Map<String, Value>) -> Value {
    let at = |key: &str| members.get(key).and_then(|value| value.as_i64().or_else(|| whole(value.as_f64()?.ceil())));
    let low = at("minimum").into_iter().chain(at("exclusiveMinimum").and_then(|low| low.checked_add(1))).max();
    let high = at("maximum").into_iter().chain(at("exclusiveMaximum").and_then(|high| high.checked_sub(1))).min();
    let value = 0.max(low.unwrap_or(i64::MIN)).min(high.unwrap_or(i64::MAX));
    match members.get("multipleOf").and_then(Value::as_i64).filter(|step| *step > 0) {
        Some(step) => value.checked_add(step - 1).map_or(value, |up| up.div_euclid(step) * step).into(),
        None => value.into(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
fn whole(number: f64) -> Option<i64> {
    (number.abs() < 9e15).then_some(number as i64)
}

fn number(members: &Map<String, Value>) -> Value {
    let at = |key: &str| members.get(key).and_then(Value::as_f64);
    let low = at("minimum").or_else(|| at("exclusiveMinimum").map(|low| low + 1.0)).unwrap_or(f64::MIN);
    let high = at("maximum").or_else(|| at("exclusiveMaximum").map(|high| high - 1.0)).unwrap_or(f64::MAX);
    let value = 0.0_f64.max(low).min(high);
    match (at("exclusiveMinimum"), at("exclusiveMaximum")) {
        // A step of 1 may jump over a narrow gap; its middle never does.
        (Some(low), Some(high)) if value <= low || value >= high => f64::midpoint(low, high).into(),
        _ => value.into(),
    }
}

/// All parts as one schema: properties and required names together, other keywords of the later part.
fn merged(members: &Map<String, Value>, parts: &[Value], root: &Value) -> Value {
    let mut whole = members.clone();
    whole.remove("allOf");
    for part in parts {
        let target = part["$ref"].as_str().and_then(|at| root.pointer(at.strip_prefix('#')?));
        let Some(part) = target.unwrap_or(part).as_object() else {
            continue;
        };
        for (key, value) in part {
            match (whole.get_mut(key), value) {
                (Some(Value::Object(known)), Value::Object(more)) if key == "properties" => known.extend(more.clone()),
                (Some(Value::Array(known)), Value::Array(more)) if key == "required" => known.extend(more.clone()),
                _ => drop(whole.insert(key.clone(), value.clone())),
            }
        }
    }
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fits_every_schema() {
        let schemas = [
            json!({"type": "object", "required": ["a", "b"], "properties": {
                "a": {"type": "string", "minLength": 3}, "b": {"type": "array", "minItems": 2, "items": {"type": "integer", "minimum": 7}},
                "c": {"type": "string"}}}),
            json!({"enum": ["x", "y"]}),
            json!({"const": 5}),
            json!({"type": "integer", "minimum": -5, "maximum": -2}),
            json!({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}),
            json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}),
            json!({"type": "number", "minimum": 1.5}),
            json!({"type": ["string", "null"]}),
            json!({"type": ["boolean"]}),
            json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            json!({"oneOf": [{"type": "object", "required": ["k"], "properties": {"k": {"const": "v"}}}]}),
            json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["next"],
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}}),
            json!({"allOf": [{"$ref": "#/$defs/a"}, {"required": ["b"], "properties": {"b": {"type": "string"}}}],
                "$defs": {"a": {"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}}}}}),
            json!({"type": "string", "format": "date-time"}),
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "minItems": 2}),
            json!({}),
            json!(true),
        ];
        for schema in schemas {
            let value = minimal(&schema);
            assert!(jsonschema::is_valid(&schema, &value), "{schema} → {value}");
            assert_eq!(value, minimal(&schema));
        }
    }

    #[test]
    fn ends_for_endless_schemas() {
        let schema = json!({"$ref": "#"});
        assert_eq!(minimal(&schema), Value::Null);
        let schema = json!({"type": "object", "required": ["x"], "properties": {"x": {"$ref": "#"}}});
        assert!(minimal(&schema).is_object());
        assert_eq!(minimal(&json!({"type": "array", "minItems": u64::MAX})).as_array().unwrap().len(), 10_000);
        let twice =
            json!({"type": "object", "required": ["x", "y"], "properties": {"x": {"$ref": "#"}, "y": {"$ref": "#"}}});
        assert!(minimal(&twice).is_object());
        let nested = json!({"type": "array", "minItems": 10_000, "items": {"$ref": "#"}});
        assert!(minimal(&nested).to_string().len() < 200_000);
    }
}
