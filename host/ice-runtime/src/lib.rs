//! Runs components in wasmtime: the sandbox, the gate, the compiled-code cache.
//!
//! The security border of the house. Reads no configuration, opens no socket, prints nothing.
//!
//! Reading order: [`Runtime`] is what others call; `call.rs` runs one guest, `gate.rs` decides what it may do,
//! `linker.rs` and `wasi.rs` say what it can import, `limits.rs` what it may use, `engine.rs`, `cache.rs` and
//! `aot.rs` how its code gets here. [`inspect`], [`contract`], [`bundle`] and [`dependency_lists`] read and
//! write components without running them.
#![warn(missing_docs)]

mod aot;
mod bindings;
pub mod bundle;
mod cache;
mod call;
mod capabilities;
pub mod contract;
mod cpu;
mod dependency_list;
mod describe;
mod engine;
mod gate;
pub mod inspect;
mod limits;
mod linker;
mod nobody;
mod runtime;
#[cfg(test)]
mod tests;
mod ticker;
mod wasi;

pub use cache::CacheCounts;
pub use dependency_list::{dependency_lists, with_dependency_list};
pub use describe::{BlueprintDescription, CallableDescription, Description};
pub use engine::WASM_STACK_BYTES;
pub use limits::{HostLimits, Limits, TRANSFER_BYTES_MAX};
pub use runtime::{Runtime, RuntimeOptions, RuntimePorts};
