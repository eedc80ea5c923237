//! `ice schemas import`: a JSON Schema from elsewhere, as a node takes it.

use std::path::PathBuf;

use ice_core::problem::{Code, Exit, Problem};
use ice_core::schema::{Direction, Schema};
use serde_json::{Map, Value, json};

use crate::commands::Outcome;
use crate::files;
use crate::output::Output;

/// Take over JSON Schemas of another project
///
/// Each is compiled as a node would do it: a wrong schema, or one that fetches from the network, is refused. Then it is
/// printed as type literals for `input_schema` or `output_schema`, when those say the same; else it is printed as it is.
///
/// Example: ice schemas import order.schema.json
#[derive(clap::Args)]
pub(crate) struct Args {
    /// JSON Schema files, in JSON or YAML
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, output: &Output) -> Outcome {
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    for path in &args.files {
        let place = path.display().to_string();
        let read = files::read_text(path).map_err(|problem| vec![problem]);
        match read.and_then(|text| ice_core::blueprint::read_document(&text, &place)) {
            Ok((document, _)) => match Schema::compile(&document, Direction::Input) {
                Ok(_) => rows.push((place, literals(&document).unwrap_or(document))),
                Err(error) => {
                    let message = format!("the schema does not compile: {error}");
                    problems.push(Problem::new(Code::C001, message).file(place).pointer(error.pointer));
                }
            },
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let json = || rows.iter().map(|(file, schema)| json!({ "file": file, "schema": schema })).collect();
    output.either(json, || rows.iter().map(|(file, schema)| format!("# {file}\ninput_schema: {schema}")).collect());
    Ok(Exit::Done)
}

/// Keywords that say nothing about what fits.
const REMARKS: &[&str] = &["$schema", "$id", "$comment", "title", "description", "examples"];

/// The schema as type literals; `None` when those would say something else.
fn literals(schema: &Value) -> Option<Value> {
    let fields = schema.as_object()?;
    let known = ["type", "properties", "required", "additionalProperties"];
    let all_known = fields.keys().all(|key| known.contains(&key.as_str()) || REMARKS.contains(&key.as_str()));
    let closed = fields.get("additionalProperties") == Some(&Value::Bool(false));
    if !all_known || !closed || fields.get("type")? != "object" {
        return None;
    }
    let properties = fields.get("properties")?.as_object()?;
    let required = |name: &str| {
        fields.get("required").and_then(Value::as_array).is_some_and(|list| list.iter().any(|item| item == name))
    };
    let mut found = Map::new();
    for (name, property) in properties {
        // A literal with `?` takes null too, and a schema that only leaves the field out does not.
        found.insert(name.clone(), required(name).then(|| literal(property)).flatten()?.into());
    }
    (!found.is_empty()).then_some(found.into())
}

fn literal(schema: &Value) -> Option<String> {
    let fields = schema.as_object()?;
    let more: Vec<&str> =
        fields.keys().map(String::as_str).filter(|key| *key != "type" && !REMARKS.contains(key)).collect();
    match (fields.get("type")?.as_str()?, more.as_slice()) {
        ("string", []) => Some("str".into()),
        ("integer", []) => Some("int".into()),
        ("number", []) => Some("float".into()),
        ("boolean", []) => Some("bool".into()),
        ("object", []) => Some("dict".into()),
        ("array", []) => Some("list".into()),
        ("array", ["items"]) => Some(format!("list[{}]", literal(&fields["items"])?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_mean_the_schema_they_were_made_of() {
        let schema = json!({
            "title": "order", "type": "object", "required": ["a", "b"], "additionalProperties": false,
            "properties": { "a": { "type": "integer" }, "b": { "type": "array", "items": { "type": "string" } } },
        });
        let found = literals(&schema).unwrap();
        assert_eq!(found, json!({ "a": "int", "b": "list[str]" }));
        let [written, made] = [&schema, &found].map(|schema| Schema::compile(schema, Direction::Input).unwrap());
        for value in
            [json!({"a": 1, "b": []}), json!({"a": 1}), json!({"a": 1, "b": [1]}), json!({"a": 1, "b": [], "c": 2})]
        {
            assert_eq!(written.is_valid(&value), made.is_valid(&value), "{value}");
        }
    }

    #[test]
    fn what_literals_cannot_say_is_left_as_it_is() {
        for schema in [
            json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"] }),
            json!({ "type": "object", "additionalProperties": false, "properties": { "a": { "type": "integer" } } }),
            json!({ "type": "object", "additionalProperties": false, "required": ["a"], "properties": { "a": { "type": "integer", "minimum": 1 } } }),
            json!({ "type": "array" }),
        ] {
            assert_eq!(literals(&schema), None, "{schema}");
        }
    }
}
