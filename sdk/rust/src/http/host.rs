//! The requests of a component, over `wasi:http/outgoing-handler`.

use std::time::Duration;

use super::{Error, Request, Response, split_url};
use crate::bindings::agent::wasi::http::outgoing_handler;
use crate::bindings::agent::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use crate::bindings::agent::wasi::io::streams::StreamError;

/// `output-stream.blocking-write-and-flush` takes at most 4096 bytes (wasi:io 0.2).
const WRITE_BYTES_MAX: usize = 4096;
/// One host call per piece: large enough that a full body takes few, small enough for a small guest.
const READ_BYTES: u64 = 64 << 10;

pub(super) fn send(request: &Request) -> Result<Response, Error> {
    let outgoing = head(request)?;
    let body = outgoing.body().map_err(|()| Error::Failed("the host offers no request body".to_owned()))?;
    let future = outgoing_handler::handle(outgoing, Some(options(request.timeout)))?;
    write_body(body, &request.body)?;
    future.subscribe().block();
    let incoming = future
        .get()
        .ok_or_else(|| Error::Failed("the host reported an answer and gave none".to_owned()))?
        .map_err(|()| Error::Failed("the host gave the answer twice".to_owned()))??;
    receive(&incoming, request.body_bytes_max)
}

fn head(request: &Request) -> Result<OutgoingRequest, Error> {
    let parts = split_url(&request.url)?;
    let headers = Fields::new();
    for (name, value) in &request.headers {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| Error::InvalidRequest(format!("header `{name}`: {error}")))?;
    }
    if !request.body.is_empty() && !request.has_header("content-length") {
        let length = request.body.len().to_string();
        headers
            .append("content-length", length.as_bytes())
            .map_err(|error| Error::InvalidRequest(format!("header `content-length`: {error}")))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let refuse = |part: &str| Error::InvalidRequest(format!("the {part} of {} {}", request.method, request.url));
    outgoing.set_method(&method(&request.method)).map_err(|()| refuse("method"))?;
    let scheme = if parts.secure { Scheme::Https } else { Scheme::Http };
    outgoing.set_scheme(Some(&scheme)).map_err(|()| refuse("scheme"))?;
    outgoing.set_authority(Some(parts.authority)).map_err(|()| refuse("host"))?;
    let path = match parts.path_with_query {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    outgoing.set_path_with_query(Some(&path)).map_err(|()| refuse("path"))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

/// A host that does not take one of these keeps its own limit, which is no reason to fail.
fn options(timeout: Duration) -> RequestOptions {
    let options = RequestOptions::new();
    let nanoseconds = u64::try_from(timeout.as_nanos()).ok();
    let _ = options.set_connect_timeout(nanoseconds);
    let _ = options.set_first_byte_timeout(nanoseconds);
    let _ = options.set_between_bytes_timeout(nanoseconds);
    options
}

fn write_body(body: OutgoingBody, bytes: &[u8]) -> Result<(), Error> {
    if !bytes.is_empty() {
        let stream = body.write().map_err(|()| Error::Failed("the host offers no body stream".to_owned()))?;
        for piece in bytes.chunks(WRITE_BYTES_MAX) {
            // A host that answered early stops reading: the answer says why, so the error of the write does not matter.
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
    }
    match OutgoingBody::finish(body, None) {
        // The request's own error is clearer and comes from `get`.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn receive(incoming: &IncomingResponse, limit: usize) -> Result<Response, Error> {
    let status = incoming.status();
    let headers = incoming
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let body = incoming.consume().map_err(|()| Error::Failed("the host gave the body twice".to_owned()))?;
    let bytes = read_body(&body, limit)?;
    Ok(Response { status, headers, body: bytes })
}

fn read_body(body: &IncomingBody, limit: usize) -> Result<Vec<u8>, Error> {
    let stream = body.stream().map_err(|()| Error::Failed("the host gave the body twice".to_owned()))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(piece) if bytes.len() + piece.len() > limit => return Err(Error::TooLarge(limit)),
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(Error::Unreachable(format!("the answer broke off: {}", error.to_debug_string())));
            }
        }
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::HttpRequestDenied => Self::Denied("the grant of this component does not cover it".to_owned()),
            ErrorCode::DestinationIpProhibited => Self::Denied("the address is not allowed on this host".to_owned()),
            ErrorCode::InternalError(Some(text)) => Self::Failed(text),
            ErrorCode::InternalError(None) => Self::Failed("the host gave no reason".to_owned()),
            ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => Self::Timeout,
            ErrorCode::DnsError(_)
            | ErrorCode::DestinationNotFound
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpUnroutable
            | ErrorCode::ConnectionRefused
            | ErrorCode::ConnectionTerminated
            | ErrorCode::ConnectionLimitReached
            | ErrorCode::HttpResponseIncomplete => Self::Unreachable(format!("{code:?}")),
            ErrorCode::HttpRequestMethodInvalid
            | ErrorCode::HttpRequestUriInvalid
            | ErrorCode::HttpRequestUriTooLong
            | ErrorCode::HttpRequestBodySize(_)
            | ErrorCode::HttpRequestHeaderSize(_)
            | ErrorCode::HttpRequestHeaderSectionSize(_) => Self::InvalidRequest(format!("{code:?}")),
            other => Self::Failed(format!("{other:?}")),
        }
    }
}
