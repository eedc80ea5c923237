//! JSON Schemas of Rust types, as a manifest and a model read them.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// One tool or agent, as a person and a model read it.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// `[a-z][a-z0-9_]*`, unique within the host.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema 2020-12 of the input; always an object.
    pub input_schema: Value,
    /// JSON Schema 2020-12 of the output.
    pub output_schema: Value,
    /// Free words to find it by.
    pub tags: Vec<String>,
}

/// Returns the JSON Schema 2020-12 of what deserialises into `T`.
pub(crate) fn of_input<T: JsonSchema>() -> Value {
    generate::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// Returns the JSON Schema 2020-12 of what `T` serialises to.
pub(crate) fn of_output<T: JsonSchema>() -> Value {
    generate::<T>(SchemaSettings::draft2020_12().for_serialize())
}

/// Subschemas are inlined: a model reads one object more reliably than references, and so does a person.
fn generate<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // The title is the name of a Rust type, which tells a reader nothing.
    schema.remove("title");
    schema.to_value()
}

/// Returns a doc comment as running text: the space after `///` goes, single line breaks become spaces.
pub(crate) fn paragraphs(doc: &str) -> String {
    let mut text = String::with_capacity(doc.len());
    for line in doc.trim().lines().map(str::trim) {
        if line.is_empty() {
            text.push_str("\n\n");
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text
}
