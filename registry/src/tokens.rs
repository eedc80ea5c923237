//! Publishing without a stored secret: an OIDC token of a build is exchanged for a token that publishes one name for
//! fifteen minutes. As the crate registry and PyPI do.
//!
//! Keeps nothing: whoever serves this remembers [`Claims::proof`] for an hour when a build may exchange only once. Keys
//! of issuers are handed in; fetching them is not done here. RS256 and ES256 are ring's, EdDSA is [`PublicKey`]'s;
//! `jsonwebtoken` reads the clock itself, and its pure-Rust backend brings an RSA with known timing leaks.
//!
//! [`PublicKey`]: crate::keys::PublicKey

mod jwt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, canonical, check_name, parse_strict, print_date, printable};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use jwt::Identity;
pub use jwt::Jwks;

/// A token that leaks from a log is worth nothing by the time it is read.
pub const TOKEN_SECONDS: u64 = 15 * 60;
/// What a build's own token may live at most.
const OIDC_SECONDS_MAX: u64 = 60 * 60;
/// Clocks of good machines differ by less.
const CLOCK_SLACK_SECONDS: u64 = 60;
/// A token is a header line.
const TOKEN_CHARS_MAX: usize = 2048;
/// Finds tokens in what somebody pasted: secret scanners look for prefixes.
const TOKEN_PREFIX: &str = "icepub_";
const CONTEXT: &[u8] = b"iceos-publish-token-v0\0";
const KEY_BYTES_MIN: usize = 32;

/// Who may publish a name from where. Written by the owner of the name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TrustedPublisher {
    /// `scope/name`, or `scope/*`.
    pub name: String,
    /// Exactly the `iss` of the build's token, such as `https://token.actions.githubusercontent.com`.
    pub issuer: String,
    /// Exactly its `repository`, such as `acme/csv`.
    pub repository: String,
    /// Its `repository_id`, which a new repository under the old name does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_id: Option<String>,
    /// File name of the workflow, such as `release.yml`; every one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Its `environment`; every one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// An issuer of build tokens with its keys.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Exactly its `iss`.
    pub url: String,
    /// As its `jwks_uri` gave them.
    pub keys: Jwks,
}

/// What an exchange depends on.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The `aud` that a token must have been made for: this market.
    pub audience: &'a str,
    /// Issuers that are believed.
    pub issuers: &'a [Issuer],
    /// Who may publish what.
    pub publishers: &'a [TrustedPublisher],
    /// Seals the tokens.
    pub key: &'a MarketKey,
}

/// Seals publish tokens. Never printed.
#[derive(Clone)]
pub struct MarketKey(Vec<u8>);

impl std::fmt::Debug for MarketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MarketKey")
    }
}

impl MarketKey {
    /// A key of at least 32 random bytes (T025).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.len() < KEY_BYTES_MIN {
            let message = format!("a key for publish tokens has at least {KEY_BYTES_MIN} bytes");
            return Err(Problem::new(Code::T025, message).help("make one: `openssl rand -out tokens.key 32`"));
        }
        Ok(Self(bytes.to_vec()))
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(CONTEXT);
        mac.update(payload);
        mac
    }
}

/// What a publish token says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// `publish:scope/name`: the one thing it is for.
    pub scope: String,
    /// The repository whose build it was given to.
    pub repository: String,
    /// When it was given.
    pub issued: UnixSeconds,
    /// Not to be taken from this second on.
    pub expires: UnixSeconds,
    /// SHA-256 of the build's token that it was exchanged for.
    pub proof: Digest,
}

/// A publish token. Shown once, by [`Token::reveal`]; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    claims: Claims,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({})", self.claims.scope)
    }
}

impl Token {
    /// The text to send. A secret.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What it says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// Gives a token to publish exactly `name` to the build that `oidc` speaks for. R013 when the build's token is not
/// valid now, not for this market, or of a build that may not publish this name; T018 when `name` is none.
pub fn exchange(oidc: &str, name: &str, exchange: &Exchange<'_>, now: UnixSeconds) -> Result<Token, Problem> {
    check_name(name)?;
    let identity = jwt::verify(oidc, exchange.issuers)?;
    check_times(&identity, now)?;
    if !identity.audiences.iter().any(|audience| audience == exchange.audience) {
        return Err(refuse("the build's token was made for somebody else")
            .help(format!("ask the build system for a token with audience `{}`", printable(exchange.audience))));
    }
    if !exchange.publishers.iter().any(|publisher| publisher.covers(name, &identity)) {
        let message = format!("builds of `{}` may not publish `{name}`", printable(&identity.repository));
        return Err(refuse(&message).help("the owner of the name adds issuer, repository and workflow as a publisher"));
    }
    let claims = Claims {
        scope: format!("publish:{name}"),
        repository: identity.repository,
        issued: now,
        expires: now.saturating_add(TOKEN_SECONDS),
        proof: Digest::of(oidc.as_bytes()),
    };
    let payload = canonical(&serde_json::to_value(&claims).expect("claims have only string keys"));
    let mac = exchange.key.mac(&payload).finalize().into_bytes();
    let text = format!("{TOKEN_PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(mac));
    Ok(Token { text, claims })
}

/// Whether `token` may publish `name` now: R013 for another name, after fifteen minutes, and for any changed byte.
pub fn check(token: &str, name: &str, key: &MarketKey, now: UnixSeconds) -> Result<Claims, Problem> {
    let broken = || refuse("the publish token is not one of this market").help("exchange the build's token again");
    if token.len() > TOKEN_CHARS_MAX {
        return Err(broken());
    }
    let (payload, mac) = token.strip_prefix(TOKEN_PREFIX).and_then(|text| text.split_once('.')).ok_or_else(broken)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| broken())?;
    let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| broken())?;
    key.mac(&payload).verify_slice(&mac).map_err(|_| broken())?;
    let document = parse_strict(&payload).map_err(|_| broken())?;
    let claims: Claims = serde_json::from_value(document).map_err(|_| broken())?;
    if now >= claims.expires || now.saturating_add(CLOCK_SLACK_SECONDS) < claims.issued {
        let message = format!("the publish token was good until {}", print_date(claims.expires));
        return Err(refuse(&message).help("exchange the build's token again"));
    }
    if claims.scope != format!("publish:{name}") {
        let message = format!("the publish token is for `{}`, not for `{}`", claims.scope, printable(name));
        return Err(refuse(&message).help("exchange a token for every name that is published"));
    }
    Ok(claims)
}

fn refuse(message: &str) -> Problem {
    Problem::new(Code::R013, message)
}

fn check_times(identity: &Identity, now: UnixSeconds) -> Result<(), Problem> {
    let latest = now.saturating_add(CLOCK_SLACK_SECONDS);
    let begun = identity.issued <= latest && identity.not_before.is_none_or(|begin| begin <= latest);
    let lifetime = identity.expires.checked_sub(identity.issued);
    if now < identity.expires && begun && lifetime.is_some_and(|lifetime| lifetime <= OIDC_SECONDS_MAX) {
        return Ok(());
    }
    Err(refuse("the build's token is not valid now, or for longer than an hour").help("ask for one right before use"))
}

impl TrustedPublisher {
    fn covers(&self, name: &str, identity: &Identity) -> bool {
        let named = match self.name.strip_suffix('*') {
            // Like a scope of the trust policy: `acme*` would hold `acme2/x` too.
            Some(prefix) => prefix.contains('/') && name.starts_with(prefix),
            None => self.name == name,
        };
        let is = |wanted: &Option<String>, got: &Option<String>| wanted.is_none() || wanted == got;
        named
            && self.issuer == identity.issuer
            && self.repository == identity.repository
            && is(&self.repository_id, &identity.repository_id)
            && is(&self.environment, &identity.environment)
            && self.workflow.as_ref().is_none_or(|workflow| identity.is_workflow(workflow))
    }
}
