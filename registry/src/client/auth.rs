//! How a login becomes an `Authorization`: challenge, realm rule, token exchange.
//!
//! A registry names the place that a password is sent to, so that place is judged before anything is sent: https on the
//! registry's own host, or a URL listed in `registries.toml`. Tokens live in memory only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use bytes::Bytes;
use ice_core::manifest::printable;
use ice_core::problem::{Code, Problem};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::credentials::Login;
use super::transport::{Authorization, Call, Transport, body, trouble};
use super::trouble::{Trouble, login_help, login_refused, place, protocol};

/// A token is a few kilobytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// Forgotten together when there are more, and asked for again.
const TOKENS_MAX: usize = 1024;
/// As registries know it from other clients.
const CLIENT_ID: &str = "ice";

/// What a request is going to do, as a registry counts it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Scopes(pub(super) Vec<String>);

impl Scopes {
    pub(super) fn pull(path: &str) -> Self {
        Self(vec![format!("repository:{path}:pull")])
    }

    pub(super) fn push(path: &str) -> Self {
        Self(vec![format!("repository:{path}:pull,push")])
    }

    pub(super) fn and_pull(mut self, path: &str) -> Self {
        self.0.push(format!("repository:{path}:pull"));
        self
    }
}

/// What earlier exchanges gave, by host and scopes.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<(String, Scopes), Authorization>>);

impl Tokens {
    pub(super) fn get(&self, host: &str, scopes: &Scopes) -> Option<Authorization> {
        self.lock().get(&(host.to_owned(), scopes.clone())).cloned()
    }

    pub(super) fn keep(&self, host: &str, scopes: &Scopes, authorization: Authorization) {
        let mut tokens = self.lock();
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert((host.to_owned(), scopes.clone()), authorization);
    }

    pub(super) fn forget(&self, host: &str, scopes: &Scopes) {
        self.lock().remove(&(host.to_owned(), scopes.clone()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Scopes), Authorization>> {
        // A map of finished entries is whole even where its holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a registry wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// A token before a password, whatever the order they are named in.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for header in headers.get_all(WWW_AUTHENTICATE) {
            let challenges = header.to_str().ok().and_then(|text| http_auth::parse_challenges(text).ok());
            for challenge in challenges.unwrap_or_default() {
                let named = |name: &str| {
                    let parameter = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    parameter.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = named("realm")
                {
                    return Some(Self::Bearer { realm, service: named("service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// What an exchange needs to know about its registry.
pub(super) struct Asked<'a> {
    /// Of the registry.
    pub(super) base: &'a Url,
    /// From `registries.toml`.
    pub(super) realms: &'a [String],
    pub(super) scopes: &'a Scopes,
    pub(super) login: Option<&'a Login>,
}

/// Answers a challenge. R008 for a realm that may not see a login, R007 when there is none or it is refused.
pub(super) async fn answer(
    transport: &Transport,
    asked: &Asked<'_>,
    challenge: &Challenge,
) -> Result<Authorization, Trouble> {
    let value = match challenge {
        Challenge::Basic => match asked.login {
            Some(Login::Password { user, password }) => basic(user, password)?,
            Some(Login::IdentityToken(_)) | None => return Err(no_login(asked.base).into()),
        },
        Challenge::Bearer { realm, service } => {
            let realm = check_realm(asked, realm)?;
            exchange(transport, asked, &realm, service.as_deref()).await?
        }
    };
    Ok(Authorization { origin: asked.base.origin(), value })
}

/// The realm rule, before anything is sent, with a login or without.
fn check_realm(asked: &Asked<'_>, realm: &str) -> Result<Url, Problem> {
    let Ok(url) = Url::parse(realm) else {
        return Err(protocol(asked.base, "names a realm that is no URL"));
    };
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    let own = match asked.base.scheme() {
        "https" => url.scheme() == "https" && url.host() == asked.base.host(),
        _ => url.origin() == asked.base.origin(),
    };
    let no_login = url.username().is_empty() && url.password().is_none();
    if no_login && (own || asked.realms.iter().any(|listed| *listed == bare.as_str())) {
        return Ok(url);
    }
    let host = place(asked.base);
    let message = format!("`{}` wants its login sent to `{}`", host.trim_end_matches('/'), place(&bare));
    Err(Problem::new(Code::R008, message).help(
        "it is neither https on the registry's own host nor listed in its `realms` in `registries.toml`; \
         list it there only when the operator of the registry names it",
    ))
}

async fn exchange(
    transport: &Transport,
    asked: &Asked<'_>,
    realm: &Url,
    service: Option<&str>,
) -> Result<HeaderValue, Trouble> {
    let mut call = match asked.login {
        Some(Login::IdentityToken(token)) => refresh(realm, service, &asked.scopes.0.join(" "), token),
        _ => {
            let mut url = realm.clone();
            let mut query = url.query_pairs_mut();
            query.extend_pairs(service.map(|service| ("service", service)));
            query.extend_pairs(asked.scopes.0.iter().map(|scope| ("scope", scope)));
            drop(query);
            Call::new(Method::GET, url)
        }
    };
    if let Some(Login::Password { user, password }) = asked.login {
        call.headers.insert(reqwest::header::AUTHORIZATION, basic(user, password)?);
    }
    let response = transport.send_once(&call).await?;
    if response.status() == StatusCode::UNAUTHORIZED || response.status() == StatusCode::FORBIDDEN {
        return Err(match asked.login {
            Some(_) => login_refused(asked.base),
            None => no_login(asked.base),
        }
        .into());
    }
    if response.status() != StatusCode::OK {
        return Err(trouble(response).await);
    }
    let bytes = body(response, "a token", TOKEN_BYTES_MAX).await?;
    token(&bytes).ok_or_else(|| protocol(realm, "answers with something that is no token").into())
}

/// The exchange of a token that docker keeps in the place of a password.
fn refresh(realm: &Url, service: Option<&str>, scopes: &str, token: &str) -> Call {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("scope", scopes)])
        .extend_pairs(service.map(|service| ("service", service)))
        .append_pair("refresh_token", token)
        .finish();
    Call::new(Method::POST, realm.clone())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
        .body(Bytes::from(form))
}

fn token(bytes: &[u8]) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty())?;
    secret(&format!("Bearer {token}"))
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, Problem> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    secret(&format!("Basic {pair}")).ok_or_else(|| Problem::new(Code::R007, "a login is too long for a header"))
}

/// Marked, so that nothing prints it.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(super) fn no_login(base: &Url) -> Problem {
    let host = place(base);
    Problem::new(
        Code::R007,
        format!("`{}` wants a login, and none is known for it", printable(host.trim_end_matches('/'))),
    )
    .help(login_help(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        Challenge::read(&headers)
    }

    #[test]
    fn a_token_is_preferred_and_nonsense_is_nothing() {
        let bearer =
            Challenge::Bearer { realm: "https://a.example/t".to_owned(), service: Some("r.example".to_owned()) };
        let text = "Bearer realm=\"https://a.example/t\",service=\"r.example\",scope=\"repository:x:pull\"";
        assert_eq!(read(&[text]), Some(bearer.clone()));
        assert_eq!(read(&["Basic realm=\"x\"", text]), Some(bearer.clone()));
        assert_eq!(read(&[&format!("basic realm=\"x\", {text}")]), Some(bearer));
        assert_eq!(read(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        for nonsense in ["", "Negotiate", "Bearer service=\"x\"", "Bearer realm=", "\"", "Digest realm=\"x\""] {
            assert_eq!(read(&[nonsense]), None, "{nonsense}");
        }
    }

    #[test]
    fn a_realm_is_https_on_the_same_host_or_listed() {
        let listed = ["https://auth.example/token".to_owned()];
        let code = |base: &str, realm: &str| {
            let base = Url::parse(base).unwrap();
            let scopes = Scopes(Vec::new());
            check_realm(&Asked { base: &base, realms: &listed, scopes: &scopes, login: None }, realm)
                .map_err(|problem| problem.code)
                .map(|url| url.to_string())
        };
        let registry = "https://r.example:5000/";
        for good in ["https://r.example/token", "https://auth.example/token?x=1", "https://r.example:5000/t"] {
            assert_eq!(code(registry, good), Ok(good.to_owned()));
        }
        for bad in [
            "http://r.example:5000/token",
            "http://127.0.0.1:1/steal",
            "https://r.example.evil.example/token",
            "https://evil.example/r.example/token",
            "https://auth.example/token/other",
            "https://auth.example:444/token",
            "http://auth.example/token",
            "https://user:word@r.example/token",
            "file:///token",
        ] {
            assert_eq!(code(registry, bad), Err(Code::R008), "{bad}");
        }
        assert_eq!(code(registry, "/token"), Err(Code::R006));
        let local = "http://127.0.0.1:5000/";
        assert!(code(local, "http://127.0.0.1:5000/token").is_ok());
        assert_eq!(code(local, "http://127.0.0.1:5001/token"), Err(Code::R008));
        assert_eq!(code(local, "http://127.0.0.2:5000/token"), Err(Code::R008));
    }
}
