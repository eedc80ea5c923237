//! From the SDK's types to the worlds' types. Called by the code that `kit!`, `agent!` and `bundle!` write.

use std::time::Duration;

pub use crate::bindings::agent::ice::types::types::CallContext;

use crate::agent::AgentEntry;
use crate::bindings::agent::exports::ice::plugin::tasks;
use crate::bindings::bundle::exports::ice::plugin::blueprints;
use crate::bindings::kit::exports::ice::plugin::tools;
use crate::bundle::Bundle;
use crate::context::Context;
use crate::error::{AgentError, ToolError};
use crate::tool::Kit;

impl From<CallContext> for Context {
    fn from(context: CallContext) -> Self {
        Self {
            execution_id: context.execution_id,
            node_id: context.node_id,
            attempt: context.attempt,
            session_id: context.session_id,
            time_left: Duration::from_millis(context.deadline_ms),
        }
    }
}

/// `tools.describe`.
pub fn describe_tools(kit: &Kit) -> Vec<tools::Tool> {
    kit.describe()
        .into_iter()
        .map(|tool| tools::Tool {
            name: tool.name,
            description: tool.description,
            input_schema: tool.input_schema.to_string(),
            output_schema: tool.output_schema.to_string(),
            tags: tool.tags,
        })
        .collect()
}

/// `tools.call`.
pub fn call_tool(kit: &Kit, name: &str, input: &str, context: CallContext) -> Result<String, tools::Error> {
    kit.call(name, input, &context.into()).map_err(|error| match error {
        ToolError::UnknownTool => tools::Error::UnknownTool,
        ToolError::InvalidInput(invalid) => tools::Error::InvalidInput(invalid.to_string()),
        ToolError::Failed(message) => tools::Error::Failed(message),
        ToolError::Retry(pause) => tools::Error::Retry(u32::try_from(pause.as_millis()).unwrap_or(u32::MAX)),
    })
}

/// `tasks.describe`.
pub fn describe_agent(agent: &AgentEntry) -> tasks::Card {
    let card = agent.describe();
    tasks::Card {
        name: card.name,
        description: card.description,
        input_schema: card.input_schema.to_string(),
        output_schema: card.output_schema.to_string(),
        tags: card.tags,
    }
}

/// `tasks.run`.
pub fn run_agent(agent: &AgentEntry, task: &str, context: CallContext) -> Result<String, tasks::Error> {
    agent.run(task, &context.into()).map_err(|error| match error {
        AgentError::InvalidInput(invalid) => tasks::Error::InvalidInput(invalid.to_string()),
        AgentError::GaveUp(message) => tasks::Error::GaveUp(message),
        AgentError::Failed(message) => tasks::Error::Failed(message),
    })
}

/// `blueprints.list`.
pub fn list_blueprints(bundle: &Bundle) -> Vec<blueprints::BlueprintEntry> {
    bundle
        .list()
        .into_iter()
        .map(|(name, description, entrypoint)| blueprints::BlueprintEntry { name, description, entrypoint })
        .collect()
}

/// `blueprints.get`.
pub fn get_blueprint(bundle: &Bundle, name: &str) -> Result<String, blueprints::Error> {
    match bundle.get(name) {
        Ok(Some(document)) => Ok(document),
        Ok(None) => Err(blueprints::Error::UnknownBlueprint),
        Err(problems) => Err(blueprints::Error::Failed(problems)),
    }
}
