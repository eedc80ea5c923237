//! Manifests as a registry hands them out: ours are read strictly, those of others are told apart and not read.
//!
//! A registry is not trusted with anything; this keeps surprising documents away from the code behind.

use std::collections::BTreeMap;

use ice_core::manifest::{Kind, parse_strict, printable};
use ice_core::problem::{Code, Problem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CONFIG_BYTES_MAX, Descriptor, MANIFEST_BYTES_MAX, MANIFEST_MEDIA_TYPE, OciManifest, WASM_CONFIG_MEDIA_TYPE,
    WASM_MEDIA_TYPE, artifact_type,
};
use crate::envelope::ENVELOPE_MEDIA_TYPE;

/// An envelope that somebody put beside an artifact of others. Its config is the envelope, and there are no layers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attestation {
    /// 2.
    pub schema_version: u32,
    /// [`MANIFEST_MEDIA_TYPE`].
    pub media_type: String,
    /// [`Attestation::ARTIFACT_TYPE`].
    pub artifact_type: String,
    /// The envelope.
    pub config: Descriptor,
    /// None.
    pub layers: Vec<Descriptor>,
    /// The manifest it is about.
    pub subject: Descriptor,
    /// Hints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Attestation {
    /// Of an attestation.
    pub const ARTIFACT_TYPE: &'static str = "application/vnd.iceos.attestation.v0+json";
}

fn refuse(why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::R006, format!("a manifest in the registry cannot be used: {why}"))
        .help("ask its publisher to publish it again with `ice publish`")
}

/// The document, when it is an image manifest (R006).
fn image_manifest(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(refuse(format!("it has {} bytes, the limit is {MANIFEST_BYTES_MAX}", bytes.len())));
    }
    let document = parse_strict(bytes).map_err(|problem| refuse(problem.message))?;
    match document.get("mediaType").and_then(Value::as_str) {
        // Optional in the specification; the members below tell as much.
        None if document.get("config").is_some() => Ok(document),
        Some(MANIFEST_MEDIA_TYPE) => Ok(document),
        Some(other) => Err(refuse(format!("it is `{}`, not an image manifest", printable(other)))),
        None => Err(refuse("it is no image manifest")),
    }
}

fn typed<T: DeserializeOwned>(document: Value) -> Result<T, Problem> {
    serde_json::from_value(document).map_err(|error| refuse(printable(&error.to_string())))
}

/// Reads the image manifest of a plugin, kit or bundle. `Ok(None)` for an artifact of somebody else, of which nothing
/// is read; R006 for one that says it is ours and is not as ours are: `urls`, foreign layers, another config.
pub fn read_ours(bytes: &[u8]) -> Result<Option<OciManifest>, Problem> {
    let document = image_manifest(bytes)?;
    let named = document.get("artifactType").and_then(Value::as_str).unwrap_or_default();
    let kinds = [Kind::Plugin, Kind::Kit, Kind::Bundle];
    let Some(kind) = kinds.into_iter().find(|kind| artifact_type(*kind) == named) else {
        return Ok(None);
    };
    let manifest: OciManifest = typed(document)?;
    let config = match kind {
        Kind::Plugin => WASM_CONFIG_MEDIA_TYPE,
        Kind::Kit | Kind::Bundle => ENVELOPE_MEDIA_TYPE,
    };
    if manifest.schema_version != 2 {
        return Err(refuse(format!("it has schema version {}", manifest.schema_version)));
    }
    check_config(&manifest.config, config)?;
    for layer in &manifest.layers {
        let foreign = layer.media_type.contains("nondistributable") || layer.media_type.contains(".foreign.");
        if foreign || kind != Kind::Bundle && layer.media_type != WASM_MEDIA_TYPE {
            return Err(refuse(format!("a {kind} has a layer of type `{}`", printable(&layer.media_type))));
        }
    }
    if kind == Kind::Plugin && manifest.layers.len() != 1 {
        return Err(refuse(format!("a plugin has one layer, this one has {}", manifest.layers.len())));
    }
    Ok(Some(manifest))
}

fn check_config(config: &Descriptor, media_type: &str) -> Result<(), Problem> {
    if config.media_type != media_type {
        return Err(refuse(format!("its config is `{}`, not `{media_type}`", printable(&config.media_type))));
    }
    if config.size > CONFIG_BYTES_MAX {
        return Err(refuse(format!("its config has {} bytes, the limit is {CONFIG_BYTES_MAX}", config.size)));
    }
    Ok(())
}

/// Reads an attestation. `Ok(None)` for a referrer that is something else, such as another tool's signature.
pub fn read_attestation(bytes: &[u8]) -> Result<Option<Attestation>, Problem> {
    let document = image_manifest(bytes)?;
    if document.get("artifactType").and_then(Value::as_str) != Some(Attestation::ARTIFACT_TYPE) {
        return Ok(None);
    }
    let attestation: Attestation = typed(document)?;
    check_config(&attestation.config, ENVELOPE_MEDIA_TYPE)?;
    Ok(Some(attestation))
}
