//! The supply chain from outside: golden vector, attacks (all of them in `table`), properties, store under crashes and
//! crowds, the network door.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod archive;
mod attacks;
mod catalog;
mod crash;
mod fake;
mod golden;
mod index;
mod install;
mod network;
mod properties;
mod publish;
mod real;
#[path = "../../../tests/registries/mod.rs"]
mod registries;
mod resolve;
mod revoked;
mod roots;
mod store;
mod table;
mod threats;
mod trust;
mod world;
