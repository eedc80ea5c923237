//! The one network door: OCI registries, under rules of our own.
//!
//! What comes out of here is bytes that have the digest they were asked by, or hints; believing is the part of
//! [`verify`](crate::verify()). Every request, uploads too, is made here and none by `oci-client`: its uploads follow any
//! redirect and any `Location`, also from https to http, read errors without end, and send a password wherever the
//! registry points. It is the other side in tests.
//!
//! The rules: certificates of `registries.toml` or the public ones; redirects ([`E_REDIRECT`](Code::R009)) and the place
//! of a login ([`E_REALM`](Code::R008)) are judged before anything is sent; every answer has a limit
//! ([`E_TOO_LARGE`](Code::T029)); what may pass is tried again, a wrong digest ([`E_DIGEST`](Code::T001)) never. The
//! registry itself is asked first; mirrors stand in when it is [unavailable](Code::R005), and for what is named by
//! digest also when it has it no longer.

mod auth;
mod credentials;
mod download;
mod listing;
mod registries;
mod repository;
mod retry;
mod transport;
mod trouble;
mod upload;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::oci::MANIFEST_MEDIA_TYPE;
use auth::{Asked, Challenge, Scopes, Tokens, no_login};
use credentials::Login;
pub use credentials::{Credentials, Kept};
pub use registries::{Auth, Registries, RegistrySettings};
pub use repository::Repository;
use repository::{Reference, split_prefix};
use retry::Attempts;
pub use retry::{Pause, Waiting};
use transport::{Authorization, Call, Transport};
use trouble::{Trouble, login_refused, passing};

/// How patient a client is, and what it calls itself.
#[derive(Clone)]
pub struct ClientOptions {
    /// How often something is tried again.
    pub retries: u32,
    /// For a connection, with its TLS handshake.
    pub connect_timeout: Duration,
    /// Without a single byte.
    pub read_timeout: Duration,
    /// For one request as a whole, slow drops included. A blob that was not through goes on where it stopped, as one of
    /// the retries.
    pub deadline: Duration,
    /// The `User-Agent`.
    pub user_agent: String,
    /// Waits between attempts.
    pub pause: Arc<dyn Pause>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            retries: 3,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(60),
            user_agent: concat!("ice/", env!("CARGO_PKG_VERSION")).to_owned(),
            pause: Arc::new(Waiting),
        }
    }
}

/// A manifest as it was served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pulled {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Of these bytes, whatever the registry said.
    pub digest: Digest,
}

/// Asks registries and gives to them.
pub struct Client {
    registries: Registries,
    credentials: Credentials,
    options: ClientOptions,
    transport: Transport,
    tokens: Tokens,
    /// Hosts that did not answer, however often they were asked.
    silent: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("registries", &self.registries).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; no socket is opened. C006 when a `ca` is not at least one certificate.
    pub fn new(registries: Registries, credentials: Credentials, options: ClientOptions) -> Result<Self, Problem> {
        let transport = Transport::new(&registries, &options)?;
        Ok(Self { registries, credentials, options, transport, tokens: Tokens::default(), silent: Mutex::default() })
    }

    /// What is known about registries.
    pub const fn registries(&self) -> &Registries {
        &self.registries
    }

    /// Whether the registry has this tag or digest. A hint: a registry may say anything. Mirrors are not asked.
    ///
    /// Fails with R005, R006, R007, R008, R009 and R014, as every request here.
    pub async fn head(&self, repository: &Repository, reference: &str) -> Result<bool, Problem> {
        Reference::parse(reference)?;
        let types = HeaderValue::from_static(
            "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
        );
        let url = self.url(repository, &format!("manifests/{reference}"))?;
        self.exists(repository, Call::new(Method::HEAD, url).header(ACCEPT, types)).await
    }

    /// Proves a login against the registry `host`, or the one of `host/prefix`, and keeps nothing of it. R007 when it is
    /// refused, or when the registry asks for none, so that nothing is proved.
    pub async fn login(&self, registry: &str, user: &str, password: &str) -> Result<(), Problem> {
        let (host, _) = split_prefix(registry)?;
        let base = self.transport.base(host)?;
        let login = Login::Password { user: user.to_owned(), password: password.to_owned() };
        let mut attempts = Attempts::new(&self.options);
        loop {
            match self.in_time(&base, self.prove(registry, host, &login)).await {
                Ok(()) => return Ok(()),
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
    }

    async fn prove(&self, registry: &str, host: &str, login: &Login) -> Result<(), Trouble> {
        let base = self.transport.base(host)?;
        let settings = self.registries.get(registry).or_else(|| self.registries.of_host(host));
        let call = Call::new(Method::GET, join(&base, "v2/")?);
        let open = self.transport.send(&call, None).await?;
        if open.status() == StatusCode::OK {
            let problem = Problem::new(Code::R007, format!("`{host}` asks for no login, so this one cannot be proved"));
            return Err(problem.help("leave it out: what is asked there needs none").into());
        }
        let Some(challenge) = challenge(&open, &base) else {
            return Err(transport::trouble(open).await);
        };
        let realms = settings.map_or(&[][..], |settings| &settings.realms);
        let asked = Asked { base: &base, realms, scopes: &Scopes(Vec::new()), login: Some(login) };
        let authorization = auth::answer(&self.transport, &asked, &challenge).await?;
        let answer = self.transport.send(&call, Some(&authorization)).await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            _ => Err(transport::trouble(answer).await),
        }
    }

    /// The repository and its mirrors, in the order they are asked: who did not answer before comes last, so that a
    /// registry that is gone is waited for once and not with every request.
    fn places(&self, repository: &Repository) -> Result<Vec<Repository>, Problem> {
        let (settings, below) = self.registries.of(repository);
        let mirrors = settings.map_or(&[][..], |settings| &settings.mirrors);
        let mirrors = mirrors.iter().map(|mirror| Repository::parse(mirror, below));
        let mut places: Vec<_> =
            std::iter::once(Ok(repository.clone())).chain(mirrors).collect::<Result<_, Problem>>()?;
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        places.sort_by_key(|place| silent.contains(&place.registry));
        Ok(places)
    }

    /// Whether the next place is asked instead of this one, which is remembered then.
    fn is_silent(&self, place: &Repository, problem: &Problem) -> bool {
        let silent = problem.code == Code::R005;
        if silent {
            self.silent.lock().unwrap_or_else(PoisonError::into_inner).insert(place.registry.clone());
        }
        silent
    }

    fn url(&self, repository: &Repository, rest: &str) -> Result<Url, Problem> {
        let base = self.transport.base(&repository.registry)?;
        join(&base, &format!("v2/{}/{rest}", repository.path))
    }

    /// Whether a `HEAD` finds something.
    async fn exists(&self, repository: &Repository, call: Call) -> Result<bool, Problem> {
        let scopes = Scopes::pull(&repository.path);
        let mut attempts = Attempts::new(&self.options);
        loop {
            let answer = self.in_time(&call.url, async {
                let response = self.call(repository, &scopes, &call).await?;
                match response.status() {
                    StatusCode::OK => Ok(true),
                    StatusCode::NOT_FOUND => Ok(false),
                    _ => Err(transport::trouble(response).await),
                }
            });
            match answer.await {
                Ok(found) => return Ok(found),
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
    }

    /// A `GET` with an answer of at most `limit` bytes, tried again where that can help. `None` for 404.
    async fn get(&self, repository: &Repository, call: &Call, what: &str, limit: u64) -> Result<Option<Got>, Problem> {
        let scopes = Scopes::pull(&repository.path);
        let mut attempts = Attempts::new(&self.options);
        loop {
            let answer = self.in_time(&call.url, async {
                let response = self.call(repository, &scopes, call).await?;
                match response.status() {
                    StatusCode::OK => {
                        let (url, headers) = (response.url().clone(), response.headers().clone());
                        let bytes = transport::body(response, what, limit).await?;
                        Ok(Some(Got { url, headers, bytes }))
                    }
                    StatusCode::NOT_FOUND => Ok(None),
                    _ => Err(transport::trouble(response).await),
                }
            });
            match answer.await {
                Ok(got) => return Ok(got),
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
    }

    /// Sends a request with the login of its registry, and answers its challenge once.
    async fn call(&self, repository: &Repository, scopes: &Scopes, call: &Call) -> Result<Response, Trouble> {
        let host = &repository.registry;
        let base = self.transport.base(host)?;
        let known = self.tokens.get(host, scopes);
        let response = self.transport.send(call, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(challenge) = challenge(&response, &base) else {
            return Err(transport::trouble(response).await);
        };
        self.tokens.forget(host, scopes);
        let authorization = self.authorize(repository, &base, scopes, &challenge).await?;
        let response = self.transport.send(call, Some(&authorization)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(login_refused(response.url()).into());
        }
        self.tokens.keep(host, scopes, authorization);
        Ok(response)
    }

    async fn authorize(
        &self,
        repository: &Repository,
        base: &Url,
        scopes: &Scopes,
        challenge: &Challenge,
    ) -> Result<Authorization, Trouble> {
        let known = self.registries.of(repository).0;
        let fallback = RegistrySettings::default();
        let settings = known.unwrap_or(&fallback);
        let login = self.credentials.find(&repository.registry, &settings.auth).await?;
        if login.is_none() && *challenge == Challenge::Basic {
            return Err(no_login(base).into());
        }
        let asked = Asked { base, realms: &settings.realms, scopes, login: login.as_ref() };
        auth::answer(&self.transport, &asked, challenge).await
    }

    /// Bounds one attempt.
    async fn in_time<T>(&self, url: &Url, attempt: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let late = || passing(url, &format!("it is not done after {} s", self.options.deadline.as_secs()));
        tokio::time::timeout(self.options.deadline, attempt).await.unwrap_or_else(|_| Err(late()))
    }
}

/// An answer, whole.
struct Got {
    url: Url,
    headers: reqwest::header::HeaderMap,
    bytes: Vec<u8>,
}

/// The challenge of a registry; one of a host it redirected to is nobody's.
fn challenge(response: &Response, base: &Url) -> Option<Challenge> {
    let own = response.status() == StatusCode::UNAUTHORIZED && response.url().origin() == base.origin();
    own.then(|| Challenge::read(response.headers())).flatten()
}

fn join(base: &Url, path: &str) -> Result<Url, Problem> {
    base.join(path).map_err(|_| Problem::new(Code::R014, "a repository makes no URL"))
}
