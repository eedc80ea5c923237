//! What is refused, and how: tokens, forms, sizes, rates, mistakes of the host.

use super::*;

/// A raw request.
async fn raw(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(body).expect("a request")).await
}

const BEARER: (&str, &str) = ("authorization", "Bearer a-token-of-a-test");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(start_paused = true)]
async fn only_the_token_opens_and_only_health_needs_none() {
    let world = World::new();
    for (header, refused) in [
        (None, (401, "ICE-A001")),
        (Some("Basic YTpi"), (401, "ICE-A001")),
        (Some("a-token-of-a-test"), (401, "ICE-A001")),
        (Some("Bearer"), (401, "ICE-A001")),
        (Some("Bearer a-token-of-a-tes"), (403, "ICE-A002")),
        (Some("Bearer a-token-of-a-test2"), (403, "ICE-A002")),
    ] {
        for (method, path) in [
            ("POST", "/api/v1/executions"),
            ("GET", "/api/v1/executions/"),
            ("GET", "/api/v1/executions/x"),
            ("POST", "/api/v1/executions/x/cancel"),
            ("GET", "/api/v1/executions/x/events"),
            ("POST", "/api/v1/blueprints"),
            ("GET", "/api/v1/blueprints/x"),
        ] {
            let headers: Vec<(&str, &str)> = header.map(|header| ("authorization", header)).into_iter().collect();
            let answer = raw(&world, method, path, &headers, Body::empty()).await;
            assert_eq!(answer.refused(), (refused.0, refused.1.to_owned()), "{header:?} {method} {path}");
            assert_eq!(answer.headers.contains_key("www-authenticate"), refused.0 == 401);
            assert!(!answer.text.contains("a-token-of"), "{}", answer.text);
        }
    }
    for (path, said) in [("/healthz", json!({ "status": "live" })), ("/readyz", json!({ "ok": true }))] {
        let answer = raw(&world, "GET", path, &[], Body::empty()).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, said));
    }
    let lower =
        raw(&world, "GET", "/api/v1/executions", &[("authorization", "bearer a-token-of-a-test")], Body::empty());
    assert_eq!(lower.await.status, StatusCode::OK, "the scheme has no case");
}

#[tokio::test(start_paused = true)]
async fn without_a_token_a_page_of_another_site_gets_nothing() {
    let world = World::with(|options| options.access = Access::ThisMachine);
    let local = raw(&world, "GET", "/api/v1/executions", &[("host", "127.0.0.1:8080")], Body::empty()).await;
    assert_eq!(local.status, StatusCode::OK);
    let rebound = raw(&world, "GET", "/api/v1/executions", &[("host", "evil.example:8080")], Body::empty()).await;
    assert_eq!(rebound.refused(), (403, "ICE-A011".into()));
    let simple = [("host", "localhost"), ("content-type", "text/plain")];
    let posted = raw(&world, "POST", "/api/v1/executions", &simple, Body::from("{}")).await;
    assert_eq!(posted.refused(), (415, "ICE-A007".into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_its_form_is_refused_with_a_way_out() {
    let world = World::new();
    let start = "/api/v1/executions";
    for (method, path, body, refused) in [
        ("GET", "/api/v1/executionz", "", (404, "ICE-A005")),
        ("GET", "/", "", (404, "ICE-A005")),
        ("DELETE", "/api/v1/executions", "", (405, "ICE-A006")),
        ("PUT", "/healthz", "", (405, "ICE-A006")),
        ("POST", start, "{", (422, "ICE-A003")),
        ("POST", start, "", (422, "ICE-A003")),
        ("POST", start, "[]", (422, "ICE-A003")),
        ("POST", start, "{}", (422, "ICE-A003")),
        ("POST", start, r#"{"blueprint_id":"demo.hello","input":{}}"#, (422, "ICE-B002")),
        ("POST", start, r#"{"blueprint_id":7}"#, (422, "ICE-B004")),
        ("POST", start, r#"{"blueprint_id":"demo.helo"}"#, (404, "ICE-A016")),
        ("POST", start, r#"{"blueprint_id":"demo.hello","inputs":[1]}"#, (422, "ICE-B004")),
        ("POST", "/api/v1/executions?wait_seconds=x", r#"{"blueprint_id":"demo.hello"}"#, (422, "ICE-A003")),
        ("POST", "/api/v1/executions?wait_seconds=-1", r#"{"blueprint_id":"demo.hello"}"#, (422, "ICE-A003")),
        ("POST", "/api/v1/executions?wait_seconds=NaN", r#"{"blueprint_id":"demo.hello"}"#, (422, "ICE-A003")),
        ("POST", "/api/v1/executions?wait=1", r#"{"blueprint_id":"demo.hello"}"#, (422, "ICE-A003")),
        ("GET", "/api/v1/executions?limit=0", "", (422, "ICE-A003")),
        ("GET", "/api/v1/executions?limit=201", "", (422, "ICE-A003")),
        ("GET", "/api/v1/blueprints/nothing", "", (404, "ICE-A016")),
        ("POST", "/api/v1/blueprints", "{}", (428, "ICE-A009")),
    ] {
        let answer = raw(&world, method, path, &[BEARER, JSON], Body::from(body)).await;
        assert_eq!(answer.refused(), (refused.0, refused.1.to_owned()), "{method} {path} {body}: {}", answer.text);
        assert!(answer.json()["problems"][0]["help"].is_string(), "{}", answer.text);
    }
    let changed = [BEARER, JSON, ("x-version-lock", "abc")];
    let answer = raw(&world, "POST", "/api/v1/blueprints", &changed, Body::from("{}")).await;
    assert_eq!(answer.refused(), (409, "ICE-A010".into()));
    let nobody = raw(&world, "GET", start, &[BEARER, ("x-org-id", " ")], Body::empty()).await;
    assert_eq!(nobody.refused(), (422, "ICE-A003".into()));
    assert_eq!(world.fakes.calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn inputs_are_checked_before_anything_starts() {
    let world = World::new();
    let mut blueprint = one("echo");
    blueprint["inputs"] = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let refused = world.post("/api/v1/executions", json!({ "blueprint": blueprint, "inputs": { "n": "x" } })).await;
    assert_eq!(refused.refused(), (422, "ICE-X006".into()));
    assert_eq!(world.store.ids(), []);
}

#[tokio::test(start_paused = true)]
async fn bodies_are_bounded_announced_or_not_and_may_not_dawdle() {
    let world = World::new();
    let large = vec![b' '; (8 << 20) + 1];
    let announced = [BEARER, JSON, ("content-length", "8388609")];
    let answer = raw(&world, "POST", "/api/v1/executions", &announced, Body::from(large.clone())).await;
    assert_eq!(answer.refused(), (413, "ICE-A004".into()));
    let pieces = futures_util::stream::iter(
        large.chunks(65_536).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>(),
    );
    let answer = raw(&world, "POST", "/api/v1/executions", &[BEARER, JSON], Body::from_stream(pieces)).await;
    assert_eq!(answer.refused(), (413, "ICE-A004".into()));
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let answer = raw(&world, "POST", "/api/v1/executions", &[BEARER, JSON], Body::from_stream(never)).await;
    assert_eq!(answer.refused(), (408, "ICE-A015".into()));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_by_route_and_its_window_ends() {
    let rate = Rate { requests: 2, window: Duration::from_secs(10) };
    let world = World::with(|options| options.rate = Some(rate));
    for _ in 0..2 {
        assert_eq!(world.get("/api/v1/executions").await.status, StatusCode::OK);
    }
    let refused = world.get("/api/v1/executions").await;
    assert_eq!(refused.refused(), (429, "ICE-A008".into()));
    assert_eq!(refused.headers["retry-after"], "10");
    assert_eq!(world.get("/api/v1/executions/a").await.status, StatusCode::NOT_FOUND, "another route");
    assert_eq!(world.get("/api/v1/executions/b").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/api/v1/executions/c").await.refused().0, 429, "ids are one route");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.get("/api/v1/executions").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn no_more_executions_than_the_host_takes() {
    let world = World::with(|options| options.executions_max = 2);
    let first = world.start("slow").await;
    world.start("slow").await;
    let refused = world.post("/api/v1/executions", json!({ "blueprint": one("echo") })).await;
    assert_eq!(refused.refused(), (503, "ICE-A014".into()));
    assert_eq!(refused.headers["retry-after"], "1");
    world.ask("POST", &format!("/api/v1/executions/{first}/cancel"), &[], None).await;
    world.start("echo").await;
}

#[tokio::test(start_paused = true)]
async fn a_mistake_of_the_host_is_logged_and_not_shown() {
    let world = World::new();
    let secret = Problem::new(Code::X047, "table `executions` has no column `x`").file("/var/lib/ice/ice.db");
    let answer = crate::answer::Refusal::from(secret.clone()).answer(&world.api.0);
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    assert!(text.contains("ICE-A012") && !text.contains("column") && !text.contains("ice.db"), "{text}");
    assert_eq!(*world.logged.lock().unwrap(), [secret]);
    let busy = Problem::new(Code::X046, "the database is locked").file("/var/lib/ice/ice.db").help("try again");
    let answer = crate::answer::Refusal::from(busy).answer(&world.api.0);
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(!String::from_utf8_lossy(&bytes).contains("/var/lib"), "files of the host are not named");
}
