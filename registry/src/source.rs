//! Where plugins come from: a registry, an archive, another store. Resolving and installing know only this.

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::manifest::UnixSeconds;
use ice_core::problem::Problem;
use semver::Version;

use crate::envelope::Envelope;

/// A version that a source says it has. A hint: only the verified envelope decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Available {
    /// The version.
    pub version: Version,
    /// Why it should no longer be installed newly.
    pub yanked: Option<String>,
    /// Whether the signed index lists it as a security release, which need not wait.
    pub security: bool,
    /// When the signed index saw it first.
    pub first_seen: Option<UnixSeconds>,
    /// S, as the signed index has it.
    pub statement: Option<Digest>,
}

impl Available {
    /// Only the version is known.
    pub const fn of(version: Version) -> Self {
        Self { version, yanked: None, security: false, first_seen: None, statement: None }
    }
}

/// One version as its source has it, not believed yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The envelope.
    pub envelope: Envelope,
    /// Of the OCI manifest it was found in.
    pub oci_digest: Option<Digest>,
    /// Where, such as `oci://registry.example/ice/acme/csv`.
    pub source: Option<String>,
}

/// Told about bytes as they come or go. Called often: be quick.
pub trait Progress: Send + Sync {
    /// `done` of `total` bytes of `what` are through.
    fn bytes(&self, what: &str, done: u64, total: u64);
}

/// Nobody looks.
impl Progress for () {
    fn bytes(&self, _what: &str, _done: u64, _total: u64) {}
}

/// Where plugins come from.
#[async_trait]
pub trait Source: Send + Sync {
    /// Every version of `scope/name`, in any order; R001 when there is none of that name, R005 when nobody can know.
    async fn versions(&self, name: &str) -> Result<Vec<Available>, Problem>;

    /// The envelope of one version (R001, R005, R006, T-codes of the envelope's form).
    async fn offer(&self, name: &str, version: &Version) -> Result<Offer, Problem>;

    /// A blob of that version: exactly `size` bytes of this digest (T001), never more in memory.
    async fn blob(
        &self,
        name: &str,
        version: &Version,
        digest: &Digest,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Problem>;
}
