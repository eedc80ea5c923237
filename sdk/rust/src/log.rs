//! Lines in the event log of the execution. Always granted.
//!
//! Lines beyond the host's limit (256 KiB a call unless set otherwise) are dropped and counted, never an error.

#[cfg(not(target_family = "wasm"))]
use crate::testing::log as host;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// For the author of the component.
    Debug,
    /// For whoever follows the execution.
    Info,
    /// Something was off; the call goes on.
    Warn,
    /// The call is going to fail because of this.
    Error,
}

/// Appends one line.
pub fn write(level: Level, message: &str) {
    host::write(level, message);
}

/// Appends a line for the author of the component.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Appends a line for whoever follows the execution.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Appends a line about something that was off.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Appends a line about why the call is going to fail.
pub fn error(message: &str) {
    write(Level::Error, message);
}

#[cfg(target_family = "wasm")]
mod host {
    use super::Level;
    use crate::bindings::agent::ice::log::log;

    pub(super) fn write(level: Level, message: &str) {
        let level = match level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message);
    }
}
