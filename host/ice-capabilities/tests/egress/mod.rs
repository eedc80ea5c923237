//! The way out, end to end: what is refused, what is dialled, what is sent, what comes back.

use std::sync::Arc;

use ice_capabilities::{Egress, EgressOptions, Secrets};
use ice_core::grant::Grant;
use ice_core::ports::{Failure, Http as _, HttpRequest, HttpResponse, Retry};
use ice_core::problem::Code;

use crate::server::{Asked, Names, Server, Then, answer};

mod limits;
mod secrets;

const KEY: &str = "s3cr3t-k3y/with+signs==";

fn get(url: &str) -> HttpRequest {
    HttpRequest { method: "GET".into(), url: url.into(), headers: vec![], body: vec![], timeout_ms: 10_000 }
}

fn with_header(mut request: HttpRequest, name: &str, value: &str) -> HttpRequest {
    request.headers.push((name.into(), value.into()));
    request
}

fn grant(rules: &[&str]) -> Grant {
    Grant { http: rules.iter().map(|rule| (*rule).to_owned()).collect(), ..Grant::default() }
}

fn everywhere() -> Grant {
    let mut grant = grant(&["* http://*:*/*", "* https://*:*/*"]);
    grant.secrets.insert("KEY".into(), vec!["*".into()]);
    grant
}

fn egress(options: EgressOptions, names: Arc<Names>) -> Egress {
    let secrets = Secrets::from_values([("KEY".into(), KEY.into())]).unwrap();
    Egress::new(options, secrets, names).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// An egress that may reach these servers.
fn reaching(servers: &[&Server]) -> Egress {
    let allow_private = servers.iter().map(|server| server.host_port()).collect();
    egress(EgressOptions { allow_private, ..EgressOptions::default() }, Names::of(&[]))
}

fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[track_caller]
fn refused(result: Result<HttpResponse, Failure>, code: Code) -> Failure {
    let failure = result.unwrap_err();
    assert_eq!(failure.problem.code, code, "{}", failure.problem);
    assert!(!failure.problem.to_string().contains(KEY));
    failure
}

#[tokio::test]
async fn sends_what_was_asked_and_returns_the_answer() {
    let server = Server::saying(answer("201 Created", &[("X-Id", "7"), ("Connection", "close")], "made")).await;
    let mut request = with_header(get(&server.url("/things?x=1#part")), "x-own", "yes");
    request = with_header(request, "accept-encoding", "gzip");
    (request.method, request.body) = ("POST".into(), b"body".to_vec());
    let response = reaching(&[&server]).send(request, &everywhere()).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (201, b"made".as_slice()));
    assert_eq!(response.url, server.url("/things?x=1"));
    assert_eq!((header(&response, "x-id"), header(&response, "connection")), (Some("7"), None));
    let Asked { line, headers, body } = server.asked().remove(0);
    assert_eq!((line.as_str(), body.as_str()), ("POST /things?x=1 HTTP/1.1", "body"));
    assert_eq!(headers["host"], server.host_port());
    assert_eq!(headers["x-own"], "yes");
    assert_eq!(headers["accept-encoding"], "identity");
    assert!(headers["user-agent"].starts_with("ice/"));
}

#[tokio::test]
async fn the_grant_is_asked_before_anything_else_and_names_its_rule() {
    let names = Names::of(&[("api.example", &[&["1.1.1.1"]])]);
    let egress = egress(EgressOptions::default(), Arc::clone(&names));
    let only = grant(&["GET https://api.example/v1/*"]);
    for (method, url) in [
        ("GET", "https://api.example/v2?token=t0k3n"),
        ("POST", "https://api.example/v1/x"),
        ("GET", "http://api.example/v1/x"),
        ("GET", "https://api.example:444/v1/x"),
        ("GET", "https://api.example.evil.example/v1/x"),
        ("GET", "https://api.example/v1/../v2"),
        ("GET", "https://api.example/v1/%2e%2e/v2"),
        ("GET", "https://api.example/v1/..%2fv2"),
    ] {
        let failure = refused(egress.send(HttpRequest { method: method.into(), ..get(url) }, &only).await, Code::G001);
        assert_eq!(failure.retry, Retry::Never);
        let help = failure.problem.help.unwrap();
        assert!(help.contains("ice plugins grant <kit> 'http="), "{help}");
        assert!(!failure.problem.message.contains("t0k3n") && !help.contains("t0k3n"));
    }
    refused(egress.send(get("https://api.example/v1"), &Grant::default()).await, Code::G001);
    assert!(names.asked.lock().unwrap().is_empty(), "a name was looked up without a grant");
}

#[tokio::test]
async fn refuses_every_spelling_of_a_private_address() {
    let private: &[&[&str]] = &[&["10.0.0.5"]];
    let names = Names::of(&[
        ("localhost", &[&["127.0.0.1", "::1"]]),
        ("private.example", private),
        ("metadata.example", &[&["169.254.169.254"]]),
        ("six.example", &[&["fd00:ec2::254", "fe80::1"]]),
        ("mapped.example", &[&["::ffff:192.168.0.1"]]),
        ("xn--bcher-kva.example", private),
    ]);
    let egress = egress(EgressOptions::default(), names);
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "①②⑦.0.0.1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0xA9FEA9FE",
        "2852039166",
        "169.254.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "198.18.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001:0:1:2:3:4:80ff:fffe]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "localhost",
        "LOCALHOST.",
        "private.example",
        "metadata.example",
        "six.example",
        "mapped.example",
        "bücher.example",
        "PRIVATE.example",
    ];
    for host in hosts {
        for scheme in ["http", "https"] {
            refused(egress.send(get(&format!("{scheme}://{host}/")), &everywhere()).await, Code::G020);
        }
    }
}

#[tokio::test]
async fn refuses_urls_that_are_none_before_the_grant() {
    let egress = egress(EgressOptions::default(), Names::of(&[]));
    for url in [
        "",
        "/x",
        "ftp://a.example/",
        "file:///etc/passwd",
        "https://u@a.example/",
        "https://u:p@a.example/",
        "https://a b/",
    ] {
        refused(egress.send(get(url), &Grant::default()).await, Code::X060);
    }
}

#[tokio::test]
async fn dials_the_address_it_vetted_and_looks_up_once() {
    let server = Server::saying(answer("200 OK", &[], "vetted")).await;
    // The first answer may be dialled, every later one may not: a second lookup would end in G020.
    let names = Names::of(&[("rebind.example", &[&["127.0.0.1"], &["169.254.169.254"]])]);
    let allow_private = vec![format!("rebind.example:{}", server.port)];
    let egress = egress(EgressOptions { allow_private, ..EgressOptions::default() }, Arc::clone(&names));
    let request = || get(&format!("http://rebind.example:{}/", server.port));
    assert_eq!(egress.send(request(), &everywhere()).await.unwrap().body, b"vetted");
    assert_eq!(*names.asked.lock().unwrap(), ["rebind.example"]);
    // The next request looks up and vets for itself.
    refused(egress.send(request(), &everywhere()).await, Code::G020);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_allowed_pair_is_reached_and_its_neighbour_is_not() {
    let server = Server::saying(answer("200 OK", &[], "here")).await;
    let other = Server::saying(answer("200 OK", &[], "there")).await;
    let names = Names::of(&[("bin.example", &[&["127.0.0.1"]])]);
    let options =
        EgressOptions { allow_private: vec![format!("bin.example:{}", server.port)], ..EgressOptions::default() };
    let egress = egress(options, names);
    let ask = |port: u16| get(&format!("http://BIN.example:{port}/"));
    assert_eq!(egress.send(ask(server.port), &everywhere()).await.unwrap().body, b"here");
    refused(egress.send(ask(other.port), &everywhere()).await, Code::G020);
    // The pair is a name's, not its address's.
    refused(egress.send(get(&server.url("/")), &everywhere()).await, Code::G020);
}

#[tokio::test]
async fn a_redirect_starts_again_from_grant_and_address() {
    let inside = Server::saying(answer("200 OK", &[], "inside")).await;
    let target = inside.url("/admin");
    let outside = Server::start(move |_| (answer("302 Found", &[("location", &target)], ""), Then::Close)).await;
    // Granted, but private.
    refused(reaching(&[&outside]).send(get(&outside.url("/")), &everywhere()).await, Code::G020);
    // Reachable, but not granted.
    let only = grant(&[&format!("GET {}", outside.url("/*"))]);
    refused(reaching(&[&outside, &inside]).send(get(&outside.url("/")), &only).await, Code::G001);
    assert!(inside.asked().is_empty());
    let response = reaching(&[&outside, &inside]).send(get(&outside.url("/")), &everywhere()).await.unwrap();
    assert_eq!((response.body.as_slice(), response.url), (b"inside".as_slice(), inside.url("/admin")));
}

#[tokio::test]
async fn ignores_proxies_of_the_environment() {
    // Nothing in this crate reads the environment; the request goes straight to the server.
    let server = Server::saying(answer("200 OK", &[], "direct")).await;
    let response = reaching(&[&server]).send(get(&server.url("/")), &everywhere()).await.unwrap();
    assert_eq!(response.body, b"direct");
    assert!(server.asked()[0].line.starts_with("GET / "), "a proxy would be asked for the whole URL");
}
