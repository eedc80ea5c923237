//! OIDC ID tokens of build systems: JWS compact form, three algorithms, keys of a JWKS.
//!
//! What a token claims to be signed with is held against what its key is for. Times are judged by the caller.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ice_core::manifest::{UnixSeconds, parse_strict, printable};
use ice_core::problem::{Code, Problem};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

use super::Issuer;
use crate::keys::PublicKey;

/// Build systems' tokens have two to four KiB.
const JWT_CHARS_MAX: usize = 16 << 10;
const JWKS_BYTES_MAX: usize = 256 << 10;
const KEYS_MAX: usize = 64;

/// The signing keys of an issuer.
#[derive(Clone, Debug)]
pub struct Jwks(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    material: Material,
}

/// A public key, which decides the algorithm by itself.
#[derive(Clone, Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(PublicKey),
}

impl Material {
    /// The one `alg` that this key signs with. Nothing else is accepted: no `none`, no HMAC over a public key.
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Self::Ed25519(key) => signature.try_into().is_ok_and(|signature| key.verifies(message, signature)),
        }
    }
}

fn refuse(message: impl Into<String>) -> Problem {
    Problem::new(Code::R013, message).help("ask the build system for a new token")
}

impl Jwks {
    /// Reads `{"keys": [...]}` (C006). Keys of other kinds or uses are left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let refuse = |why: &str| {
            Problem::new(Code::C006, format!("the keys of an issuer cannot be read: {why}"))
                .help("they are at the `jwks_uri` of `<issuer>/.well-known/openid-configuration`")
        };
        if bytes.len() > JWKS_BYTES_MAX {
            return Err(refuse("they are too large"));
        }
        let document = parse_strict(bytes).map_err(|problem| refuse(&problem.message))?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or_else(|| refuse("there is no list `keys`"))?;
        if keys.len() > KEYS_MAX {
            return Err(refuse("there are too many"));
        }
        let keys: Vec<Key> = keys.iter().filter_map(read_key).collect();
        if keys.is_empty() {
            return Err(refuse("none is for RS256, ES256 or EdDSA"));
        }
        Ok(Self(keys))
    }
}

fn text<'a>(document: &'a Value, member: &str) -> Option<&'a str> {
    document.get(member).and_then(Value::as_str)
}

fn read_key(document: &Value) -> Option<Key> {
    let bytes = |member: &str| text(document, member).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let coordinate = |member: &str| bytes(member).filter(|bytes| bytes.len() == 32);
    let material = match (text(document, "kty")?, text(document, "crv")) {
        ("RSA", None) => Material::Rsa { n: bytes("n")?, e: bytes("e")? },
        ("EC", Some("P-256")) => Material::P256([&[4][..], &coordinate("x")?, &coordinate("y")?].concat()),
        ("OKP", Some("Ed25519")) => Material::Ed25519(PublicKey::from_bytes(&coordinate("x")?.try_into().ok()?).ok()?),
        _ => return None,
    };
    let fits = text(document, "use").is_none_or(|used| used == "sig")
        && text(document, "alg").is_none_or(|algorithm| algorithm == material.algorithm());
    fits.then(|| Key { id: text(document, "kid").map(str::to_owned), material })
}

/// What a verified token says of its build.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) issued: UnixSeconds,
    pub(super) expires: UnixSeconds,
    pub(super) not_before: Option<UnixSeconds>,
    pub(super) repository: String,
    pub(super) repository_id: Option<String>,
    pub(super) environment: Option<String>,
    workflow_ref: Option<String>,
}

impl Identity {
    /// Whether the build ran this workflow file of its own repository: `acme/csv/.github/workflows/release.yml@…`.
    pub(super) fn is_workflow(&self, file: &str) -> bool {
        let path = self.workflow_ref.as_ref().and_then(|text| text.split_once('@')).map(|(path, _)| path);
        let own = path.and_then(|path| path.strip_prefix(&format!("{}/", self.repository)));
        !file.contains('/') && own.and_then(|path| path.rsplit_once('/')).is_some_and(|(_, name)| name == file)
    }
}

/// Checks the signature of a token under a key of the issuer that it names, and reads it (R013).
pub(super) fn verify(token: &str, issuers: &[Issuer]) -> Result<Identity, Problem> {
    if token.len() > JWT_CHARS_MAX {
        return Err(refuse("the build's token is too long"));
    }
    let form = || refuse("the build's token is not a signed JWT");
    let (message, signature) = token.rsplit_once('.').ok_or_else(form)?;
    let (header, payload) = message.split_once('.').ok_or_else(form)?;
    let part = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| form())?;
        parse_strict(&bytes).map_err(|_| form())
    };
    let (header, claims) = (part(header)?, part(payload)?);
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| form())?;
    // Read before it is believed, and only to choose among keys that are believed.
    let issuer = text(&claims, "iss").ok_or_else(form)?;
    let known = issuers.iter().find(|known| known.url == issuer).ok_or_else(|| {
        Problem::new(Code::R013, format!("`{}` is not a believed issuer of build tokens", printable(issuer)))
            .help("the operator of this market adds issuers")
    })?;
    let key = choose(&known.keys, &header)?;
    if !key.material.verifies(message.as_bytes(), &signature) {
        return Err(refuse("the signature of the build's token does not verify"));
    }
    read(&claims).ok_or_else(|| refuse("the build's token lacks `aud`, `iat`, `exp` or `repository`"))
}

fn choose<'a>(keys: &'a Jwks, header: &Value) -> Result<&'a Key, Problem> {
    if header.get("crit").is_some() {
        return Err(refuse("the build's token needs an extension that is not known here"));
    }
    let algorithm = text(header, "alg").unwrap_or_default();
    let id = text(header, "kid");
    let fits = |key: &&Key| key.material.algorithm() == algorithm && (id.is_none() || key.id.as_deref() == id);
    let mut fitting = keys.0.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key),
        _ => Err(refuse(format!("no single key of the issuer is for `{}` and this key id", printable(algorithm)))),
    }
}

fn read(claims: &Value) -> Option<Identity> {
    let owned = |member: &str| text(claims, member).map(str::to_owned);
    let audiences = match claims.get("aud")? {
        Value::String(audience) => vec![audience.clone()],
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        _ => return None,
    };
    let not_before = match claims.get("nbf") {
        Some(moment) => Some(moment.as_u64()?),
        None => None,
    };
    Some(Identity {
        issuer: owned("iss")?,
        audiences,
        issued: claims.get("iat")?.as_u64()?,
        expires: claims.get("exp")?.as_u64()?,
        not_before,
        repository: owned("repository").filter(|repository| !repository.is_empty())?,
        repository_id: owned("repository_id"),
        environment: owned("environment"),
        workflow_ref: owned("workflow_ref"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, appendix A.2: a signed JWT and its key.
    const RFC_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const RFC_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

    #[test]
    fn the_rs256_example_of_rfc_7515_verifies_and_no_changed_byte_of_it_does() {
        let jwks = format!(r#"{{"keys":[{{"kty":"RSA","n":"{RFC_N}","e":"AQAB"}}]}}"#);
        let keys = Jwks::parse(jwks.as_bytes()).unwrap();
        let (message, signature) = RFC_TOKEN.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let material = &keys.0[0].material;
        assert!(material.verifies(message.as_bytes(), &signature));
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!material.verifies(message.as_bytes(), &changed), "byte {at}");
        }
        // Signed well, and still no token of a build: it says neither for whom nor of what.
        let issuers = [Issuer { url: "joe".to_owned(), keys }];
        assert!(verify(RFC_TOKEN, &issuers).unwrap_err().message.contains("lacks"));
    }
}
