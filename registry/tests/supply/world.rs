//! What the tests share: vector V, a trust store in a temporary folder, and a changed V.

use std::path::PathBuf;

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_core::problem::Problem;
use ice_registry::envelope::{DIGESTS_PAYLOAD_TYPE, pae};
use ice_registry::trust::{Imported, KeyNotes, KeyRole, Revoked, Role, Roles, Root};
use ice_registry::{
    AddOptions, DocumentKind, Envelope, OnExisting, PrivateKey, Purpose, Signed, Store, Trust, Verified, VerifyOptions,
    Wanted, verify,
};
use serde_json::{Value, json};

/// V's component: the preamble of an empty component.
pub(crate) const COMPONENT: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

/// 2026-12-01T00:00:00Z: between V's `created` and `expires`.
pub(crate) const NOW: u64 = 1_796_083_200;

pub(crate) const DAY: u64 = 24 * 60 * 60;

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

    /// The verdict about what answers a request for V, to install it now.
    pub(crate) fn install(&self, envelope: &Envelope) -> Result<Verified<ice_core::manifest::Manifest>, Problem> {
        let purpose = Purpose::Install { now: NOW };
        verify(envelope, &self.trust, &VerifyOptions { wanted: Some(&wanted()), purpose, ..VerifyOptions::RUN })
    }

    pub(crate) fn reopen(&mut self) {
        self.trust = Trust::open(&self.trust_folder()).unwrap();
    }

    /// Imports roots at [`NOW`].
    pub(crate) fn import(&mut self, roots: &[Signed]) -> Result<Imported, Problem> {
        let imported = Trust::import_root(&self.trust_folder(), roots, NOW)?;
        self.reopen();
        Ok(imported)
    }

    /// Lets [`REVOKER`] sign the list of what was taken back, where no root says who does.
    pub(crate) fn believe_revoker(&mut self) {
        let notes = KeyNotes { roles: vec![KeyRole::Revocations], ..KeyNotes::default() };
        self.trust = Trust::add_key(&self.trust_folder(), key(REVOKER).public(), &notes, &[]).unwrap();
    }

    /// Imports a list at [`NOW`].
    pub(crate) fn revoke(&mut self, list: &Signed) -> Result<Revoked, Problem> {
        let list = Trust::import_revocations(&self.trust_folder(), list, NOW)?;
        self.reopen();
        Ok(list)
    }

    /// Adds what answers a request for V. A refusal changes no file.
    pub(crate) fn add(&self, envelope: &Envelope, blob: &[u8]) -> Result<ice_registry::Added, Problem> {
        let before = self.files();
        let added = self.store.add(envelope, &[blob.to_vec()], &self.trust, &options(Some(wanted())));
        assert!(added.is_ok() || self.files() == before, "a refusal changed the store");
        added.map(|(added, _)| added)
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

/// Seeds of those who hold the root keys of [`roles`]: two of them sign.
pub(crate) const ROOTS: [u8; 3] = [21, 22, 23];
/// Seed of the index key of [`roles`].
pub(crate) const INDEXER: u8 = 24;
/// Seed of the revocations key of [`roles`].
pub(crate) const REVOKER: u8 = 25;

pub(crate) fn role(seeds: &[u8], threshold: usize) -> Role {
    Role::new(seeds.iter().map(|seed| key(*seed).public().clone()), threshold).unwrap()
}

/// Two of three for the root; V's publisher for `acme/*`.
pub(crate) fn roles() -> Roles {
    Roles {
        root: role(&ROOTS, 2),
        index: role(&[INDEXER], 1),
        revocations: role(&[REVOKER], 1),
        publishers: [("acme/*".to_owned(), role(&[7], 1))].into(),
    }
}

/// A root that expires a year from [`NOW`].
pub(crate) fn root_after(previous: Option<&Root>, roles: Roles) -> Root {
    Root::after(previous, NOW + 365 * DAY, roles).unwrap()
}

pub(crate) fn signed(kind: DocumentKind, document: &Value, seeds: &[u8]) -> Signed {
    let mut signed = Signed::new(kind, document);
    for seed in seeds {
        signed.sign(&key(*seed), "somebody").unwrap();
    }
    signed
}

/// `root` as two of [`ROOTS`] sign it.
pub(crate) fn sign_root(root: &Root) -> Signed {
    signed(DocumentKind::Root, &root.to_value(), &ROOTS[..2])
}

/// `count` roots that differ in nothing but version and dates, signed by the same keys.
pub(crate) fn roots(count: usize) -> Vec<Signed> {
    let mut all: Vec<Root> = Vec::new();
    for _ in 0..count {
        all.push(root_after(all.last(), roles()));
    }
    all.iter().map(sign_root).collect()
}

/// A list of what was taken back that lives for 30 days from [`NOW`], changed and signed by [`REVOKER`].
pub(crate) fn list_after(previous: Option<&Revoked>, change: impl FnOnce(&mut Revoked)) -> (Revoked, Signed) {
    let mut list = Revoked::after(previous, NOW, NOW + 30 * DAY).unwrap();
    change(&mut list);
    let document = signed(DocumentKind::Revocations, &list.to_value(), &[REVOKER]);
    (list, document)
}

/// `document`, changed as JSON: what its writer would not write.
pub(crate) fn edited_document(document: &Signed, edit: impl FnOnce(&mut Value)) -> Signed {
    let mut value: Value = serde_json::from_slice(&document.to_bytes()).unwrap();
    edit(&mut value);
    Signed::parse(value.to_string().as_bytes()).unwrap()
}

/// Bytes that signing itself would not make, framed and signed as `kind`.
pub(crate) fn sign_payload(kind: DocumentKind, payload: &[u8], seeds: &[u8]) -> Signed {
    let message = pae(&kind.payload_type(), payload);
    let signatures: Vec<Value> = seeds
        .iter()
        .map(|seed| {
            let key = key(*seed);
            json!({
                "keyid": key.public().id(), "public_key_id": "", "algo": "ed25519", "sig": base64(&key.sign(&message)),
            })
        })
        .collect();
    let text = json!({"payloadType": kind.payload_type(), "payload": base64(payload), "signatures": signatures});
    Signed::parse(text.to_string().as_bytes()).unwrap()
}
