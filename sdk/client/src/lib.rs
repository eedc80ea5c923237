//! What goes over the wire between a host and those who ask it: the bodies of `/api/v1`, and a client that sends them.
//!
//! [`wire`] is owned here and used by the server too, so that both mean the same. No rules of blueprints or executions:
//! those belong to the host.
#![warn(missing_docs)]

pub mod wire;

#[cfg(feature = "http")]
mod http;

#[cfg(feature = "http")]
pub use http::{Client, Sse, SseEvent};
