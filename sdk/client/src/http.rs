//! A client over HTTP/1.1 with one connection that is kept. Plain HTTP: TLS ends at whatever stands before the host.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ice_core::problem::{Code, Problem};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::wire::{
    BlueprintBody, CancelBody, ErrorBody, ExecutionBody, ExecutionList, NEW_DOCUMENT, PREFIX, StartRequest,
    StoredBlueprint, VERSION_LOCK,
};

/// A server could answer without end: bound one body.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A bound on one line of a stream of events.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Asks one host, one request after the other.
pub struct Client {
    /// `host:port`.
    authority: String,
    token: Option<String>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client of the host under `http://host:port`. Connects when it is first asked. X060 for any other URL.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, Problem> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let authority = authority.filter(|rest| !rest.is_empty() && !rest.contains(['/', '@', ' ', '?', '#']));
        let wrong = || Problem::new(Code::X060, format!("`{url}` is not `http://host:port`"));
        let authority = authority.ok_or_else(|| wrong().help("write, for example, `http://127.0.0.1:8080`"))?;
        let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority, token, connection: None })
    }

    /// Starts an execution, and waits at most so many seconds for its end.
    pub async fn start(&mut self, request: &StartRequest, wait_seconds: f64) -> Result<ExecutionBody, Vec<Problem>> {
        let path = format!("/executions?wait_seconds={wait_seconds}");
        self.ask(Method::POST, &path, &[], Some(request.to_value())).await
    }

    /// Where an execution stands.
    pub async fn execution(&mut self, id: &str) -> Result<ExecutionBody, Vec<Problem>> {
        self.ask(Method::GET, &format!("/executions/{id}"), &[], None).await
    }

    /// One page of executions, newest first; `before` is the `next` of the page before.
    pub async fn executions(&mut self, limit: u32, before: Option<&str>) -> Result<ExecutionList, Vec<Problem>> {
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        self.ask(Method::GET, &format!("/executions?limit={limit}{before}"), &[], None).await
    }

    /// Asks an execution to stop.
    pub async fn cancel(&mut self, id: &str) -> Result<CancelBody, Vec<Problem>> {
        self.ask(Method::POST, &format!("/executions/{id}/cancel"), &[], None).await
    }

    /// Stores a blueprint.
    pub async fn store(&mut self, blueprint: Value) -> Result<StoredBlueprint, Vec<Problem>> {
        self.ask(Method::POST, "/blueprints", &[(VERSION_LOCK, NEW_DOCUMENT)], Some(blueprint)).await
    }

    /// A stored blueprint.
    pub async fn blueprint(&mut self, id: &str) -> Result<BlueprintBody, Vec<Problem>> {
        self.ask(Method::GET, &format!("/blueprints/{id}"), &[], None).await
    }

    /// Follows the events of an execution that come after the one with this id; 0 is all of them. Takes a connection of
    /// its own.
    pub async fn events(&self, id: &str, after: u64) -> Result<Sse, Vec<Problem>> {
        let mut sender = connect(&self.authority).await.map_err(|problem| vec![problem])?;
        let after = after.to_string();
        let headers = [("last-event-id", after.as_str())];
        let request = self.request(Method::GET, &format!("/executions/{id}/events"), &headers, None);
        let response = sender.send_request(request).await.map_err(|error| vec![broke_off(&error)])?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        Ok(Sse { body: response.into_body(), buffer: Vec::new(), _sender: sender })
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T, Vec<Problem>> {
        let request = self.request(method, path, headers, body);
        let one = |problem: Problem| vec![problem];
        let mut sender = match self.connection.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => connect(&self.authority).await.map_err(one)?,
        };
        sender.ready().await.map_err(|error| one(broke_off(&error)))?;
        let response = sender.send_request(request).await.map_err(|error| one(broke_off(&error)))?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let bytes = whole(response).await.map_err(one)?;
        self.connection = Some(sender);
        serde_json::from_slice(&bytes).map_err(|error| {
            one(Problem::new(Code::A017, format!("the answer is not in its form: {error}"))
                .help("check that the URL is that of an ice host of this version"))
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Request<Full<Bytes>> {
        let mut request =
            Request::builder().method(method).uri(format!("{PREFIX}{path}")).header(HOST, &self.authority);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.body(Full::new(body)).expect("paths and headers of this file are in their form")
    }
}

async fn connect(authority: &str) -> Result<SendRequest<Full<Bytes>>, Problem> {
    let refuse = |error: &dyn std::fmt::Display| {
        Problem::new(Code::X062, format!("no connection to `{authority}`: {error}")).help("start `ice serve` there")
    };
    let stream = TcpStream::connect(authority).await.map_err(|error| refuse(&error))?;
    // Requests are small and complete; a socket that cannot do it works too.
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| refuse(&error))?;
    // Ends with the sender; how it ended is seen by whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn broke_off(error: &hyper::Error) -> Problem {
    Problem::new(Code::X069, format!("the connection broke off: {error}"))
        .help("ask again: the server may have stopped")
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Problem> {
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| Problem::new(Code::X069, format!("the answer broke off or is too large: {error}")))
}

/// The problems of an answer that is a refusal.
async fn refused(response: Response<Incoming>) -> Vec<Problem> {
    let status = response.status();
    match whole(response).await {
        Ok(bytes) => match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) if !body.problems.is_empty() => body.problems,
            _ => vec![Problem::new(Code::A017, format!("the server answered {status} without saying why"))],
        },
        Err(problem) => vec![problem],
    }
}

/// A stream of events.
pub struct Sse {
    body: Incoming,
    buffer: Vec<u8>,
    /// The connection ends when this is dropped.
    _sender: SendRequest<Full<Bytes>>,
}

/// One event of a stream.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SseEvent {
    /// The sequence number; none for text that streams by.
    pub id: Option<u64>,
    /// The kind of fact, or `delta`.
    pub event: String,
    /// JSON.
    pub data: String,
}

impl Sse {
    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<SseEvent>, Problem> {
        let mut found = SseEvent::default();
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            if line.is_empty() {
                if !found.data.is_empty() {
                    return Ok(Some(found));
                }
                found = SseEvent::default();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => found.id = value.parse().ok(),
                "event" => value.clone_into(&mut found.event),
                "data" => {
                    if !found.data.is_empty() {
                        found.data.push('\n');
                    }
                    found.data.push_str(value);
                }
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> Result<Option<String>, Problem> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Problem::new(Code::A017, "an event is larger than this client reads"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(broke_off(&error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }
}
