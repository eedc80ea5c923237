//! How a tool and an agent fail, as the host understands it.
//!
//! A failure of a capability becomes a failure of the call by `?`: what may pass later asks for another try,
//! everything else fails for good and keeps the host's words, which name the grant or setting that would help.

use std::fmt;
use std::time::Duration;

use crate::json::Invalid;
use crate::{http, llm, log, memory, orchestrator};

/// Pause asked for when a capability failed for a moment and named no pause itself.
const PAUSE: Duration = Duration::from_millis(1_000);

/// Why a tool did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToolError {
    /// The kit has no tool of that name. Only the generated dispatch says this.
    UnknownTool,
    /// The input is not what the tool asks for.
    InvalidInput(Invalid),
    /// The same call would fail again. The text says why and what to do, for a person.
    Failed(String),
    /// The same call may succeed after this pause.
    Retry(Duration),
}

impl ToolError {
    /// The field at `path` (`listing.cost`, `items[3].name`) is wrong; `message` says how.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidInput(Invalid::new(path, message))
    }

    /// The same call would fail again.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// The same call may succeed after `pause`.
    pub const fn retry(pause: Duration) -> Self {
        Self::Retry(pause)
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTool => f.write_str("this kit has no tool of that name"),
            Self::InvalidInput(invalid) => write!(f, "{invalid}"),
            Self::Failed(message) => f.write_str(message),
            Self::Retry(pause) => write!(f, "may succeed after {} ms", pause.as_millis()),
        }
    }
}

impl std::error::Error for ToolError {}

/// Why an agent did not finish its task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentError {
    /// The task is not what the agent's card asks for.
    InvalidInput(Invalid),
    /// Out of iterations, budget or ideas; the text says which.
    GaveUp(String),
    /// The same task would fail again. The text says why and what to do, for a person.
    Failed(String),
}

impl AgentError {
    /// The field at `path` of the task is wrong; `message` says how.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidInput(Invalid::new(path, message))
    }

    /// The same task would fail again.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Out of iterations, budget or ideas.
    pub fn gave_up(message: impl Into<String>) -> Self {
        Self::GaveUp(message.into())
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidInput(invalid) => write!(f, "{invalid}"),
            Self::GaveUp(message) => write!(f, "gave up: {message}"),
            Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for AgentError {}

impl From<Invalid> for ToolError {
    fn from(invalid: Invalid) -> Self {
        Self::InvalidInput(invalid)
    }
}

impl From<Invalid> for AgentError {
    fn from(invalid: Invalid) -> Self {
        Self::InvalidInput(invalid)
    }
}

/// `retry` carries no text across the border, so the reason is left in the log.
fn retry_after(pause: Duration, reason: &dyn fmt::Display) -> ToolError {
    log::warn(&reason.to_string());
    ToolError::Retry(pause)
}

impl From<memory::Error> for ToolError {
    fn from(error: memory::Error) -> Self {
        match &error {
            memory::Error::Unavailable(_) => retry_after(PAUSE, &error),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<llm::Error> for ToolError {
    fn from(error: llm::Error) -> Self {
        match &error {
            llm::Error::RateLimited(pause) => retry_after(*pause, &error),
            llm::Error::Timeout => retry_after(PAUSE, &error),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<http::Error> for ToolError {
    fn from(error: http::Error) -> Self {
        match &error {
            http::Error::Timeout | http::Error::Unreachable(_) => retry_after(PAUSE, &error),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<memory::Error> for AgentError {
    fn from(error: memory::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<llm::Error> for AgentError {
    fn from(error: llm::Error) -> Self {
        match error {
            llm::Error::OverBudget => Self::GaveUp(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<http::Error> for AgentError {
    fn from(error: http::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<orchestrator::ToolCallError> for AgentError {
    fn from(error: orchestrator::ToolCallError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<orchestrator::ExecutionError> for AgentError {
    fn from(error: orchestrator::ExecutionError) -> Self {
        Self::Failed(error.to_string())
    }
}
