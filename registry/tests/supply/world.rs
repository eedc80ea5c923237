//! What the tests share: vector V, a trust store in a temporary folder, and a changed V.

use std::path::PathBuf;

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_core::problem::Problem;
use ice_registry::envelope::{DIGESTS_PAYLOAD_TYPE, pae};
use ice_registry::trust::KeyNotes;
use ice_registry::{
    AddOptions, Envelope, OnExisting, PrivateKey, Store, Trust, Verified, VerifyOptions, Wanted, verify,
};
use serde_json::{Value, json};

/// V's component: the preamble of an empty component.
pub(crate) const COMPONENT: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

/// 2026-12-01T00:00:00Z: between V's `created` and `expires`.
pub(crate) const NOW: u64 = 1_796_083_200;

/// V's manifest.
pub(crate) fn document() -> Value {
    json!({
        "schema_version": "plugins.v0", "kind": "plugin", "name": "acme/csv_reader", "version": "1.2.3", "sequence": 1,
        "created": "2026-11-20T00:00:00Z", "expires": "2027-11-20T00:00:00Z",
        "components": [{
            "node_type": "tool", "name": "csv_reader", "import": "acme:csv/reader@1.2.3#csv-reader", "version": "1.2.3",
            "artifact": Digest::of(&COMPONENT), "size": 8, "cost_estimate": {"base": 0.0001, "per_token": 0},
            "tags": ["csv", "io"], "description": "Fast CSV parsing with streaming support",
        }],
    })
}

/// V's manifest, changed.
pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document = document();
    change(&mut document);
    canonical(&document)
}

pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32]).unwrap()
}

/// V's key.
pub(crate) fn publisher() -> PrivateKey {
    key(7)
}

/// V's envelope.
pub(crate) fn envelope() -> Envelope {
    sign(&canonical(&document()))
}

pub(crate) fn sign(manifest: &[u8]) -> Envelope {
    Envelope::sign_bytes(manifest, &publisher(), "acme-release-2026").unwrap()
}

/// An envelope that says `manifest` and `payload`, and is signed by `key` over exactly `message`, whatever that means.
pub(crate) fn forge(manifest: &[u8], payload: &[u8], message: &[u8], key: &PrivateKey) -> Envelope {
    let mut envelope = envelope();
    envelope.manifest = base64(manifest);
    envelope.payload = base64(payload);
    envelope.signatures[0].sig = base64(&key.sign(message));
    envelope
}

/// Like [`forge`] with the right framing: for manifests that signing itself would refuse.
pub(crate) fn forge_framed(manifest: &[u8], payload: &[u8]) -> Envelope {
    forge(manifest, payload, &pae(DIGESTS_PAYLOAD_TYPE, payload), &publisher())
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// A home with a trust store that believes V's publisher for `acme/*`, and an empty plugin store.
pub(crate) struct World {
    pub(crate) home: tempfile::TempDir,
    pub(crate) trust: Trust,
    pub(crate) store: Store,
}

impl World {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let notes = KeyNotes { label: "acme-release-2026".to_owned(), ..KeyNotes::default() };
        let trust = Trust::add_key(&home.path().join("trust"), publisher().public(), &notes, &["acme/*"]).unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        Self { home, trust, store }
    }

    pub(crate) fn trust_folder(&self) -> PathBuf {
        self.home.path().join("trust")
    }

    pub(crate) fn believe(&mut self, key: &PrivateKey, scope: &str) {
        self.trust = Trust::add_key(&self.trust_folder(), key.public(), &KeyNotes::default(), &[scope]).unwrap();
    }

    pub(crate) fn verify(&self, envelope: &Envelope) -> Result<Verified<ice_core::manifest::Manifest>, Problem> {
        verify(envelope, &self.trust, &VerifyOptions { wanted: Some(&wanted()), ..VerifyOptions::RUN })
    }

    /// Adds what answers a request for V.
    pub(crate) fn add(&self, envelope: &Envelope, blob: &[u8]) -> Result<ice_registry::Added, Problem> {
        self.store.add(envelope, &[blob.to_vec()], &self.trust, &options(Some(wanted()))).map(|(added, _)| added)
    }

    /// Every file of the store but locks, with its content.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.home.path().join("store")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.to_string_lossy().ends_with("-lock") {
                    found.push((path.clone(), std::fs::read(path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

pub(crate) fn wanted() -> Wanted {
    Wanted { name: "acme/csv_reader".to_owned(), version: Some("1.2.3".parse().unwrap()), kind: None }
}

pub(crate) fn options(wanted: Option<Wanted>) -> AddOptions {
    AddOptions { wanted, on_existing: OnExisting::Refuse, now: NOW }
}
