//! One hop: from a target and headers to the head of an answer and a bounded body.

use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use ice_core::grant::Grant;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use tokio::time::Instant;

use super::dial::{self, ClosingTask};
use super::headers;
use super::hop::Hop;
use super::target::Target;
use super::{Egress, resolve};
use crate::secrets::Secret;

/// They describe the connection to the host, not the answer.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// On whose behalf a request goes out.
#[derive(Clone, Copy)]
pub(crate) enum Authority<'a> {
    /// A guest's, or a node's: every URL is compared with the grant.
    Grant(&'a Grant),
    /// The host's own, to the one origin that the operator configured; `private` when that address may be any.
    Operator { origin: &'a str, private: bool, bearer: Option<&'a Secret> },
}

/// Bounds of one hop.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// When everything must be done.
    pub(crate) deadline: Instant,
    /// Longest wait for the head of the answer.
    pub(crate) first_byte: Duration,
    /// Longest wait for the next piece of the body.
    pub(crate) idle: Duration,
    /// Most bytes of the body.
    pub(crate) body_bytes: usize,
}

impl Limits {
    /// Everything may take until `deadline`.
    pub(crate) fn until(deadline: Instant, body_bytes: usize) -> Self {
        Self { deadline, first_byte: Duration::MAX, idle: Duration::MAX, body_bytes }
    }
}

/// The head of an answer, and its body still on the wire.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// A body that is read piece by piece, within bounds.
pub(crate) struct Body {
    incoming: Incoming,
    target: Target,
    limits: Limits,
    received: usize,
    _task: ClosingTask,
}

impl Body {
    /// The next piece; `None` at the end. X064, X065 or X069 when it does not come, is too much, or breaks off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let until = earlier(self.limits.deadline, self.limits.idle);
            let frame = within(until, &self.target, "waiting for the body", self.incoming.frame()).await?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| wire(&self.target, &error))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            self.received = self.received.saturating_add(piece.len());
            if self.limits.body_bytes < self.received {
                let message = format!("`{}` sent more than {} bytes", self.target.host_port(), self.limits.body_bytes);
                return Err(Failure::never(Problem::new(Code::X065, message)));
            }
            return Ok(Some(piece));
        }
    }

    /// The whole body.
    pub(crate) async fn collect(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = self.next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

impl Egress {
    /// Sends one hop and waits for the head of the answer.
    pub(crate) async fn open(&self, hop: &Hop, authority: Authority<'_>, limits: Limits) -> Result<Answer, Failure> {
        let Hop { method, target, body, .. } = hop;
        let deadline = limits.deadline;
        let private = self.authorise(hop, authority)?;
        let lookup = resolve::vetted(self.resolver.as_ref(), target, private);
        let addresses = within(deadline, target, "resolving the name", lookup).await??;
        let dialling = dial::connect(target, &addresses, &self.tls);
        let mut connection = within(deadline, target, "connecting", dialling).await??;

        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.path_and_query().parse().map_err(|_| unsendable("the URL's path"))?;
        *request.headers_mut() = self.filled(hop, authority)?;
        let until = earlier(deadline, limits.first_byte);
        let sending = connection.sender.send_request(request);
        let answer = within(until, target, "waiting for an answer", sending).await?;
        let (head, incoming) = answer.map_err(|error| wire(target, &error))?.into_parts();
        if head.status.is_informational() {
            return Err(dial::broken(target));
        }
        let body = Body { incoming, target: target.clone(), limits, received: 0, _task: connection.task };
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Asks the grant about the URL and the secrets. Says whether the address may be private.
    fn authorise(&self, hop: &Hop, authority: Authority<'_>) -> Result<bool, Failure> {
        let (method, target) = (hop.method.as_str(), &hop.target);
        let grant = match authority {
            Authority::Operator { origin, private, .. } if target.origin() == origin => return Ok(private),
            Authority::Operator { .. } => return Err(denied(method, target)),
            Authority::Grant(grant) => grant,
        };
        if !grant.allows_http(method, target.as_str()) {
            return Err(denied(method, target));
        }
        let private = self.allowed.read().unwrap_or_else(PoisonError::into_inner).holds(target);
        for name in hop.headers.secrets() {
            if !grant.allows_secret(name, target.host()) {
                let host = target.host();
                let message = format!("the secret `{name}` may not be sent to `{host}`");
                let help = format!("add `{host}` to its grant: `ice plugins grant <kit> 'secrets.{name}={host}'`");
                return Err(Failure::never(Problem::new(Code::G021, message).help(help)));
            }
            if !target.is_https() && !private {
                let message = format!("the secret `{name}` may not be sent to `{}` without TLS", target.host_port());
                return Err(Failure::never(Problem::new(Code::G021, message).help("use `https`")));
            }
            self.secrets.get(name).ok_or_else(|| headers::missing(name))?;
        }
        Ok(private)
    }

    fn filled(&self, hop: &Hop, authority: Authority<'_>) -> Result<HeaderMap, Failure> {
        let Hop { target, headers, body, .. } = hop;
        let mut map = match authority {
            Authority::Grant(_) => headers.fill(&self.secrets, body)?,
            Authority::Operator { .. } => headers.fill(&crate::secrets::Secrets::default(), body)?,
        };
        if let Authority::Operator { bearer: Some(key), .. } = authority {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
            let mut value = value.map_err(|_| unsendable("the provider's key"))?;
            value.set_sensitive(true);
            map.insert(http::header::AUTHORIZATION, value);
        }
        let host = HeaderValue::from_str(&target.authority()).map_err(|_| unsendable("the URL's host"))?;
        map.insert(HOST, host);
        map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        map.entry(USER_AGENT).or_insert(HeaderValue::from_static(super::USER_AGENT));
        Ok(map)
    }
}

/// The headers of an answer as a caller sees them: lower case, text, nothing about the connection.
/// A length that is no longer true is left out.
pub(crate) fn for_caller(headers: &HeaderMap, length_changed: bool) -> Vec<(String, String)> {
    let dropped =
        |name: &HeaderName| HOP_BY_HOP.contains(&name.as_str()) || (length_changed && *name == CONTENT_LENGTH);
    let kept = headers.iter().filter(|(name, _)| !dropped(name));
    let text = |value: &HeaderValue| match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        // Bytes that are not UTF-8 are Latin-1 by the older standards.
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    };
    kept.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

impl Answer {
    /// The media type without parameters, lower case; empty when the server gave none.
    pub(crate) fn media_type(&self) -> String {
        let value = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// Waits for `future` until `deadline`; X064 afterwards.
pub(crate) async fn within<F: Future>(
    deadline: Instant,
    target: &Target,
    doing: &str,
    future: F,
) -> Result<F::Output, Failure> {
    tokio::time::timeout_at(deadline, future).await.map_err(|_| {
        let message = format!("`{}` did not answer in time: {doing}", target.host_port());
        Failure::maybe(Problem::new(Code::X064, message).help("try again, or allow more time"))
    })
}

fn earlier(deadline: Instant, wait: Duration) -> Instant {
    Instant::now().checked_add(wait).map_or(deadline, |until| until.min(deadline))
}

fn wire(target: &Target, error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        let message = format!("`{}` sent more headers than fit", target.host_port());
        return Failure::never(Problem::new(Code::X065, message));
    }
    dial::broken(target)
}

fn unsendable(what: &str) -> Failure {
    Failure::never(Problem::new(Code::X068, format!("{what} cannot be sent in a request")))
}

fn denied(method: &str, target: &Target) -> Failure {
    let origin = target.origin();
    Failure::never(
        // Path and query stay unsaid: they may hold what the caller would not put into a log.
        Problem::new(Code::G001, format!("`http` {method} {origin} is not granted")).help(format!(
            "add `{method} {origin}/*` to its grant: `ice plugins grant <kit> 'http={method} {origin}/*'`"
        )),
    )
}
