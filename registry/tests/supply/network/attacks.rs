//! What the attacks of `threats` have in common: a registry that lies in one place, and who must not have been asked.

use ice_core::id::Digest;
use ice_core::problem::Problem;
use ice_registry::client::{Client, ClientOptions, Credentials, Registries};
use serde_json::json;

use crate::network::lying::{Authority, Lying, Reply, Seen};
use crate::network::world::{MANIFEST, TOKEN, client, not_found, plain, repository, secret};

/// The blob `12345678` of a lying registry.
pub(crate) async fn fetch(client: &Client, lying: &Lying) -> Problem {
    client.blob(&repository(lying), &Digest::of(b"12345678"), 8, &()).await.unwrap_err()
}

#[derive(PartialEq, Eq)]
pub(crate) enum Closed {
    Yes,
    No,
}

/// What a client makes of this answer for a blob.
pub(crate) async fn blob(reply: Reply, closed: Closed) -> Problem {
    let lying = Lying::plain(move |_| reply.clone()).await;
    let problem = fetch(&client(&plain(&lying)), &lying).await;
    if closed == Closed::Yes {
        lying.given_up().await;
    }
    problem
}

pub(crate) async fn manifest(reply: Reply) -> Problem {
    let lying = Lying::plain(move |_| reply.clone()).await;
    client(&plain(&lying)).manifest(&repository(&lying), "1.0.0").await.unwrap_err()
}

pub(crate) async fn referrers(lying: &Lying) -> Problem {
    client(&plain(lying)).referrers(&repository(lying), &Digest::of(b"x"), None).await.unwrap_err()
}

/// What `reply` is answered where a token is asked for.
pub(crate) async fn token(reply: Reply) -> Problem {
    let lying = Lying::plain(move |seen| match (seen.line().as_str(), seen.header("host")) {
        ("GET /token", _) => reply.clone(),
        (_, Some(host)) => {
            Reply::status(401).header("www-authenticate", format!("Bearer realm=\"http://{host}/token\""))
        }
        (_, None) => Reply::status(400),
    })
    .await;
    client(&plain(&lying)).tags(&repository(&lying)).await.unwrap_err()
}

/// A layer that is said to lie at a listener: nobody goes there.
pub(crate) async fn elsewhere(change: serde_json::Value) -> Problem {
    let listener = Lying::plain(|_| Reply::status(200).body("12345678")).await;
    let here = format!("http://{}/x", listener.host());
    let digest = Digest::of(b"12345678").to_string();
    let mut layer = json!({"mediaType": "application/wasm", "digest": digest, "size": 8});
    for (member, value) in change.as_object().unwrap() {
        layer[member] = value.clone();
    }
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x",
        "config": {"mediaType": "application/wasm", "digest": digest, "size": 8}, "layers": [layer]});
    let manifest = manifest.to_string().replace("HERE", &here);
    let lying = Lying::plain(move |seen| match seen.target.contains("/manifests/") {
        true => Reply::status(200).header("content-type", MANIFEST).body(manifest.clone()),
        false => not_found(),
    })
    .await;
    let client = client(&plain(&lying));
    fetch(&client, &lying).await;
    let problem = client.manifest(&repository(&lying), "1.0.0").await.unwrap_err();
    assert_eq!(listener.sockets(), 0);
    problem
}

/// A registry over https names this realm; nobody goes there, with a login or without.
pub(crate) async fn realm(realm: &str) -> Problem {
    let thief = Lying::plain(|_| Reply::status(200).body(format!("{{\"token\":\"{TOKEN}\"}}"))).await;
    let realm = realm.replace("HOST", &thief.host()).replace("PORT", &thief.address.port().to_string());
    let authority = Authority::new();
    let header = format!("Bearer realm=\"{realm}\",service=\"r\"");
    let lying = Lying::secret(&authority, move |_| Reply::status(401).header("www-authenticate", header.clone())).await;
    let settings = secret(&lying, &authority.pem);
    let anonymous = settings.replace("env:ICE_USER,ICE_PASSWORD", "anonymous");
    let code = fetch(&client(&anonymous), &lying).await.code;
    let problem = fetch(&client(&settings), &lying).await;
    assert_eq!(code, problem.code);
    assert_eq!(thief.sockets(), 0);
    problem
}

/// Basic first, then what `then` says.
pub(crate) fn signed_in(seen: &Seen, then: impl Fn() -> Reply) -> Reply {
    match seen.header("authorization") {
        Some(_) => then(),
        None => Reply::status(401).header("www-authenticate", "Basic realm=\"x\""),
    }
}

/// A pinned certificate authority that is none: no client, and nobody was asked.
pub(crate) async fn pinned(ca: &str) -> Problem {
    let lying = Lying::secret(&Authority::new(), |_| Reply::status(200)).await;
    let registries = Registries::parse(&format!("[registry.\"{}\"]\nca = \"{ca}\"\n", lying.host())).unwrap();
    let problem = Client::new(registries, Credentials::none(), ClientOptions::default()).unwrap_err();
    assert_eq!(lying.sockets(), 0);
    problem
}
