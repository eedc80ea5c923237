//! Where the next page begins: the score and name of the last hit, for this index and question only.
//!
//! Sealed with a key of whoever answers, so nobody can ask for a place that was never given out.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ice_core::id::Digest;
use ice_core::manifest::{canonical, check_name};
use ice_core::problem::{Code, Problem};
use serde_json::json;
use sha2::Sha256;

use super::Query;
use crate::files::{self, Guard};

const CONTEXT: &[u8] = b"iceos-search-cursor-v0\0";
const MAC_BYTES: usize = 32;
const NUMBER_BYTES: usize = 8;
const FIXED_BYTES: usize = MAC_BYTES + 2 * NUMBER_BYTES + 32;
/// Fixed part and a name, in base64.
const CURSOR_CHARS_MAX: usize = 512;

/// Seals cursors. Never printed.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey")
    }
}

impl CursorKey {
    /// A key that is kept elsewhere, so that several processes or a later one know it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key for as long as this process lives (C003).
    pub fn generate() -> Result<Self, Problem> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Problem::new(Code::C003, format!("the system gives no random numbers: {error}")))?;
        Ok(Self(bytes))
    }

    /// The key in this file, which is made when it is not there, so that the next process goes on with the same pages
    /// (T010, R004).
    pub fn kept_in(path: &Path) -> Result<Self, Problem> {
        let kept = files::read_guarded(path, Guard::Secret, 32)?.and_then(|bytes| bytes.try_into().ok());
        if let Some(bytes) = kept {
            return Ok(Self(bytes));
        }
        let key = Self::generate()?;
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
        }
        files::replace(path, &key.0)?;
        Ok(key)
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(CONTEXT);
        mac.update(bytes);
        mac
    }
}

/// The last hit of a page.
pub(super) struct Mark {
    pub(super) score: f64,
    pub(super) name: String,
}

impl Mark {
    /// MAC, index version, question, score, name.
    pub(super) fn write(&self, key: &CursorKey, index_version: u64, query: &Query) -> String {
        let mut bytes = index_version.to_be_bytes().to_vec();
        bytes.extend(question(query).as_bytes());
        bytes.extend(self.score.to_bits().to_be_bytes());
        bytes.extend(self.name.as_bytes());
        let mac = key.mac(&bytes).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([&mac[..], &bytes].concat())
    }

    /// R012 for another version of the index, C001 for everything else that is not this question's.
    pub(super) fn read(cursor: &str, key: &CursorKey, index_version: u64, query: &Query) -> Result<Self, Problem> {
        let refuse = || {
            Problem::new(Code::C001, "the cursor is not one that was given out for this question")
                .help("ask for the first page again, without a cursor")
        };
        if cursor.len() > CURSOR_CHARS_MAX {
            return Err(refuse());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refuse())?;
        if bytes.len() < FIXED_BYTES {
            return Err(refuse());
        }
        let (mac, body) = bytes.split_at(MAC_BYTES);
        key.mac(body).verify_slice(mac).map_err(|_| refuse())?;
        let (version, rest) = number(body);
        if version != index_version {
            let message = format!("the index has changed from version {version} to {index_version} between two pages");
            return Err(Problem::new(Code::R012, message).help("ask for the first page again, without a cursor"));
        }
        let (asked, rest) = rest.split_at(32);
        let (score, name) = number(rest);
        let name = std::str::from_utf8(name).map_err(|_| refuse())?;
        if asked != question(query).as_bytes() || check_name(name).is_err() {
            return Err(refuse());
        }
        Ok(Self { score: f64::from_bits(score), name: name.to_owned() })
    }

    /// Whether a hit comes after this one.
    pub(super) fn is_before(&self, score: f64, name: &str) -> bool {
        self.score.total_cmp(&score).reverse().then_with(|| self.name.as_str().cmp(name)).is_lt()
    }
}

/// The first eight bytes, of which the caller knows that they are there, and the rest.
fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let (number, rest) = bytes.split_at(NUMBER_BYTES);
    (number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest)
}

/// Everything that decides which hits there are. The size of a page may change between pages.
fn question(query: &Query) -> Digest {
    Digest::of(&canonical(&json!({
        "text": query.text, "kind": query.kind, "capability": query.capability, "scope": query.scope,
        "licence": query.licence, "host": query.host,
    })))
}
