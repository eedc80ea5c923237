//! The supply chain from outside: golden vector, attacks, properties, store under crashes and crowds.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod attacks;
mod crash;
mod golden;
mod properties;
mod store;
mod threats;
mod trust;
mod world;
