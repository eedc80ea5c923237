//! The requests this client makes, against two registries that fail differently: docker-registry 2.8 and
//! ferro-oci-server 1.0.

use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use ice_core::id::Digest;
use ice_core::problem::Code;
use ice_registry::Progress;
use ice_registry::client::{Client, Credentials, Registries, Repository};
use serde_json::{Value, json};

use crate::network::world::{INDEX, MANIFEST, PASSWORD, USER, credentials, options, silent, tells_no_secret};
use crate::registries::{DockerRegistry, Ferro, Untagged};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const ATTESTATION: &str = "application/vnd.example.attestation";

/// What the two do differently.
struct Facts {
    /// Whether it takes a blob from another repository.
    mounts: bool,
    /// Whether it knows what refers to a manifest without the tag that stands in.
    lists_referrers: bool,
}

pub(crate) fn open(address: &str, credentials: Credentials) -> Client {
    let settings = format!("[registry.\"{address}\"]\nplain_http = true\nauth = \"env:ICE_USER,ICE_PASSWORD\"\n");
    Client::new(Registries::parse(&settings).unwrap(), credentials, options(&Arc::default())).unwrap()
}

fn manifest(component: &[u8], config: &[u8], subject: Option<(&Digest, usize)>) -> Vec<u8> {
    let blob = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
    let kind = if subject.is_some() { ATTESTATION } else { "application/vnd.iceos.plugin.v0+json" };
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
        "config": blob(CONFIG, config), "layers": [blob("application/wasm", component)]});
    if let Some((digest, size)) = subject {
        manifest["subject"] = json!({"mediaType": MANIFEST, "digest": digest, "size": size});
    }
    serde_json::to_vec(&manifest).unwrap()
}

/// Blobs and a manifest under a tag, as publishing does.
async fn publish(client: &Client, repository: &Repository, tag: &str, component: &[u8], config: &[u8]) -> Vec<u8> {
    for blob in [component, config] {
        let digest = client.put_blob(repository, Bytes::copy_from_slice(blob), &()).await.unwrap();
        assert_eq!(digest, Digest::of(blob));
    }
    let manifest = manifest(component, config, None);
    let digest = client.put_manifest(repository, tag, MANIFEST, &manifest).await.unwrap();
    assert_eq!(digest, Digest::of(&manifest));
    manifest
}

async fn blobs(client: &Client, repository: &Repository) {
    let component = b"\0asm\x0d\0\x01\0";
    let large: Vec<u8> = (0..(9_u32 << 20)).map(|at| (at % 251) as u8).collect();
    for blob in [&component[..], &large] {
        let (digest, size) = (Digest::of(blob), blob.len() as u64);
        assert_eq!(client.blob(repository, &digest, size, &()).await.unwrap_err().code, Code::R001);
        for _ in 0..2 {
            assert_eq!(client.put_blob(repository, Bytes::copy_from_slice(blob), &()).await.unwrap(), digest);
        }
        assert_eq!(client.blob(repository, &digest, size, &()).await.unwrap(), blob);
        assert_eq!(client.blob(repository, &digest, size - 1, &()).await.unwrap_err().code, Code::T029);
        assert_eq!(client.blob(repository, &digest, size + 1, &()).await.unwrap_err().code, Code::T001);
    }
}

async fn manifests(client: &Client, repository: &Repository) {
    assert_eq!(client.manifest(repository, "1.0.0").await.unwrap(), None);
    assert!(!client.head(repository, "1.0.0").await.unwrap());
    let first = publish(client, repository, "1.0.0", b"one", b"{}").await;
    let digest = Digest::of(&first);
    for reference in ["1.0.0".to_owned(), digest.to_string()] {
        assert!(client.head(repository, &reference).await.unwrap());
        let pulled = client.manifest(repository, &reference).await.unwrap().unwrap();
        assert_eq!((&pulled.bytes, pulled.digest), (&first, digest));
    }
    let by_digest = manifest(b"one", b"{}", Some((&digest, first.len())));
    let named = Digest::of(&by_digest).to_string();
    client.put_manifest(repository, &named, MANIFEST, &by_digest).await.unwrap();
    assert_eq!(client.manifest(repository, &named).await.unwrap().unwrap().bytes, by_digest);

    // A tag moves without a word: why whoever publishes asks first.
    let second = publish(client, repository, "1.0.0", b"two", b"{}").await;
    assert_eq!(client.manifest(repository, "1.0.0").await.unwrap().unwrap().bytes, second);
    assert_eq!(client.manifest(repository, &digest.to_string()).await.unwrap().unwrap().bytes, first);
    let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    client.put_manifest(repository, "index", INDEX, index).await.unwrap();
    assert!(client.head(repository, "index").await.unwrap());
    match client.manifest(repository, "index").await {
        Ok(None) => {}
        answer => assert_eq!(answer.unwrap_err().code, Code::R006),
    }
}

async fn tags(client: &Client, repository: &Repository) {
    assert!(client.tags(repository).await.unwrap().is_empty());
    for tag in ["1.0.0", "1.1.0", "2.0.0-rc.1"] {
        publish(client, repository, tag, tag.as_bytes(), b"{}").await;
    }
    let mut tags = client.tags(repository).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1.0.0", "1.1.0", "2.0.0-rc.1"]);
}

async fn mount(client: &Client, from: &Repository, to: &Repository, facts: &Facts) {
    let blob = b"to be mounted";
    let digest = client.put_blob(from, Bytes::from_static(blob), &()).await.unwrap();
    assert_eq!(client.mount(from, to, &digest).await.unwrap(), facts.mounts);
    client.put_blob(to, Bytes::from_static(blob), &()).await.unwrap();
    assert_eq!(client.blob(to, &digest, blob.len() as u64, &()).await.unwrap(), blob);
    assert!(!client.mount(from, to, &Digest::of(b"nowhere")).await.unwrap());
}

async fn referrers(client: &Client, repository: &Repository, facts: &Facts) {
    let subject = publish(client, repository, "1.0.0", b"one", b"{}").await;
    let digest = Digest::of(&subject);
    assert!(client.referrers(repository, &digest, None).await.unwrap().is_empty());
    let attestation = manifest(b"one", b"{}", Some((&digest, subject.len())));
    let named = Digest::of(&attestation);
    client.put_manifest(repository, "iceatt-1", MANIFEST, &attestation).await.unwrap();
    let found = client.referrers(repository, &digest, Some(ATTESTATION)).await.unwrap();
    assert_eq!(!found.is_empty(), facts.lists_referrers);

    // What publishing an attestation does for registries without the list.
    let entry = json!({"mediaType": MANIFEST, "artifactType": ATTESTATION, "digest": named, "size": attestation.len()});
    let index: Value = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let index = serde_json::to_vec(&index).unwrap();
    client.put_manifest(repository, &format!("sha256-{}", digest.hex()), INDEX, &index).await.unwrap();
    let found = client.referrers(repository, &digest, Some(ATTESTATION)).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [named]);
    assert_eq!(found[0].size, attestation.len() as u64);
    assert!(client.referrers(repository, &digest, Some("application/other")).await.unwrap().is_empty());
}

/// What no client of ours sends: other bytes than their digest.
async fn wrong_digest(address: &str, repository: &Repository) {
    let http = plain_http();
    let start = http.post(format!("http://{address}/v2/{}/blobs/uploads/", repository.path));
    let session = start.header("content-length", 0).send().await.unwrap();
    let location = session.headers()["location"].to_str().unwrap();
    let mut url = session.url().join(location).unwrap();
    url.query_pairs_mut().append_pair("digest", &Digest::of(b"one").to_string());
    assert_eq!(http.put(url).body("two").send().await.unwrap().status(), 400);
}

/// A page of tags of one entry each, which one of the two ignores.
async fn tags_in_pages(address: &str, repository: &Repository) -> usize {
    let url = format!("http://{address}/v2/{}/tags/list?n=1", repository.path);
    let page: Value = plain_http().get(url).send().await.unwrap().json().await.unwrap();
    page["tags"].as_array().unwrap().len()
}

async fn more_tags_than_a_page_holds(address: &str) {
    let client = open(address, credentials());
    let repository = Repository::parse(&format!("{address}/ice"), "acme/many").unwrap();
    let manifest = publish(&client, &repository, "1.0.0", b"one", b"{}").await;
    for patch in 1..205 {
        client.put_manifest(&repository, &format!("1.0.{patch}"), MANIFEST, &manifest).await.unwrap();
    }
    let mut tags = client.tags(&repository).await.unwrap();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 205);
}

fn plain_http() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Somebody else's client reads what ours wrote.
async fn read_by_oci_client(address: &str, repository: &Repository) {
    use oci_client::client::{ClientConfig, ClientProtocol};
    rustls::crypto::ring::default_provider().install_default().ok();
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let theirs = oci_client::Client::try_from(config).unwrap();
    let tag = "1.1.0".to_owned();
    let reference = oci_client::Reference::with_tag(address.to_owned(), repository.path.clone(), tag);
    let auth = oci_client::secrets::RegistryAuth::Anonymous;
    let (manifest, digest) = theirs.pull_image_manifest(&reference, &auth).await.unwrap();
    let mut bytes = Vec::new();
    theirs.pull_blob(&reference, &manifest.layers[0], &mut bytes).await.unwrap();
    assert_eq!(bytes, b"1.1.0");
    let ours = self::manifest(b"1.1.0", b"{}", None);
    assert_eq!(digest, Digest::of(&ours).to_string());
}

async fn every_request(address: &str, facts: &Facts) {
    let client = open(address, credentials());
    let repository = |name: &str| Repository::parse(&format!("{address}/ice"), name).unwrap();
    blobs(&client, &repository("acme/blobs")).await;
    manifests(&client, &repository("acme/manifests")).await;
    tags(&client, &repository("acme/tags")).await;
    mount(&client, &repository("acme/kit"), &repository("acme/kit/tool"), facts).await;
    referrers(&client, &repository("acme/referrers"), facts).await;
    wrong_digest(address, &repository("acme/blobs")).await;
    read_by_oci_client(address, &repository("acme/tags")).await;
}

#[tokio::test]
async fn docker_registry_answers_every_request() {
    let registry = DockerRegistry::start();
    every_request(&registry.address(), &Facts { mounts: true, lists_referrers: false }).await;
    let tags = Repository::parse(&registry.address(), "ice/acme/tags").unwrap();
    assert_eq!(tags_in_pages(&registry.address(), &tags).await, 3);
}

#[tokio::test]
async fn ferro_answers_every_request() {
    let registry = Ferro::start();
    every_request(&registry.address(), &Facts { mounts: false, lists_referrers: true }).await;
    let tags = Repository::parse(&registry.address(), "ice/acme/tags").unwrap();
    assert_eq!(tags_in_pages(&registry.address(), &tags).await, 1);
    more_tags_than_a_page_holds(&registry.address()).await;
    assert!(!registry.log().contains("panicked"), "{}", registry.log());
}

#[tokio::test]
async fn docker_registry_takes_a_good_login_only() {
    let registry = DockerRegistry::start_with_htpasswd(USER, PASSWORD);
    let address = registry.address();
    let repository = Repository::parse(&format!("{address}/ice"), "acme/csv").unwrap();
    let good = open(&address, credentials());
    publish(&good, &repository, "1.0.0", b"one", b"{}").await;
    assert_eq!(good.tags(&repository).await.unwrap(), ["1.0.0"]);
    good.login(&address, USER, PASSWORD).await.unwrap();

    let bad = Credentials::new(None, None, |name| Some(if name == "ICE_USER" { USER } else { "badSECRET" }.to_owned()));
    let none =
        Registries::parse(&format!("[registry.\"{address}\"]\nplain_http = true\nauth = \"anonymous\"\n")).unwrap();
    let none = Client::new(none, Credentials::none(), options(&Arc::default())).unwrap();
    let problems = [
        open(&address, bad).tags(&repository).await.unwrap_err(),
        none.tags(&repository).await.unwrap_err(),
        none.manifest(&repository, "1.0.0").await.unwrap_err(),
        none.put_blob(&repository, Bytes::from_static(b"x"), &()).await.unwrap_err(),
        good.login(&address, USER, "badSECRET").await.unwrap_err(),
    ];
    for problem in &problems {
        assert_eq!(
            (problem.code, problem.help.as_deref()),
            (Code::R007, Some(format!("`ice login {address}`").as_str()))
        );
        tells_no_secret(problem);
    }
    let log = registry.log();
    assert!(!log.contains(PASSWORD) && !log.contains("badSECRET"), "the log holds a password:\n{log}");
}

/// Why everything of ours has a tag.
#[tokio::test]
async fn a_garbage_collection_takes_what_no_tag_names() {
    let registry = DockerRegistry::start();
    let address = registry.address();
    let client = open(&address, credentials());
    let repository = Repository::parse(&format!("{address}/ice"), "acme/csv").unwrap();
    let tagged = publish(&client, &repository, "1.0.0", b"one", b"{}").await;
    let untagged = manifest(b"one", b"{}", Some((&Digest::of(&tagged), tagged.len())));
    let named = Digest::of(&untagged).to_string();
    client.put_manifest(&repository, &named, MANIFEST, &untagged).await.unwrap();
    let loose = client.put_blob(&repository, Bytes::from_static(b"loose"), &()).await.unwrap();

    registry.garbage_collect(Untagged::Keep);
    assert!(client.head(&repository, &named).await.unwrap());
    assert_eq!(client.blob(&repository, &loose, 5, &()).await.unwrap_err().code, Code::R001);
    registry.garbage_collect(Untagged::Delete);
    assert!(!client.head(&repository, &named).await.unwrap());
    assert_eq!(client.manifest(&repository, "1.0.0").await.unwrap().unwrap().bytes, tagged);
    assert_eq!(client.blob(&repository, &Digest::of(b"one"), 3, &()).await.unwrap(), b"one");
}

/// Ends the registry with the first bytes that came.
struct Ends {
    registry: Mutex<Option<DockerRegistry>>,
    // Nobody else gets the port.
    silent: Mutex<Option<tokio::net::TcpSocket>>,
}

impl Progress for Ends {
    fn bytes(&self, _: &str, done: u64, total: u64) {
        assert!(done < total);
        if let Some(registry) = self.registry.lock().unwrap().take() {
            let address = registry.address().parse().unwrap();
            drop(registry);
            *self.silent.lock().unwrap() = Some(silent(address));
        }
    }
}

#[tokio::test]
async fn a_registry_that_ends_in_the_middle_of_a_blob_is_unavailable_or_has_a_mirror() {
    let (registry, mirror) = (DockerRegistry::start(), Ferro::start());
    let (address, copy) = (registry.address(), mirror.address());
    // More than the system keeps in its buffers.
    let blob = Bytes::from(vec![7; 40 << 20]);
    let repository = Repository::parse(&address, "acme/csv").unwrap();
    let client = open(&address, credentials());
    let digest = client.put_blob(&repository, blob.clone(), &()).await.unwrap();
    let copies = Repository::parse(&copy, "copies/acme/csv").unwrap();
    open(&copy, credentials()).put_blob(&copies, blob.clone(), &()).await.unwrap();

    let ends = Ends { registry: Mutex::new(Some(registry)), silent: Mutex::new(None) };
    let problem = client.blob(&repository, &digest, blob.len() as u64, &ends).await.unwrap_err();
    assert_eq!(problem.code, Code::R005);
    let settings = format!(
        "[registry.\"{address}\"]\nplain_http = true\nmirrors = [\"{copy}/copies\"]\n[registry.\"{copy}\"]\nplain_http = true\n"
    );
    let registries = Registries::parse(&settings).unwrap();
    let mirrored = Client::new(registries, Credentials::none(), options(&Arc::default())).unwrap();
    assert_eq!(mirrored.blob(&repository, &digest, blob.len() as u64, &()).await.unwrap(), blob);
}

#[tokio::test]
async fn a_registry_that_is_gone_is_unavailable() {
    let registry = DockerRegistry::start();
    let address = registry.address();
    let client = open(&address, credentials());
    let repository = Repository::parse(&address, "acme/csv").unwrap();
    publish(&client, &repository, "1.0.0", b"one", b"{}").await;
    drop(registry);
    let _silent = silent(address.parse().unwrap());
    assert_eq!(client.manifest(&repository, "1.0.0").await.unwrap_err().code, Code::R005);
    assert_eq!(client.blob(&repository, &Digest::of(b"one"), 3, &()).await.unwrap_err().code, Code::R005);
}
