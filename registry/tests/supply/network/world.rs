//! What the tests share: a client that does not wait, its settings, and secrets that must not come out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ice_core::problem::Problem;
use ice_registry::client::{Client, ClientOptions, Credentials, Pause, Registries, Repository};

use crate::network::lying::{Lying, Reply};

pub(crate) const USER: &str = "alice";
/// Must stand in no problem and no `Debug`.
pub(crate) const PASSWORD: &str = "hunter2SECRET";
pub(crate) const TOKEN: &str = "t0kenSECRET";
/// The media type of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Remembers the pauses instead of making them.
#[derive(Default)]
pub(crate) struct Pauses(Mutex<Vec<Duration>>);

impl Pauses {
    pub(crate) fn taken(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Pause for Pauses {
    async fn pause(&self, time: Duration) {
        self.0.lock().unwrap().push(time);
    }
}

/// The login of [`USER`] in `$ICE_USER` and `$ICE_PASSWORD`.
pub(crate) fn credentials() -> Credentials {
    Credentials::new(None, None, |name| match name {
        "ICE_USER" => Some(USER.to_owned()),
        "ICE_PASSWORD" => Some(PASSWORD.to_owned()),
        _ => None,
    })
}

pub(crate) fn options(pauses: &Arc<Pauses>) -> ClientOptions {
    ClientOptions { pause: Arc::clone(pauses) as Arc<dyn Pause>, ..ClientOptions::default() }
}

pub(crate) fn client(registries: &str) -> Client {
    Client::new(Registries::parse(registries).unwrap(), credentials(), options(&Arc::default())).unwrap()
}

/// Settings of a lying registry over http that gets a login.
pub(crate) fn plain(lying: &Lying) -> String {
    format!("[registry.\"{}\"]\nplain_http = true\nauth = \"env:ICE_USER,ICE_PASSWORD\"\n", lying.host())
}

/// Settings of a lying registry over https that gets a login.
pub(crate) fn secret(lying: &Lying, pem: &str) -> String {
    format!("[registry.\"{}\"]\nca = '''\n{pem}'''\nauth = \"env:ICE_USER,ICE_PASSWORD\"\n", lying.host())
}

/// `acme/csv` of that registry.
pub(crate) fn repository(lying: &Lying) -> Repository {
    Repository::parse(&lying.host(), "acme/csv").unwrap()
}

pub(crate) fn not_found() -> Reply {
    Reply::status(404).body("{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"no\"}]}")
}

/// A port of this machine where nobody listens, and nobody can while this lives.
pub(crate) fn silent(address: std::net::SocketAddr) -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Nothing that was secret stands in it, nor in what a debugger would print.
#[track_caller]
pub(crate) fn tells_no_secret(problem: &Problem) {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let text = format!("{problem}\n{problem:?}\n{}", serde_json::to_string(problem).unwrap());
    for secret in [PASSWORD, TOKEN, &pair, "SECRET"] {
        assert!(!text.contains(secret), "a problem tells a secret: {text}");
    }
    for way_out in ["skip", "disable", "insecure", "--no-verify", "turn off", "ignore"] {
        assert!(!text.to_lowercase().contains(way_out), "a message suggests switching a check off: {text}");
    }
}
