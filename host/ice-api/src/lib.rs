//! The HTTP API: who may ask, how much, and what is answered. axum lives here and nowhere else.
//!
//! Reading order: [`app`] is the router and its layers; `routes` holds one file a resource, its table is in
//! `routes/mod.rs`; `auth` and `limits` stand before every route; `answer` turns problems into answers; `plans`
//! remembers checked blueprints; `stream` shows events as they happen; [`Server`] opens the socket.
//!
//! No business rules: a route reads its wire type (`ice_client::wire`), asks the engine or a port, and answers. Waiting
//! is for a change, never for the next look.
#![warn(missing_docs)]

pub mod app;

mod answer;
mod auth;
mod limits;
mod plans;
mod routes;
mod server;
mod stream;

pub use app::{Api, ApiOptions, Parts};
pub use auth::{Access, Token};
pub use limits::Rate;
pub use server::Server;

#[cfg(test)]
mod tests;
