//! Kit `__name__`: __description__

use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;

ice_sdk::kit!(__name___split, __name___join);

/// Parts of a text.
#[derive(Serialize, JsonSchema)]
pub struct Parts {
    /// In the order of the text, without empty ones.
    parts: Vec<String>,
}

/// A text.
#[derive(Serialize, JsonSchema)]
pub struct Text {
    /// The text.
    text: String,
}

/// Splits a text at a separator.
#[tool(tags("text"))]
pub fn __name___split(
    /// The text.
    text: String,
    /// What stands between the parts.
    #[arg(default = ",")]
    separator: String,
) -> Result<Parts, ToolError> {
    if separator.is_empty() {
        return Err(ToolError::invalid("separator", "is empty"));
    }
    let parts = text.split(&separator).map(str::trim).filter(|part| !part.is_empty());
    Ok(Parts { parts: parts.map(str::to_owned).collect() })
}

/// Joins parts to a text.
#[tool(tags("text"))]
pub fn __name___join(
    /// The parts, in order.
    parts: Vec<String>,
    /// What stands between them.
    #[arg(default = ", ")]
    separator: String,
) -> Result<Text, ToolError> {
    Ok(Text { text: parts.join(&separator) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice_sdk::testing;
    use serde_json::json;

    #[test]
    fn what_is_split_can_be_joined() {
        let parts = testing::call(&KIT, "__name___split", &json!({ "text": "a, b,,c" }));
        assert_eq!(parts, Ok(json!({ "parts": ["a", "b", "c"] })));
        let text = testing::call(&KIT, "__name___join", &json!({ "parts": ["a", "b"] }));
        assert_eq!(text, Ok(json!({ "text": "a, b" })));
    }

    #[test]
    fn the_tools_are_documented() {
        assert_eq!(testing::undocumented(&KIT.describe()), Vec::<String>::new());
    }
}
