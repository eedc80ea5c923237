//! From vetted addresses to a connection that speaks HTTP/1.1, over TLS for https. Nothing here looks a name up.
//!
//! One request has one connection: a kept one could carry the caller before into the next caller's call.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::headers;
use super::target::Target;

/// The head of an answer: more than any server sends, and little memory.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// One dead address must not use up the time for the next one.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A connection to one host; closed when dropped.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) task: ClosingTask,
}

/// The task that moves the bytes. Dropping it closes the socket, so nothing of an abandoned call goes on.
#[derive(Debug)]
pub(crate) struct ClosingTask(JoinHandle<()>);

impl Drop for ClosingTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// TLS with ring, the roots of Mozilla that come with this program, and the operator's own in PEM form.
pub(crate) fn tls(extra_roots_pem: &[u8]) -> Result<Arc<ClientConfig>, Problem> {
    let refuse = |what: &str| {
        Problem::new(Code::C021, format!("the additional root certificates {what}"))
            .help("name a PEM file with `-----BEGIN CERTIFICATE-----` blocks")
    };
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(extra_roots_pem) {
        let certificate = certificate.map_err(|_| refuse("are not PEM"))?;
        roots.add(certificate).map_err(|_| refuse("hold something that is not a certificate"))?;
    }
    if !extra_roots_pem.is_empty() && roots.len() == webpki_roots::TLS_SERVER_ROOTS.len() {
        return Err(refuse("are empty"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connects to the first address that answers.
pub(crate) async fn connect(
    target: &Target,
    addresses: &[SocketAddr],
    tls: &Arc<ClientConfig>,
) -> Result<Connection, Failure> {
    let stream = tcp(target, addresses).await?;
    // Small requests go out at once; nothing here depends on it.
    let _ = stream.set_nodelay(true);
    if !target.is_https() {
        return speak(target, stream).await;
    }
    let name = match target.literal() {
        Some(address) => ServerName::IpAddress(address.into()),
        None => {
            ServerName::try_from(target.host().to_owned()).map_err(|_| no_tls(target, "the host is no TLS name"))?
        }
    };
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    let stream = stream.map_err(|error| tls_failure(target, &error))?;
    speak(target, stream).await
}

async fn tcp(target: &Target, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut reason = io::ErrorKind::NotConnected;
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => reason = error.kind(),
            Err(_) => reason = io::ErrorKind::TimedOut,
        }
    }
    let message = format!("no connection to `{}`: {reason}", target.host_port());
    Err(Failure::maybe(
        Problem::new(Code::X062, message).help("check that the host is up and reachable from this machine"),
    ))
}

async fn speak<S>(target: &Target, stream: S) -> Result<Connection, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(headers::COUNT_MAX)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = handshake.map_err(|_| broken(target))?;
    // What goes wrong on the wire also reaches the one who waits for the answer.
    let task = ClosingTask(tokio::spawn(async move { drop(connection.await) }));
    Ok(Connection { sender, task })
}

fn tls_failure(target: &Target, error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner @ rustls::Error::InvalidCertificate(_)) => no_tls(target, &inner.to_string()),
        Some(_) => no_tls(target, "the TLS handshake failed"),
        None => {
            let mut failure = no_tls(target, "the connection ended during the TLS handshake");
            failure.retry = ice_core::ports::Retry::Maybe;
            failure
        }
    }
}

fn no_tls(target: &Target, why: &str) -> Failure {
    Failure::never(
        Problem::new(Code::X063, format!("no secure connection to `{}`: {why}", target.host_port()))
            .help("if the host has a certificate of your own authority, add it to `egress.extra_roots`"),
    )
}

/// The other side stopped in the middle, or speaks something else.
pub(crate) fn broken(target: &Target) -> Failure {
    let message = format!("`{}` broke the connection off or does not speak HTTP", target.host_port());
    Failure::maybe(Problem::new(Code::X069, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_additional_roots_and_refuses_what_is_none() {
        assert!(tls(b"").is_ok());
        assert_eq!(tls(b"not pem").unwrap_err().code, Code::C021);
        assert_eq!(
            tls(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap_err().code,
            Code::C021
        );
        let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        assert!(tls(own.cert.pem().as_bytes()).is_ok());
    }
}
