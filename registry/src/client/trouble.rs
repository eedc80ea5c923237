//! What goes wrong on the way to a registry, and whether trying again can help.
//!
//! Problems name host and path. Query strings, headers and bodies of answers stay out of them: a server that echoes a
//! password must not get it into a log.

use std::error::Error;
use std::io;
use std::time::Duration;

use ice_core::manifest::printable;
use ice_core::problem::{Code, Problem};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use url::Url;

/// Codes of the distribution specification: known words, so an answer cannot put others into a message.
const KNOWN: &[&str] = &[
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DENIED",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "MANIFEST_UNVERIFIED",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "TAG_INVALID",
    "TOOMANYREQUESTS",
    "UNAUTHORIZED",
    "UNSUPPORTED",
];

/// Why a request did not succeed.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// It may be over in a moment, or after what the server asked for.
    Passing { problem: Problem, after: Option<Duration> },
    /// Asking again gets the same.
    Lasting(Problem),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Lasting(problem)
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Passing { problem, .. } | Trouble::Lasting(problem) => problem,
        }
    }
}

pub(super) fn passing(url: &Url, why: &str) -> Trouble {
    let problem = Problem::new(Code::R005, format!("`{}` cannot be reached: {why}", place(url)))
        .help("check the network and try again; a mirror can be named in `registries.toml`");
    Trouble::Passing { problem, after: None }
}

/// R006: an answer outside the protocol, or outside what is allowed here.
pub(super) fn protocol(url: &Url, why: &str) -> Problem {
    Problem::new(Code::R006, format!("`{}` {why}", place(url)))
        .help("ask the operator of the registry; what is already in the store still works")
}

pub(super) fn too_large(url: &Url, what: &str, limit: u64) -> Problem {
    Problem::new(Code::T029, format!("{what} of `{}` is larger than {limit} bytes", place(url)))
        .help("ask the operator of the registry; what is already in the store still works")
}

/// Host and path: a query may hold a secret.
pub(super) fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    printable(&format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path()))
}

/// A request that got no answer, or one that broke off.
pub(super) fn unanswered(url: &Url, error: &reqwest::Error) -> Trouble {
    let mut cause: &(dyn Error + 'static) = error;
    loop {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>().filter(|tls| is_final(tls)) {
            let problem =
                protocol(url, &format!("has no certificate that is believed: {}", printable(&tls.to_string())));
            return Trouble::Lasting(
                problem.help(
                    "if the registry has a certificate authority of its own, name it as `ca` in `registries.toml`",
                ),
            );
        }
        match inner(cause) {
            Some(inner) => cause = inner,
            None => break,
        }
    }
    if error.is_builder() {
        return Trouble::Lasting(protocol(url, "cannot be asked like this"));
    }
    let why = if error.is_timeout() { "it does not answer in time".to_owned() } else { printable(&cause.to_string()) };
    passing(url, &why)
}

/// What lies behind an error. One of the system says what it wraps only when asked like this.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// A certificate does not get better by asking again; a broken connection may.
const fn is_final(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
}

/// An answer with a status that is not a success.
pub(super) fn refused(url: &Url, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Trouble {
    let said = known_code(body).map(|code| format!(", {code}")).unwrap_or_default();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Trouble::Lasting(login_refused(url)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => busy(url, status, headers),
        _ if status.is_server_error() => busy(url, status, headers),
        _ => Trouble::Lasting(protocol(url, &format!("answers {}{said}", status.as_u16()))),
    }
}

/// R007. The help names the host, as `ice login` wants it.
pub(super) fn login_refused(url: &Url) -> Problem {
    let problem = Problem::new(Code::R007, format!("`{}` does not accept the login at hand", place(url)));
    problem.help(login_help(url))
}

/// The command that changes the login of this host.
pub(super) fn login_help(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("`ice login {}{port}`", url.host_str().unwrap_or_default())
}

fn busy(url: &Url, status: StatusCode, headers: &HeaderMap) -> Trouble {
    // The other form is a date, which would need a clock; without either, our own pauses apply.
    let seconds =
        headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
    let after = seconds.map(Duration::from_secs);
    let message = format!("`{}` is overloaded or failing (answers {})", place(url), status.as_u16());
    let help = match after {
        Some(after) => format!("try again in {} s", after.as_secs()),
        None => "try again in a moment".to_owned(),
    };
    Trouble::Passing { problem: Problem::new(Code::R005, message).help(help), after }
}

fn known_code(body: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        code: String,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let said = answer.errors.first()?;
    KNOWN.iter().copied().find(|known| *known == said.code)
}
