//! Egress for everyone: the one way out of the host.
//!
//! A request passes, in this order: URL ([`target`]) → grant → one lookup, no private addresses ([`resolve`]) → the
//! vetted address is dialled, TLS ([`dial`]) → secrets are filled in ([`headers`]) → it is sent ([`exchange`]).
//! A redirect starts again at its URL. What comes back is bounded and scrubbed ([`scrub`]).
//! Environment variables such as `HTTPS_PROXY` have no effect. Retrying is the scheduler's business.

mod address;
mod dial;
mod exchange;
mod headers;
mod hop;
mod resolve;
mod scrub;
mod target;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use ice_core::grant::Grant;
use ice_core::ports::{Failure, Http, HttpRequest, HttpResponse};
use ice_core::problem::{Code, Problem};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::secrets::Secrets;
use resolve::PrivateAllowed;
use scrub::Scrubber;

pub(crate) use exchange::{Answer, Authority, Limits};
pub(crate) use headers::Headers;
pub(crate) use hop::Hop;
pub use resolve::{Resolver, SystemResolver};
pub(crate) use target::Target;

/// Names this program to servers that ask for a name.
const USER_AGENT: &str = concat!("ice/", env!("CARGO_PKG_VERSION"));

/// What an operator may set about outgoing requests.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// `host:port` pairs that may have a private, local or otherwise special address, for example `localhost:8080`.
    /// Secrets are sent to them without TLS, too. Default: none.
    pub allow_private: Vec<String>,
    /// Further root certificates, PEM; those of Mozilla are built in. Default: empty.
    pub extra_roots_pem: Vec<u8>,
    /// Most redirects followed. Default: 5.
    pub redirects: u32,
    /// Most bytes of a request's body. Default: 8 MiB.
    pub request_bytes: usize,
    /// Most bytes of an answer's body; a longer one is a failure, not a piece. Default: 8 MiB.
    pub response_bytes: usize,
    /// Time for everything when a request says 0. Default: 30 s.
    pub timeout: Duration,
    /// The most a request may ask for. Default: 300 s.
    pub timeout_max: Duration,
    /// Requests at once; more of them wait, within their time. Default: 64.
    pub concurrent: usize,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            allow_private: Vec::new(),
            extra_roots_pem: Vec::new(),
            redirects: 5,
            request_bytes: 8 << 20,
            response_bytes: 8 << 20,
            timeout: Duration::from_secs(30),
            timeout_max: Duration::from_secs(300),
            concurrent: 64,
        }
    }
}

/// The way out: implements the port for guests, and carries the host's own requests to model providers.
pub struct Egress {
    options: EgressOptions,
    allowed: RwLock<PrivateAllowed>,
    resolver: Arc<dyn Resolver>,
    tls: Arc<ClientConfig>,
    secrets: Secrets,
    scrubber: Scrubber,
    slots: Semaphore,
}

impl Egress {
    /// Prepares everything that a request needs. C020 and C021 for every setting that is wrong.
    pub fn new(options: EgressOptions, secrets: Secrets, resolver: Arc<dyn Resolver>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let allowed = PrivateAllowed::parse(&options.allow_private).unwrap_or_else(|more| {
            problems.extend(more);
            PrivateAllowed::default()
        });
        let scrubber = Scrubber::new(&secrets).map_err(|problem| problems.push(problem));
        let tls = dial::tls(&options.extra_roots_pem).map_err(|problem| problems.push(problem));
        if options.concurrent == 0 || options.timeout_max.is_zero() || Semaphore::MAX_PERMITS < options.concurrent {
            problems.push(
                Problem::new(Code::C021, "`concurrent` or `timeout_max` of outgoing requests is 0 or too large")
                    .help("to allow no requests, grant none"),
            );
        }
        match (scrubber, tls) {
            (Ok(scrubber), Ok(tls)) if problems.is_empty() => {
                let slots = Semaphore::new(options.concurrent);
                let allowed = RwLock::new(allowed);
                Ok(Self { options, allowed, resolver, tls, secrets, scrubber, slots })
            }
            _ => Err(problems),
        }
    }

    /// Lets requests go to this address as if [`EgressOptions::allow_private`] named it: for a server that this process
    /// itself starts after the way out was prepared.
    pub fn allow_private(&self, address: SocketAddr) {
        self.allowed.write().unwrap_or_else(PoisonError::into_inner).add(address);
    }

    fn deadline(&self, timeout_ms: u64) -> Instant {
        let asked = if timeout_ms == 0 { self.options.timeout } else { Duration::from_millis(timeout_ms) };
        Instant::now() + asked.min(self.options.timeout_max)
    }

    async fn follow(&self, request: HttpRequest, grant: &Grant) -> Result<HttpResponse, Failure> {
        let deadline = self.deadline(request.timeout_ms);
        let mut hop = Hop::first(request, self.options.request_bytes)?;
        let waiting = exchange::within(deadline, &hop.target, "waiting for a free slot", self.slots.acquire());
        let _slot = waiting.await?.expect("the semaphore is never closed");
        let mut redirects = 0;
        loop {
            let limits = Limits::until(deadline, self.options.response_bytes);
            let answer = self.open(&hop, Authority::Grant(grant), limits).await?;
            let Some(next) = hop.redirected(answer.status, &answer.headers)? else {
                return self.collect(&hop, answer).await;
            };
            redirects += 1;
            if self.options.redirects < redirects {
                let message =
                    format!("`{}` redirects more than {} times", hop.target.host_port(), self.options.redirects);
                return Err(Failure::never(Problem::new(Code::X066, message)));
            }
            hop = next;
        }
    }

    async fn collect(&self, hop: &Hop, mut answer: Answer) -> Result<HttpResponse, Failure> {
        let packed = answer.headers.get(http::header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
        if packed && hop.headers.secrets().next().is_some() {
            let message =
                format!("`{}` answered in packed form, where a secret cannot be found", hop.target.host_port());
            return Err(Failure::never(Problem::new(Code::X069, message)));
        }
        let received = answer.body.collect().await?;
        let length = received.len();
        let body = self.scrubber.bytes(received);
        let headers = exchange::for_caller(&answer.headers, length != body.len());
        let headers = headers.into_iter().map(|(name, value)| (self.scrubber.text(name), self.scrubber.text(value)));
        Ok(HttpResponse {
            status: answer.status.as_u16(),
            headers: headers.collect(),
            body,
            url: self.scrubber.text(hop.target.as_str().to_owned()),
        })
    }
}

#[async_trait]
impl Http for Egress {
    async fn send(&self, request: HttpRequest, grant: &Grant) -> Result<HttpResponse, Failure> {
        self.follow(request, grant).await.map_err(|mut failure| {
            // A host name or a redirect may carry what a server was sent.
            let problem = &mut failure.problem;
            problem.message = self.scrubber.text(std::mem::take(&mut problem.message));
            problem.help = problem.help.take().map(|help| self.scrubber.text(help));
            failure
        })
    }

    fn has_secret(&self, name: &str) -> bool {
        self.secrets.get(name).is_some()
    }
}
