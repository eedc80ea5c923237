//! Egress and model providers against servers on this machine: real sockets, real TLS, hand-built answers.
#![expect(clippy::unwrap_used, reason = "a test's set-up fails by panicking")]

mod egress;
mod openai;
mod server;
