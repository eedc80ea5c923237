//! Requests to the outside, blocking. Grant: `http`, with the rules of what may be asked.
//!
//! The host resolves names, refuses private addresses, follows redirects and fills in `{{secret:NAME}}` in header
//! values. There is no connection to keep: each request stands alone.

use std::fmt;
use std::time::Duration;

use crate::error::ToolError;
use crate::log;

#[cfg(not(target_family = "wasm"))]
use crate::testing::http as host;

#[cfg(target_family = "wasm")]
mod host;

/// A guest's memory is bounded: unless asked otherwise, a larger answer is an error, not half an answer.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Unless asked otherwise; the call's own deadline still holds.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before another try when the other side names none.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// An error page can be long; its beginning says what it is about.
const EXCERPT_BYTES: usize = 300;

/// Why there is no response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The URL, the method or a header cannot be sent; the text says which.
    InvalidRequest(String),
    /// The grant does not cover the request, or the address may not be reached from this host.
    Denied(String),
    /// Nobody answered: no such name, connection refused or lost. Trying again may help.
    Unreachable(String),
    /// No answer came in time.
    Timeout,
    /// The answer is larger than this many bytes.
    TooLarge(usize),
    /// The other side does not speak HTTP or TLS as it should, or the host failed.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidRequest(text) => write!(f, "the request cannot be sent: {text}"),
            Self::Denied(text) => write!(f, "the request was denied: {text}"),
            Self::Unreachable(text) => write!(f, "nobody answered: {text}"),
            Self::Timeout => f.write_str("no answer came in time"),
            Self::TooLarge(limit) => write!(f, "the answer is larger than {limit} bytes"),
            Self::Failed(text) => write!(f, "the request failed: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// A value may hold `{{secret:NAME}}`.
    pub headers: Vec<(String, String)>,
    /// The whole body; empty for none.
    pub body: Vec<u8>,
    /// Time to connect, to wait for the first byte, and between bytes, each.
    pub timeout: Duration,
    /// A larger answer is [`Error::TooLarge`].
    pub body_bytes_max: usize,
}

impl Request {
    /// A request without headers and body, with [`TIMEOUT`] and [`BODY_BYTES_MAX`].
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            method: method.to_ascii_uppercase(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: TIMEOUT,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }

    /// `GET url`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// `POST url` with a body.
    pub fn post(url: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut request = Self::new("POST", url).header("content-type", content_type);
        request.body = body.into();
        request
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// Whether a header of this name was added.
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name))
    }

    /// Sends it and waits for the whole answer. Any status is an answer. Fails with every case of [`Error`].
    pub fn send(&self) -> Result<Response, Error> {
        host::send(self)
    }
}

/// One answer, its secrets scrubbed by the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How long the other side asks to wait, where its `retry-after` is a number of seconds. A guest has no clock
    /// worth comparing a date with.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
    }

    /// Returns the response itself when its status is 200 to 299. Otherwise fails as a tool should: 408, 429 and
    /// 500 to 599 ask for another try, after [`Self::retry_after`] or [`RETRY_PAUSE`]; the rest fails for good with
    /// the beginning of the body.
    pub fn into_success(self) -> Result<Self, ToolError> {
        match self.status {
            200..=299 => Ok(self),
            408 | 429 | 500..=599 => {
                log::warn(&format!("status {}: {}", self.status, self.excerpt()));
                Err(ToolError::Retry(self.retry_after().unwrap_or(RETRY_PAUSE)))
            }
            status => Err(ToolError::Failed(format!("status {status}: {}", self.excerpt()))),
        }
    }

    /// The beginning of the body, for a message.
    fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(EXCERPT_BYTES)]).into_owned();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// An absolute URL in the parts that `wasi:http` takes. The host reads the URL again; this only splits it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) secure: bool,
    pub(crate) authority: &'a str,
    pub(crate) path_with_query: &'a str,
}

/// Splits an absolute `http` or `https` URL. Fails with [`Error::InvalidRequest`].
pub(crate) fn split_url(url: &str) -> Result<Parts<'_>, Error> {
    let refuse = |why: &str| Err(Error::InvalidRequest(format!("URL `{url}` {why}")));
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return refuse("holds a space or a control character; encode it, for example as `%20`");
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return refuse("is not absolute; begin it with `https://`");
    };
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return refuse("is neither `https` nor `http`"),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let cut = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_with_query) = rest.split_at(cut);
    if authority.is_empty() {
        return refuse("names no host");
    }
    if authority.contains('@') {
        return refuse("holds a user name; put credentials into a header as `{{secret:NAME}}`");
    }
    Ok(Parts { secure, authority, path_with_query })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_splits_into_scheme_authority_and_path() {
        let parts = split_url("HTTPS://api.example.com:8443/v1/x?q=1&r=2#frag").unwrap();
        assert_eq!(parts, Parts { secure: true, authority: "api.example.com:8443", path_with_query: "/v1/x?q=1&r=2" });
        assert_eq!(split_url("http://[::1]").unwrap().path_with_query, "");
        assert_eq!(split_url("http://a?x").unwrap().path_with_query, "?x");
    }

    #[test]
    fn a_url_that_cannot_be_sent_is_refused_with_a_way_out() {
        for (url, hint) in [
            ("example.com", "begin it with `https://`"),
            ("ftp://example.com", "neither `https` nor `http`"),
            ("https:///x", "names no host"),
            ("https://me:pw@example.com/", "{{secret:NAME}}"),
            ("https://example.com/a b", "%20"),
            ("https://example.com/\r\nx", "control character"),
        ] {
            let error = split_url(url).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
