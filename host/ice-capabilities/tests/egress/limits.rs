//! Bounds on what is sent, on what comes back, and on the time; and the ways of not answering.

use std::time::Duration;

use super::*;
use crate::server::closed_port;

#[tokio::test]
async fn stops_after_five_redirects() {
    let round = Server::saying(answer("302 Found", &[("location", "/again")], "")).await;
    refused(reaching(&[&round]).send(get(&round.url("/")), &everywhere()).await, Code::X066);
    assert_eq!(round.asked().len(), 6);
}

#[tokio::test]
async fn refuses_headers_that_cut_requests_in_two() {
    let server = Server::saying(answer("200 OK", &[], "ok")).await;
    let egress = reaching(&[&server]);
    for (name, value) in
        [("host", "b"), ("transfer-encoding", "chunked"), ("x", "a\r\nhost: b"), ("x\r\ny", "z"), ("proxy-x", "y")]
    {
        refused(egress.send(with_header(get(&server.url("/")), name, value), &everywhere()).await, Code::X068);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn bounds_bodies_heads_and_time() {
    let options = |server: &Server| EgressOptions {
        allow_private: vec![server.host_port()],
        response_bytes: 1000,
        request_bytes: 10,
        ..EgressOptions::default()
    };
    let exact = Server::saying(answer("200 OK", &[], "x".repeat(1000))).await;
    assert_eq!(
        egress(options(&exact), Names::of(&[])).send(get(&exact.url("/")), &everywhere()).await.unwrap().body.len(),
        1000
    );
    let large = HttpRequest { method: "POST".into(), body: vec![0; 11], ..get(&exact.url("/")) };
    refused(egress(options(&exact), Names::of(&[])).send(large, &everywhere()).await, Code::X065);

    let endless = Server::start(|_| {
        let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
        (format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}").into_bytes(), Then::Stall)
    })
    .await;
    refused(egress(options(&endless), Names::of(&[])).send(get(&endless.url("/")), &everywhere()).await, Code::X065);

    let many = (0..150).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let chatty = Server::saying(format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await;
    refused(egress(options(&chatty), Names::of(&[])).send(get(&chatty.url("/")), &everywhere()).await, Code::X065);

    let silent = Server::start(|_| (Vec::new(), Then::Stall)).await;
    let slow = Server::start(|_| (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_vec(), Then::Stall)).await;
    for (server, doing) in [(&silent, "waiting for an answer"), (&slow, "waiting for the body")] {
        let request = HttpRequest { timeout_ms: 100, ..get(&server.url("/")) };
        let failure = refused(egress(options(server), Names::of(&[])).send(request, &everywhere()).await, Code::X064);
        assert!(failure.problem.message.contains(doing) && failure.retry == Retry::Maybe, "{}", failure.problem);
    }
}

#[tokio::test]
async fn waits_for_a_free_slot_within_its_time() {
    let silent = Server::start(|_| (Vec::new(), Then::Stall)).await;
    let options = EgressOptions {
        allow_private: vec![silent.host_port()],
        concurrent: 1,
        timeout: Duration::from_millis(100),
        ..EgressOptions::default()
    };
    let egress = egress(options, Names::of(&[]));
    let long = get(&silent.url("/"));
    let short = HttpRequest { timeout_ms: 0, ..long.clone() };
    let grant = everywhere();
    // The first one is polled first and takes the only slot for ten seconds.
    let result = tokio::select! {
        biased;
        _ = egress.send(long, &grant) => panic!("a silent server answered"),
        result = egress.send(short, &grant) => result,
    };
    let failure = refused(result, Code::X064);
    assert!(failure.problem.message.contains("free slot"), "{}", failure.problem);
}

#[tokio::test]
async fn tells_the_ways_of_not_answering_apart() {
    let nobody = closed_port().await;
    let options = EgressOptions { allow_private: vec![nobody.to_string()], ..EgressOptions::default() };
    let egress = egress(options, Names::of(&[]));
    refused(egress.send(get(&format!("http://{nobody}/")), &everywhere()).await, Code::X062);
    refused(egress.send(get("https://unknown.example/"), &everywhere()).await, Code::X061);
    for bytes in
        ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", "SSH-2.0-x\r\n", "HTTP/1.1 101 Switching\r\n\r\n"]
    {
        let server = Server::saying(bytes).await;
        refused(reaching(&[&server]).send(get(&server.url("/")), &everywhere()).await, Code::X069);
    }
}

#[tokio::test]
async fn speaks_tls_with_hosts_whose_certificate_is_theirs() {
    let (server, pem) = Server::start_tls("tls.example", |asked| {
        let target = "http://tls.example/plain";
        let redirect = answer("302 Found", &[("location", target)], "");
        (if asked.line.contains("/down") { redirect } else { answer("200 OK", &[], "safe") }, Then::Close)
    })
    .await;
    let names = Names::of(&[("tls.example", &[&["127.0.0.1"]]), ("other.example", &[&["127.0.0.1"]])]);
    let allow_private = ["tls.example", "other.example"].map(|name| format!("{name}:{}", server.port));
    let url = |name: &str, path: &str| format!("https://{name}:{}{path}", server.port);
    let trusting = EgressOptions {
        allow_private: allow_private.to_vec(),
        extra_roots_pem: pem.into_bytes(),
        ..EgressOptions::default()
    };
    let egress_with = |options: &EgressOptions| egress(options.clone(), Arc::clone(&names));
    let request = with_header(get(&url("tls.example", "/")), "x", "{{secret:KEY}}");
    assert_eq!(egress_with(&trusting).send(request, &everywhere()).await.unwrap().body, b"safe");
    assert_eq!(server.asked()[0].headers["x"], KEY);
    // Another name, no trust, plain HTTP behind the port, and a redirect out of TLS.
    refused(egress_with(&trusting).send(get(&url("other.example", "/")), &everywhere()).await, Code::X063);
    refused(egress_with(&trusting).send(get(&url("tls.example", "/down")), &everywhere()).await, Code::X066);
    let doubting = EgressOptions { extra_roots_pem: Vec::new(), ..trusting };
    refused(egress_with(&doubting).send(get(&url("tls.example", "/")), &everywhere()).await, Code::X063);
    let plain = Server::greeting("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let to_plain = get(&format!("https://{}/", plain.host_port()));
    refused(reaching(&[&plain]).send(to_plain, &everywhere()).await, Code::X063);
}
