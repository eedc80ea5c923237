//! Who may ask: one bearer token for the whole host, or nobody but this machine.
//!
//! The token is the operator's. Whoever has it may name any org and user; scopes of tokens do not exist here.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ice_core::id::Identity;
use ice_core::problem::{Code, Problem};
use sha2::{Digest, Sha256};

use crate::answer::Refusal;
use crate::app::Api;

/// A shorter token could be guessed by somebody who may try a few thousand times a second.
const TOKEN_BYTES_MIN: usize = 8;

/// Longest name of an org, user or session.
const NAME_BYTES_MAX: usize = 256;

/// A token as it is kept: its digest, so that comparing says nothing about its characters or length.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Takes the operator's token; A013 when it is too short or could not be sent in a header.
    pub fn new(text: &str) -> Result<Self, Problem> {
        let help = "make one with `openssl rand -hex 32`";
        if text.len() < TOKEN_BYTES_MIN {
            let message = format!("the token is shorter than {TOKEN_BYTES_MIN} characters");
            return Err(Problem::new(Code::A013, message).help(help));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = "the token has characters that cannot be sent in a header";
            return Err(Problem::new(Code::A013, message).help(help));
        }
        Ok(Self(Sha256::digest(text).into()))
    }

    /// Compares digests without an early end, so that time says nothing.
    fn is(&self, text: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(text).into();
        let differences = self.0.iter().zip(other).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        std::hint::black_box(differences) == 0
    }
}

/// Who may ask.
#[derive(Clone, Debug)]
pub enum Access {
    /// Whoever has the token.
    Token(Token),
    /// Whoever reaches a loopback address under one of its own names: for development.
    ThisMachine,
}

/// Names of a loopback address. A page of another site that resolves to it comes under the name of that site.
const LOOPBACK_NAMES: &[&str] = &["localhost", "127.0.0.1", "[::1]"];

impl Access {
    /// Whether it may be given on `address`; A013 when others could ask without a token.
    pub fn fits(&self, address: IpAddr) -> Result<(), Problem> {
        if matches!(self, Self::Token(_)) || address.is_loopback() {
            return Ok(());
        }
        Err(Problem::new(Code::A013, format!("without a token the server does not listen on {address}"))
            .help("set `ICE_API_TOKEN`, or listen on 127.0.0.1"))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Self::Token(token) = self else { return named_loopback(headers) };
        let missing = || {
            let help = "send the header `Authorization: Bearer TOKEN`";
            Problem::new(Code::A001, "Missing bearer token").help(help)
        };
        let header = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        let text = header.to_str().map_err(|_| missing())?;
        let (scheme, given) = text.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        if token.is(given.trim()) {
            return Ok(());
        }
        Err(Problem::new(Code::A002, "Invalid token").help("send the token this host was started with"))
    }
}

fn named_loopback(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if LOOPBACK_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(Problem::new(Code::A011, "without a token the server answers only under the names of this machine")
        .help("ask `127.0.0.1` or `localhost`, or start the server with a token"))
}

/// Lets a request through that may ask, and says whom it is for.
pub(crate) async fn check(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let shared = &api.0;
    let who = shared.options.access.check(request.headers()).and_then(|()| {
        shared.rates.take(shared.parts.clock.now_ms(), &request)?;
        identity(request.headers(), &shared.options.identity)
    });
    match who {
        Ok(who) => {
            request.extensions_mut().insert(Arc::new(who));
            next.run(request).await
        }
        Err(problem) => {
            let wait = shared.rates.window_seconds().filter(|_| problem.code == Code::A008);
            let mut response = Refusal::from(problem).into_response();
            if let Some(seconds) = wait {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

/// `X-Org-Id` and `X-User-Id`, else those of the host.
fn identity(headers: &HeaderMap, default: &Identity) -> Result<Identity, Problem> {
    let named = |header: &str, default: &str| match headers.get(header).map(|value| value.to_str()) {
        None => Ok(default.to_owned()),
        Some(Ok(name)) if !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX => Ok(name.trim().to_owned()),
        Some(_) => Err(Problem::new(Code::A003, format!("`{header}` is empty, too long or not plain text"))
            .help(format!("send at most {NAME_BYTES_MAX} printable characters, or leave the header out"))),
    };
    let org = named("x-org-id", &default.org)?;
    let user = named("x-user-id", &default.user)?;
    Ok(Identity { org, user, session: default.session.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_whole_and_never_shown() {
        let token = Token::new("correct-horse").expect("long enough");
        for (text, same) in [("correct-horse", true), ("correct-hors", false), ("correct-horsf", false), ("", false)] {
            assert_eq!(token.is(text), same, "{text}");
        }
        assert!(!format!("{:?}", Access::Token(token)).contains("horse"));
        for bad in ["", "short", "with a blank in it", "ünicode-token"] {
            assert_eq!(Token::new(bad).expect_err(bad).code, Code::A013);
        }
    }

    #[test]
    fn without_a_token_only_this_machine_under_its_own_names() {
        for (address, fits) in [("127.0.0.1", true), ("::1", true), ("0.0.0.0", false), ("192.168.0.4", false)] {
            let address = address.parse().expect("an address");
            assert_eq!(Access::ThisMachine.fits(address).is_ok(), fits, "{address}");
            assert!(Access::Token(Token::new("12345678").expect("long enough")).fits(address).is_ok());
        }
        for (host, fits) in [
            ("localhost:8080", true),
            ("127.0.0.1", true),
            ("[::1]:80", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example:8080", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            assert_eq!(Access::ThisMachine.check(&headers).is_ok(), fits, "{host}");
        }
    }
}
