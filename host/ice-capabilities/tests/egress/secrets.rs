//! Secrets go where the grant binds them, and nowhere else; nor do they come back.

use base64::Engine as _;

use super::*;

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_secret_along() {
    let other = Server::saying(answer("200 OK", &[], "ok")).await;
    let target = other.url("/stolen");
    let first = Server::start(move |asked| {
        let location = if asked.line.contains("/same") { "/next" } else { target.as_str() };
        (answer("307 Temporary Redirect", &[("location", location)], ""), Then::Close)
    })
    .await;
    let mut request = get(&first.url("/same"));
    for (name, value) in
        [("authorization", "Bearer own"), ("cookie", "a=b"), ("x-key", "{{secret:KEY}}"), ("accept", "*/*")]
    {
        request = with_header(request, name, value);
    }
    reaching(&[&first, &other]).send(request, &everywhere()).await.unwrap();
    let asked = first.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.headers["x-key"] == KEY && asked.headers["authorization"] == "Bearer own"));
    let stolen = other.asked().remove(0);
    assert_eq!(stolen.headers["accept"], "*/*");
    for name in ["authorization", "cookie", "x-key"] {
        assert!(!stolen.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn fills_secrets_only_where_the_grant_binds_them() {
    let server = Server::saying(answer("200 OK", &[], "ok")).await;
    let egress = reaching(&[&server]);
    let request = || with_header(get(&server.url("/")), "authorization", "Bearer {{secret:KEY}}");
    let mut bound = grant(&["GET http://127.0.0.1:*/*"]);
    refused(egress.send(request(), &bound).await, Code::G021);
    bound.secrets.insert("KEY".into(), vec!["other.example".into()]);
    let failure = refused(egress.send(request(), &bound).await, Code::G021);
    assert!(failure.problem.help.unwrap().contains("secrets.KEY=127.0.0.1"));
    assert!(server.asked().is_empty());
    bound.secrets.insert("KEY".into(), vec!["127.0.0.1".into()]);
    egress.send(request(), &bound).await.unwrap();
    assert_eq!(server.asked()[0].headers["authorization"], format!("Bearer {KEY}"));
    bound.secrets.insert("NONE".into(), vec!["*".into()]);
    let missing = with_header(get(&server.url("/")), "x", "{{secret:NONE}}");
    refused(egress.send(missing, &bound).await, Code::X067);
    assert!(egress.has_secret("KEY") && !egress.has_secret("NONE"));
}

#[tokio::test]
async fn a_secret_does_not_leave_without_tls() {
    for value in ["{{secret:KEY}}", "{{hmac_sha256:KEY}}"] {
        let names = Names::of(&[("api.example", &[&["1.1.1.1"]])]);
        let request = with_header(get("http://api.example/"), "x", value);
        refused(egress(EgressOptions::default(), Arc::clone(&names)).send(request, &everywhere()).await, Code::G021);
        assert!(names.asked.lock().unwrap().is_empty(), "{value}");
    }
}

#[tokio::test]
async fn a_body_is_signed_only_where_the_grant_binds_the_secret() {
    let server = Server::saying(answer("200 OK", &[], "ok")).await;
    let egress = reaching(&[&server]);
    let body = "{\"total\": 3}";
    let request = || {
        let request = HttpRequest { method: "POST".into(), body: body.into(), ..get(&server.url("/")) };
        with_header(request, "x-signature", "sha256={{hmac_sha256:KEY}}")
    };
    let mut bound = grant(&["POST http://127.0.0.1:*/*"]);
    refused(egress.send(request(), &bound).await, Code::G021);
    bound.secrets.insert("KEY".into(), vec!["other.example".into()]);
    refused(egress.send(request(), &bound).await, Code::G021);
    assert!(server.asked().is_empty());
    bound.secrets.insert("KEY".into(), vec!["127.0.0.1".into()]);
    egress.send(request(), &bound).await.unwrap();
    let asked = server.asked().remove(0);
    assert_eq!(asked.body, body);
    // As `printf '{"total": 3}' | openssl dgst -sha256 -hmac 's3cr3t-k3y/with+signs=='` says.
    assert_eq!(asked.headers["x-signature"], "sha256=a64e5e3c42bade7fb36b5f30552da2fe3ad1b5ae2f8c96a2a62f801f2466197a");
    bound.secrets.insert("NONE".into(), vec!["*".into()]);
    let missing = with_header(request(), "x", "{{hmac_sha256:NONE}}");
    refused(egress.send(missing, &bound).await, Code::X067);
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_signature_along() {
    let other = Server::saying(answer("200 OK", &[], "ok")).await;
    let target = other.url("/elsewhere");
    let first =
        Server::start(move |_| (answer("307 Temporary Redirect", &[("location", &target)], ""), Then::Close)).await;
    let request = with_header(get(&first.url("/")), "x-signature", "{{hmac_sha256:KEY}}");
    reaching(&[&first, &other]).send(request, &everywhere()).await.unwrap();
    assert_eq!(first.asked()[0].headers["x-signature"].len(), 64);
    assert!(!other.asked()[0].headers.contains_key("x-signature"));
}

#[tokio::test]
async fn scrubs_secrets_from_headers_body_and_errors() {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{KEY}"));
    let server = Server::start(move |asked| {
        let auth = &asked.headers["x-key"];
        let body = format!("{{\"echo\": \"{auth}\", \"basic\": \"{encoded}\"}}");
        (answer("200 OK", &[("x-echo", auth), ("location", &format!("/?k={auth}"))], body), Then::Close)
    })
    .await;
    let request = with_header(get(&server.url("/")), "x-key", "{{secret:KEY}}");
    let response = reaching(&[&server]).send(request.clone(), &everywhere()).await.unwrap();
    assert_eq!(header(&response, "x-echo"), Some("[secret]"));
    assert_eq!(header(&response, "content-length"), None, "the length is no longer that of the body");
    let text = format!("{response:?} {}", String::from_utf8_lossy(&response.body));
    assert!(
        !text.contains("s3cr3t") && !text.contains(&base64::engine::general_purpose::STANDARD.encode(KEY)[4..16]),
        "{text}"
    );

    let redirecting = Server::start(|asked| {
        let location = format!("ftp://{}.example/", asked.headers["x-key"].replace(['/', '+', '='], "-"));
        (answer("302 Found", &[("location", &format!("{location}{}", asked.headers["x-key"]))], ""), Then::Close)
    })
    .await;
    let request = HttpRequest { url: redirecting.url("/"), ..request };
    refused(reaching(&[&redirecting]).send(request, &everywhere()).await, Code::X066);
}

#[tokio::test]
async fn refuses_a_packed_answer_to_a_request_with_a_secret() {
    let server = Server::saying(answer("200 OK", &[("content-encoding", "gzip")], "\u{1f}packed")).await;
    let egress = reaching(&[&server]);
    egress.send(get(&server.url("/")), &everywhere()).await.unwrap();
    let request = with_header(get(&server.url("/")), "x", "{{secret:KEY}}");
    refused(egress.send(request, &everywhere()).await, Code::X069);
}
