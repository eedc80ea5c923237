//! Agent `__name__`: __description__

use ice_sdk::llm::{self, Request};
use ice_sdk::{AgentError, agent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What there is to do.
#[derive(Deserialize, JsonSchema)]
pub struct Task {
    /// The question.
    query: String,
    /// What is known, to answer from.
    #[serde(default)]
    facts: Vec<String>,
}

/// What came of it.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// The answer.
    message: String,
    /// The model that gave it.
    model: String,
}

/// Answers a question from facts. This is what a person and a model read.
#[agent(tags("chat"))]
pub(crate) fn __name__(input: Task) -> Result<Answer, AgentError> {
    if input.query.trim().is_empty() {
        return Err(AgentError::invalid("query", "is empty"));
    }
    let facts = input.facts.join("\n");
    // The empty model is the host's default; without a key it is `echo`, which answers offline.
    let request = Request::new("").system("Answer from the facts, in one sentence.").user(format!("{facts}\n\n{}", input.query));
    let reply = llm::complete(&request)?;
    Ok(Answer { message: reply.message.content, model: reply.model })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice_sdk::Context;
    use ice_sdk::testing::Host;

    #[test]
    fn the_model_sees_the_facts() {
        let host = Host::install();
        host.answer_llm("In 1871.");
        let task = r#"{ "query": "When was it built?", "facts": ["It was built in 1871."] }"#;
        let answer = AGENT.run(task, &Context::default()).expect("an answer");
        assert!(answer.contains("In 1871."), "{answer}");
        assert!(host.llm_requests()[0].messages[1].content.contains("1871"));
    }
}
