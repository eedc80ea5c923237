//! Keys: ed25519, PEM, and the id that names one. Who is believed for what is in [`trust`](crate::trust).

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};

use crate::files::{self, Guard};

/// `SubjectPublicKeyInfo` of an ed25519 key up to its 32 bytes (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// `OneAsymmetricKey` version 1 of an ed25519 key up to its 32-byte seed (RFC 8410, section 7). Version 2, which adds
/// the public key, is refused by several OpenSSL releases.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A PEM file with one key has a few hundred bytes.
const PEM_BYTES_MAX: u64 = 16 << 10;

/// A key that signatures are checked with.
// Invariant: not of small order, and in its canonical encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    key: VerifyingKey,
    id: Digest,
}

impl PublicKey {
    /// Reads the 32 bytes; T005 for a key of small order or in a second spelling, T025 when they are no point.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Problem> {
        let key = VerifyingKey::from_bytes(bytes)
            .map_err(|_| Problem::new(Code::T025, "these 32 bytes are not an ed25519 public key"))?;
        if key.is_weak() || key.to_edwards().compress().to_bytes() != *bytes {
            let message = "this public key is weak: signatures that fit it can be made without a private key";
            return Err(Problem::new(Code::T005, message).help("ask the publisher for another key"));
        }
        let id = Digest::of(&[&SPKI_PREFIX[..], bytes].concat());
        Ok(Self { key, id })
    }

    /// Reads a SPKI PEM text (T025, T005).
    pub fn from_pem(pem: &str) -> Result<Self, Problem> {
        let key = VerifyingKey::from_public_key_pem(pem.trim()).map_err(|_| {
            Problem::new(Code::T025, "this is not an ed25519 public key in PEM form")
                .help("it begins with `-----BEGIN PUBLIC KEY-----`; `ice keys generate` writes one")
        })?;
        Self::from_bytes(key.as_bytes())
    }

    /// Reads a PEM file, whoever it belongs to: it is believed only once it is in the trust store.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let metadata = std::fs::metadata(path).map_err(|error| files::io_problem(Code::C002, "read", path, &error))?;
        if !metadata.is_file() || metadata.len() > PEM_BYTES_MAX {
            return Err(Problem::new(Code::T025, format!("`{}` is not a key file", path.display())));
        }
        let text =
            std::fs::read_to_string(path).map_err(|error| files::io_problem(Code::C002, "read", path, &error))?;
        Self::from_pem(&text).map_err(|problem| problem.file(path.display().to_string()))
    }

    /// The SPKI PEM text.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[&SPKI_PREFIX[..], self.key.as_bytes()].concat())
    }

    /// SHA-256 of the SPKI DER: what envelopes and policies call this key.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature` is this key's over `message`. Strict: no small-order points, no second spelling of S.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// A key that signs. Prints as its public half.
pub struct PrivateKey {
    key: SigningKey,
    public: PublicKey,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.public.id)
    }
}

impl PrivateKey {
    /// Makes a key from the system's random numbers.
    pub fn generate() -> Result<Self, Problem> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| Problem::new(Code::T025, format!("the system gives no random numbers: {error}")))?;
        Self::from_seed(&seed)
    }

    /// The key of a 32-byte seed (RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, Problem> {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey::from_bytes(key.verifying_key().as_bytes())?;
        Ok(Self { key, public })
    }

    /// Reads a PKCS#8 PEM text (T025).
    pub fn from_pem(pem: &str) -> Result<Self, Problem> {
        let key = SigningKey::from_pkcs8_pem(pem.trim()).map_err(|_| {
            Problem::new(Code::T025, "this is not an ed25519 private key in PEM form")
                .help("it begins with `-----BEGIN PRIVATE KEY-----`; `ice keys generate` writes one")
        })?;
        Self::from_seed(key.as_bytes())
    }

    /// Reads a PKCS#8 PEM file that only this user can read (T010, T025).
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let bytes = files::read_guarded(path, Guard::Secret, PEM_BYTES_MAX)?.ok_or_else(|| {
            Problem::new(Code::C002, format!("there is no key at `{}`", path.display()))
                .help(format!("make one: `ice keys generate --out {}`", path.display()))
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Problem::new(Code::T025, format!("`{}` is not a text", path.display())))?;
        Self::from_pem(&text).map_err(|problem| problem.file(path.display().to_string()))
    }

    /// Writes a PKCS#8 PEM file of mode 0600. Never replaces a file: a lost key cannot be made again.
    pub fn write_new(&self, path: &Path) -> Result<(), Problem> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            files::make_folder(folder)?;
        }
        let text = pem("PRIVATE KEY", &[&PKCS8_PREFIX[..], self.key.as_bytes()].concat());
        let mut file = files::create_new(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                return Problem::new(Code::R003, format!("`{}` exists already", path.display()))
                    .help("choose another file name, or move the old key away");
            }
            files::io_problem(Code::C002, "write", path, &error)
        })?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| files::io_problem(Code::C002, "write", path, &error))
    }

    /// The half that others check with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message` itself; callers frame it first.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

/// RFC 7468: 64 columns of base64 between two lines.
fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
