//! OCI words: descriptors, image manifests, the index of a layout, and how a signed plugin is laid out in them.
//!
//! Everything here is an untrusted hint but the envelope; deciding is left to [`verify`](crate::verify).

mod component;
mod strict;

use std::collections::BTreeMap;

use ice_core::id::Digest;
use ice_core::manifest::{Kind, Manifest, parse_strict, printable, short};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use strict::{Attestation, read_attestation, read_ours};

use crate::envelope::{ENVELOPE_MEDIA_TYPE, Envelope};

/// Of every manifest here.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Of the index of a layout.
pub const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Of a component.
pub const WASM_MEDIA_TYPE: &str = "application/wasm";
/// Of the config of a single component (CNCF wasm layout).
pub const WASM_CONFIG_MEDIA_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The member of a wasm config that carries the envelope.
pub const ENVELOPE_MEMBER: &str = "io.iceos.envelope.v0";

/// Name and tag of an entry of a layout's index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
const TITLE: &str = "org.opencontainers.image.title";
/// The version, as a hint.
pub const VERSION: &str = "org.opencontainers.image.version";
const LICENSES: &str = "org.opencontainers.image.licenses";
const SOURCE: &str = "org.opencontainers.image.source";
/// S, as a hint.
pub const STATEMENT: &str = "io.iceos.statement";

/// Most bytes of an OCI manifest, as registries have it.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Most bytes of a config: an envelope, and little beside it.
pub const CONFIG_BYTES_MAX: u64 = 2 << 20;

/// Points at a blob.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Descriptor {
    /// Of the blob.
    pub media_type: String,
    /// What it is for, where its media type is a container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Of the blob's bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Hints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image manifest. Unknown members are refused, so `urls` in a layer cannot send anybody elsewhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OciManifest {
    /// 2.
    pub schema_version: u32,
    /// [`MANIFEST_MEDIA_TYPE`].
    pub media_type: String,
    /// Plugin, kit or bundle.
    pub artifact_type: String,
    /// The envelope, or a wasm config that carries it.
    pub config: Descriptor,
    /// Components in payload order, then files.
    pub layers: Vec<Descriptor>,
    /// Hints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The index of a layout.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// [`INDEX_MEDIA_TYPE`].
    #[serde(default)]
    pub media_type: String,
    /// One entry a plugin version, in the order they were added.
    pub manifests: Vec<Descriptor>,
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: 2, media_type: INDEX_MEDIA_TYPE.to_owned(), manifests: Vec::new() }
    }
}

/// A plugin as OCI blobs, but for its components and files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Bytes of the config.
    pub config: Vec<u8>,
    /// Bytes of the image manifest.
    pub manifest: Vec<u8>,
    /// What an index says about the manifest.
    pub entry: Descriptor,
}

/// `application/vnd.iceos.<kind>.v0+json`.
pub fn artifact_type(kind: Kind) -> String {
    format!("application/vnd.iceos.{kind}.v0+json")
}

/// Name and tag: `acme/csv_reader:1.2.3`.
pub fn reference(manifest: &Manifest) -> String {
    format!("{}:{}", manifest.name, manifest.version)
}

/// Lays out a signed plugin. Nothing depends on the time or the machine: the same envelope gives the same bytes.
/// `component` is the one of a plugin, whose imports and exports are written down for other tools; a kit or bundle has
/// no place for them. T029 when the envelope is too large for a config.
pub fn pack(manifest: &Manifest, envelope: &Envelope, component: &[u8]) -> Result<Packed, Problem> {
    let statement = envelope.statement()?.to_string();
    let layers = layers(manifest);
    let (config_type, config) = match manifest.kind {
        Kind::Plugin => (WASM_CONFIG_MEDIA_TYPE, wasm_config(manifest, envelope, &layers, component)),
        Kind::Kit | Kind::Bundle => (ENVELOPE_MEDIA_TYPE, envelope.to_bytes()),
    };
    if config.len() as u64 > CONFIG_BYTES_MAX {
        let message = format!("the signed manifest takes {} bytes, the limit is {CONFIG_BYTES_MAX}", config.len());
        return Err(Problem::new(Code::T029, message).help("shorten descriptions and schemas, or split the plugin"));
    }
    let mut annotations = BTreeMap::from([
        (TITLE.to_owned(), manifest.name.clone()),
        (VERSION.to_owned(), manifest.version.to_string()),
        (STATEMENT.to_owned(), statement.clone()),
    ]);
    annotations.extend(manifest.license.clone().map(|license| (LICENSES.to_owned(), license)));
    let repo = manifest.source.as_ref().and_then(|source| source.repo.clone());
    annotations.extend(repo.map(|repo| (SOURCE.to_owned(), repo)));
    let oci = OciManifest {
        schema_version: 2,
        media_type: MANIFEST_MEDIA_TYPE.to_owned(),
        artifact_type: artifact_type(manifest.kind),
        config: descriptor(config_type, &config),
        layers,
        annotations,
    };
    let bytes = to_json(&oci);
    let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &bytes);
    entry.artifact_type = Some(oci.artifact_type);
    entry.annotations = BTreeMap::from([(REF_NAME.to_owned(), reference(manifest)), (STATEMENT.to_owned(), statement)]);
    Ok(Packed { config, manifest: bytes, entry })
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("OCI documents have no map with other keys than strings")
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        artifact_type: None,
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        annotations: BTreeMap::new(),
    }
}

fn layers(manifest: &Manifest) -> Vec<Descriptor> {
    let artifacts = manifest.artifacts();
    let component = |(digest, size): &(Digest, u64)| {
        let named = manifest.components.iter().find(|component| component.artifact == *digest);
        let name = match named {
            Some(component) if artifacts.len() > 1 => component.name.as_str(),
            _ => short(&manifest.name),
        };
        layer(WASM_MEDIA_TYPE, *digest, *size, format!("{name}.wasm"))
    };
    let mut layers: Vec<Descriptor> = artifacts.iter().map(component).collect();
    for file in &manifest.files {
        if !layers.iter().any(|layer| layer.digest == file.artifact) {
            layers.push(layer(&file.media_type, file.artifact, file.size, file.path.clone()));
        }
    }
    layers
}

fn layer(media_type: &str, digest: Digest, size: u64, title: String) -> Descriptor {
    let annotations = BTreeMap::from([(TITLE.to_owned(), title)]);
    Descriptor { media_type: media_type.to_owned(), artifact_type: None, digest, size, annotations }
}

/// What any wasm tool reads, and the envelope beside it. The author is the scope: all that is signed about one.
fn wasm_config(manifest: &Manifest, envelope: &Envelope, layers: &[Descriptor], component: &[u8]) -> Vec<u8> {
    let envelope: Value = serde_json::to_value(envelope).expect("an envelope has only string keys");
    let mut config = Map::new();
    config.insert("created".to_owned(), json!(manifest.created));
    config.insert("author".to_owned(), json!(manifest.name.split('/').next()));
    config.insert("architecture".to_owned(), json!("wasm"));
    config.insert("os".to_owned(), json!("wasip2"));
    config.insert("layerDigests".to_owned(), json!(layers.iter().map(|layer| layer.digest).collect::<Vec<_>>()));
    if let Some(component::Interfaces { imports, exports }) = component::interfaces(component) {
        let target = manifest.components.iter().find_map(|component| component.world.clone());
        config.insert("component".to_owned(), json!({"imports": imports, "exports": exports, "target": target}));
    }
    config.insert(ENVELOPE_MEMBER.to_owned(), envelope);
    ice_core::manifest::canonical(&Value::Object(config))
}

/// Reads an image manifest (R002). Its descriptors are hints.
pub fn read_manifest(bytes: &[u8]) -> Result<OciManifest, Problem> {
    let refuse = |why: String| {
        Problem::new(Code::R002, format!("an OCI manifest cannot be used: {why}"))
            .help("get it again; what `ice publish` lays out can be read")
    };
    let document = parse_strict(bytes).map_err(|problem| refuse(problem.message))?;
    let manifest: OciManifest =
        serde_json::from_value(document).map_err(|error| refuse(printable(&error.to_string())))?;
    if manifest.media_type != MANIFEST_MEDIA_TYPE {
        return Err(refuse(format!("it is `{}`", printable(&manifest.media_type))));
    }
    Ok(manifest)
}

/// Finds the envelope in a config of this media type. T003 when there is none.
pub fn read_config(media_type: &str, bytes: &[u8]) -> Result<Envelope, Problem> {
    if media_type == ENVELOPE_MEDIA_TYPE {
        return Envelope::parse(bytes);
    }
    let unsigned = || {
        Problem::new(Code::T003, "there is no signature: the artifact carries no envelope")
            .help("ask its publisher for a signed release")
    };
    if media_type != WASM_CONFIG_MEDIA_TYPE {
        return Err(unsigned());
    }
    let document = parse_strict(bytes).map_err(|problem| Problem::new(Code::T026, problem.message))?;
    let envelope = document.get(ENVELOPE_MEMBER).ok_or_else(unsigned)?;
    Envelope::from_value(envelope.clone())
}
