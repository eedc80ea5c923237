//! One request to one host: TLS, redirects, and how much of an answer is read.
//!
//! Knows nothing of logins but where they may go: the `Authorization` that a caller hands in is sent to the origin it is
//! for and nowhere else. HTTP/1.1 only, so that giving up an answer closes its connection.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ice_core::problem::{Code, Problem};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use url::{Origin, Url};

use super::ClientOptions;
use super::registries::{Registries, is_pem, url_is_loopback};
use super::trouble::{Trouble, place, protocol, refused, too_large, unanswered};

/// As the threat model has it: enough for a content network, too few for a loop.
const REDIRECTS_MAX: usize = 3;
/// Certificate authorities of a company are a few kilobytes.
const CA_BYTES_MAX: u64 = 1 << 20;
/// Of an answer that is an error; only its code is used.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// A request as it may be sent again.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

impl Call {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None }
    }

    #[must_use]
    pub(super) fn header(mut self, name: reqwest::header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    #[must_use]
    pub(super) fn body(mut self, body: Bytes) -> Self {
        if body.is_empty() {
            // Left out otherwise, and some registries want it.
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        self.body = Some(body);
        self
    }
}

/// What may be sent to one origin.
#[derive(Clone)]
pub(super) struct Authorization {
    pub(super) origin: Origin,
    pub(super) value: HeaderValue,
}

/// Connections to every host, each with the certificates that are believed for it.
pub(super) struct Transport {
    plain: reqwest::Client,
    public: reqwest::Client,
    pinned: HashMap<Origin, reqwest::Client>,
    plain_hosts: Vec<String>,
}

impl Transport {
    /// C006 for a `ca` that is not at least one certificate. Opens no socket.
    pub(super) fn new(registries: &Registries, options: &ClientOptions) -> Result<Self, Problem> {
        let public = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let mut transport = Self {
            plain: build(options, Way::Plain)?,
            public: build(options, Way::Encrypted { roots: public, proxies: Proxies::OfEnvironment })?,
            pinned: HashMap::new(),
            plain_hosts: Vec::new(),
        };
        for (prefix, settings) in registries.iter() {
            let host = prefix.split('/').next().unwrap_or(prefix);
            if settings.plain_http {
                transport.plain_hosts.push(host.to_owned());
            }
            if let Some(ca) = &settings.ca {
                let named = |problem: Problem| problem.subject(format!("`ca` of [registry.\"{prefix}\"]"));
                let (base, roots) = (transport.base(host)?, read_ca(ca).map_err(named)?);
                let proxies = if url_is_loopback(&base) { Proxies::None } else { Proxies::OfEnvironment };
                transport.pinned.insert(base.origin(), build(options, Way::Encrypted { roots, proxies })?);
            }
        }
        Ok(transport)
    }

    /// `https://host/`, or `http://` where `registries.toml` says so. R014.
    pub(super) fn base(&self, host: &str) -> Result<Url, Problem> {
        let scheme = if self.plain_hosts.iter().any(|plain| plain == host) { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|_| Problem::new(Code::R014, format!("`{host}` is not the host of a registry")))
    }

    /// Sends a request and follows its redirects. Any status but a redirect comes back as it is.
    pub(super) async fn send(&self, call: &Call, authorization: Option<&Authorization>) -> Result<Response, Trouble> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request =
                self.client_for(&url)?.request(call.method.clone(), url.clone()).headers(call.headers.clone());
            if let Some(authorization) = authorization.filter(|authorization| authorization.origin == url.origin()) {
                request = request.header(AUTHORIZATION, authorization.value.clone());
            }
            if let Some(body) = &call.body {
                request = request.body(body.clone());
            }
            let response = request.send().await.map_err(|error| unanswered(&url, &error))?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let keeps_method = matches!(response.status().as_u16(), 307 | 308);
            if !keeps_method && !matches!(call.method, Method::GET | Method::HEAD) {
                return Err(redirect(&url, "redirects an upload in a way that would lose it").into());
            }
            url = next(&url, response.headers())?;
        }
        Err(redirect(&call.url, &format!("redirects more than {REDIRECTS_MAX} times")).into())
    }

    /// Sends a request whose own headers hold a secret: it follows nowhere (R009).
    pub(super) async fn send_once(&self, call: &Call) -> Result<Response, Trouble> {
        let mut request = self.client_for(&call.url)?.request(call.method.clone(), call.url.clone());
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let sent = request.headers(call.headers.clone()).send().await;
        let response = sent.map_err(|error| unanswered(&call.url, &error))?;
        if is_redirect(response.status()) {
            return Err(redirect(&call.url, "redirects a login").into());
        }
        Ok(response)
    }

    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, Problem> {
        match url.scheme() {
            "https" => Ok(self.pinned.get(&url.origin()).unwrap_or(&self.public)),
            "http" if url_is_loopback(url) => Ok(&self.plain),
            _ => Err(redirect(url, "would be asked without encryption")),
        }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a `Location` leads. R009 for a way out of https, a login in the URL, or no URL at all.
pub(super) fn next(from: &Url, headers: &HeaderMap) -> Result<Url, Problem> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(mut to) = location.and_then(|location| from.join(location).ok()) else {
        return Err(protocol(from, "sends elsewhere and does not say where"));
    };
    to.set_fragment(None);
    if !to.username().is_empty() || to.password().is_some() {
        return Err(redirect(from, "redirects to a URL with a login"));
    }
    let stays_local = from.scheme() == "http" && to.scheme() == "http" && url_is_loopback(&to);
    if to.scheme() != "https" && !stays_local {
        return Err(redirect(from, &format!("redirects to `{}` without encryption", place(&to))));
    }
    Ok(to)
}

fn redirect(url: &Url, why: &str) -> Problem {
    Problem::new(Code::R009, format!("`{}` {why}", place(url))).help("ask the operator of the registry")
}

/// The whole body, at most `limit` bytes (T029); the connection is closed with the first byte too many.
pub(super) async fn body(mut response: Response, what: &str, limit: u64) -> Result<Vec<u8>, Trouble> {
    let url = response.url().clone();
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large(&url, what, limit).into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&url, &error))? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_large(&url, what, limit).into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The trouble of an answer that is not what was asked for.
pub(super) async fn trouble(response: Response) -> Trouble {
    let (url, status, headers) = (response.url().clone(), response.status(), response.headers().clone());
    // Only the code in it is of use, and there may be none.
    let body = body(response, "an error", ERROR_BYTES_MAX).await.unwrap_or_default();
    refused(&url, status, &headers, &body)
}

/// How hosts are reached.
enum Way {
    Plain,
    Encrypted { roots: RootCertStore, proxies: Proxies },
}

/// Whether `HTTPS_PROXY` and its like are heard: a proxy carries what is encrypted, and stands never before loopback.
#[derive(PartialEq, Eq)]
enum Proxies {
    OfEnvironment,
    None,
}

fn build(options: &ClientOptions, way: Way) -> Result<reqwest::Client, Problem> {
    let (roots, proxies, encrypted) = match way {
        Way::Plain => (RootCertStore::empty(), Proxies::None, false),
        Way::Encrypted { roots, proxies } => (roots, proxies, true),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(encrypted)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .user_agent(&options.user_agent);
    let builder = if proxies == Proxies::None { builder.no_proxy() } else { builder };
    builder.build().map_err(|_| refuse("the client for registries cannot be made: its user agent is not a header"))
}

/// Certificates that may sign for a registry, instead of the public ones.
fn read_ca(ca: &str) -> Result<RootCertStore, Problem> {
    let pem = if is_pem(ca) { ca.as_bytes().to_vec() } else { read_ca_file(ca)? };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| refuse("the certificate authority is not PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| refuse("the certificate authority holds something else than certificates"))?;
    }
    if roots.is_empty() {
        return Err(refuse("the certificate authority holds no certificate"));
    }
    Ok(roots)
}

fn read_ca_file(path: &str) -> Result<Vec<u8>, Problem> {
    use std::io::Read as _;
    let mut pem = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(CA_BYTES_MAX + 1).read_to_end(&mut pem));
    match read {
        Ok(_) if pem.len() as u64 <= CA_BYTES_MAX => Ok(pem),
        Ok(_) => Err(refuse("the certificate authority is larger than 1 MiB")),
        Err(error) => Err(refuse(&format!("the certificate authority cannot be read: {error}")).file(path)),
    }
}

fn refuse(why: &str) -> Problem {
    Problem::new(Code::C006, why).help("write a path to a PEM file, or the `-----BEGIN CERTIFICATE-----` text itself")
}
