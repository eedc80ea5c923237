//! Supply chain: bytes in, verdict out. Envelopes, keys, trust, the local store.
//!
//! Runs no code. Reading order: [`envelope`] what is signed; [`verify`] the one way to a [`Verified`] manifest; [`keys`],
//! [`signed`] and [`trust`] who is believed; [`layout`] and [`store`] where bytes live; [`client`] the only place that
//! opens sockets; [`source`], [`remote`], [`resolve`] and [`install`] how plugins come here, [`publish`] and [`index`]
//! how they get out and are found, [`tokens`] who may hand them in; [`archive`] both without a network; [`catalog`] what
//! a host can call because of all that.
#![warn(missing_docs)]

pub mod archive;
pub mod catalog;
pub mod client;
pub mod envelope;
mod files;
pub mod index;
pub mod install;
pub mod keys;
pub mod layout;
pub mod oci;
pub mod publish;
pub mod remote;
pub mod resolve;
pub mod signed;
pub mod source;
pub mod store;
pub mod tokens;
pub mod trust;
pub mod verify;

pub use catalog::{Selected, Selection, catalog};
pub use envelope::Envelope;
pub use keys::{PrivateKey, PublicKey};
pub use signed::{DocumentKind, Signed, Signers};
pub use source::{Available, Offer, Progress, Source};
pub use store::{AddOptions, Added, OnExisting, Store, StoreEntry};
pub use trust::Trust;
pub use verify::{Purpose, Release, Verified, VerifyOptions, Wanted, verify};
