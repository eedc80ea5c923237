//! Where and for whom a call runs.

use std::time::Duration;

/// Where and for whom the current call runs, as the host says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    /// The execution this call belongs to.
    pub execution_id: String,
    /// Path of the node inside the execution, for example `items[3]/price`.
    pub node_id: String,
    /// 1 on the first try.
    pub attempt: u32,
    /// The conversation this execution belongs to, where the caller named one.
    pub session_id: Option<String>,
    /// Time left before the host stops this call, counted from its start.
    pub time_left: Duration,
}

impl Default for Context {
    /// What native tests run with: execution `test`, node `test`, the first attempt, 30 seconds.
    fn default() -> Self {
        Self {
            execution_id: "test".to_owned(),
            node_id: "test".to_owned(),
            attempt: 1,
            session_id: None,
            time_left: Duration::from_secs(30),
        }
    }
}
