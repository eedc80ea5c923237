//! Kit `__name__`: __description__

use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;

ice_sdk::kit!(__name__);

/// What the tool found.
#[derive(Serialize, JsonSchema)]
pub struct Found {
    /// Words of the text.
    words: usize,
    /// The longest of them; empty when there is none.
    longest: String,
}

/// Counts the words of a text and finds the longest. This is what a person and a model read.
#[tool(tags("text"))]
pub fn __name__(
    /// The text.
    text: String,
    /// Words shorter than this are not counted.
    #[arg(default = 1)]
    least: usize,
) -> Result<Found, ToolError> {
    if least == 0 {
        return Err(ToolError::invalid("least", "must be at least 1"));
    }
    let words: Vec<&str> = text.split_whitespace().filter(|word| word.chars().count() >= least).collect();
    let longest = words.iter().max_by_key(|word| word.chars().count()).copied().unwrap_or_default().to_owned();
    Ok(Found { words: words.len(), longest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice_sdk::testing;
    use serde_json::json;

    #[test]
    fn words_are_counted() {
        let found = testing::call(&KIT, "__name__", &json!({ "text": "a lighthouse at sea", "least": 2 }));
        assert_eq!(found, Ok(json!({ "words": 3, "longest": "lighthouse" })));
    }

    #[test]
    fn the_tool_is_documented() {
        assert_eq!(testing::undocumented(&KIT.describe()), Vec::<String>::new());
    }
}
