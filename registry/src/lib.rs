//! Supply chain: bytes in, verdict out. Envelopes, keys, trust, the local store.
//!
//! Runs no code and opens no sockets. Reading order: [`envelope`] what is signed; [`verify`] the one way to a
//! [`Verified`] manifest; [`keys`] and [`trust`] who is believed; [`layout`] and [`store`] where bytes live;
//! [`catalog`] what a host can call because of all that.
#![warn(missing_docs)]

pub mod catalog;
pub mod envelope;
mod files;
pub mod keys;
pub mod layout;
pub mod oci;
pub mod store;
pub mod trust;
pub mod verify;

pub use catalog::catalog;
pub use envelope::Envelope;
pub use keys::{PrivateKey, PublicKey};
pub use store::{AddOptions, Added, OnExisting, Store, StoreEntry};
pub use trust::Trust;
pub use verify::{Purpose, Verified, VerifyOptions, Wanted, verify};
