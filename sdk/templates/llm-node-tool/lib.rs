//! Kit `__name__`: __description__

use ice_sdk::llm::{self, Request};
use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;

ice_sdk::kit!(__name__);

/// What the model said.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// The answer.
    text: String,
    /// The model that gave it.
    model: String,
}

/// Asks a model to rewrite a text for somebody.
#[tool(tags("text", "llm"))]
pub fn __name__(
    /// The text.
    text: String,
    /// Who is going to read it.
    #[arg(default = "a curious child")]
    reader: String,
) -> Result<Answer, ToolError> {
    if text.trim().is_empty() {
        return Err(ToolError::invalid("text", "is empty"));
    }
    // The empty model is the host's default; without a key it is `echo`, which answers offline.
    let request = Request::new("").system(format!("You rewrite texts for {reader}.")).user(text);
    let reply = llm::complete(&request)?;
    Ok(Answer { text: reply.message.content, model: reply.model })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice_sdk::testing::{self, Host};
    use serde_json::json;

    #[test]
    fn the_model_is_told_who_reads() {
        let host = Host::install();
        host.answer_llm("Once upon a time");
        let answer = testing::call(&KIT, "__name__", &json!({ "text": "A fact.", "reader": "Ida" }));
        assert_eq!(answer, Ok(json!({ "text": "Once upon a time", "model": "test/model" })));
        assert!(host.llm_requests()[0].messages[0].content.contains("Ida"));
    }
}
