//! Row 42, and everything else a publish token is not good for. Builds' tokens are signed here, with keys made here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ice_core::problem::Problem;
use ice_registry::PrivateKey;
use ice_registry::tokens::{
    Exchange, Issuer, Jwks, MarketKey, TOKEN_SECONDS, Token, TrustedPublisher, check, exchange,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::table::Row;
use crate::world::NOW;

const ISSUER: &str = "https://token.builds.example";
const AUDIENCE: &str = "registry.example";

type Sign = dyn Fn(&[u8]) -> Vec<u8>;

/// A key of an issuer, and how it signs.
struct Signer {
    jwk: Value,
    algorithm: &'static str,
    sign: Box<Sign>,
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn p256(id: &str) -> Signer {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let point = key.public_key().as_ref().to_vec();
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": id, "x": text(&point[1..33]), "y": text(&point[33..])});
    let sign = move |message: &[u8]| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    Signer { jwk, algorithm: "ES256", sign: Box::new(sign) }
}

fn ed25519(id: &str) -> Signer {
    let key = PrivateKey::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": text(key.public().as_bytes())});
    Signer { jwk, algorithm: "EdDSA", sign: Box::new(move |message| key.sign(message).to_vec()) }
}

fn rsa(id: &str) -> Signer {
    let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "DER"];
    let made = std::process::Command::new("openssl").args(arguments).output().expect("openssl makes an RSA key");
    // Releases of OpenSSL differ in which of the two forms this is.
    let key = RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout)).unwrap();
    let public = ring::signature::RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
    let jwk =
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": text(&public.n), "e": text(&public.e)});
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    Signer { jwk, algorithm: "RS256", sign: Box::new(sign) }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "repo:acme/csv:environment:release", "jti": "1",
        "iat": NOW - 5, "nbf": NOW - 5, "exp": NOW + 300,
        "repository": "acme/csv", "repository_id": "74", "environment": "release",
        "workflow_ref": "acme/csv/.github/workflows/release.yml@refs/tags/v1",
    })
}

fn jwt(signer: &Signer, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()));
    format!("{message}.{}", text(&(signer.sign)(message.as_bytes())))
}

fn header(signer: &Signer) -> Value {
    json!({"typ": "JWT", "alg": signer.algorithm, "kid": signer.jwk["kid"]})
}

fn issuers(signers: &[&Signer]) -> Vec<Issuer> {
    let keys: Vec<&Value> = signers.iter().map(|signer| &signer.jwk).collect();
    vec![Issuer { url: ISSUER.to_owned(), keys: Jwks::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap() }]
}

fn publisher() -> TrustedPublisher {
    TrustedPublisher {
        name: "acme/a".to_owned(),
        issuer: ISSUER.to_owned(),
        repository: "acme/csv".to_owned(),
        repository_id: None,
        workflow: Some("release.yml".to_owned()),
        environment: Some("release".to_owned()),
    }
}

fn market_key() -> MarketKey {
    MarketKey::from_bytes(&[9; 32]).unwrap()
}

fn exchanged(oidc: &str, name: &str, issuers: &[Issuer], publishers: &[TrustedPublisher]) -> Result<Token, Problem> {
    let key = market_key();
    exchange(oidc, name, &Exchange { audience: AUDIENCE, issuers, publishers, key: &key }, NOW)
}

fn token() -> Token {
    let signer = ed25519("k");
    exchanged(&jwt(&signer, &header(&signer), &claims()), "acme/a", &issuers(&[&signer]), &[publisher()]).unwrap()
}

#[test]
fn a_build_of_each_algorithm_gets_a_token_for_its_name() {
    let (one, two, three) = (rsa("1"), p256("2"), ed25519("3"));
    let issuers = issuers(&[&one, &two, &three]);
    for signer in [&one, &two, &three] {
        let oidc = jwt(signer, &header(signer), &claims());
        let token = exchanged(&oidc, "acme/a", &issuers, &[publisher()]).unwrap();
        let claims = check(token.reveal(), "acme/a", &market_key(), NOW + TOKEN_SECONDS - 1).unwrap();
        assert_eq!((claims.scope.as_str(), claims.repository.as_str()), ("publish:acme/a", "acme/csv"));
        assert_eq!(&claims, token.claims());
        let shown = format!("{token:?} {:?}", market_key());
        assert_eq!(shown, "Token(publish:acme/a) MarketKey");
    }
}

/// Name it is used for, key of the market, second.
type Use = (&'static str, [u8; 32], u64);

/// Attack, how the token is used.
const MISUSES: &[(&str, Use)] = &[
    ("a token for acme/a publishes acme/b", ("acme/b", [9; 32], NOW)),
    ("a token for acme/a publishes a name that begins alike", ("acme/", [9; 32], NOW)),
    ("a token after fifteen minutes", ("acme/a", [9; 32], NOW + TOKEN_SECONDS)),
    ("a token on the next day", ("acme/a", [9; 32], NOW + 86_400)),
    ("a token under a clock moved back", ("acme/a", [9; 32], NOW - 86_400)),
    ("a token of another market", ("acme/a", [8; 32], NOW)),
];

/// Row 42 of the table.
pub(super) fn rows() -> impl Iterator<Item = Row> {
    MISUSES.iter().map(|&(attack, (name, key, now))| {
        Row::refused((42, attack, "E_TOKEN"), move || {
            let token = token();
            check(token.reveal(), "acme/a", &market_key(), NOW + TOKEN_SECONDS - 1).unwrap();
            let problem = check(token.reveal(), name, &MarketKey::from_bytes(&key).unwrap(), now).unwrap_err();
            assert_eq!(problem.code.http(), 403);
            assert!(!problem.to_string().contains(token.reveal()), "{problem}");
            problem
        })
    })
}

#[test]
fn no_changed_character_of_a_token_is_accepted() {
    let (token, key) = (token(), market_key());
    for at in 0..token.reveal().len() {
        for other in [b'A', b'b', b'.', b'='] {
            let mut bytes = token.reveal().as_bytes().to_vec();
            if bytes[at] != other {
                bytes[at] = other;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(check(&changed, "acme/a", &key, NOW).is_err(), "character {at} as {}", char::from(other));
            }
        }
    }
    for text in ["", "icepub_", "icepub_.", "icepub_e30.", &"x".repeat(5000)] {
        assert_eq!(check(text, "acme/a", &key, NOW).unwrap_err().code.name(), "E_TOKEN", "{text}");
    }
}

type Change = fn(&mut Value);

#[test]
fn a_build_that_is_not_the_named_one_gets_nothing() {
    let signer = p256("k");
    let issuers = issuers(&[&signer]);
    let cases: &[(&str, Change)] = &[
        ("made for somebody else", |claims| claims["aud"] = json!("pypi")),
        ("no audience", |claims| claims["aud"] = json!([])),
        ("another repository", |claims| claims["repository"] = json!("acme/fork")),
        ("another environment", |claims| claims["environment"] = json!("test")),
        ("no environment", |claims| claims["environment"] = json!(null)),
        ("another workflow", |c| c["workflow_ref"] = json!("acme/csv/.github/workflows/test.yml@refs/heads/main")),
        ("the workflow of another repository", |claims| {
            claims["workflow_ref"] = json!("evil/x/.github/workflows/release.yml@refs/heads/main");
        }),
        ("a branch named like the workflow", |claims| {
            claims["workflow_ref"] = json!("acme/csv/.github/workflows/test.yml@refs/heads/x/release.yml");
        }),
        ("an issuer that is not believed", |claims| claims["iss"] = json!("https://token.evil.example")),
        ("out of date", |claims| claims["exp"] = json!(NOW)),
        ("not yet begun", |claims| claims["nbf"] = json!(NOW + 3600)),
        ("issued in the future", |claims| {
            claims["iat"] = json!(NOW + 3600);
            claims["exp"] = json!(NOW + 3700);
        }),
        ("good for a year", |claims| claims["exp"] = json!(NOW + 31_536_000)),
        ("never expires", |claims| {
            claims.as_object_mut().unwrap().remove("exp");
        }),
        ("an `exp` that is a text", |claims| claims["exp"] = json!("2030")),
    ];
    for (what, change) in cases {
        let mut claims = claims();
        change(&mut claims);
        let refused = exchanged(&jwt(&signer, &header(&signer), &claims), "acme/a", &issuers, &[publisher()]);
        assert_eq!(refused.expect_err(what).code.name(), "E_TOKEN", "{what}");
    }
    let oidc = jwt(&signer, &header(&signer), &claims());
    for name in ["acme/b", "acme/aa", "other/a"] {
        assert_eq!(exchanged(&oidc, name, &issuers, &[publisher()]).unwrap_err().code.name(), "E_TOKEN", "{name}");
    }
    assert_eq!(exchanged(&oidc, "acme/*", &issuers, &[publisher()]).unwrap_err().code.name(), "E_NAME_FORM");
}

#[test]
fn patterns_hold_whole_scopes_and_a_repository_made_anew_is_another_one() {
    let signer = p256("k");
    let issuers = issuers(&[&signer]);
    let oidc = jwt(&signer, &header(&signer), &claims());
    let with = |name: &str, id: Option<&str>| TrustedPublisher {
        name: name.to_owned(),
        repository_id: id.map(str::to_owned),
        ..publisher()
    };
    for (pattern, name, id, good) in [
        ("acme/*", "acme/b", None, true),
        ("acme/*", "acme2/b", None, false),
        ("acme*", "acme2/b", None, false),
        ("*", "acme/b", None, false),
        ("acme/b*", "acme/bc", Some("74"), true),
        ("acme/a", "acme/a", Some("75"), false),
    ] {
        let got = exchanged(&oidc, name, &issuers, &[with(pattern, id)]);
        assert_eq!(got.is_ok(), good, "{pattern} {name} {id:?}");
    }
    let mut array = claims();
    array["aud"] = json!(["other", AUDIENCE]);
    assert!(exchanged(&jwt(&signer, &header(&signer), &array), "acme/a", &issuers, &[publisher()]).is_ok());
}

#[test]
fn what_a_token_says_about_its_own_signature_is_not_believed() {
    let (signer, other) = (p256("k"), p256("k"));
    let issuers = issuers(&[&signer]);
    let refused = |oidc: &str| {
        let problem = exchanged(oidc, "acme/a", &issuers, &[publisher()]).unwrap_err();
        assert_eq!(problem.code.name(), "E_TOKEN");
        assert!(!problem.to_string().contains(oidc) || oidc.is_empty(), "{problem}");
    };
    for header in [
        json!({"alg": "none", "kid": "k"}),
        json!({"alg": "HS256", "kid": "k"}),
        json!({"alg": "RS256", "kid": "k"}),
        json!({"alg": "EdDSA", "kid": "k"}),
        json!({"alg": "es256", "kid": "k"}),
        json!({"alg": "ES256", "kid": "another"}),
        json!({"alg": "ES256", "kid": "k", "crit": ["b64"], "b64": false}),
        json!({"kid": "k"}),
    ] {
        refused(&jwt(&signer, &header, &claims()));
    }
    refused(&jwt(&other, &header(&signer), &claims()));
    let mut carried = header(&signer);
    carried["jwk"] = other.jwk.clone();
    refused(&jwt(&other, &carried, &claims()));
    let good = jwt(&signer, &header(&signer), &claims());
    for oidc in ["", ".", "..", "a.b", "a.b.c", "e30.e30.e30", &good[..good.len() - 4], &good.replacen('.', "..", 1)] {
        refused(oidc);
    }
    let unsigned = good.rsplit_once('.').unwrap().0;
    refused(&format!("{unsigned}."));
    refused(&"x".repeat(20_000));
    // Two members of one name: whoever reads the first and whoever reads the last would differ.
    let twice = claims()
        .to_string()
        .replacen('{', r#"{"repository":"acme/csv","#, 1)
        .replace(r#""acme/csv","repository_id"#, r#""evil/x","repository_id"#);
    let message = format!("{}.{}", text(header(&signer).to_string().as_bytes()), text(twice.as_bytes()));
    refused(&format!("{message}.{}", text(&(signer.sign)(message.as_bytes()))));
}

#[test]
fn no_changed_character_of_a_builds_token_is_accepted() {
    let signer = ed25519("k");
    let issuers = issuers(&[&signer]);
    let good = jwt(&signer, &header(&signer), &claims());
    assert!(exchanged(&good, "acme/a", &issuers, &[publisher()]).is_ok());
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(exchanged(&changed, "acme/a", &issuers, &[publisher()]).is_err(), "character {at}");
    }
}

#[test]
fn keys_of_an_issuer_that_are_none_are_refused() {
    let weak =
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": text(&crate::attacks::weak_point())}]}).to_string();
    let encryption = json!({"keys": [{"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}]}).to_string();
    let secret = json!({"keys": [{"kty": "oct", "k": "AQAB"}]}).to_string();
    for keys in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{}]}"#, &weak, &encryption, &secret] {
        assert_eq!(Jwks::parse(keys.as_bytes()).unwrap_err().code.name(), "E_CONFIG", "{keys}");
    }
    assert_eq!(MarketKey::from_bytes(&[0; 31]).unwrap_err().code.name(), "E_KEY");
}
