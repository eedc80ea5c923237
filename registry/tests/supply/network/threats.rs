//! The rows of the threat model that concern the network: each attack, and the code it ends with. `table` runs them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ice_core::id::Digest;
use ice_core::problem::Problem;
use ice_registry::client::{Client, ClientOptions, Registries, Repository};
use serde_json::json;

use crate::fake::run;
use crate::network::attacks::{Closed, blob, elsewhere, fetch, manifest, pinned, realm, referrers, signed_in, token};
use crate::network::lying::{Authority, End, Lying, Reply};
use crate::network::world::{
    INDEX, MANIFEST, PASSWORD, TOKEN, USER, client, credentials, not_found, options, plain, repository, secret,
    tells_no_secret,
};
use crate::table::Row;

type Attack = fn() -> Pin<Box<dyn Future<Output = Problem>>>;

macro_rules! attack {
    ($body:block) => {
        || Box::pin(async { $body })
    };
}

/// This world's part of the table. No store is near; every problem says what to do, and none tells a secret.
pub(crate) fn rows() -> Vec<Row> {
    let discreet = |attack: Attack| {
        let problem = run(attack());
        tells_no_secret(&problem);
        assert!(problem.help.is_some(), "{problem}");
        problem
    };
    ROWS.iter().map(|&(row, attack, code, run)| Row::refused((row, attack, code), move || discreet(run))).collect()
}

/// Row, attack, what it ends with.
const ROWS: &[(u8, &str, &str, Attack)] = &[
    (
        15,
        "a blob of 8 bytes whose 9th byte comes",
        "E_TOO_LARGE",
        attack!({
            let problem = blob(Reply::status(200).frames(vec![0; 9], End::Hang), Closed::Yes).await;
            assert!(problem.message.contains("8 bytes"), "{problem}");
            problem
        }),
    ),
    (
        15,
        "a blob of 8 bytes that announces 64 MiB",
        "E_TOO_LARGE",
        attack!({
            blob(Reply::status(200).header("content-length", "67108864").frames("x", End::Hang), Closed::Yes).await
        }),
    ),
    (
        15,
        "a blob that drips and never ends",
        "E_UNAVAILABLE",
        attack!({
            let lying = Lying::plain(|_| Reply::status(200).frames("1234", End::Hang)).await;
            let options = ClientOptions { deadline: Duration::from_secs(1), retries: 0, ..options(&Arc::default()) };
            let client = Client::new(Registries::parse(&plain(&lying)).unwrap(), credentials(), options).unwrap();
            let problem = fetch(&client, &lying).await;
            lying.given_up().await;
            problem
        }),
    ),
    (
        15,
        "a manifest of 4 MiB and one byte",
        "E_TOO_LARGE",
        attack!({
            manifest(Reply::status(200).header("content-type", MANIFEST).frames(vec![b' '; (4 << 20) + 1], End::Hang))
                .await
        }),
    ),
    (
        15,
        "a manifest that announces 64 MiB",
        "E_TOO_LARGE",
        attack!({ manifest(Reply::status(200).header("content-length", "67108864").frames("{", End::Hang)).await }),
    ),
    (
        15,
        "a token without an end",
        "E_TOO_LARGE",
        attack!({ token(Reply::status(200).frames(vec![b' '; 1 << 20], End::Hang)).await }),
    ),
    (
        15,
        "an error without an end",
        "E_UNAVAILABLE",
        attack!({ blob(Reply::status(500).frames(vec![b' '; 1 << 20], End::Hang), Closed::Yes).await }),
    ),
    (
        15,
        "pages of tags in a circle",
        "E_TOO_LARGE",
        attack!({
            let lying = Lying::plain(|seen| {
                Reply::status(200)
                    .header("link", format!("<{}>; rel=\"next\"", seen.target))
                    .body("{\"tags\":[\"1.0.0\"]}")
            })
            .await;
            let problem = client(&plain(&lying)).tags(&repository(&lying)).await.unwrap_err();
            assert_eq!(lying.seen().len(), 200);
            problem
        }),
    ),
    (
        15,
        "more tags than anybody publishes",
        "E_TOO_LARGE",
        attack!({
            let tags: Vec<String> = (0..20_001).map(|version| format!("1.0.{version}")).collect();
            let page = json!({ "tags": tags }).to_string();
            let lying = Lying::plain(move |_| Reply::status(200).body(page.clone())).await;
            client(&plain(&lying)).tags(&repository(&lying)).await.unwrap_err()
        }),
    ),
    (16, "a layer with `urls`", "E_REGISTRY", attack!({ elsewhere(json!({"urls": ["HERE"]})).await })),
    (
        16,
        "a nondistributable layer",
        "E_REGISTRY",
        attack!({ elsewhere(json!({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar"})).await }),
    ),
    (
        16,
        "a foreign layer",
        "E_REGISTRY",
        attack!({ elsewhere(json!({"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"})).await }),
    ),
    (16, "a blob that the registry does not have", "E_NOT_FOUND", attack!({ blob(not_found(), Closed::No).await })),
    (
        16,
        "an index in the place of a manifest",
        "E_REGISTRY",
        attack!({
            manifest(Reply::status(200).header("content-type", INDEX).body("{\"schemaVersion\":2,\"manifests\":[]}"))
                .await
        }),
    ),
    (
        16,
        "an index that is called a manifest",
        "E_REGISTRY",
        attack!({
            let body = json!({"mediaType": INDEX, "manifests": []}).to_string();
            manifest(Reply::status(200).header("content-type", MANIFEST).body(body)).await
        }),
    ),
    (17, "a realm over http on another port", "E_REALM", attack!({ realm("http://HOST/steal").await })),
    (17, "a realm over https on another host", "E_REALM", attack!({ realm("https://localhost:PORT/steal").await })),
    (17, "a realm with a login in it", "E_REALM", attack!({ realm("https://r@127.0.0.1/steal").await })),
    (17, "a realm that is a file", "E_REALM", attack!({ realm("file:///etc/passwd").await })),
    (
        17,
        "a realm over http on another port, of a registry over http",
        "E_REALM",
        attack!({
            let thief = Lying::plain(|_| Reply::status(200).body("{\"token\":\"x\"}")).await;
            let header = format!("Bearer realm=\"http://{}/steal\",service=\"r\"", thief.host());
            let lying = Lying::plain(move |_| Reply::status(401).header("www-authenticate", header.clone())).await;
            let problem = client(&plain(&lying)).tags(&repository(&lying)).await.unwrap_err();
            assert_eq!(thief.sockets(), 0);
            problem
        }),
    ),
    (
        17,
        "a host that a blob is redirected to wants a login",
        "E_LOGIN",
        attack!({
            let thief = Lying::plain(|_| Reply::status(401).header("www-authenticate", "Basic realm=\"x\"")).await;
            let to = format!("http://{}/steal", thief.host());
            let lying =
                Lying::plain(move |seen| signed_in(seen, || Reply::status(307).header("location", to.clone()))).await;
            let problem = fetch(&client(&plain(&lying)), &lying).await;
            assert!(lying.saw_login() && !thief.saw_login());
            problem
        }),
    ),
    (
        17,
        "a realm that redirects",
        "E_REDIRECT",
        attack!({
            let thief = Lying::plain(|_| Reply::status(200).body("{\"token\":\"x\"}")).await;
            let to = format!("http://{}/steal", thief.host());
            let problem = token(Reply::status(307).header("location", to)).await;
            assert_eq!(thief.sockets(), 0);
            problem
        }),
    ),
    (
        17,
        "a registry that says the login again",
        "E_LOGIN",
        attack!({
            let lying = Lying::plain(|seen| {
                let said = seen.header("authorization").unwrap_or_default().to_owned();
                let body =
                    json!({"errors": [{"code": said, "message": format!("{said} {USER}:{PASSWORD}")}]}).to_string();
                Reply::status(401).header("www-authenticate", "Basic realm=\"x\"").body(body)
            })
            .await;
            let problem = fetch(&client(&plain(&lying)), &lying).await;
            assert!(lying.saw_login());
            problem
        }),
    ),
    (
        17,
        "an error whose code is the login",
        "E_REGISTRY",
        attack!({
            let lying = Lying::plain(|seen| {
                let body = json!({"errors": [{"code": seen.header("authorization").unwrap_or("none")}]}).to_string();
                signed_in(seen, || Reply::status(400).body(body.clone()))
            })
            .await;
            fetch(&client(&plain(&lying)), &lying).await
        }),
    ),
    (
        18,
        "a redirect to another host with other bytes",
        "E_DIGEST",
        attack!({
            let other = Lying::plain(|_| Reply::status(200).body("87654321")).await;
            let to = format!("http://{}/blob?signature={TOKEN}", other.host());
            let lying =
                Lying::plain(move |seen| signed_in(seen, || Reply::status(307).header("location", to.clone()))).await;
            let problem = fetch(&client(&plain(&lying)), &lying).await;
            assert!(lying.saw_login() && !other.saw_login());
            assert_eq!(other.lines(), ["GET /blob"]);
            problem
        }),
    ),
    (
        18,
        "a redirect from https to http",
        "E_REDIRECT",
        attack!({
            let other = Lying::plain(|_| Reply::status(200).body("12345678")).await;
            let (authority, to) = (Authority::new(), format!("http://{}/blob", other.host()));
            let lying = Lying::secret(&authority, move |seen| {
                signed_in(seen, || Reply::status(307).header("location", to.clone()))
            })
            .await;
            let problem = fetch(&client(&secret(&lying, &authority.pem)), &lying).await;
            assert_eq!(other.sockets(), 0);
            problem
        }),
    ),
    (
        18,
        "a redirect to a name over http",
        "E_REDIRECT",
        attack!({ blob(Reply::status(302).header("location", "http://localhost:9/blob"), Closed::No).await }),
    ),
    (
        18,
        "a redirect with a login in it",
        "E_REDIRECT",
        attack!({
            blob(Reply::status(302).header("location", format!("http://u:{PASSWORD}@127.0.0.1:9/blob")), Closed::No)
                .await
        }),
    ),
    (18, "a redirect without a place", "E_REGISTRY", attack!({ blob(Reply::status(302), Closed::No).await })),
    (
        18,
        "a circle of redirects",
        "E_REDIRECT",
        attack!({
            let lying = Lying::plain(|_| Reply::status(307).header("location", "/again")).await;
            let problem = fetch(&client(&plain(&lying)), &lying).await;
            assert_eq!(lying.seen().len(), 4);
            problem
        }),
    ),
    (
        18,
        "an upload that is continued over http",
        "E_REDIRECT",
        attack!({
            let other = Lying::plain(|_| Reply::status(201)).await;
            let (authority, to) = (Authority::new(), format!("http://{}/upload", other.host()));
            let lying = Lying::secret(&authority, move |seen| match seen.method.as_str() {
                "HEAD" => Reply::status(404),
                _ => Reply::status(202).header("location", to.clone()),
            })
            .await;
            let client = client(&secret(&lying, &authority.pem));
            let problem = client.put_blob(&repository(&lying), "12345678".into(), &()).await.unwrap_err();
            assert_eq!(other.sockets(), 0);
            problem
        }),
    ),
    (
        18,
        "an upload that is redirected into a GET",
        "E_REDIRECT",
        attack!({
            let lying = Lying::plain(|_| Reply::status(302).header("location", "/elsewhere")).await;
            let client = client(&plain(&lying));
            client.put_manifest(&repository(&lying), "1.0.0", MANIFEST, b"{}").await.unwrap_err()
        }),
    ),
    (
        18,
        "tags that continue on another host",
        "E_REGISTRY",
        attack!({
            let other = Lying::plain(|_| Reply::status(200).body("{\"tags\":[]}")).await;
            let link = format!("<http://{}/v2/acme/csv/tags/list>; rel=\"next\"", other.host());
            let lying =
                Lying::plain(move |_| Reply::status(200).header("link", link.clone()).body("{\"tags\":[]}")).await;
            let problem = client(&plain(&lying)).tags(&repository(&lying)).await.unwrap_err();
            assert_eq!(other.sockets(), 0);
            problem
        }),
    ),
    (
        21,
        "no list of referrers, and its tag is not told",
        "E_UNAVAILABLE",
        attack!({
            let lying = Lying::plain(|seen| match seen.target.contains("/referrers/") {
                true => Reply::status(404),
                false => Reply::status(429),
            })
            .await;
            let problem = referrers(&lying).await;
            assert_eq!(lying.seen().len(), 5, "one list, one tag and three more times");
            problem
        }),
    ),
    (
        21,
        "a list of referrers that fails",
        "E_UNAVAILABLE",
        attack!({ referrers(&Lying::plain(|_| Reply::status(503)).await).await }),
    ),
    (
        21,
        "a second page of referrers that is gone",
        "E_UNAVAILABLE",
        attack!({
            let lying = Lying::plain(|seen| match seen.target.contains('?') {
                true => Reply::status(404),
                false => {
                    let link = format!("<{}?n=2>; rel=\"next\"", seen.target);
                    Reply::status(200).header("content-type", INDEX).header("link", link).body("{\"manifests\":[]}")
                }
            })
            .await;
            referrers(&lying).await
        }),
    ),
    (
        21,
        "a list of referrers that is a page for people",
        "E_REGISTRY",
        attack!({
            let page = Reply::status(200).header("content-type", "text/html").body("<html>");
            referrers(&Lying::plain(move |_| page.clone()).await).await
        }),
    ),
    (40, "a certificate authority that is no certificate", "E_CONFIG", attack!({ pinned("not a cert").await })),
    (
        40,
        "a certificate authority without a certificate",
        "E_CONFIG",
        attack!({ pinned("-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n").await }),
    ),
    (
        40,
        "a certificate authority that is garbage",
        "E_CONFIG",
        attack!({ pinned("-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n").await }),
    ),
    (
        40,
        "a server of another certificate authority",
        "E_REGISTRY",
        attack!({
            let lying = Lying::secret(&Authority::new(), |_| Reply::status(200)).await;
            let problem = fetch(&client(&secret(&lying, &Authority::new().pem)), &lying).await;
            assert_eq!((lying.sockets(), lying.seen().len()), (1, 0), "asked once, told nothing");
            problem
        }),
    ),
    (
        40,
        "a server without a public certificate",
        "E_REGISTRY",
        attack!({
            let lying = Lying::secret(&Authority::new(), |_| Reply::status(200)).await;
            fetch(&client(""), &lying).await
        }),
    ),
    (
        0,
        "a registry over http that nobody allowed",
        "E_UNAVAILABLE",
        attack!({
            let lying = Lying::plain(|_| Reply::status(200)).await;
            let problem = fetch(&client(""), &lying).await;
            assert_eq!(lying.seen().len(), 0, "only a TLS handshake was tried");
            problem
        }),
    ),
    (
        1,
        "a blob of other bytes",
        "E_DIGEST",
        attack!({
            let lying = Lying::plain(|_| Reply::status(200).body("87654321")).await;
            let problem = fetch(&client(&plain(&lying)), &lying).await;
            assert_eq!(lying.seen().len(), 1, "never asked again");
            problem
        }),
    ),
    (1, "a blob that is shorter", "E_DIGEST", attack!({ blob(Reply::status(200).body("1234"), Closed::No).await })),
    (
        2,
        "another manifest under a digest",
        "E_DIGEST",
        attack!({
            let lying = Lying::plain(|_| {
                let named = Digest::of(b"{}").to_string();
                Reply::status(200).header("content-type", MANIFEST).header("docker-content-digest", named).body("{ }")
            })
            .await;
            let reference = Digest::of(b"{}").to_string();
            client(&plain(&lying)).manifest(&repository(&lying), &reference).await.unwrap_err()
        }),
    ),
];

#[test]
fn a_name_without_a_host_is_no_repository() {
    assert_eq!(Repository::parse("acme", "csv").unwrap_err().code.name(), "E_REFERENCE");
}
