//! The envelope: a DSSE statement about a manifest and its artifacts, with the manifest beside it.
//!
//! The payload P is the SHA-256 of every distinct artifact in the order the components name them, then that of the
//! canonical manifest: 32 bytes each. The signature is over DSSE's PAE of P; SHA-256(P) names exactly this plugin.
//! Here is the format and signing; believing is in [`verify`](crate::verify).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ice_core::id::Digest;
use ice_core::manifest::{Manifest, canonical, parse_strict, printable};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::PrivateKey;

/// Of an envelope as a file or an OCI config.
pub const ENVELOPE_MEDIA_TYPE: &str = "application/vnd.iceos.envelope.v0+json";

/// What the signatures of plugins, kits and bundles are about.
pub const DIGESTS_PAYLOAD_TYPE: &str = "application/vnd.iceos.plugins.v0.digests";

/// The only algorithm.
pub const ALGORITHM: &str = "ed25519";

/// Most bytes of an envelope, read before anything about it is known.
pub const ENVELOPE_BYTES_MAX: usize = 2 << 20;

/// Most signatures that are looked at: each costs a verification.
const SIGNATURES_MAX: usize = 32;

/// A parsed envelope. Nothing in it is believed yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// [`ENVELOPE_MEDIA_TYPE`].
    pub media_type: String,
    /// [`DIGESTS_PAYLOAD_TYPE`].
    pub payload_type: String,
    /// P, in base64.
    pub payload: String,
    /// The canonical manifest, in base64.
    pub manifest: String,
    /// Who signed.
    #[serde(default)]
    pub signatures: Vec<SignatureEntry>,
    /// Room for proofs of time; nothing is read from it.
    #[serde(default)]
    pub timestamps: Vec<Value>,
}

/// One signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct SignatureEntry {
    /// Id of the key; narrows which keys are tried, grants nothing.
    #[serde(default)]
    pub keyid: String,
    /// A label for people; nothing follows from it.
    #[serde(default)]
    pub public_key_id: String,
    /// [`ALGORITHM`].
    #[serde(default)]
    pub algo: String,
    /// 64 bytes, in base64.
    #[serde(default)]
    pub sig: String,
}

/// DSSE's pre-authentication encoding: what a signature is really over.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// P: the digests of the artifacts, then the digest of the manifest.
pub fn payload(artifacts: impl IntoIterator<Item = Digest>, manifest: &Digest) -> Vec<u8> {
    let mut payload: Vec<u8> = artifacts.into_iter().flat_map(|digest| *digest.as_bytes()).collect();
    payload.extend(manifest.as_bytes());
    payload
}

/// Standard alphabet, padded, no stray bits: one text for some bytes (T026).
pub(crate) fn decode(member: &str, text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD
        .decode(text)
        .map_err(|error| Problem::new(Code::T026, format!("`{member}` of the envelope is not base64: {error}")))
}

impl Envelope {
    /// Signs a manifest. Fails with every problem of the manifest.
    pub fn sign(manifest: &Manifest, key: &PrivateKey, label: &str) -> Result<Self, Vec<Problem>> {
        Self::sign_bytes(&manifest.canonical_bytes(), key, label)
    }

    /// Signs the canonical bytes of a manifest. Fails with every problem of the manifest.
    pub fn sign_bytes(manifest: &[u8], key: &PrivateKey, label: &str) -> Result<Self, Vec<Problem>> {
        let parsed = Manifest::parse(manifest)?;
        let artifacts = parsed.artifacts().into_iter().map(|(digest, _)| digest);
        let mut envelope = Self {
            media_type: ENVELOPE_MEDIA_TYPE.to_owned(),
            payload_type: DIGESTS_PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(payload(artifacts, &Digest::of(manifest))),
            manifest: STANDARD.encode(manifest),
            signatures: Vec::new(),
            timestamps: Vec::new(),
        };
        envelope.add_signature(key, label).map_err(|problem| vec![problem])?;
        Ok(envelope)
    }

    /// Signs what the envelope holds, replacing an older signature of the same key. The statement stays the same.
    pub fn add_signature(&mut self, key: &PrivateKey, label: &str) -> Result<(), Problem> {
        let message = pae(&self.payload_type, &decode("payload", &self.payload)?);
        let keyid = key.public().id().to_string();
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.push(SignatureEntry {
            keyid,
            public_key_id: printable(label),
            algo: ALGORITHM.to_owned(),
            sig: STANDARD.encode(key.sign(&message)),
        });
        Ok(())
    }

    /// Reads an envelope: cap (T029), strict JSON (T026), shape (T026).
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            let message = format!("the envelope has {} bytes, the limit is {ENVELOPE_BYTES_MAX}", bytes.len());
            return Err(Problem::new(Code::T029, message));
        }
        let document = parse_strict(bytes)
            .map_err(|problem| Problem::new(Code::T026, format!("envelope: {}", problem.message)))?;
        Self::from_value(document)
    }

    pub(crate) fn from_value(document: Value) -> Result<Self, Problem> {
        let envelope: Self = serde_json::from_value(document).map_err(|error| {
            Problem::new(Code::T026, format!("this is not an envelope: {}", printable(&error.to_string())))
        })?;
        if envelope.media_type != ENVELOPE_MEDIA_TYPE {
            let message = format!("`{}` is not the media type of an envelope", printable(&envelope.media_type));
            return Err(Problem::new(Code::T026, message).help(format!("write `{ENVELOPE_MEDIA_TYPE}`")));
        }
        if envelope.signatures.len() > SIGNATURES_MAX {
            let message =
                format!("the envelope has {} signatures, the limit is {SIGNATURES_MAX}", envelope.signatures.len());
            return Err(Problem::new(Code::T029, message));
        }
        Ok(envelope)
    }

    /// The envelope as canonical JSON: the same envelope gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(&serde_json::to_value(self).expect("an envelope has no map with other keys than strings"))
    }

    /// Bytes of the manifest, not believed yet (T026).
    pub fn manifest_bytes(&self) -> Result<Vec<u8>, Problem> {
        decode("manifest", &self.manifest)
    }

    /// Name of exactly this plugin: SHA-256 of P, not believed yet (T026).
    pub fn statement(&self) -> Result<Digest, Problem> {
        Ok(Digest::of(&decode("payload", &self.payload)?))
    }

    /// Reads a hand-held `plugins.json` that carries its `signature {algo, keyid, public_key_id, value}` inside: the
    /// signature is taken out, the rest is put in canonical form. Both forms have the same statement.
    pub fn from_inline(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let one = |problem| vec![problem];
        let mut document = parse_strict(bytes).map_err(one)?;
        let signature = document.as_object_mut().and_then(|members| members.shift_remove("signature"));
        let member = |name: &str| {
            let text = signature.as_ref().and_then(|signature| signature.get(name)).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        if signature.is_none() {
            let help = "sign it: `ice plugins sign plugins.json --key KEY`";
            return Err(one(Problem::new(Code::T003, "the manifest has no `signature`").help(help)));
        }
        let manifest = canonical(&document);
        let parsed = Manifest::parse(&manifest)?;
        let artifacts = parsed.artifacts().into_iter().map(|(digest, _)| digest);
        Ok(Self {
            media_type: ENVELOPE_MEDIA_TYPE.to_owned(),
            payload_type: DIGESTS_PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(payload(artifacts, &Digest::of(&manifest))),
            manifest: STANDARD.encode(&manifest),
            signatures: vec![SignatureEntry {
                keyid: member("keyid"),
                public_key_id: member("public_key_id"),
                algo: member("algo"),
                sig: member("value"),
            }],
            timestamps: Vec::new(),
        })
    }

    /// The manifest with its first signature inside, as [`Envelope::from_inline`] reads it.
    pub fn to_inline(&self) -> Result<Value, Problem> {
        let mut document = parse_strict(&self.manifest_bytes()?)?;
        let signature = self.signatures.first().ok_or_else(|| Problem::new(Code::T003, "there is no signature"))?;
        let signature = serde_json::json!({
            "algo": signature.algo,
            "keyid": signature.keyid,
            "public_key_id": signature.public_key_id,
            "value": signature.sig,
        });
        document.as_object_mut().map(|members| members.insert("signature".to_owned(), signature));
        Ok(document)
    }
}
