//! The host's orchestrator, for agents only. Grants: `tools`, `executions`.
//!
//! A component of world `kit` cannot import this: a kit that calls it is refused when it is loaded.

use std::fmt;

use serde_json::Value;

#[cfg(not(target_family = "wasm"))]
use crate::testing::orchestrator as host;

/// A tool this agent may call.
#[derive(Clone, PartialEq, Debug)]
pub struct GrantedTool {
    /// As [`call_tool`] takes it.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema of the input.
    pub input_schema: Value,
}

/// Why a tool call did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToolCallError {
    /// The grant does not cover this tool; the text names what would allow it.
    Denied(String),
    /// No tool of this name is installed.
    UnknownTool(String),
    /// The input does not fit the tool's schema.
    InvalidInput(String),
    /// The tool ran and failed, or was stopped at a limit.
    Failed(String),
}

impl fmt::Display for ToolCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "the tool call was denied: {text}"),
            Self::UnknownTool(text) => write!(f, "unknown tool: {text}"),
            Self::InvalidInput(text) => write!(f, "the tool refused its input: {text}"),
            Self::Failed(text) => write!(f, "the tool failed: {text}"),
        }
    }
}

impl std::error::Error for ToolCallError {}

/// Where a child execution stands.
#[derive(Clone, PartialEq, Debug)]
pub enum Status {
    /// It has not ended yet.
    Running,
    /// It ended well; its outputs.
    Succeeded(Value),
    /// It ended badly; what went wrong.
    Failed(String),
    /// It was stopped before its end.
    Cancelled,
}

/// Why an execution could not be started, read or cancelled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExecutionError {
    /// The grant does not cover executions.
    Denied(String),
    /// No blueprint or no child execution of this name.
    NotFound(String),
    /// The blueprint or its inputs were refused; the text lists the problems.
    Rejected(String),
}

impl fmt::Display for ExecutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "executions were denied: {text}"),
            Self::NotFound(text) => write!(f, "not found: {text}"),
            Self::Rejected(text) => write!(f, "the execution was refused: {text}"),
        }
    }
}

impl std::error::Error for ExecutionError {}

/// Lists the tools this agent was granted.
pub fn granted_tools() -> Vec<GrantedTool> {
    host::granted_tools()
}

/// Calls one granted tool, as a child node of the current one: same log, same budget.
/// Fails with every case of [`ToolCallError`].
pub fn call_tool(name: &str, input: &Value) -> Result<Value, ToolCallError> {
    host::call_tool(name, input)
}

/// Starts a child execution of a blueprint and returns its id. Fails with every case of [`ExecutionError`].
pub fn start(blueprint: &str, inputs: &Value) -> Result<String, ExecutionError> {
    host::start(blueprint, inputs)
}

/// Reads where a child execution stands. Fails with [`ExecutionError::Denied`] or [`ExecutionError::NotFound`].
pub fn poll(execution_id: &str) -> Result<Status, ExecutionError> {
    host::poll(execution_id)
}

/// Asks a child execution to stop. Fails with [`ExecutionError::Denied`] or [`ExecutionError::NotFound`].
pub fn cancel(execution_id: &str) -> Result<(), ExecutionError> {
    host::cancel(execution_id)
}

#[cfg(target_family = "wasm")]
mod host {
    use serde_json::Value;

    use super::{ExecutionError, GrantedTool, Status, ToolCallError};
    use crate::bindings::agent::ice::orchestrator::{executions, tools};

    impl From<tools::Error> for ToolCallError {
        fn from(error: tools::Error) -> Self {
            match error {
                tools::Error::Denied(text) => Self::Denied(text),
                tools::Error::UnknownTool(text) => Self::UnknownTool(text),
                tools::Error::InvalidInput(text) => Self::InvalidInput(text),
                tools::Error::Failed(text) => Self::Failed(text),
            }
        }
    }

    impl From<executions::Error> for ExecutionError {
        fn from(error: executions::Error) -> Self {
            match error {
                executions::Error::Denied(text) => Self::Denied(text),
                executions::Error::NotFound(text) => Self::NotFound(text),
                executions::Error::Rejected(text) => Self::Rejected(text),
            }
        }
    }

    /// The host sends JSON by contract.
    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap_or(Value::Null)
    }

    pub(super) fn granted_tools() -> Vec<GrantedTool> {
        let granted = tools::granted().into_iter().map(|tool| GrantedTool {
            input_schema: value(&tool.input_schema),
            name: tool.name,
            description: tool.description,
        });
        granted.collect()
    }

    pub(super) fn call_tool(name: &str, input: &Value) -> Result<Value, ToolCallError> {
        Ok(value(&tools::call(name, &input.to_string())?))
    }

    pub(super) fn start(blueprint: &str, inputs: &Value) -> Result<String, ExecutionError> {
        Ok(executions::start(blueprint, &inputs.to_string())?)
    }

    pub(super) fn poll(execution_id: &str) -> Result<Status, ExecutionError> {
        Ok(match executions::poll(execution_id)? {
            executions::Status::Running => Status::Running,
            executions::Status::Succeeded(outputs) => Status::Succeeded(value(&outputs)),
            executions::Status::Failed(message) => Status::Failed(message),
            executions::Status::Cancelled => Status::Cancelled,
        })
    }

    pub(super) fn cancel(execution_id: &str) -> Result<(), ExecutionError> {
        Ok(executions::cancel(execution_id)?)
    }
}
