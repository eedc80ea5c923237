//! From publisher to user by way of real registries, with tools beside us that nobody here wrote: skopeo, oras, the
//! wasm-pkg client library, and a verifier in Python.

mod collected;
mod crowd;
mod killed;
mod logins;
mod mirrored;
mod peers;
#[path = "../registries/mod.rs"]
pub(crate) mod servers;
mod updates;
mod valve;
mod world;
