//! Secrets an operator holds for this component. A value never comes here.
//!
//! Write `{{secret:NAME}}` in a request header (see [`placeholder`]): the host fills it in on the way out, for the
//! hosts the secret is bound to and for no other.

#[cfg(not(target_family = "wasm"))]
use crate::testing::secrets as host;

/// Whether a secret of this name is granted to the component and set on this host.
pub fn exists(name: &str) -> bool {
    host::exists(name)
}

/// What to write into a header for the secret `name`: `{{secret:NAME}}`.
pub fn placeholder(name: &str) -> String {
    format!("{{{{secret:{name}}}}}")
}

#[cfg(target_family = "wasm")]
mod host {
    use crate::bindings::agent::ice::secrets::secrets;

    pub(super) fn exists(name: &str) -> bool {
        secrets::exists(name)
    }
}
