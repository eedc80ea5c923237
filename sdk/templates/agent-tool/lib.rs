//! Agent `__name__`: __description__

use ice_sdk::orchestrator;
use ice_sdk::{AgentError, agent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The tool that is called. `plugin.toml` asks for it, and for no other.
const TOOL: &str = "writer_tool";

/// What there is to do.
#[derive(Deserialize, JsonSchema)]
pub struct Task {
    /// Inputs of the tool, one for each call.
    inputs: Vec<Value>,
}

/// What came of it.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// The tools this agent may call.
    tools: Vec<String>,
    /// What each call gave, in order.
    results: Vec<Value>,
}

/// Calls a tool for every input. Each call is a step of its own in the execution: same log, same budget.
#[agent(tags("tools"))]
pub(crate) fn __name__(input: Task) -> Result<Answer, AgentError> {
    let tools = orchestrator::granted_tools().into_iter().map(|tool| tool.name).collect();
    let call = |one: &Value| orchestrator::call_tool(TOOL, one).map_err(|error| AgentError::failed(error.to_string()));
    let results = input.inputs.iter().map(call).collect::<Result<_, _>>()?;
    Ok(Answer { tools, results })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice_sdk::Context;
    use ice_sdk::testing::Host;
    use serde_json::json;

    #[test]
    fn the_tool_is_called_for_every_input() {
        let host = Host::install();
        host.on_tool(|name, input| Ok(json!({ "tool": name, "got": input })));
        let answer = AGENT.run(r#"{ "inputs": [1, 2] }"#, &Context::default()).expect("an answer");
        assert!(answer.contains(r#"{"tool":"writer_tool","got":2}"#), "{answer}");
    }
}
