//! Signed documents that are no plugins: the index header, revocations, roots. DSSE over canonical JSON.
//!
//! Which keys count, and how many, is the caller's to say; here is the form and the arithmetic.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, canonical, parse_canonical, parse_strict, print_date, printable};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::envelope::{ALGORITHM, SignatureEntry, decode, pae};
use crate::keys::{PrivateKey, PublicKey};
use crate::verify::read_signature;

/// What a document is. A signature over one kind is none over another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DocumentKind {
    /// The header of a marketplace index.
    Index,
    /// Keys and statements that were taken back.
    Revocations,
    /// Keys and thresholds of the roles.
    Root,
}

impl DocumentKind {
    /// For a person.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Revocations => "revocations",
            Self::Root => "root",
        }
    }

    /// The DSSE payload type.
    pub fn payload_type(self) -> String {
        format!("application/vnd.iceos.{}.v0+json", self.as_str())
    }
}

/// Who has to have signed.
#[derive(Clone, Debug, Default)]
pub struct Signers<'a> {
    /// Keys that count, by id.
    pub keys: BTreeMap<Digest, &'a PublicKey>,
    /// How many of them, at least 1.
    pub threshold: usize,
}

/// Refuses what has expired (T020): a list that nobody renews says nothing about today.
pub(crate) fn check_fresh(kind: DocumentKind, expires: UnixSeconds, now: UnixSeconds) -> Result<(), Problem> {
    if now < expires {
        return Ok(());
    }
    let what = kind.as_str();
    let message = format!("the signed {what} expired on {}, it is {} now", print_date(expires), print_date(now));
    Err(Problem::new(Code::T020, message).help("get a newer one from whoever signs it"))
}

/// What to do about a document that is not what it should be.
pub(crate) const AGAIN: &str = "get it again from whoever signs it";

/// A signed document. Nothing in it is believed before [`Signed::check`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    payload_type: String,
    payload: String,
    #[serde(default)]
    signatures: Vec<SignatureEntry>,
}

/// A header or a root is far below; a list of revocations of years stays below.
pub const SIGNED_BYTES_MAX: usize = 4 << 20;

const SIGNATURES_MAX: usize = 32;

impl Signed {
    /// A document that nobody has signed yet.
    pub fn new(kind: DocumentKind, document: &Value) -> Self {
        let payload = STANDARD.encode(canonical(document));
        Self { payload_type: kind.payload_type(), payload, signatures: Vec::new() }
    }

    /// Adds a signature, replacing an older one of the same key (T049).
    pub fn sign(&mut self, key: &PrivateKey, label: &str) -> Result<(), Problem> {
        let message = pae(&self.payload_type, &self.payload()?);
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

    /// Reads the JSON form: cap (T029), strict JSON and shape (T049).
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.len() > SIGNED_BYTES_MAX {
            let message = format!("a signed document has {} bytes, the limit is {SIGNED_BYTES_MAX}", bytes.len());
            return Err(Problem::new(Code::T029, message).help(AGAIN));
        }
        let refuse = |why: &str| Problem::new(Code::T049, format!("this is no signed document: {why}")).help(AGAIN);
        let document = parse_strict(bytes).map_err(|problem| refuse(&problem.message))?;
        let signed: Self = serde_json::from_value(document).map_err(|error| refuse(&printable(&error.to_string())))?;
        if signed.signatures.len() > SIGNATURES_MAX {
            return Err(refuse(&format!("it has more than {SIGNATURES_MAX} signatures")));
        }
        Ok(signed)
    }

    /// The same document gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(&serde_json::to_value(self).expect("a signed document has only string keys"))
    }

    fn payload(&self) -> Result<Vec<u8>, Problem> {
        decode("payload", &self.payload).map_err(|problem| Problem::new(Code::T049, problem.message))
    }

    /// SHA-256 of what is signed: the fingerprint that people compare. More signatures do not change it (T049).
    pub fn digest(&self) -> Result<Digest, Problem> {
        Ok(Digest::of(&self.payload()?))
    }

    /// Ids of the keys that its signatures name, checked or not: to show who has still to sign.
    pub fn keyids(&self) -> impl Iterator<Item = Digest> {
        self.signatures.iter().filter_map(|signature| Digest::parse(&signature.keyid).ok())
    }

    /// The document, whoever signed it: to show it, or to find out which keys it names. Decide nothing by it. T049
    /// for what is not JSON, T007 for another spelling.
    pub fn unchecked(&self) -> Result<Value, Problem> {
        read(&self.payload()?)
    }

    /// The document, when enough distinct keys of `signers` signed it as `kind`. T006 for another kind and for broken
    /// signatures, T003 for none, T004 for other keys, T017 for too few, T009 and T012 for forms of a signature, T007
    /// for another spelling, T049 for what is not JSON.
    pub fn check(&self, kind: DocumentKind, signers: &Signers<'_>) -> Result<Value, Problem> {
        if self.payload_type != kind.payload_type() {
            let message = format!("this is signed as `{}`, not as {}", printable(&self.payload_type), kind.as_str());
            return Err(Problem::new(Code::T006, message).help(AGAIN));
        }
        let payload = self.payload()?;
        self.count(kind, &payload, signers)?;
        read(&payload)
    }

    fn count(&self, kind: DocumentKind, payload: &[u8], signers: &Signers<'_>) -> Result<(), Problem> {
        let what = kind.as_str();
        if self.signatures.iter().all(|signature| signature.sig.is_empty()) {
            return Err(Problem::new(Code::T003, format!("nobody signed the {what}")).help(AGAIN));
        }
        let message = pae(&self.payload_type, payload);
        let mut good: Vec<&PublicKey> = Vec::new();
        let mut broken = false;
        for entry in &self.signatures {
            if entry.algo != ALGORITHM {
                let message = format!("`{}` is not a signature algorithm of this host", printable(&entry.algo));
                return Err(Problem::new(Code::T009, message).help(format!("sign with `{ALGORITHM}`")));
            }
            let keyid = Digest::parse(&entry.keyid).map_err(|_| {
                Problem::new(Code::T012, format!("`{}` is not a key id", printable(&entry.keyid)))
                    .help("it is `sha256:` and 64 lower-case hex digits")
            })?;
            let Some(key) = signers.keys.get(&keyid) else { continue };
            if !key.verifies(&message, &read_signature(&entry.sig)?) {
                broken = true;
            } else if !good.iter().any(|other| other.as_bytes() == key.as_bytes()) {
                good.push(key);
            }
        }
        if good.len() >= signers.threshold.max(1) {
            return Ok(());
        }
        let trusted: Vec<String> = signers.keys.keys().map(Digest::short).collect();
        Err(match (good.len(), broken) {
            (0, true) => Problem::new(Code::T006, format!("the signature of the {what} does not verify")).help(AGAIN),
            (0, false) => Problem::new(
                Code::T004,
                format!("the keys that signed the {what} may not; those that may: {}", trusted.join(", ")),
            )
            .help("get it from whoever holds one of those keys; `ice trust list` shows who may sign what"),
            (count, _) => {
                Problem::new(Code::T017, format!("{count} of {} needed keys signed the {what}", signers.threshold))
                    .help("ask the holders of the other keys to sign it too")
            }
        })
    }
}

fn read(payload: &[u8]) -> Result<Value, Problem> {
    parse_canonical(payload).map_err(|problem| match problem.code {
        Code::M001 => Problem::new(Code::T049, format!("this is no signed document: {}", problem.message)).help(AGAIN),
        _ => problem,
    })
}
