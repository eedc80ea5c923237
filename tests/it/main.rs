//! One end-to-end binary: it drives `ice` as a person does, with real components in a temporary home.

#![expect(clippy::unwrap_used, reason = "what sets a test up may fail it")]

mod bundles;
mod chatkit;
mod cli;
mod home;
mod isolation;
mod openai;
mod plugins;
mod resume;
mod servers;
mod tamper;
mod tidy;
