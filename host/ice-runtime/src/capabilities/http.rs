//! `wasi:http/outgoing-handler`: any language's fetch, through the gate to the one port that opens sockets.
//!
//! A request is sent by a task of its own, which ends with the call. The body is collected before anything is sent.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use ice_core::budget::Usage;
use ice_core::id::Digest;
use ice_core::ports::{HttpRequest, HttpResponse};
use ice_core::problem::{Code, Problem};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::words;
use crate::gate::{Gate, HttpReply, Need, Pass, Refusal, digest};

/// Requests of one call that are on their way at once.
const REQUESTS_AT_ONCE: usize = 16;

/// Largest body of one request. Held in memory until it is sent.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What a guest may write into a body at once; the stream buffers one such piece.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Sends the requests of one call.
pub(crate) struct Hooks {
    gate: Arc<Gate>,
    at_once: Arc<Semaphore>,
}

impl Hooks {
    /// Sends through `gate`.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate, at_once: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)) }
    }
}

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Done), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(&mut self, request: http::Request<WasiBody>, options: Option<RequestOptions>, _: Done) -> Sent {
        let (gate, at_once) = (Arc::clone(&self.gate), Arc::clone(&self.at_once));
        // Taken here, where requests come in the order of the guest, and not in the task.
        let turn = gate.turn();
        Box::new(async move {
            let response = send(&gate, &at_once, turn, request, options).await?;
            Ok((response, Box::new(async { Ok(()) }) as Done))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES_MAX
    }
}

async fn send(
    gate: &Gate,
    at_once: &Semaphore,
    turn: u32,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<http::Response<WasiBody>, Error> {
    let (parts, body) = request.into_parts();
    let (method, url) = (parts.method.as_str().to_owned(), parts.uri.to_string());
    let need = Need::Http { method: &method, url: &url };
    // Before the body is taken: whoever is denied shall not have to write it.
    gate.check(&need).map_err(|refusal| refuse(gate, refusal))?;
    let headers = headers_from(&parts.headers)?;
    let head: usize = url.len() + headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    spend_egress(gate, head)?;
    let body = collect(gate, body).await?;

    let request = digest(&("http", &method, &url, &headers, Digest::of(&body)));
    let operation = format!("{method} {}", url.split(['?', '#']).next().unwrap_or(&url));
    let pass = Pass { need, operation, turn, request, estimate: None };
    let answer = gate.pass(pass, async {
        let _permit = at_once.acquire().await.expect("the semaphore is never closed");
        let request = HttpRequest {
            method: method.clone(),
            url: url.clone(),
            headers,
            body,
            timeout_ms: timeout_ms(gate, options),
        };
        gate.count_request();
        let response = gate.ports.http.send(request, &gate.caller.grant).await?;
        let repeatable = matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS");
        Ok((HttpReply { response, repeatable, lost: false }, Usage::default()))
    });
    let reply = answer.await.map_err(|refusal| refuse(gate, refusal))?;
    if reply.lost {
        return Err(Error::InternalError(Some(
            "this request was already made before a crash, and its answer was too large to keep".into(),
        )));
    }
    response_into(reply.response)
}

fn headers_from(headers: &http::HeaderMap) -> Result<Vec<(String, String)>, Error> {
    let mut texts = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        // The port writes the host of the address that it really dials.
        if *name == http::header::HOST {
            continue;
        }
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Error::InternalError(Some(format!("the value of header `{name}` is not UTF-8 text"))))?;
        texts.push((name.as_str().to_owned(), value.to_owned()));
    }
    Ok(texts)
}

async fn collect(gate: &Gate, mut body: WasiBody) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(Error::HttpRequestBodySize(Some(BODY_BYTES_MAX as u64)));
        }
        spend_egress(gate, data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn spend_egress(gate: &Gate, bytes: usize) -> Result<(), Error> {
    if gate.egress(bytes as u64) {
        return Ok(());
    }
    let limit = gate.bounds.egress_bytes.value;
    let text = gate.deny(&Need::Egress { limit });
    gate.log("warn", &text);
    Err(Error::HttpRequestBodySize(Some(limit)))
}

fn timeout_ms(gate: &Gate, options: Option<RequestOptions>) -> u64 {
    let mut timeout = gate.remaining();
    // The answer is passed on when it is complete, so its first byte comes with its last.
    if let Some(first_byte) = options.and_then(|options| options.first_byte_timeout) {
        let connect = options.and_then(|options| options.connect_timeout).unwrap_or_default();
        timeout = timeout.min(first_byte.saturating_add(connect));
    }
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn response_into(answer: HttpResponse) -> Result<http::Response<WasiBody>, Error> {
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        if !matches!(name.as_str(), "connection" | "transfer-encoding" | "keep-alive") {
            response = response.header(name, value);
        }
    }
    let body = Full::new(Bytes::from(answer.body)).map_err(Error::from).boxed_unsync();
    response.body(body).map_err(|_| Error::HttpProtocolError)
}

/// The guest gets the case of `wasi:http` that fits; the words, which that case cannot carry, go to the log.
fn refuse(gate: &Gate, refusal: Refusal) -> Error {
    let problem = match refusal {
        Refusal::Denied(text) => {
            gate.log("warn", &text);
            return Error::HttpRequestDenied;
        }
        Refusal::Failed(failure) => failure.problem,
    };
    let text = words(&problem);
    gate.log("warn", &text);
    error_of(gate, problem, text)
}

fn error_of(gate: &Gate, problem: Problem, text: String) -> Error {
    match problem.code {
        Code::X060 => Error::HttpRequestUriInvalid,
        Code::X061 => Error::DnsError { rcode: Some(text), info_code: None },
        Code::X062 => Error::ConnectionRefused,
        Code::X063 => Error::TlsCertificateError,
        Code::X064 => Error::HttpResponseTimeout,
        Code::X065 => Error::HttpResponseBodySize(None),
        Code::X066 => Error::LoopDetected,
        Code::X069 => Error::HttpResponseIncomplete,
        code if code.letters().starts_with('G') => {
            let denied = if code == Code::G020 { Error::DestinationIpProhibited } else { Error::HttpRequestDenied };
            gate.note_denial(text, problem);
            denied
        }
        _ => Error::InternalError(Some(text)),
    }
}
