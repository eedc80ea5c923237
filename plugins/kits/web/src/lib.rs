//! Kit `web`: sends HTTP requests through the host's one way out.
//!
//! Redirects, name resolution and secrets are the host's. A header value may hold `{{secret:NAME}}`; what it stands for
//! never comes here.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use ice_sdk::http::{self, Request, Response};
use ice_sdk::{Context, ToolError, tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(test)]
mod tests;

ice_sdk::kit!(http_get, http_post);

/// A node's own timeout is shorter in all but odd cases; this keeps a typo from meaning a day.
const TIMEOUT_SECONDS_MAX: u32 = 600;
/// A component has a few hundred MiB; a body is held as bytes, as text and as JSON at once.
const BODY_BYTES_MAX: usize = 32 << 20;

/// What the server answered.
#[derive(Serialize, JsonSchema, Debug)]
pub struct Answer {
    /// The status.
    status: u16,
    /// Header names in lower case; several values of one name are joined by `, `.
    headers: BTreeMap<String, String>,
    /// The body as text; as base64 when it is not UTF-8.
    body: String,
    /// `text` or `base64`: how `body` is written.
    encoding: String,
    /// The body read as JSON, when the server says that it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
}

/// Fetches a URL. A status of 408, 429 or 500 and above may be tried again; any other status that is not expected
/// fails for good.
#[tool(tags("http"))]
pub fn http_get(
    /// Absolute `http` or `https` URL.
    url: String,
    /// Headers to send. A value may hold `{{secret:NAME}}`, which the host fills in.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Statuses that are an answer, not a failure. 200 to 299 when empty.
    #[serde(default)]
    expected_status: Vec<u16>,
    /// Seconds to wait for the server, 1 to 600.
    #[arg(default = 30)]
    #[schemars(range(min = 1, max = 600))]
    timeout_seconds: u32,
    /// Most bytes of a body, up to 32 MiB; a longer one is a failure.
    #[arg(default = http::BODY_BYTES_MAX)]
    max_body_bytes: usize,
) -> Result<Answer, ToolError> {
    send(Request::get(url), &headers, Limits { timeout_seconds, max_body_bytes }, &expected_status)
}

/// What to post, and where.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Post {
    /// Absolute `http` or `https` URL.
    url: String,
    /// The body, sent as JSON. Not together with `body`.
    json: Option<Value>,
    /// The body as text. Not together with `json`.
    body: Option<String>,
    /// Media type of `body`; `text/plain; charset=utf-8` when absent.
    content_type: Option<String>,
    /// Headers to send. A value may hold `{{secret:NAME}}`, which the host fills in.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Statuses that are an answer, not a failure. 200 to 299 when empty.
    #[serde(default)]
    expected_status: Vec<u16>,
    /// Seconds to wait for the server, 1 to 600.
    #[serde(default = "timeout_seconds")]
    #[schemars(range(min = 1, max = 600))]
    timeout_seconds: u32,
    /// Most bytes of an answer's body, up to 32 MiB; a longer one is a failure.
    #[serde(default = "max_body_bytes")]
    max_body_bytes: usize,
}

fn timeout_seconds() -> u32 {
    30
}

fn max_body_bytes() -> usize {
    http::BODY_BYTES_MAX
}

/// Posts JSON or text to a URL. A status of 408, 429 or 500 and above may be tried again; any other status that is not
/// expected fails for good. Every try of one node carries the same `idempotency-key`, so that a server can tell.
#[tool(tags("http"))]
pub fn http_post(input: Post, context: &Context) -> Result<Answer, ToolError> {
    let (media_type, bytes) = match (input.json, input.body) {
        (Some(_), Some(_)) => {
            return Err(ToolError::invalid("body", "there is a `json` too; give one of them"));
        }
        (Some(json), None) => ("application/json".to_owned(), json.to_string().into_bytes()),
        (None, body) => {
            let media_type = input.content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
            (media_type, body.unwrap_or_default().into_bytes())
        }
    };
    let named = |name: &str| input.headers.keys().any(|have| have.eq_ignore_ascii_case(name));
    let mut request = Request::new("POST", input.url);
    if !named("content-type") {
        request = request.header("content-type", &media_type);
    }
    if !named("idempotency-key") {
        request = request.header("idempotency-key", &format!("{}:{}", context.execution_id, context.node_id));
    }
    request.body = bytes;
    let limits = Limits { timeout_seconds: input.timeout_seconds, max_body_bytes: input.max_body_bytes };
    send(request, &input.headers, limits, &input.expected_status)
}

/// What a caller may say about time and size.
struct Limits {
    timeout_seconds: u32,
    max_body_bytes: usize,
}

fn send(
    mut request: Request,
    headers: &BTreeMap<String, String>,
    limits: Limits,
    expected: &[u16],
) -> Result<Answer, ToolError> {
    if !(1..=TIMEOUT_SECONDS_MAX).contains(&limits.timeout_seconds) {
        return Err(ToolError::invalid("timeout_seconds", format!("must be 1 to {TIMEOUT_SECONDS_MAX}")));
    }
    if limits.max_body_bytes > BODY_BYTES_MAX {
        return Err(ToolError::invalid("max_body_bytes", format!("must be at most {BODY_BYTES_MAX}")));
    }
    request.timeout = Duration::from_secs(limits.timeout_seconds.into());
    request.body_bytes_max = limits.max_body_bytes;
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send().map_err(|error| match error {
        http::Error::InvalidRequest(text) => ToolError::invalid("url", text),
        other => other.into(),
    })?;
    let response = if expected.contains(&response.status) {
        response
    } else if expected.is_empty() || !(200..300).contains(&response.status) {
        response.into_success()?
    } else {
        return Err(ToolError::failed(format!("status {} is not one of the expected {expected:?}", response.status)));
    };
    Ok(answer(response))
}

fn answer(response: Response) -> Answer {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &response.headers {
        headers
            .entry(name.clone())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(value);
            })
            .or_insert_with(|| value.clone());
    }
    let is_json = response.header("content-type").is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    });
    let json = if is_json { serde_json::from_slice(&response.body).ok() } else { None };
    let (body, encoding) = match String::from_utf8(response.body) {
        Ok(text) => (text, "text"),
        Err(error) => (base64::engine::general_purpose::STANDARD.encode(error.as_bytes()), "base64"),
    };
    Answer { status: response.status, headers, body, encoding: encoding.to_owned(), json }
}
