//! What uploads ask for, and what they make of the answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use ice_core::id::Digest;
use ice_core::problem::Code;
use ice_registry::Progress;
use ice_registry::client::Repository;

use crate::network::lying::{Lying, Reply, Seen};
use crate::network::world::{MANIFEST, client, plain, repository, tells_no_secret};

#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Progress for Told {
    fn bytes(&self, _: &str, done: u64, _: u64) {
        self.0.lock().unwrap().push(done);
    }
}

/// Takes whatever comes, as a registry does.
fn takes(seen: &Seen) -> Reply {
    match seen.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" | "PATCH" => Reply::status(202).header("location", "/v2/acme/csv/blobs/uploads/1?_state=x"),
        _ => Reply::status(201).header("location", "/v2/acme/csv/blobs/x"),
    }
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_sent() {
    let lying = Lying::plain(|_| Reply::status(200)).await;
    let digest = client(&plain(&lying)).put_blob(&repository(&lying), "12345678".into(), &()).await.unwrap();
    assert_eq!(lying.lines(), [format!("HEAD /v2/acme/csv/blobs/{digest}")]);
}

#[tokio::test]
async fn a_small_blob_goes_in_one_part() {
    let lying = Lying::plain(takes).await;
    let digest = client(&plain(&lying)).put_blob(&repository(&lying), "12345678".into(), &()).await.unwrap();
    let seen = lying.seen();
    assert_eq!(lying.lines()[1..], ["POST /v2/acme/csv/blobs/uploads/", "PUT /v2/acme/csv/blobs/uploads/1"]);
    let digest = digest.to_string().replace(':', "%3A");
    assert_eq!(seen[2].target, format!("/v2/acme/csv/blobs/uploads/1?_state=x&digest={digest}"));
    assert_eq!(seen[1].header("content-length"), Some("0"));
    assert_eq!((&seen[2].body[..], seen[2].header("content-length")), (&b"12345678"[..], Some("8")));
}

#[tokio::test]
async fn a_large_blob_goes_in_parts() {
    let lying = Lying::plain(takes).await;
    let blob = Bytes::from(vec![7; (8 << 20) + 3]);
    let told = Told::default();
    client(&plain(&lying)).put_blob(&repository(&lying), blob.clone(), &told).await.unwrap();
    let parts: Vec<Seen> = lying.seen().into_iter().filter(|seen| seen.method == "PATCH").collect();
    let ranges: Vec<_> = parts.iter().map(|part| part.header("content-range").unwrap()).collect();
    assert_eq!(ranges, ["0-4194303", "4194304-8388607", "8388608-8388610"]);
    assert_eq!(parts.iter().flat_map(|part| part.body.clone()).collect::<Vec<_>>(), blob);
    assert!(lying.seen().last().unwrap().body.is_empty());
    assert_eq!(*told.0.lock().unwrap(), [4 << 20, 8 << 20, (8 << 20) + 3, (8 << 20) + 3]);
}

#[tokio::test]
async fn a_registry_may_ask_for_larger_parts() {
    let lying = Lying::plain(|seen| match seen.method.as_str() {
        "POST" => takes(seen).header("oci-chunk-min-length", "8388608"),
        _ => takes(seen),
    })
    .await;
    client(&plain(&lying)).put_blob(&repository(&lying), vec![7; (8 << 20) + 3].into(), &()).await.unwrap();
    let parts: Vec<Seen> = lying.seen().into_iter().filter(|seen| seen.method == "PATCH").collect();
    assert_eq!(parts.iter().map(|part| part.body.len()).collect::<Vec<_>>(), [8 << 20, 3]);
}

#[tokio::test]
async fn an_upload_that_broke_off_begins_again() {
    let puts = AtomicUsize::new(0);
    let lying = Lying::plain(move |seen| match seen.method.as_str() {
        "PUT" if puts.fetch_add(1, Ordering::SeqCst) == 0 => Reply::status(503),
        _ => takes(seen),
    })
    .await;
    client(&plain(&lying)).put_blob(&repository(&lying), "12345678".into(), &()).await.unwrap();
    let methods: Vec<_> = lying.seen().iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(methods, ["HEAD", "POST", "PUT", "POST", "PUT"]);
}

#[tokio::test]
async fn an_upload_on_another_host_gets_no_login() {
    let store = Lying::plain(|_| Reply::status(201)).await;
    let to = format!("http://{}/upload?signature=SECRET", store.host());
    let lying = Lying::plain(move |seen| match (seen.method.as_str(), seen.header("authorization")) {
        (_, None) => Reply::status(401).header("www-authenticate", "Basic realm=\"x\""),
        ("HEAD", _) => Reply::status(404),
        _ => Reply::status(202).header("location", to.clone()),
    })
    .await;
    client(&plain(&lying)).put_blob(&repository(&lying), "12345678".into(), &()).await.unwrap();
    assert!(lying.saw_login() && !store.saw_login());
    assert_eq!(store.seen()[0].body, "12345678");
}

#[tokio::test]
async fn a_registry_that_took_something_else_is_not_believed() {
    let other = Digest::of(b"other").to_string();
    let lying = Lying::plain(move |seen| takes(seen).header("docker-content-digest", other.clone())).await;
    let client = client(&plain(&lying));
    let repository = repository(&lying);
    let problem = client.put_blob(&repository, "12345678".into(), &()).await.unwrap_err();
    assert_eq!(problem.code, Code::R006);
    let problem = client.put_manifest(&repository, "1.0.0", MANIFEST, b"{}").await.unwrap_err();
    assert_eq!(problem.code, Code::R006);
}

#[tokio::test]
async fn a_mount_is_taken_or_left() {
    let lying = Lying::plain(|seen| match seen.target.contains("none") {
        false => Reply::status(201),
        true => Reply::status(202).header("location", "/v2/acme/csv/blobs/uploads/1"),
    })
    .await;
    let client = client(&plain(&lying));
    let (to, digest) = (repository(&lying), Digest::of(b"x"));
    let from = |name: &str| Repository::parse(&lying.host(), name).unwrap();
    assert!(client.mount(&from("acme/kit"), &to, &digest).await.unwrap());
    assert!(!client.mount(&from("acme/none"), &to, &digest).await.unwrap());
    let asked = lying.seen()[0].target.replace("%3A", ":").replace("%2F", "/");
    assert_eq!(asked, format!("/v2/acme/csv/blobs/uploads/?mount={digest}&from=acme/kit"));
    let far = Repository::parse("r.example", "acme/kit").unwrap();
    assert!(!client.mount(&far, &to, &digest).await.unwrap());
    assert_eq!(lying.seen().len(), 2, "another registry is not asked");
}

#[tokio::test]
async fn a_manifest_is_put_as_it_is() {
    let lying = Lying::plain(takes).await;
    let client = client(&plain(&lying));
    let repository = repository(&lying);
    let digest = client.put_manifest(&repository, "1.0.0", MANIFEST, b"{ }").await.unwrap();
    assert_eq!(client.put_manifest(&repository, &digest.to_string(), MANIFEST, b"{ }").await.unwrap(), digest);
    let seen = lying.seen();
    assert_eq!((seen[0].header("content-type"), &seen[0].body[..]), (Some(MANIFEST), &b"{ }"[..]));
    let refused = [
        (client.put_manifest(&repository, &digest.to_string(), MANIFEST, b"{}").await, Code::R014),
        (client.put_manifest(&repository, "1.0+x", MANIFEST, b"{}").await, Code::R014),
        (client.put_manifest(&repository, "1.0.0", "a\nb", b"{}").await, Code::R014),
        (client.put_manifest(&repository, "1.0.0", MANIFEST, &vec![b' '; (4 << 20) + 1]).await, Code::T029),
    ];
    for (answer, code) in refused {
        assert_eq!(answer.unwrap_err().code, code);
    }
    assert_eq!(lying.seen().len(), 2, "refused before anything is sent");
}

#[tokio::test]
async fn what_a_registry_refuses_is_said_with_its_code() {
    let lying = Lying::plain(|seen| match seen.method.as_str() {
        "PUT" => Reply::status(400).body("{\"errors\":[{\"code\":\"DIGEST_INVALID\",\"message\":\"SECRET\"}]}"),
        _ => takes(seen),
    })
    .await;
    let problem = client(&plain(&lying)).put_blob(&repository(&lying), "1".into(), &()).await.unwrap_err();
    assert_eq!(problem.code, Code::R006);
    assert!(problem.message.contains("400, DIGEST_INVALID"), "{problem}");
    assert!(!problem.message.contains("_state"), "{problem}");
    tells_no_secret(&problem);
    let lying = Lying::plain(|_| Reply::status(403)).await;
    let problem = client(&plain(&lying)).put_manifest(&repository(&lying), "1.0.0", MANIFEST, b"{}").await.unwrap_err();
    assert_eq!((problem.code, problem.help), (Code::R007, Some(format!("`ice login {}`", lying.host()))));
}

/// Why uploads are ours: the other client of this workspace goes wherever an upload is sent, with the bytes.
#[tokio::test]
async fn oci_client_follows_an_upload_to_anybody() {
    let other = Arc::new(Lying::plain(|_| Reply::status(201).header("location", "/x")).await);
    let to = format!("http://{}/stolen", other.host());
    let lying = Lying::plain(move |_| Reply::status(307).header("location", to.clone())).await;
    let config = oci_client::client::ClientConfig {
        protocol: oci_client::client::ClientProtocol::Http,
        ..oci_client::client::ClientConfig::default()
    };
    rustls::crypto::ring::default_provider().install_default().ok();
    let theirs = oci_client::Client::try_from(config).unwrap();
    let reference = oci_client::Reference::with_tag(lying.host(), "acme/csv".to_owned(), "1.0.0".to_owned());
    let media_type = MANIFEST.parse().unwrap();
    theirs.push_manifest_raw(&reference, b"{}".to_vec(), media_type).await.unwrap();
    assert_eq!(other.seen()[0].body, "{}", "if this fails, look at its uploads again");
}
