//! Bounds on what a request may cost before anybody looks at it: size and time of its body, and how many come.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use ice_core::blueprint::DOCUMENT_BYTES_MAX;
use ice_core::id::UnixMs;
use ice_core::problem::{Code, Problem};

use crate::answer::Refusal;
use crate::app::Api;

/// The host holds a body whole: a blueprint at its largest, and as much again for inputs.
const BODY_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX;

/// How long a body may take to arrive, in milliseconds: 8 MiB over a slow line.
const BODY_MS: u64 = 30_000;

/// Reads the body within its bounds and hands it on whole. Only JSON is taken: a page of another site cannot send that
/// without asking first.
pub(crate) async fn bound(State(api): State<Api>, request: Request, next: Next) -> Response {
    let clock = &api.0.parts.clock;
    if request.method() == Method::GET {
        return next.run(request.map(|_| Body::empty())).await;
    }
    let (head, body) = request.into_parts();
    let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > BODY_BYTES_MAX) {
        return too_large();
    }
    let whole = Limited::new(body, BODY_BYTES_MAX).collect();
    let bytes = tokio::select! {
        whole = whole => match whole {
            Ok(whole) => whole.to_bytes(),
            Err(_) => return too_large(),
        },
        () = clock.sleep(BODY_MS) => {
            let problem = Problem::new(Code::A015, "the body did not arrive in time").help("send it again");
            return Refusal::from(problem).into_response();
        }
    };
    let json = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_json);
    if !bytes.is_empty() && !json {
        let problem = Problem::new(Code::A007, "the body is not declared as JSON");
        return Refusal::from(problem.help("send the header `Content-Type: application/json`")).into_response();
    }
    next.run(Request::from_parts(head, Body::from(bytes))).await
}

fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn too_large() -> Response {
    let message = format!("the body is over {} MiB, or broke off", BODY_BYTES_MAX >> 20);
    Refusal::from(Problem::new(Code::A004, message).help("send less at once")).into_response()
}

/// Reads the JSON of a body; A003 with line and column otherwise.
pub(crate) fn json(body: &Bytes) -> Result<serde_json::Value, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let mut problem = Problem::new(Code::A003, format!("the body is not JSON: {error}"));
        let at = problem.at.get_or_insert_default();
        at.line = u32::try_from(error.line()).ok();
        at.column = u32::try_from(error.column()).ok();
        problem.help("send a JSON object")
    })
}

/// How many requests one route takes.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At most so many …
    pub requests: u32,
    /// … within so long.
    pub window: Duration,
}

/// Requests counted by route. Counts are of this process only.
pub(crate) struct Rates {
    rate: Option<Rate>,
    /// Route → begin of its window and requests in it. Routes are a table, so this stays small.
    windows: Mutex<HashMap<String, (UnixMs, u32)>>,
}

impl Rates {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self { rate, windows: Mutex::default() }
    }

    /// The length of a window in whole seconds.
    pub(crate) fn window_seconds(&self) -> Option<u64> {
        self.rate.map(|rate| rate.window.as_secs().max(1))
    }

    /// Counts a request; A008 when it is one too many.
    pub(crate) fn take(&self, now: UnixMs, request: &Request) -> Result<(), Problem> {
        let Some(rate) = self.rate else { return Ok(()) };
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let key = format!("{} {route}", request.method());
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, count) = windows.entry(key).or_insert((now, 0));
        let length = u64::try_from(rate.window.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(*begun) >= length {
            (*begun, *count) = (now, 0);
        }
        if *count >= rate.requests {
            let message = format!("Rate limit exceeded: {} requests in {} s", rate.requests, rate.window.as_secs());
            return Err(Problem::new(Code::A008, message).help("wait as long as `Retry-After` says"));
        }
        *count += 1;
        Ok(())
    }
}
