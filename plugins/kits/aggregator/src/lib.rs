//! Kit `aggregator`: puts a list of results together. Computes only; imports no capability.

use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

ice_sdk::kit!(aggregator_concat);

/// Text or a list, whichever was asked for.
#[derive(Serialize, JsonSchema, Debug)]
pub struct Concatenated {
    /// The values as text, with the separator between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The values as they are, when `as_json_array` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<Value>>,
}

/// Puts a list of values together: joined to one text, or kept as a list. With `key`, takes that field of each value.
#[tool(tags("list", "text"))]
pub fn aggregator_concat(
    /// The values, in order. Text is taken as it is, anything else as JSON; null is left out of a text.
    inputs: Vec<Value>,
    /// Field to take from each value; a path such as `post.title` goes deeper.
    key: Option<String>,
    /// What stands between two values of a text.
    #[arg(default = "\n")]
    sep: String,
    /// Whether to return `items` instead of `text`.
    #[arg(default = false)]
    as_json_array: bool,
) -> Result<Concatenated, ToolError> {
    let values = match key.as_deref().filter(|key| !key.is_empty()) {
        Some(key) => inputs.iter().enumerate().map(|(at, value)| pick(at, value, key)).collect::<Result<_, _>>()?,
        None => inputs,
    };
    if as_json_array {
        return Ok(Concatenated { text: None, items: Some(values) });
    }
    let texts: Vec<String> = values.into_iter().filter(|value| !value.is_null()).map(text).collect();
    Ok(Concatenated { text: Some(texts.join(&sep)), items: None })
}

fn pick(at: usize, value: &Value, path: &str) -> Result<Value, ToolError> {
    let mut found = value;
    for name in path.split('.') {
        found = found
            .get(name)
            .ok_or_else(|| ToolError::invalid(format!("inputs[{at}]"), format!("has no field `{path}`")))?;
    }
    Ok(found.clone())
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice_sdk::testing;
    use serde_json::json;

    fn call(input: Value) -> Result<Value, ToolError> {
        testing::call(&KIT, "aggregator_concat", &input)
    }

    #[test]
    fn values_are_joined_with_the_separator() {
        assert_eq!(call(json!({ "inputs": ["a", 1, null, {"b": 2}] })), Ok(json!({ "text": "a\n1\n{\"b\":2}" })));
        assert_eq!(call(json!({ "inputs": ["a", "b"], "sep": ", " })), Ok(json!({ "text": "a, b" })));
        assert_eq!(call(json!({ "inputs": [] })), Ok(json!({ "text": "" })));
    }

    #[test]
    fn a_key_picks_a_field_by_path() {
        let inputs = json!([{ "post": { "title": "x" } }, { "post": { "title": "y" } }]);
        assert_eq!(call(json!({ "inputs": inputs, "key": "post.title", "sep": "+" })), Ok(json!({ "text": "x+y" })));
        let error = call(json!({ "inputs": [{ "a": 1 }, { "b": 1 }], "key": "a" })).unwrap_err();
        assert_eq!(error.to_string(), "inputs[1]: has no field `a`");
    }

    #[test]
    fn as_json_array_keeps_types_and_nulls() {
        let output = call(json!({ "inputs": [1, null, { "a": [] }], "as_json_array": true }));
        assert_eq!(output, Ok(json!({ "items": [1, null, { "a": [] }] })));
    }

    #[test]
    fn a_wrong_argument_is_named() {
        assert_eq!(
            call(json!({ "inputs": "a" })).unwrap_err().to_string(),
            "inputs: invalid type: string \"a\", expected a sequence"
        );
        assert!(
            call(json!({ "inputs": [], "separator": "," }))
                .unwrap_err()
                .to_string()
                .starts_with("separator: unknown field")
        );
    }

    #[test]
    fn the_tool_is_documented() {
        assert_eq!(testing::undocumented(&KIT.describe()), Vec::<String>::new());
        let schema = &KIT.describe()[0].input_schema;
        assert_eq!(schema["required"], json!(["inputs"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["sep"]["default"], json!("\n"));
    }
}
