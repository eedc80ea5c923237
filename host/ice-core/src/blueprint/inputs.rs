//! What an execution must be given: `inputs` as names, as type literals or as JSON Schema.

use serde_json::{Map, Value, json};

use super::fields::{Fields, noun};
use crate::problem::{Code, Problem};

/// The declared inputs. Nothing is declared by default: then an execution may be given anything.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InputSpec {
    /// JSON Schema or type literals; `None` when the blueprint declares nothing.
    pub schema: Option<Value>,
    /// Values of inputs that were not given.
    pub defaults: Map<String, Value>,
}

/// Reads `inputs`: `{required: […], optional: […]}` with names or `{name, type, default, description}`, else a schema.
pub(super) fn inputs(value: &Value, problems: &mut Vec<Problem>) -> InputSpec {
    const POINTER: &str = "/inputs";
    let Value::Object(map) = value else {
        if !value.is_null() {
            let message = format!("`inputs` is a mapping, not {}", noun(value));
            let help = "write `inputs: {required: [name]}`, type literals or a JSON Schema";
            problems.push(Problem::new(Code::B004, message).pointer(POINTER).help(help));
        }
        return InputSpec::default();
    };
    let by_name = !map.is_empty() && map.iter().all(|(key, value)| is_list_of_names(key, value));
    if !by_name {
        return InputSpec { schema: (!map.is_empty()).then(|| value.clone()), defaults: defaults_of(map) };
    }
    let mut spec = InputSpec::default();
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for key in ["required", "optional"] {
        for (index, item) in map.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let pointer = format!("{POINTER}/{key}/{index}");
            let Some((name, schema)) = input(item, &pointer, &mut spec.defaults, problems) else { continue };
            if properties.contains_key(&name) {
                let problem = Problem::new(Code::B007, format!("the input `{name}` is already there"));
                problems.push(problem.pointer(pointer).help("keep one of them"));
                continue;
            }
            if key == "required" {
                required.push(Value::String(name.clone()));
            }
            properties.insert(name, schema);
        }
    }
    spec.schema = Some(json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    }));
    spec
}

/// `required` is also a keyword of JSON Schema, where it comes with `type` or `properties`.
fn is_list_of_names(key: &str, value: &Value) -> bool {
    matches!(key, "required" | "optional") && (value.is_array() || value.is_null())
}

fn input(
    item: &Value,
    pointer: &str,
    defaults: &mut Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Option<(String, Value)> {
    const KEYS: &[&str] = &["name", "type", "default", "description", "schema"];
    if let Value::String(name) = item {
        return Some((name.clone(), json!({})));
    }
    let Value::Object(map) = item else {
        let message = format!("an input is a name or a mapping, not {}", noun(item));
        problems.push(Problem::new(Code::B004, message).pointer(pointer).help("write its name"));
        return None;
    };
    let mut fields = Fields::new(map, pointer, problems);
    fields.refuse_unknown(&[KEYS], "an input");
    let name = fields.required_text("name")?.to_owned();
    let literal = fields.text("type").map(str::to_owned);
    let schema = fields.mapping("schema").map(|schema| Value::Object(schema.clone()));
    if let Some(value) = map.get("default") {
        defaults.insert(name.clone(), value.clone());
    }
    let schema = match (schema, literal) {
        (Some(schema), _) => schema,
        (None, Some(literal)) => of_literal(&literal, pointer, problems),
        (None, None) => json!({}),
    };
    Some((name, schema))
}

fn of_literal(literal: &str, pointer: &str, problems: &mut Vec<Problem>) -> Value {
    match crate::schema::literal_type(literal) {
        Ok(schema) => schema,
        Err(message) => {
            let help = "use a type literal such as `str`, `int`, `list[str]`";
            problems.push(Problem::new(Code::B021, message).pointer(format!("{pointer}/type")).help(help));
            json!({})
        }
    }
}

fn defaults_of(map: &Map<String, Value>) -> Map<String, Value> {
    let properties = map.get("properties").and_then(Value::as_object);
    let default = |(name, schema): (&String, &Value)| Some((name.clone(), schema.get("default")?.clone()));
    properties.into_iter().flatten().filter_map(default).collect()
}
