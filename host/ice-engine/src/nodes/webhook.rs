//! `webhook`: one HTTP call, signed if wanted, through the one way out.
//!
//! Output: `{status, headers, body}`; the body is JSON when the answer says so, else text. What may be reached is the
//! operator's to say ([`EngineOptions::egress`](crate::EngineOptions)): a blueprint comes from anybody. Secrets are
//! named in header values, as `{{secret:NAME}}`, and filled in on the way out: neither a node nor an event sees one.

use futures_util::future::BoxFuture;
use ice_core::blueprint::{NodeDoc, RetryPolicy};
use ice_core::catalog::Effects;
use ice_core::ports::{Failure, HttpRequest, HttpResponse, Retry};
use ice_core::problem::{Code, Problem};
use ice_core::template::Template;
use serde_json::{Map, Value, json};

use super::{Done, Node, NodeKind, ask};
use crate::context::NodeRun;
use crate::keys;
use crate::plan::PlanContext;

/// `type: webhook`.
#[derive(Debug)]
pub struct WebhookKind;

/// One HTTP call.
#[derive(Debug)]
pub struct Webhook {
    /// Upper case.
    pub method: &'static str,
    /// Absolute.
    pub url: Template,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<Piece>)>,
    /// Text is sent as it is, anything else as JSON.
    pub body: Option<Template>,
    /// The header and the name of the secret that sign the body with HMAC-SHA256.
    pub signature: Option<(String, String)>,
    /// Statuses after which trying again may help.
    pub retry_on_status: Vec<u16>,
    /// Statuses of 400 and more that are an answer all the same.
    pub accept_status: Vec<u16>,
    /// Most bytes of the answer's body.
    pub body_bytes_max: usize,
}

/// A part of a header value.
#[derive(Debug)]
pub enum Piece {
    /// Text of the blueprint.
    Text(Template),
    /// Filled in on the way out.
    Secret(String),
}

const METHODS: &[(&str, &str)] =
    &[("POST", "POST"), ("GET", "GET"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE"), ("HEAD", "HEAD")];

/// Unless a `retry_policy` says otherwise.
const ATTEMPTS: u32 = 3;

/// Of the whole call, unless the node has a `timeout_seconds` of its own.
const TIMEOUT_MS: u64 = 30_000;

/// Too early, too often, or the other side is not well.
const RETRY_ON_STATUS: &[u16] = &[408, 425, 429, 500, 502, 503, 504];

/// The answer becomes part of an event and of every context that sees the node.
const BODY_BYTES_DEFAULT: usize = 1 << 20;
const BODY_BYTES_MAX: u64 = 16 << 20;

/// The longest pause another side may ask for.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

const GRANTED: &str = "what webhook and monitor nodes may reach, and which secret may go to which host over TLS, is in \
    `http` and `secrets` of `[engine]` in `ice.toml`";

const SIGNATURE_HEADER: &str = "x-ice-signature-256";
const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// How a secret is named in a header value.
const SECRET: &str = "{{secret:";

/// How the way out is told to put the hexadecimal HMAC-SHA256 of the body under a secret.
const HMAC: &str = "{{hmac_sha256:";

impl NodeKind for WebhookKind {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn keys(&self) -> &'static [&'static str] {
        &[
            "url",
            "method",
            "headers",
            "body",
            "signing_secret",
            "signature_header",
            "retry_on_status",
            "accept_status",
            "max_body_bytes",
        ]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let before = cx.problem_count();
        let method = cx.fields(doc).choice("method", METHODS).unwrap_or("POST");
        let headers = headers(doc, cx);
        let signature = signature(doc, &headers, cx);
        let retry_on_status = statuses(doc, "retry_on_status", cx).unwrap_or_else(|| RETRY_ON_STATUS.to_vec());
        let accept_status = statuses(doc, "accept_status", cx).unwrap_or_default();
        let body_bytes_max = cx.fields(doc).whole("max_body_bytes", 1, BODY_BYTES_MAX);
        let body = cx.fields(doc).get("body").cloned();
        let body = body.and_then(|body| cx.template(&body, &format!("{}/body", doc.pointer), None));
        let url = url(doc, cx)?;
        if cx.problem_count() > before {
            return None;
        }
        let body_bytes_max = body_bytes_max.and_then(|bytes| bytes.try_into().ok()).unwrap_or(BODY_BYTES_DEFAULT);
        Some(Box::new(Webhook {
            method,
            url,
            headers,
            body,
            signature,
            retry_on_status,
            accept_status,
            body_bytes_max,
        }))
    }
}

fn url(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Template> {
    let url = cx.fields(doc).required_text("url")?.to_owned();
    let pointer = format!("{}/url", doc.pointer);
    if url.contains(SECRET) {
        let help = "put the secret into a header: URLs are logged";
        cx.problem(Code::B005, &pointer, "a URL cannot hold a secret", help);
        return None;
    }
    let template = cx.template(&url.clone().into(), &pointer, None)?;
    let good = ["http://", "https://"].iter().any(|scheme| url.to_ascii_lowercase().starts_with(scheme));
    if template.is_literal() && !good {
        cx.problem(Code::B005, &pointer, "the URL is not absolute", "begin it with `https://`");
        return None;
    }
    Some(template)
}

fn headers(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Vec<(String, Vec<Piece>)> {
    let written = cx.fields(doc).mapping("headers").cloned().unwrap_or_default();
    let mut headers = Vec::with_capacity(written.len());
    for (name, value) in &written {
        let pointer = format!("{}/headers/{}", doc.pointer, name.replace('~', "~0").replace('/', "~1"));
        if !is_header_name(name) {
            cx.problem(Code::B005, &pointer, format!("`{name}` is not the name of a header"), "use letters and `-`");
            continue;
        }
        let Some(text) = value.as_str() else {
            cx.problem(Code::B004, &pointer, format!("the header `{name}` must be text"), "quote it");
            continue;
        };
        headers.extend(pieces(text, &pointer, cx).map(|pieces| (name.to_ascii_lowercase(), pieces)));
    }
    headers
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Splits a header value at the secrets it names; they are no templates.
fn pieces(text: &str, pointer: &str, cx: &mut PlanContext<'_>) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(SECRET) {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        if !is_secret_name(name) {
            let message = format!("`{name}` cannot be the name of a secret");
            cx.problem(Code::B005, pointer, message, "write `{{secret:NAME}}` with letters, digits and `_`");
            return None;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(cx.template(&before.into(), pointer, None)?));
        }
        pieces.push(Piece::Secret(name.to_owned()));
        rest = after;
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(cx.template(&rest.into(), pointer, None)?));
    }
    Some(pieces)
}

fn is_secret_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `signing_secret` is the name of a secret, with or without `{{secret:…}}` around it.
fn signature(doc: &NodeDoc, headers: &[(String, Vec<Piece>)], cx: &mut PlanContext<'_>) -> Option<(String, String)> {
    let mut fields = cx.fields(doc);
    let header = fields.text("signature_header").unwrap_or(SIGNATURE_HEADER).to_ascii_lowercase();
    let written = fields.text("signing_secret");
    if !is_header_name(&header) || headers.iter().any(|(name, _)| *name == header) {
        let help = "name a header of its own, for example `x-signature`";
        fields.problem(Code::B005, "signature_header", format!("`{header}` cannot hold the signature"), help);
    }
    let written = written?.trim();
    let name = written.strip_prefix(SECRET).and_then(|rest| rest.strip_suffix("}}")).unwrap_or(written);
    if !is_secret_name(name) {
        let help = "write `signing_secret: NAME` with letters, digits and `_`; the operator sets its value on the host";
        fields.problem(Code::B005, "signing_secret", "this is not the name of a secret", help);
        return None;
    }
    Some((header, name.to_owned()))
}

fn statuses(doc: &NodeDoc, key: &str, cx: &mut PlanContext<'_>) -> Option<Vec<u16>> {
    let mut fields = cx.fields(doc);
    fields.get(key)?;
    let mut statuses = Vec::new();
    for (index, item) in fields.list(key)?.iter().enumerate() {
        match item.as_u64().and_then(|status| u16::try_from(status).ok()).filter(|status| (100..600).contains(status)) {
            Some(status) => statuses.push(status),
            None => {
                let at = format!("{key}/{index}");
                fields.problem(Code::B005, &at, format!("`{item}` is not an HTTP status"), "write one from 100 to 599");
            }
        }
    }
    Some(statuses)
}

/// Sends a request by what the operator lets nodes reach; it is dropped when the node is stopped.
pub(super) async fn send(cx: &NodeRun<'_>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let shared = &cx.run().shared;
    let answer = tokio::select! {
        biased;
        answer = shared.ports.http.send(request, &shared.options.egress) => answer,
        why = cx.stop.tripped() => Err(Failure::never(why.clone())),
    };
    answer.map_err(|mut failure| {
        // The way out speaks of a plugin's grant; a node has none.
        if matches!(failure.problem.code, Code::G001 | Code::G021) && failure.problem.help.is_some() {
            failure.problem.help = Some(GRANTED.into());
        }
        failure
    })
}

impl Webhook {
    fn request(&self, cx: &NodeRun<'_>) -> Result<HttpRequest, Failure> {
        let url = ask::words(cx.render(&self.url, "url")?);
        let mut headers = Vec::with_capacity(self.headers.len() + 3);
        for (name, pieces) in &self.headers {
            headers.push((name.clone(), value(cx, name, pieces)?));
        }
        let body = self.body.as_ref().map(|body| cx.render(body, "body")).transpose()?;
        let (body, kind) = match body {
            None => (Vec::new(), None),
            Some(Value::String(text)) => (text.into_bytes(), Some("text/plain; charset=utf-8")),
            Some(value) => (value.to_string().into_bytes(), Some("application/json")),
        };
        let mut add = |name: &str, value: String| {
            if !headers.iter().any(|(known, _)| known == name) {
                headers.push((name.to_owned(), value));
            }
        };
        kind.into_iter().for_each(|kind| add("content-type", kind.to_owned()));
        // The same for every attempt: to the one who receives it, they are one call.
        add(IDEMPOTENCY_HEADER, keys::idempotency_key(&cx.run().id, &cx.path, 0, None));
        if let Some((header, secret)) = &self.signature {
            add(header, format!("sha256={HMAC}{secret}}}}}"));
        }
        let timeout_ms = cx.node.timeout_ms.unwrap_or(TIMEOUT_MS);
        Ok(HttpRequest { method: self.method.to_owned(), url, headers, body, timeout_ms })
    }

    fn judge(&self, answer: &HttpResponse) -> Result<(), Failure> {
        let status = answer.status;
        if answer.body.len() > self.body_bytes_max {
            let message = format!("the answer has {} bytes, more than {}", answer.body.len(), self.body_bytes_max);
            let problem = Problem::new(Code::X065, message).help("raise `max_body_bytes` of the node");
            return Err(Failure::never(problem));
        }
        if status < 400 || self.accept_status.contains(&status) {
            return Ok(());
        }
        let problem = Problem::new(Code::X022, format!("the webhook was answered with status {status}"))
            .help("see what the other side says to the request, or list the status under `accept_status`");
        if !self.retry_on_status.contains(&status) {
            return Err(Failure::never(problem));
        }
        let seconds = header(answer, "retry-after").and_then(|text| text.trim().parse::<u64>().ok());
        let after = seconds.map(|seconds| Retry::AfterMs(seconds.saturating_mul(1_000).min(RETRY_AFTER_MS_MAX)));
        Err(Failure { problem, retry: after.unwrap_or(Retry::Maybe) })
    }
}

/// A value that was rendered cannot name a secret: only the blueprint can.
fn value(cx: &NodeRun<'_>, name: &str, pieces: &[Piece]) -> Result<String, Failure> {
    let mut value = String::new();
    for piece in pieces {
        match piece {
            Piece::Secret(secret) => value.push_str(&format!("{SECRET}{secret}}}}}")),
            Piece::Text(template) => {
                let text = ask::words(cx.render(template, &format!("headers/{name}"))?);
                if text.contains("{{") {
                    let message = format!("the header `{name}` was rendered to something with `{{{{` in it");
                    let help = "let no other node decide what is filled in";
                    return Err(Failure::never(Problem::new(Code::X068, message).help(help)));
                }
                value.push_str(&text);
            }
        }
    }
    // Two harmless pieces must not make a name between them.
    let named = pieces.iter().filter(|piece| matches!(piece, Piece::Secret(_))).count();
    if value.matches("{{").count() != named {
        let message = format!("the header `{name}` was rendered to something with `{{{{` in it");
        return Err(Failure::never(Problem::new(Code::X068, message).help("put something between the braces")));
    }
    Ok(value)
}

fn header<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn output(answer: HttpResponse) -> Value {
    let is_json = header(&answer, "content-type").is_some_and(|kind| kind.contains("json"));
    let parsed = if is_json { serde_json::from_slice(&answer.body).ok() } else { None };
    let body: Value = parsed.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned().into());
    let headers: Map<String, Value> = answer.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
    json!({ "status": answer.status, "headers": headers, "body": body })
}

impl Node for Webhook {
    fn is_leaf(&self) -> bool {
        true
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(async move {
            cx.check_context()?;
            let answer = send(cx, self.request(cx)?).await?;
            self.judge(&answer)?;
            Ok(Done::new(output(answer)))
        })
    }

    fn effects(&self) -> Effects {
        Effects::External
    }

    /// Its attempts are one call to whoever receives them, so trying again is safe.
    fn own_retry(&self) -> Option<RetryPolicy> {
        Some(RetryPolicy { max_attempts: ATTEMPTS, ..RetryPolicy::once() })
    }

    fn output_schema(&self) -> Option<Value> {
        Some(json!({
            "type": "object",
            "properties": {"status": {"type": "integer"}, "headers": {"type": "object"}, "body": {}},
            "additionalProperties": false,
        }))
    }

    fn summary(&self) -> String {
        let mut text = format!("{} {}", self.method, self.url.source().as_str().unwrap_or_default());
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            text.push_str(&format!(" with {}", names.join(", ")));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!(" body {}", body.source()));
        }
        if let Some((header, secret)) = &self.signature {
            text.push_str(&format!(" signed with {secret} in {header}"));
        }
        text
    }
}
