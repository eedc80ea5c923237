//! A local HTTP bin: keeps what is posted to it and shows it again. For examples and tests, on 127.0.0.1 only.
//!
//! `POST` any path → 201 `{"id":n}`; `GET /items` → everything received; `GET /count` → how many.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ice_core::problem::{Code, Problem};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A poster could send without end: bound one body and the number of bodies kept.
const BODY_BYTES_MAX: usize = 1 << 20;
const ITEMS_MAX: usize = 10_000;

/// A running bin; it stops when the process does.
pub(crate) struct HttpBin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    items: Arc<Mutex<Vec<Value>>>,
}

impl HttpBin {
    /// Starts a bin on `port` (0: any free one) of the loopback interface.
    pub(crate) async fn start(port: u16) -> Result<Self, Problem> {
        let refuse = |error: std::io::Error| {
            Problem::new(Code::C003, format!("the HTTP bin cannot listen on 127.0.0.1:{port}: {error}"))
                .help("choose another port, or 0 for any free one")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let items = Arc::<Mutex<Vec<Value>>>::default();
        tokio::spawn(serve(listener, Arc::clone(&items)));
        Ok(Self { address, items })
    }

    /// How many bodies it received.
    pub(crate) fn count(&self) -> usize {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

async fn serve(listener: TcpListener, items: Arc<Mutex<Vec<Value>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let items = Arc::clone(&items);
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(move |request| answer(request, Arc::clone(&items)));
            // A client that breaks off is its own concern.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    items: Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let (status, body) = match (request.method(), path.as_str()) {
        (&Method::GET, "/count") => (StatusCode::OK, json!(items.lock().unwrap_or_else(PoisonError::into_inner).len())),
        (&Method::GET, "/items") => (StatusCode::OK, json!(*items.lock().unwrap_or_else(PoisonError::into_inner))),
        (&Method::POST | &Method::PUT, _) => match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
            Ok(body) => keep(&path, &body.to_bytes(), &items),
            Err(_) => (StatusCode::PAYLOAD_TOO_LARGE, json!({ "error": "the body is over 1 MiB or broke off" })),
        },
        _ => (StatusCode::NOT_FOUND, json!({ "error": "POST anything, GET /items or GET /count" })),
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::new(body.to_string().into())).expect("status and header are constants"))
}

fn keep(path: &str, body: &[u8], items: &Mutex<Vec<Value>>) -> (StatusCode, Value) {
    let body = serde_json::from_slice(body).unwrap_or_else(|_| json!(String::from_utf8_lossy(body)));
    let mut items = items.lock().unwrap_or_else(PoisonError::into_inner);
    if items.len() == ITEMS_MAX {
        return (StatusCode::INSUFFICIENT_STORAGE, json!({ "error": "the bin is full" }));
    }
    items.push(json!({ "path": path, "body": body }));
    (StatusCode::CREATED, json!({ "id": items.len() }))
}
