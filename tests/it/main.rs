//! One end-to-end binary: it drives `ice` as a person does, with real components in a temporary home.

#![expect(clippy::unwrap_used, reason = "what sets a test up may fail it")]

mod api;
mod audit;
mod blueprints;
mod budget;
mod bundles;
mod chatkit;
mod cli;
mod code;
mod crash;
mod home;
mod isolation;
mod market;
mod metering;
mod networks;
mod new;
mod offline;
mod openai;
mod plugins;
mod postgres;
mod registries;
mod resume;
mod run;
mod schedules;
mod schemas;
mod serve;
mod servers;
mod strict;
mod tamper;
mod tidy;
mod travel;
mod trusting;
mod waits;
