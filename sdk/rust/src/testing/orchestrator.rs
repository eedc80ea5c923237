//! The scripted orchestrator: tools by a closure; executions are not granted.

use serde_json::Value;

use crate::orchestrator::{ExecutionError, GrantedTool, Status, ToolCallError};

pub(crate) fn granted_tools() -> Vec<GrantedTool> {
    Vec::new()
}

pub(crate) fn call_tool(name: &str, input: &Value) -> Result<Value, ToolCallError> {
    let Some(mut script) = super::with(|state| state.tools.take()) else {
        return Err(ToolCallError::Denied(format!("`{name}` was not scripted: call `host.on_tool(…)`")));
    };
    let answer = script(name, input);
    super::with(|state| {
        state.tools.get_or_insert(script);
    });
    answer
}

fn denied<T>() -> Result<T, ExecutionError> {
    Err(ExecutionError::Denied("the scripted host starts no executions".to_owned()))
}

pub(crate) fn start(_blueprint: &str, _inputs: &Value) -> Result<String, ExecutionError> {
    denied()
}

pub(crate) fn poll(_execution_id: &str) -> Result<Status, ExecutionError> {
    denied()
}

pub(crate) fn cancel(_execution_id: &str) -> Result<(), ExecutionError> {
    denied()
}
