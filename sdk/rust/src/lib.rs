//! Tools, agents and bundles for the ice plugin host, written as documented Rust functions.
//!
//! ```
//! use ice_sdk::{ToolError, schemars, serde, tool};
//!
//! /// What there is to greet.
//! #[derive(serde::Serialize, schemars::JsonSchema)]
//! #[serde(crate = "serde")]
//! #[schemars(crate = "schemars")]
//! pub struct Greeting {
//!     /// One friendly sentence.
//!     text: String,
//! }
//!
//! /// Greets somebody by name.
//! #[tool]
//! pub fn greet(
//!     /// Whom to greet.
//!     name: String,
//!     /// How often.
//!     #[arg(default = 1)]
//!     times: u32,
//! ) -> Result<Greeting, ToolError> {
//!     if times == 0 {
//!         return Err(ToolError::invalid("times", "must be at least 1"));
//!     }
//!     Ok(Greeting { text: format!("Hello {name}! ").repeat(times as usize) })
//! }
//!
//! ice_sdk::kit!(greet);
//! # fn main() {
//! let reply = KIT.call("greet", r#"{"name":"Ida"}"#, &ice_sdk::Context::default()).unwrap();
//! assert_eq!(reply, r#"{"text":"Hello Ida! "}"#);
//! # }
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2`: the output is a component. What it calls of [`log`], [`llm`],
//! [`memory`], [`secrets`], [`http`] and [`orchestrator`] becomes its imports, and its imports are what it asks an
//! operator for. Without wasm, `cargo test` runs the same code against [`testing::Host`].
//!
//! Reading order: [`tool`](mod@tool), [`agent`](mod@agent), [`bundle`](mod@bundle) say what a component exports;
//! [`error`] how it fails; then one module per capability. Not here: any policy. The host decides who may call what.

extern crate self as ice_sdk;

pub mod agent;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
pub mod blueprint;
pub mod bundle;
mod context;
pub mod error;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod export;
pub mod http;
mod json;
pub mod llm;
pub mod log;
pub mod memory;
pub mod orchestrator;
pub mod prompt;
mod schema;
pub mod secrets;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod tool;

pub use crate::agent::{Agent, AgentEntry};
pub use crate::bundle::{Bundle, BundleEntry};
pub use crate::context::Context;
pub use crate::error::{AgentError, ToolError};
pub use crate::json::Invalid;
pub use crate::schema::Description;
pub use crate::tool::{Kit, Tool, ToolEntry};

/// Turns a documented function into an agent: a type of the same name that implements [`Agent`](trait@Agent), and the
/// component that exports it. Once per crate. Takes the same forms as [`tool`](macro@tool); the function returns `Result<Output, AgentError>`.
pub use ice_sdk_macros::agent;
/// Turns a documented function into a tool: a type of the same name that implements [`Tool`](trait@Tool).
///
/// The function's doc comment is the tool's description, and its name the tool's name. Its input is either
/// - its arguments: each with a doc comment, optional when `Option<…>` or marked `#[arg(default = expression)]`; or
/// - one struct: a single argument called `input`, or taken apart by a pattern, whose type implements
///   `serde::Deserialize` and `schemars::JsonSchema`.
///
/// An argument of type `&Context` is filled in by the host. It returns `Result<Output, ToolError>`, where `Output`
/// implements `serde::Serialize` and `schemars::JsonSchema`.
/// `#[tool(name = "other_name", tags("a", "b"))]` overrides the name and adds tags.
pub use ice_sdk_macros::tool;

pub use schemars;
pub use serde;
pub use serde_json;

/// What generated code needs; not an interface.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub use wit_bindgen;
}
