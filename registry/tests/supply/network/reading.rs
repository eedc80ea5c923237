//! What reading does when a registry is slow, broken, down or split into pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ice_core::id::Digest;
use ice_core::problem::Code;
use ice_registry::Progress;
use ice_registry::client::{Client, Registries, Repository};
use serde_json::json;

use crate::network::lying::{Authority, End, Lying, Reply};
use crate::network::world::{
    INDEX, MANIFEST, Pauses, TOKEN, client, credentials, not_found, options, plain, repository, secret, silent,
};

const BLOB: &[u8] = b"12345678";

#[derive(Default)]
struct Told(std::sync::Mutex<Vec<(u64, u64)>>);

impl Progress for Told {
    fn bytes(&self, what: &str, done: u64, total: u64) {
        assert!(what.starts_with("acme/csv "), "{what}");
        self.0.lock().unwrap().push((done, total));
    }
}

fn patient(lying: &Lying) -> (Client, Arc<Pauses>) {
    let pauses = Arc::<Pauses>::default();
    let client = Client::new(Registries::parse(&plain(lying)).unwrap(), credentials(), options(&pauses)).unwrap();
    (client, pauses)
}

async fn fetch(client: &Client, lying: &Lying) -> Result<Vec<u8>, ice_core::problem::Problem> {
    client.blob(&repository(lying), &Digest::of(BLOB), BLOB.len() as u64, &()).await
}

#[tokio::test]
async fn a_blob_that_broke_off_goes_on_where_it_stopped() {
    let lying = Lying::plain(|seen| match seen.header("range") {
        None => Reply::status(200).header("content-length", "8").frames("1234", End::Cut),
        Some("bytes=4-") => Reply::status(206).header("content-range", "bytes 4-7/8").body("5678"),
        Some(other) => panic!("{other}"),
    })
    .await;
    let (client, pauses) = patient(&lying);
    let told = Told::default();
    let bytes = client.blob(&repository(&lying), &Digest::of(BLOB), 8, &told).await.unwrap();
    assert_eq!(bytes, BLOB);
    assert_eq!(told.0.lock().unwrap().last(), Some(&(8, 8)));
    assert_eq!((lying.seen().len(), pauses.taken().len()), (2, 1));
}

#[tokio::test]
async fn a_server_without_ranges_begins_again() {
    let asked = AtomicUsize::new(0);
    let lying = Lying::plain(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(200).frames("1234", End::Cut),
        _ => Reply::status(200).body(BLOB),
    })
    .await;
    assert_eq!(fetch(&patient(&lying).0, &lying).await.unwrap(), BLOB);
    assert_eq!(lying.seen()[1].header("range"), Some("bytes=4-"));
}

#[tokio::test]
async fn another_range_than_asked_for_begins_again() {
    let asked = AtomicUsize::new(0);
    let lying = Lying::plain(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(200).frames("1234", End::Cut),
        1 => Reply::status(206).header("content-range", "bytes 0-3/8").body("1234"),
        _ => Reply::status(200).body(BLOB),
    })
    .await;
    assert_eq!(fetch(&patient(&lying).0, &lying).await.unwrap(), BLOB);
    assert_eq!(lying.seen()[2].header("range"), None);
}

#[tokio::test]
async fn a_rest_that_does_not_fit_is_a_wrong_digest() {
    let lying = Lying::plain(|seen| match seen.header("range") {
        None => Reply::status(200).frames("1234", End::Cut),
        Some(_) => Reply::status(206).header("content-range", "bytes 4-7/8").body("XXXX"),
    })
    .await;
    assert_eq!(fetch(&patient(&lying).0, &lying).await.unwrap_err().code, Code::T001);
    assert_eq!(lying.seen().len(), 2, "never asked again");
}

#[tokio::test]
async fn a_blob_that_always_breaks_off_is_given_up() {
    let lying = Lying::plain(|_| Reply::status(200).frames("1234", End::Cut)).await;
    let (client, pauses) = patient(&lying);
    assert_eq!(fetch(&client, &lying).await.unwrap_err().code, Code::R005);
    let pauses = pauses.taken();
    assert_eq!((lying.seen().len(), pauses.len()), (4, 3));
    for (pause, whole) in pauses.iter().zip([250, 500, 1000].map(Duration::from_millis)) {
        assert!(*pause >= whole / 2 && *pause <= whole, "{pause:?} of {whole:?}");
    }
}

#[tokio::test]
async fn a_blob_of_nothing_is_a_blob() {
    let lying = Lying::plain(|_| Reply::status(200).body("")).await;
    let bytes = client(&plain(&lying)).blob(&repository(&lying), &Digest::of(b""), 0, &()).await.unwrap();
    assert!(bytes.is_empty());
}

#[tokio::test]
async fn what_the_server_asks_for_is_waited_but_not_for_ever() {
    let asked = AtomicUsize::new(0);
    let lying = Lying::plain(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(429).header("retry-after", "7"),
        1 => Reply::status(503).header("retry-after", "Fri, 31 Dec 2027 23:59:59 GMT"),
        2 => Reply::status(502),
        _ => Reply::status(200).body(BLOB),
    })
    .await;
    let (client, pauses) = patient(&lying);
    assert_eq!(fetch(&client, &lying).await.unwrap(), BLOB);
    let taken = pauses.taken();
    assert_eq!((taken.len(), taken[0]), (3, Duration::from_secs(7)));
    assert!(taken[1] <= Duration::from_millis(500) && taken[2] <= Duration::from_secs(1), "{taken:?}");

    let lying = Lying::plain(|_| Reply::status(429).header("retry-after", "3600")).await;
    let (client, pauses) = patient(&lying);
    let problem = fetch(&client, &lying).await.unwrap_err();
    assert_eq!((problem.code, problem.help.as_deref()), (Code::R005, Some("try again in 3600 s")));
    assert_eq!((lying.seen().len(), pauses.taken().len()), (1, 0));
}

#[tokio::test]
async fn a_registry_that_is_down_is_asked_four_times() {
    let down = Lying::plain(|_| Reply::status(500)).await;
    let (client, pauses) = patient(&down);
    let problem = client.manifest(&repository(&down), "1.0.0").await.unwrap_err();
    assert_eq!((problem.code, down.seen().len(), pauses.taken().len()), (Code::R005, 4, 3));

    let nobody = silent((std::net::Ipv4Addr::LOCALHOST, 0).into());
    let port = nobody.local_addr().unwrap();
    let settings = format!("[registry.\"{port}\"]\nplain_http = true\n");
    let pauses = Arc::<Pauses>::default();
    let client = Client::new(Registries::parse(&settings).unwrap(), credentials(), options(&pauses)).unwrap();
    let there = Repository::parse(&port.to_string(), "acme/csv").unwrap();
    assert_eq!(client.head(&there, "1.0.0").await.unwrap_err().code, Code::R005);
    assert_eq!(pauses.taken().len(), 3);
}

#[tokio::test]
async fn a_manifest_is_hashed_here_and_none_is_no_failure() {
    let lying = Lying::plain(|seen| match seen.target.as_str() {
        "/v2/acme/csv/manifests/1.0.0" => Reply::status(200)
            .header("content-type", "application/vnd.oci.image.manifest.v1+json; charset=utf-8")
            .header("docker-content-digest", format!("sha256:{}", "0".repeat(64)))
            .body("{}"),
        _ => not_found(),
    })
    .await;
    let client = client(&plain(&lying));
    let pulled = client.manifest(&repository(&lying), "1.0.0").await.unwrap().unwrap();
    assert_eq!((pulled.bytes.as_slice(), pulled.digest), (&b"{}"[..], Digest::of(b"{}")));
    assert_eq!(lying.seen()[0].header("accept"), Some(MANIFEST));
    assert_eq!(client.manifest(&repository(&lying), "2.0.0").await.unwrap(), None);
    assert!(client.head(&repository(&lying), "1.0.0").await.unwrap());
    assert!(!client.head(&repository(&lying), "2.0.0").await.unwrap());
    assert_eq!(client.manifest(&repository(&lying), "../x").await.unwrap_err().code, Code::R014);
}

#[tokio::test]
async fn tags_are_read_page_by_page() {
    let lying = Lying::plain(|seen| match seen.target.as_str() {
        "/v2/acme/csv/tags/list?n=100" => Reply::status(200)
            .header("link", "</v2/acme/csv/tags/list?n=1&last=1.0.0>; rel=\"next\"")
            .body("{\"name\":\"acme/csv\",\"tags\":[\"1.0.0\"]}"),
        "/v2/acme/csv/tags/list?n=1&last=1.0.0" => {
            Reply::status(200).header("link", "<list?n=1&last=x>; rel=next").body("{\"tags\":[\"../x\",\"1.1.0\"]}")
        }
        "/v2/acme/csv/tags/list?n=1&last=x" => Reply::status(200).body("{\"tags\":null}"),
        _ => not_found(),
    })
    .await;
    let client = client(&plain(&lying));
    assert_eq!(client.tags(&repository(&lying)).await.unwrap(), ["1.0.0", "1.1.0"]);
    assert_eq!(lying.seen().len(), 3);
    let none = Repository::parse(&lying.host(), "acme/none").unwrap();
    assert!(client.tags(&none).await.unwrap().is_empty());
}

#[tokio::test]
async fn referrers_are_filtered_here_and_the_tag_stands_in() {
    let (wanted, other, last) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3"));
    let entry = |digest: &Digest, kind: &str| json!({"mediaType": MANIFEST, "artifactType": kind, "digest": digest, "size": 2, "platform": {}});
    let first = json!({"manifests": [entry(&wanted, "a/b"), entry(&other, "c/d"),
        {"mediaType": MANIFEST, "digest": "sha512:00", "size": 1}]})
    .to_string();
    let second = json!({"manifests": [entry(&last, "a/b")]}).to_string();
    let subject = Digest::of(b"subject");
    let tag = format!("/v2/acme/csv/manifests/sha256-{}", subject.hex());
    let lying = Lying::plain(move |seen| {
        let index = |body: &str| Reply::status(200).header("content-type", INDEX).body(body.to_owned());
        match (seen.target.contains("/referrers/"), seen.target.contains("last=")) {
            (true, true) => index(&second),
            (true, false) if seen.target.contains("acme/csv") => {
                index(&first).header("link", format!("<{}?last=2>; rel=\"next\"", seen.target))
            }
            (false, _) if seen.target == tag => index(&second),
            _ => Reply::status(404),
        }
    })
    .await;
    let client = client(&plain(&lying));
    let repository = repository(&lying);
    let digests =
        |found: Vec<ice_registry::oci::Descriptor>| found.iter().map(|entry| entry.digest).collect::<Vec<_>>();
    let all = client.referrers(&repository, &subject, None).await.unwrap();
    assert_eq!(digests(all), [wanted, other, last]);
    let some = client.referrers(&repository, &subject, Some("a/b")).await.unwrap();
    assert_eq!(digests(some), [wanted, last]);

    let without_list = Lying::plain(|seen| match seen.target.contains("/referrers/") {
        true => Reply::status(404).body("404 page not found"),
        false => Reply::status(200).header("content-type", INDEX).body("{\"manifests\":[]}"),
    })
    .await;
    let found = crate::network::world::client(&plain(&without_list));
    let found = found.referrers(&crate::network::world::repository(&without_list), &subject, None).await.unwrap();
    assert!(found.is_empty());
    assert_eq!(without_list.seen()[1].target, format!("/v2/acme/csv/manifests/sha256-{}", subject.hex()));
    assert_eq!(without_list.seen()[1].header("accept"), Some(INDEX));
}

/// A mirror at `copy/…` and a registry that answers `of_registry`.
async fn mirrored(of_registry: Reply) -> (Lying, Lying, Client, Repository) {
    let registry = Lying::plain(move |_| of_registry.clone()).await;
    let mirror = Lying::plain(|seen| match seen.target.as_str() {
        target if target.starts_with("/v2/copy/acme/csv/blobs/") => Reply::status(200).body(BLOB),
        target if target.starts_with("/v2/copy/acme/csv/manifests/") => {
            Reply::status(200).header("content-type", MANIFEST).body("{}")
        }
        "/v2/copy/acme/csv/tags/list?n=100" => Reply::status(200).body("{\"tags\":[\"1.0.0\"]}"),
        _ => not_found(),
    })
    .await;
    let dead = Lying::plain(|_| Reply::status(503)).await;
    let settings = format!(
        "[registry.\"{}/ice\"]\nplain_http = true\nmirrors = [\"{}/x\", \"{}/copy\"]\n[registry.\"{}\"]\nplain_http = true\n\
         [registry.\"{}\"]\nplain_http = true\n",
        registry.host(),
        dead.host(),
        mirror.host(),
        dead.host(),
        mirror.host()
    );
    let repository = Repository::parse(&format!("{}/ice", registry.host()), "acme/csv").unwrap();
    (registry, mirror, client(&settings), repository)
}

#[tokio::test]
async fn mirrors_stand_in_for_a_registry_that_is_down() {
    let (registry, mirror, client, repository) = mirrored(Reply::status(500)).await;
    let digest = Digest::of(BLOB);
    assert_eq!(client.blob(&repository, &digest, 8, &()).await.unwrap(), BLOB);
    let asked = registry.lines().len();
    assert_eq!(client.manifest(&repository, "1.0.0").await.unwrap().unwrap().bytes, b"{}");
    assert_eq!(client.tags(&repository).await.unwrap(), ["1.0.0"]);
    assert_eq!(mirror.seen().len(), 3);
    assert_eq!((asked, registry.lines().len()), (4, 4), "a registry that is gone is waited for once");
    assert!(!mirror.saw_login());
    assert_eq!(
        client.head(&repository, "1.0.0").await.unwrap_err().code,
        Code::R005,
        "what is published is not a mirror's to say"
    );
}

#[tokio::test]
async fn mirrors_keep_what_is_named_by_digest_and_say_nothing_about_tags() {
    let (registry, mirror, client, repository) = mirrored(not_found()).await;
    let digest = Digest::of(b"{}").to_string();
    assert_eq!(client.manifest(&repository, "1.0.0").await.unwrap(), None);
    assert_eq!(mirror.seen().len(), 0);
    assert_eq!(registry.lines(), ["GET /v2/ice/acme/csv/manifests/1.0.0"]);
    assert_eq!(client.manifest(&repository, &digest).await.unwrap().unwrap().bytes, b"{}");
    assert_eq!(client.blob(&repository, &Digest::of(BLOB), 8, &()).await.unwrap(), BLOB);
}

#[tokio::test]
async fn a_mirror_cannot_give_other_bytes() {
    let (_, mirror, client, repository) = mirrored(Reply::status(500)).await;
    let problem = client.blob(&repository, &Digest::of(b"87654321"), 8, &()).await.unwrap_err();
    assert_eq!((problem.code, mirror.seen().len()), (Code::T001, 1));
    assert!(problem.message.contains(&mirror.host()), "{problem}");
}

#[tokio::test]
async fn redirects_within_the_rules_are_followed() {
    let authority = Authority::new();
    let store = Lying::secret(&authority, |_| Reply::status(200).body(BLOB)).await;
    let to = format!("https://{}/blob?signature={TOKEN}", store.host());
    let lying = Lying::secret(&authority, move |seen| match seen.header("authorization") {
        Some(_) => Reply::status(307).header("location", to.clone()),
        None => Reply::status(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let settings = format!("{}{}", secret(&lying, &authority.pem), secret(&store, &authority.pem));
    assert_eq!(fetch(&client(&settings), &lying).await.unwrap(), BLOB);
    assert!(lying.saw_login() && !store.saw_login());
}

#[tokio::test]
async fn a_certificate_authority_may_be_a_file_beside_the_settings() {
    let authority = Authority::new();
    let lying = Lying::secret(&authority, |_| Reply::status(200).body(BLOB)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registries.toml");
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    std::fs::write(&path, format!("[registry.\"{}\"]\nca = \"ca.pem\"\n", lying.host())).unwrap();
    let registries = Registries::read(&path).unwrap();
    let client = Client::new(registries, credentials(), options(&Arc::default())).unwrap();
    assert_eq!(fetch(&client, &lying).await.unwrap(), BLOB);
}

/// Whoever installs does so from tasks that move between threads.
#[test]
fn every_future_can_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    let client = client("");
    let repository = Repository::parse("r.example", "acme/csv").unwrap();
    let digest = Digest::of(b"");
    moves(client.manifest(&repository, "1.0.0"));
    moves(client.head(&repository, "1.0.0"));
    moves(client.blob(&repository, &digest, 0, &()));
    moves(client.tags(&repository));
    moves(client.referrers(&repository, &digest, None));
    moves(client.put_blob(&repository, Default::default(), &()));
    moves(client.mount(&repository, &repository, &digest));
    moves(client.put_manifest(&repository, "1.0.0", MANIFEST, b""));
    moves(client.login("r.example", "u", "p"));
}
