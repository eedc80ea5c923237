//! A registry in this process that answers whatever a test wants, over http or https, and remembers what it was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With its query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Method and path, without the query.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap())
    }
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Clean,
    /// The connection breaks off.
    Cut,
    /// Nothing more comes, and the connection stays.
    Hang,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    frames: VecDeque<Bytes>,
    end: End,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), frames: VecDeque::new(), end: End::Clean }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With its length announced.
    pub(crate) fn body(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let length = body.len().to_string();
        self.frames(body, End::Clean).header("content-length", length)
    }

    /// Without a length, but for one that the headers claim.
    pub(crate) fn frames(mut self, body: impl Into<Bytes>, end: End) -> Self {
        self.frames = VecDeque::from([body.into()]);
        self.end = end;
        self
    }
}

struct Body {
    frames: VecDeque<Bytes>,
    end: End,
    // What came before a cut goes out before it.
    flushed: bool,
    given_up: Arc<Notify>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match (self.frames.pop_front(), self.end) {
            (Some(frame), _) => Poll::Ready(Some(Ok(Frame::data(frame)))),
            (None, End::Clean) => Poll::Ready(None),
            (None, End::Cut) if self.flushed => Poll::Ready(Some(Err(io::Error::other("cut")))),
            (None, End::Cut) => {
                self.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            // Woken by the connection when the other side is gone.
            (None, End::Hang) => Poll::Pending,
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.end == End::Hang {
            self.given_up.notify_one();
        }
    }
}

/// A certificate authority for one server on this machine.
pub(crate) struct Authority {
    pub(crate) pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        Self { pem: key.cert.pem(), server: Arc::new(server) }
    }
}

type Answer = dyn Fn(&Seen) -> Reply + Send + Sync;

/// The registry. Its task ends with the runtime of the test.
pub(crate) struct Lying {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    sockets: Arc<AtomicUsize>,
    given_up: Arc<Notify>,
}

impl Lying {
    /// Over http.
    pub(crate) async fn plain(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(answer)).await
    }

    /// Over https with this certificate.
    pub(crate) async fn secret(authority: &Authority, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Some(TlsAcceptor::from(Arc::clone(&authority.server))), Arc::new(answer)).await
    }

    async fn start(tls: Option<TlsAcceptor>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let lying = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            sockets: Arc::default(),
            given_up: Arc::default(),
        };
        let (seen, sockets) = (Arc::clone(&lying.seen), Arc::clone(&lying.sockets));
        let given_up = Arc::clone(&lying.given_up);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                sockets.fetch_add(1, Ordering::SeqCst);
                let (tls, answer) = (tls.clone(), Arc::clone(&answer));
                let (seen, given_up) = (Arc::clone(&seen), Arc::clone(&given_up));
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, answer, seen, given_up).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, answer, seen, given_up).await;
                            }
                        }
                    }
                });
            }
        });
        lying
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Method and path of every request, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    pub(crate) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::SeqCst)
    }

    /// Whether any request carried a login.
    pub(crate) fn saw_login(&self) -> bool {
        self.seen().iter().any(|seen| seen.header("authorization").is_some())
    }

    /// Returns when the other side closed a connection whose body hung.
    pub(crate) async fn given_up(&self) {
        tokio::time::timeout(std::time::Duration::from_secs(20), self.given_up.notified()).await.unwrap();
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Arc<Answer>,
    all: Arc<Mutex<Vec<Seen>>>,
    given_up: Arc<Notify>,
) {
    let respond = service_fn(|request: Request<Incoming>| {
        let (answer, all, given_up) = (Arc::clone(&answer), Arc::clone(&all), Arc::clone(&given_up));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let target = parts.uri.path_and_query().unwrap().as_str().to_owned();
            let seen = Seen { method: parts.method.to_string(), target, headers: parts.headers, body };
            all.lock().unwrap().push(seen.clone());
            let reply = answer(&seen);
            let mut response = Response::new(Body { frames: reply.frames, end: reply.end, flushed: false, given_up });
            *response.status_mut() = reply.status.try_into().unwrap();
            for (name, value) in reply.headers {
                response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
            }
            Ok::<_, Infallible>(response)
        }
    });
    // A client that goes away is what many of these tests are about.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), respond).await;
}
