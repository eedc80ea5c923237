//! Content-addressed JSON documents, and names for versions of them.

use ice_core::id::Digest;
use ice_core::ports::{Documents, Failure, NamedDocument};
use semver::Version;
use serde_json::Value;

use super::Store;
use crate::document::keeps_documents;

keeps_documents!();
