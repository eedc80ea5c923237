//! The words of ice and the rules among them.
//!
//! Pure: no disk, no network, no clock, no environment, no tasks, no wasm. Everything that touches the outside
//! stands behind a trait in [`ports`].
//!
//! Reading order: [`id`] and [`problem`] are the alphabet; [`blueprint`], [`template`] and [`schema`] what a user
//! writes; [`manifest`], [`grant`] and [`budget`] what a component is and may do; [`event`] and [`execution`] what
//! happened; [`ports`] where the rest of the house plugs in.
#![warn(missing_docs)]

pub mod id;
pub mod problem;

pub mod blueprint;
pub mod network;
pub mod schedule;
pub mod schema;
pub mod template;

pub mod bundle;
pub mod lock;
pub mod manifest;

pub mod budget;
pub mod grant;

pub mod event;
pub mod execution;
pub mod wait;

pub mod catalog;
pub mod ports;
