//! What the targets share: a home that believes the publisher of vector V, and V itself.
//!
//! No properties: each target states its own.

use std::path::PathBuf;
use std::sync::LazyLock;

use ice_core::id::Digest;
use ice_registry::trust::KeyNotes;
use ice_registry::{Envelope, PrivateKey, Trust, VerifyOptions, Wanted, verify};

/// V's envelope: the only one that its publisher ever signed.
pub const V: &[u8] = include_bytes!("seeds/envelope/v.json");

/// A trust store in a folder that the system throws away.
pub struct Home {
    /// Believes V's publisher for `acme/*`.
    pub trust: Trust,
    /// Where an archive may write.
    pub ingest: PathBuf,
    /// V's name for exactly this plugin.
    pub statement: Digest,
}

/// Made once; what a try leaves in it is a finding.
pub static HOME: LazyLock<Home> = LazyLock::new(|| {
    let folder = tempfile::Builder::new().prefix("ice-fuzz-").tempdir().expect("a temporary folder").keep();
    let key = PrivateKey::from_seed(&[7; 32]).expect("V's key");
    let trust = Trust::add_key(&folder.join("trust"), key.public(), &KeyNotes::default(), &["acme/*"]);
    let ingest = folder.join("ingest");
    std::fs::create_dir(&ingest).expect("a folder");
    let statement = Envelope::parse(V).and_then(|envelope| envelope.statement()).expect("V");
    Home { trust: trust.expect("a trust store"), ingest, statement }
});

/// Whoever believes an envelope believes V: nothing else was ever signed.
pub fn believed_is_v(envelope: &Envelope, wanted: Option<&Wanted>) {
    let options = VerifyOptions { wanted, ..VerifyOptions::RUN };
    if let Ok(verified) = verify(envelope, &HOME.trust, &options) {
        assert_eq!(verified.statement(), HOME.statement, "another statement is believed");
    }
}
