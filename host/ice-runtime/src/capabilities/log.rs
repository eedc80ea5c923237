//! `ice:log`: always granted, bounded per call.

use crate::bindings::imports::ice::log::log;
use crate::call::Guest;

impl log::Host for Guest {
    async fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.gate.enter()?;
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.gate.log(level, &message);
        Ok(())
    }
}
