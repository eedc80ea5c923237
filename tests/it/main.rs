//! One end-to-end binary: it drives `ice` as a person does, with real components in a temporary home.

#![expect(clippy::unwrap_used, reason = "what sets a test up may fail it")]

mod audit;
mod blueprints;
mod bundles;
mod chatkit;
mod cli;
mod code;
mod home;
mod isolation;
mod market;
mod metering;
mod new;
mod offline;
mod openai;
mod plugins;
mod registries;
mod resume;
mod servers;
mod strict;
mod tamper;
mod tidy;
mod trusting;
mod waits;
