//! Schemas of inputs and outputs: JSON Schema 2020-12, or the type literals `{"x": "int", "y": "list[str]?"}`.
//!
//! A schema is compiled once and checks many values. A `$ref` never leaves the document: nothing is fetched.
//! [`compatible`] compares two schemas before anything runs; it says no only where no value could pass.

use schemars::JsonSchema;
use serde_json::{Map, Value};

mod compatible;
mod literal;

pub use compatible::{Mismatch, Property, compatible, property};

/// Steps of one regular expression of a `pattern`, so that a schema from anybody cannot stall a check.
const PATTERN_STEPS_MAX: usize = 100_000;

/// Problems of one value that are reported; the first few say what is wrong.
const PROBLEMS_MAX: usize = 20;

/// A value longer than this is cut where a problem quotes it.
const QUOTE_CHARS_MAX: usize = 120;

/// One way in which a value does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{message}", if .pointer.is_empty() { String::new() } else { format!("`{}`: ", .pointer) })]
pub struct SchemaProblem {
    /// JSON pointer into the value; empty for the value itself.
    pub pointer: String,
    /// One sentence, lower case.
    pub message: String,
}

/// Why a schema does not compile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// JSON pointer into the schema.
    pub pointer: String,
    /// One sentence, lower case.
    pub message: String,
}

/// What a schema is for; it decides what a type literal says about fields it does not name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Fields that are not named are refused.
    Input,
    /// Fields that are not named are fine: a node may give more than was asked.
    Output,
}

/// A compiled schema.
pub struct Schema {
    document: Value,
    validator: jsonschema::Validator,
}

impl Schema {
    /// Compiles JSON Schema or type literals.
    pub fn compile(source: &Value, direction: Direction) -> Result<Self, SchemaError> {
        let document = match source {
            Value::Object(fields) if literal::is_literal(fields) => literal::expand(fields, direction)?,
            Value::Object(_) | Value::Bool(_) => source.clone(),
            _ => {
                let message = "a schema is a mapping: JSON Schema, or type literals".to_owned();
                return Err(SchemaError { pointer: String::new(), message });
            }
        };
        let options = jsonschema::options()
            .offline()
            .with_pattern_options(jsonschema::PatternOptions::fancy_regex().backtrack_limit(PATTERN_STEPS_MAX));
        let validator = options.build(&document).map_err(|error| refused(&error))?;
        Ok(Self { document, validator })
    }

    /// The JSON Schema; type literals are expanded.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The names of the properties an object may have, in the order of the schema; empty when it names none.
    pub fn properties(&self) -> impl Iterator<Item = &str> {
        self.fields().into_iter().flat_map(|fields| fields.keys().map(String::as_str))
    }

    /// The properties an object must have.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        let required = self.document.get("required").and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether an object may have properties the schema does not name.
    pub fn is_open(&self) -> bool {
        let patterns = self.document.get("patternProperties").is_some();
        let combined = ["allOf", "anyOf", "oneOf", "$ref", "if"].iter().any(|key| self.document.get(key).is_some());
        patterns || combined || self.document.get("additionalProperties") != Some(&Value::Bool(false))
    }

    fn fields(&self) -> Option<&Map<String, Value>> {
        self.document.get("properties").and_then(Value::as_object)
    }

    /// Whether `value` fits. Faster than [`Schema::check`] when it does.
    pub fn is_valid(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// Lists how `value` does not fit; empty when it does.
    pub fn check(&self, value: &Value) -> Vec<SchemaProblem> {
        if self.is_valid(value) {
            return Vec::new();
        }
        let problem = |error: jsonschema::ValidationError<'_>| SchemaProblem {
            pointer: error.instance_path().to_string(),
            message: shorten(&error.to_string()),
        };
        self.validator.iter_errors(value).take(PROBLEMS_MAX).map(problem).collect()
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schema({})", self.document)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

/// JSON Schema of what serde reads into `T`, as a document of its own: `title` is what people call it, `id` its name below
/// `urn:iceos:`.
pub fn of_type<T: JsonSchema>(title: &str, id: &str) -> Value {
    let derived = schemars::schema_for!(T).to_value();
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), derived["$schema"].clone());
    schema.insert("$id".to_owned(), format!("urn:iceos:{id}").into());
    schema.insert("title".to_owned(), title.into());
    schema.insert("description".to_owned(), derived["description"].clone());
    for (key, value) in derived.as_object().into_iter().flatten() {
        schema.entry(key.clone()).or_insert_with(|| value.clone());
    }
    schema.into()
}

/// Reads one type literal, such as `list[str]`, into JSON Schema; in words why it is none.
pub fn literal_type(text: &str) -> Result<Value, String> {
    literal::parse(text, literal::DEPTH_MAX).map(|(schema, _)| schema)
}

fn refused(error: &jsonschema::ValidationError<'_>) -> SchemaError {
    SchemaError { pointer: error.instance_path().to_string(), message: shorten(&error.to_string()) }
}

/// A message quotes the value; a value can be a megabyte.
fn shorten(text: &str) -> String {
    let chars = text.chars().count();
    if chars <= 2 * QUOTE_CHARS_MAX {
        return text.to_owned();
    }
    let head: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    let tail: String = text.chars().skip(chars - QUOTE_CHARS_MAX).collect();
    format!("{head} … {tail}")
}

#[cfg(test)]
mod tests;
