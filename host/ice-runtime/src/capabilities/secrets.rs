//! `ice:secrets`: whether a secret exists. Values are filled in by the http port and never come here.

use crate::bindings::imports::ice::secrets::secrets;
use crate::call::Guest;

impl secrets::Host for Guest {
    async fn exists(&mut self, name: String) -> wasmtime::Result<bool> {
        self.gate.enter()?;
        Ok(self.gate.caller.grant.knows_secret(&name) && self.gate.ports.http.has_secret(&name))
    }
}
