//! JSON at the border: text in, typed value out, and the path of the field when it does not fit.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A field of an input that is not what it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// Where: `listing.cost`, `items[3].name`; `input` for the input as a whole.
    pub path: String,
    /// What is wrong, without the path.
    pub message: String,
}

impl Invalid {
    /// Names the field and what is wrong with it.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for Invalid {}

/// Reads `text` as a `T`. Fails with the path of the first field that does not fit.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = match error.path().to_string() {
            // serde_path_to_error prints the root as a dot.
            root if root == "." => "input".to_owned(),
            path => path,
        };
        Invalid::new(path, without_position(&error.inner().to_string()))
    })?;
    reader.end().map_err(|error| Invalid::new("input", error.to_string()))?;
    Ok(value)
}

/// Writes `value`. Fails only for values JSON cannot hold, such as a map with keys that are not text.
pub(crate) fn write<T: Serialize>(value: &T) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| format!("the output is not JSON: {error}"))
}

/// The input comes from a template, not from a file somebody edits: its line and column help nobody.
fn without_position(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(cut) => message[..cut].to_owned(),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only read by the deserializer")]
        items: Vec<Inner>,
    }

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only read by the deserializer")]
        cost: f64,
    }

    fn refused(text: &str) -> String {
        read::<Outer>(text).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path() {
        assert_eq!(
            refused(r#"{"items":[{"cost":1},{"cost":"x"}]}"#),
            "items[1].cost: invalid type: string \"x\", expected f64"
        );
    }

    #[test]
    fn a_missing_or_unknown_field_names_the_object_it_belongs_to() {
        assert_eq!(refused("{}"), "input: missing field `items`");
        assert_eq!(refused(r#"{"items":[{}]}"#), "items[0]: missing field `cost`");
        assert_eq!(refused(r#"{"items":[],"itmes":1}"#), "itmes: unknown field `itmes`, expected `items`");
    }

    #[test]
    fn text_after_the_value_is_refused() {
        assert!(refused(r#"{"items":[]} {}"#).contains("trailing characters"));
    }
}
