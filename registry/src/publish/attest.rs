//! Envelopes beside artifacts of others: pushed as referrers, found again, filtered here.
//!
//! Registries without referrers keep a list under the tag `sha256-<hex>`; every attestation has a tag of its own too,
//! so that collecting garbage leaves it. What is found is a hint until it is verified.

use std::collections::BTreeMap;

use bytes::Bytes;
use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, parse_strict};
use ice_core::problem::{Code, Problem};
use serde_json::{Value, json};

use crate::envelope::{ENVELOPE_MEDIA_TYPE, Envelope};
use crate::oci::{
    Attestation, Descriptor, INDEX_MEDIA_TYPE, MANIFEST_BYTES_MAX, MANIFEST_MEDIA_TYPE, STATEMENT, descriptor,
    read_attestation, to_json,
};
use crate::remote::{Repository, Transport, check_digest};
use crate::trust::Trust;
use crate::verify::{Purpose, VerifyOptions, verify};

/// Referrers that are looked at. Anybody who may push may add some; each costs two requests.
const REFERRERS_MAX: usize = 64;

/// Tries of writing the list. Each failed one means that somebody else wrote at the same moment.
const WRITES_MAX: usize = 8;

/// An envelope beside an artifact. Nothing in it is believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attested {
    /// The envelope.
    pub envelope: Envelope,
    /// Of the manifest that carries it.
    pub digest: Digest,
    /// The tag of that manifest: `iceatt-` and 12 hex digits.
    pub tag: String,
}

fn tag(digest: &Digest) -> String {
    format!("iceatt-{}", digest.short())
}

/// Puts `envelope` beside the artifact `reference` (a tag or digest). The artifact stays as it is. The same envelope
/// twice is no change. T-codes when `trust` would refuse the envelope, T001 when the artifact does not hold what the
/// envelope is about, R001 when it is not there, R005 to R009 of the registry.
pub async fn attest(
    transport: &dyn Transport,
    repository: &Repository,
    reference: &str,
    envelope: &Envelope,
    trust: &Trust,
    now: UnixSeconds,
) -> Result<Attested, Problem> {
    let options = VerifyOptions { purpose: Purpose::Install { now }, ..VerifyOptions::RUN };
    let verified = verify(envelope, trust, &options)?;
    let Some(found) = transport.manifest(repository, reference).await? else {
        return Err(Problem::new(Code::R001, format!("{} has no such artifact", repository.uri())));
    };
    check_digest(&found, repository)?;
    check_layers(&found.bytes, &verified.blobs())?;
    let config = envelope.to_bytes();
    let attestation = Attestation {
        schema_version: 2,
        media_type: MANIFEST_MEDIA_TYPE.to_owned(),
        artifact_type: Attestation::ARTIFACT_TYPE.to_owned(),
        config: descriptor(ENVELOPE_MEDIA_TYPE, &config),
        layers: Vec::new(),
        subject: descriptor(MANIFEST_MEDIA_TYPE, &found.bytes),
        annotations: BTreeMap::from([(STATEMENT.to_owned(), verified.statement().to_string())]),
    };
    let bytes = to_json(&attestation);
    let digest = Digest::of(&bytes);
    transport.put_blob(repository, Bytes::from(config), &()).await?;
    let stored = transport.put_manifest(repository, &tag(&digest), MANIFEST_MEDIA_TYPE, &bytes).await?;
    super::same(repository, &digest, &stored)?;
    let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &bytes);
    entry.artifact_type = Some(attestation.artifact_type);
    entry.annotations = attestation.annotations;
    let listed = transport.referrers(repository, &found.digest, None).await?;
    if !listed.iter().any(|referrer| referrer.digest == digest) {
        add_to_list(transport, repository, &found.digest, &entry).await?;
    }
    Ok(Attested { envelope: envelope.clone(), digest, tag: tag(&digest) })
}

/// T001 when the artifact does not hold every blob of the plugin.
fn check_layers(bytes: &[u8], blobs: &[(Digest, u64)]) -> Result<(), Problem> {
    let document = parse_strict(bytes).map_err(|problem| Problem::new(Code::R006, problem.message))?;
    let layers = document.get("layers").and_then(Value::as_array).into_iter().flatten();
    let held: Vec<&str> = layers.filter_map(|layer| layer.get("digest").and_then(Value::as_str)).collect();
    match blobs.iter().find(|(digest, _)| !held.contains(&digest.to_string().as_str())) {
        None => Ok(()),
        Some((digest, _)) => {
            let message = format!("the artifact does not hold {}, which the envelope is about", digest.short());
            Err(Problem::new(Code::T001, message).help("sign the component that is in the artifact"))
        }
    }
}

/// Adds `entry` to the list under the tag `sha256-<hex>`. No registry offers to write only if nobody else did, so:
/// read, merge, write, read again. Entries of others stay byte for byte.
async fn add_to_list(
    transport: &dyn Transport,
    repository: &Repository,
    subject: &Digest,
    entry: &Descriptor,
) -> Result<(), Problem> {
    let list = format!("sha256-{}", subject.hex());
    let refuse = |why: &str| {
        let message = format!("the list of referrers {list} of {} {why}", repository.uri());
        Problem::new(Code::R006, message).help("ask whoever runs the registry to look at that tag")
    };
    let listed = |document: &Value| {
        let there = document["manifests"].as_array().into_iter().flatten();
        there.into_iter().any(|one| one["digest"].as_str() == Some(&entry.digest.to_string()))
    };
    for _ in 0..=WRITES_MAX {
        let mut document = match transport.index(repository, &list).await? {
            Some(bytes) => parse_strict(&bytes).map_err(|problem| refuse(&problem.message))?,
            None => json!({"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPE, "manifests": []}),
        };
        if listed(&document) {
            return Ok(());
        }
        let added = serde_json::to_value(entry).expect("a descriptor has only string keys");
        let Some(entries) = document.get_mut("manifests").and_then(Value::as_array_mut) else {
            return Err(refuse("is no list"));
        };
        entries.push(added);
        let bytes = to_json(&document);
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(refuse("is full"));
        }
        transport.put_manifest(repository, &list, INDEX_MEDIA_TYPE, &bytes).await?;
    }
    Err(Problem::new(Code::R005, format!("others keep writing the referrers of {}", repository.uri()))
        .help("try again in a moment"))
}

/// Every envelope beside the artifact `subject`. What is not an attestation, or is about something else, is left out,
/// whatever the registry calls it. R005 when it cannot be known: that is never "none".
pub async fn attestations(
    transport: &dyn Transport,
    repository: &Repository,
    subject: &Digest,
) -> Result<Vec<Attested>, Problem> {
    let mut found = Vec::new();
    let referrers = transport.referrers(repository, subject, None).await?;
    for referrer in referrers.into_iter().take(REFERRERS_MAX) {
        let Some(pulled) = transport.manifest(repository, &referrer.digest.to_string()).await? else { continue };
        check_digest(&pulled, repository)?;
        // One that cannot be read is somebody else's; it must not hide the others.
        let Ok(Some(attestation)) = read_attestation(&pulled.bytes) else { continue };
        if attestation.subject.digest != *subject {
            continue;
        }
        let config = attestation.config;
        let bytes = transport.blob(repository, &config.digest, config.size, &()).await?;
        if let Ok(envelope) = Envelope::parse(&bytes) {
            found.push(Attested { envelope, digest: pulled.digest, tag: tag(&pulled.digest) });
        }
    }
    Ok(found)
}
