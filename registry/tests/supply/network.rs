//! The network door from outside: a registry that lies, and two real ones.

mod attacks;
mod logins;
mod lying;
mod reading;
mod real;
mod threats;
mod wasm;
mod world;
mod writing;

pub(crate) use real::open;
pub(crate) use threats::rows;
pub(crate) use world::credentials;
