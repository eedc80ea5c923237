//! Signature, manifest and 64 MiB of components, beside hashing the same bytes and doing nothing else.

use std::collections::BTreeMap;
use std::hint::black_box;

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_registry::trust::KeyNotes;
use ice_registry::{Envelope, PrivateKey, Trust, VerifyOptions, verify};
use serde_json::{Value, json};

use crate::{Done, milliseconds, row, times, told};

const COMPONENTS: usize = 64;
const COMPONENT_BYTES: usize = 1 << 20;
const RUNS: usize = 20;

pub(crate) fn measure() -> Done<()> {
    let home = tempfile::tempdir()?;
    let key = PrivateKey::generate()?;
    let trust = Trust::add_key(&home.path().join("trust"), key.public(), &KeyNotes::default(), &["bench/*"])?;
    // Bytes that differ from component to component: what they are is looked at when they are installed, not here.
    let components: BTreeMap<Digest, Vec<u8>> = (0..COMPONENTS)
        .map(|number| (0..COMPONENT_BYTES).map(|at| (at % 251 + number) as u8).collect::<Vec<u8>>())
        .map(|bytes| (Digest::of(&bytes), bytes))
        .collect();
    let envelope = Envelope::sign_bytes(&canonical(&manifest(&components)), &key, "bench").map_err(told)?;
    let mib = (COMPONENTS * COMPONENT_BYTES) as f64 / f64::from(1 << 20);
    let hashed = times(RUNS, || Ok(components.values().map(|bytes| Digest::of(black_box(bytes))).collect::<Vec<_>>()))?;
    row("floor: SHA-256 of 64 MiB, MiB/s", hashed, |took| mib / took.as_secs_f64())?;
    let verified = times(RUNS, || {
        let verified = verify(black_box(&envelope), &trust, &VerifyOptions::RUN)?;
        for (digest, bytes) in &components {
            verified.check_blob(digest, black_box(bytes))?;
        }
        Ok(verified)
    })?;
    row("**ice** verifies a kit of 64 components of 1 MiB, MiB/s", verified, |took| mib / took.as_secs_f64())?;
    let signature = times(RUNS, || Ok(verify(black_box(&envelope), &trust, &VerifyOptions::RUN)?))?;
    row("**ice** verifies its signature and manifest alone, ms", signature, milliseconds)
}

fn manifest(components: &BTreeMap<Digest, Vec<u8>>) -> Value {
    let component = |(number, (digest, bytes)): (usize, (&Digest, &Vec<u8>))| {
        let name = format!("tool_{number:02}");
        json!({
            "node_type": "tool", "name": name, "import": format!("ice:plugin/tools@0.1.0#{name}"), "version": "1.0.0",
            "artifact": digest, "size": bytes.len(), "description": "Measured.",
        })
    };
    json!({
        "schema_version": "plugins.v0", "kind": "kit", "name": "bench/kit", "version": "1.0.0", "sequence": 1,
        "created": "2026-11-20T00:00:00Z", "components": components.iter().enumerate().map(component).collect::<Vec<_>>(),
    })
}
