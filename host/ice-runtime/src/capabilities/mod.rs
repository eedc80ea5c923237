//! One file a capability: WIT types in, port types out, and back. Nothing is decided here: `gate.rs` does that.

mod executions;
pub(crate) mod http;
mod llm;
mod log;
mod memory;
mod secrets;
mod tools;

use ice_core::problem::Problem;
use serde_json::Value;

/// What a guest reads of a problem: the message, and the way out when there is one. Codes and places are for people.
fn words(problem: &Problem) -> String {
    match &problem.help {
        Some(help) => format!("{}; {help}", problem.message),
        None => problem.message.clone(),
    }
}

/// Reads JSON text that a guest wrote; the error says what it was meant to be.
fn json(text: &str, what: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{what} is not JSON: {error}"))
}
