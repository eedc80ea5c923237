//! Outside services behind the ports: language models, HTTP egress, memory, secrets, files to read, the clock.
//!
//! Reading order: [`http`] (the one way out), [`secrets`], [`llm`], [`cassette`] (answers recorded and given again),
//! [`memory`], [`redact`], [`ingest`], [`clock`].
//! Nothing here decides who may: a grant is asked (`ice_core::grant`), or the gate of ice-runtime asked before.
//! Nothing here reads the environment: `ice-cli` does, and hands over option structs.

pub mod cassette;
pub mod clock;
pub mod http;
pub mod ingest;
pub mod llm;
pub mod memory;
pub mod redact;
pub mod secrets;

pub use cassette::Cassette;
pub use clock::SystemClock;
pub use http::{Egress, EgressOptions, Resolver, SystemResolver};
pub use ingest::{Document, read_document};
pub use llm::{LlmOptions, Models, ProviderOptions};
pub use memory::{MemoryOptions, SearchMemory};
pub use redact::Redaction;
pub use secrets::{Secret, Secrets};
