//! Starting, waiting, looking, stopping, and the blueprints they are of.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_answered_with_the_end() {
    let world = World::new();
    let blueprint = json!({
        "nodes": [{ "id": "say", "type": "tool", "tool_name": "echo", "tool_args": { "text": "{{ inputs.who }}" } }],
    });
    let body = json!({ "blueprint": blueprint, "inputs": { "who": "bob" } });
    for path in ["/api/v1/executions?wait_seconds=5", "/api/v1/executions/?wait_seconds=0.5"] {
        let ran = world.post(path, body.clone()).await;
        assert_eq!(ran.status, StatusCode::ACCEPTED, "{}", ran.text);
        let ran = ran.json();
        assert_eq!((&ran["status"], &ran["error"], &ran["events"]), (&json!("completed"), &json!(null), &json!(null)));
        assert_eq!((&ran["result"]["success"], &ran["result"]["output"]["say"]["text"]), (&json!(true), &json!("bob")));
        let shown = world.get(&format!("/api/v1/executions/{}", ran["execution_id"].as_str().unwrap())).await.json();
        assert_eq!(shown["result"]["output"], ran["result"]["output"]);
        assert_eq!((&shown["status"], &shown["blueprint_id"]), (&ran["status"], &ran["blueprint_id"]));
    }
    let wrapped = world.post("/api/v1/executions?wait_seconds=5", json!({ "payload": body })).await.json();
    assert_eq!(wrapped["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_a_status_and_an_error_not_an_empty_result() {
    let world = World::new();
    let ran = world.post("/api/v1/executions?wait_seconds=5", json!({ "blueprint": one("bad") })).await.json();
    assert_eq!((&ran["status"], &ran["result"]["success"]), (&json!("failed"), &json!(false)));
    assert_eq!(ran["error"]["code"], "ICE-X031", "{ran}");
    assert!(ran["result"]["error"].as_str().unwrap().contains("it is broken"), "{ran}");
    let shown = world.get(&format!("/api/v1/executions/{}", ran["execution_id"].as_str().unwrap())).await.json();
    assert_eq!(shown["error"], ran["error"]);
}

#[tokio::test(start_paused = true)]
async fn without_waiting_it_is_accepted_and_when_the_time_is_over_it_runs_on() {
    let world = World::new();
    let accepted = world.post("/api/v1/executions", json!({ "blueprint": one("slow") })).await.json();
    assert_eq!((&accepted["status"], &accepted["result"]), (&json!("accepted"), &json!(null)));
    let running = world.post("/api/v1/executions?wait_seconds=2", json!({ "blueprint": one("slow") })).await.json();
    assert_eq!((&running["status"], &running["result"]), (&json!("running"), &json!(null)));
    let id = running["execution_id"].as_str().unwrap();
    assert_eq!(world.get(&format!("/api/v1/executions/{id}")).await.json()["status"], "running");
    world.rested(id).await;
    assert_eq!(world.get(&format!("/api/v1/executions/{id}")).await.json()["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn cancel_answers_when_it_has_stopped() {
    let world = World::new();
    let id = world.start("slow").await;
    let cancelled = world.ask("POST", &format!("/api/v1/executions/{id}/cancel"), &[], None).await;
    assert_eq!((cancelled.status, cancelled.json()), (StatusCode::OK, json!({ "status": "canceled" })));
    assert_eq!(world.get(&format!("/api/v1/executions/{id}")).await.json()["status"], "cancelled");
    let again = world.ask("POST", &format!("/api/v1/executions/{id}/cancel"), &[], None).await.json();
    assert_eq!(again, json!({ "status": "canceled" }));
    let ended = world.start("echo").await;
    world.rested(&ended).await;
    let late = world.ask("POST", &format!("/api/v1/executions/{ended}/cancel"), &[], None).await.json();
    assert_eq!(late, json!({ "status": "completed" }));
}

#[tokio::test(start_paused = true)]
async fn a_person_who_is_asked_does_not_hold_the_answer_up() {
    let world = World::new();
    let node = json!({ "id": "ask", "type": "human", "prompt_message": "ok?", "approval_type": "approve_reject" });
    let body = json!({ "blueprint": { "nodes": [node] } });
    let ran = world.post("/api/v1/executions?wait_seconds=60", body).await;
    assert_eq!(ran.json()["status"], "waiting", "{}", ran.text);
    let listed = world.get("/api/v1/executions").await.json();
    assert_eq!((&listed["executions"][0]["status"], &listed["executions"][0]["waits"]), (&json!("waiting"), &json!(1)));
    let id = ran.json()["execution_id"].as_str().unwrap().to_owned();
    let cancelled = world.ask("POST", &format!("/api/v1/executions/{id}/cancel"), &[], None).await.json();
    assert_eq!(cancelled, json!({ "status": "canceled" }));
}

#[tokio::test(start_paused = true)]
async fn blueprints_are_stored_by_content_and_run_by_id() {
    let world = World::new();
    let lock = [("x-version-lock", "__new__")];
    let stored = world.ask("POST", "/api/v1/blueprints/", &lock, Some(one("echo"))).await;
    assert_eq!(stored.status, StatusCode::CREATED, "{}", stored.text);
    let (id, version) = (stored.json()["id"].as_str().unwrap().to_owned(), stored.json()["version_lock"].clone());
    assert_eq!(id, Digest::of_json(&one("echo")).to_string());
    assert_eq!(stored.headers["x-version-lock"].to_str().ok(), version.as_str());
    let again = world.ask("POST", "/api/v1/blueprints", &lock, Some(one("echo"))).await;
    assert_eq!(again.json(), stored.json(), "the same content is the same blueprint");
    for id in [id.as_str(), id.strip_prefix("sha256:").unwrap()] {
        let shown = world.get(&format!("/api/v1/blueprints/{id}")).await;
        assert_eq!(shown.json(), json!({ "data": one("echo"), "version_lock": version }));
        let ran = world.post("/api/v1/executions?wait_seconds=5", json!({ "blueprint_id": id })).await.json();
        assert_eq!((&ran["status"], ran["blueprint_id"].as_str()), (&json!("completed"), stored.json()["id"].as_str()));
    }
    let installed = world.post("/api/v1/executions?wait_seconds=5", json!({ "blueprint_id": "demo.hello" })).await;
    assert_eq!(installed.json()["status"], "completed", "{}", installed.text);
}

#[tokio::test(start_paused = true)]
async fn a_blueprint_with_mistakes_is_refused_whole_and_with_places() {
    let world = World::new();
    let nodes = json!([{ "id": "a", "type": "tool", "tool_name": "ech" }, { "id": "b", "type": "tol" }]);
    let lock = [("x-version-lock", "__new__")];
    for (path, body, prefix) in [
        ("/api/v1/blueprints", json!({ "nodes": nodes }), ""),
        ("/api/v1/executions", json!({ "blueprint": { "nodes": nodes } }), "/blueprint"),
    ] {
        let refused = world.ask("POST", path, &lock, Some(body)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
        let said = refused.json();
        let places: Vec<&str> =
            said["problems"].as_array().unwrap().iter().map(|p| p["at"]["pointer"].as_str().unwrap()).collect();
        assert_eq!(places, [format!("{prefix}/nodes/0/tool_name"), format!("{prefix}/nodes/1/type")]);
        assert_eq!(said["detail"].as_array().map(Vec::len), Some(2), "{said}");
    }
    assert_eq!(world.store.ids(), [], "nothing was started");
}

#[tokio::test(start_paused = true)]
async fn others_see_and_stop_nothing() {
    let world = World::new();
    let id = world.start("slow").await;
    for who in [[("x-org-id", "other"), ("x-user-id", "local")], [("x-org-id", "local"), ("x-user-id", "other")]] {
        for (method, path) in [("GET", ""), ("POST", "/cancel"), ("GET", "/events")] {
            let answer = world.ask(method, &format!("/api/v1/executions/{id}{path}"), &who, None).await;
            assert_eq!(answer.refused(), (404, "ICE-X013".into()), "{method} {path}");
            let ghost = world.ask(method, &format!("/api/v1/executions/ghost{path}"), &who, None).await;
            assert_eq!(ghost.text.replace("ghost", &id), answer.text, "nobody learns that it exists");
        }
        let listed = world.ask("GET", "/api/v1/executions", &who, None).await.json();
        assert_eq!(listed, json!({ "executions": [], "next": null }));
    }
    assert_eq!(world.get(&format!("/api/v1/executions/{id}")).await.json()["status"], "running");
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_read_page_by_page() {
    let world = World::new();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let id = world.start("echo").await;
        world.rested(&id).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        ids.push(id);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut path = "/api/v1/executions?limit=2".to_owned();
    loop {
        let page = world.get(&path).await.json();
        let rows = page["executions"].as_array().unwrap().clone();
        assert!(rows.iter().all(|row| row["blueprint_id"] == Digest::of_json(&one("echo")).to_string()), "{page}");
        seen.extend(rows.iter().map(|row| row["execution_id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/executions/?limit=2&before={next}");
    }
    assert_eq!(seen, ids);
}

#[tokio::test(start_paused = true)]
async fn the_smallest_budget_holds_and_is_asked_before_the_start() {
    let node =
        json!({ "id": "m", "type": "llm", "prompt": "hello", "llm_config": { "model": "m", "max_tokens": 100 } });
    let body = |budget: Value| json!({ "blueprint": { "nodes": [node] }, "budget": budget });
    let host = World::with(|options| options.budget.tokens = Some(50));
    let free = World::new();
    for (world, budget) in [(&free, json!({ "tokens": 50 })), (&host, json!({ "tokens": 5_000 })), (&host, json!({}))] {
        let refused = world.post("/api/v1/executions", body(budget)).await;
        assert_eq!(refused.refused(), (402, "ICE-X005".into()));
        assert_eq!(world.store.ids(), []);
    }
    let ran = free.post("/api/v1/executions?wait_seconds=5", body(json!({ "tokens": 5_000 }))).await.json();
    assert_eq!(ran["status"], "completed", "{ran}");
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_made_once_as_long_as_it_is_asked_for() {
    let world = World::new();
    let plan = |document: Value| {
        let shared = Arc::clone(&world.api.0);
        async move { shared.plan(ice_client::wire::Runnable::Document(document)).await.expect("a good blueprint") }
    };
    let first = plan(one("echo")).await;
    let named = |number: usize| {
        let mut document = one("echo");
        document["metadata"] = json!({ "name": format!("n{number}") });
        document
    };
    for number in 0..300 {
        plan(named(number)).await;
        assert!(Arc::ptr_eq(&first, &plan(one("echo")).await), "one that is used is kept");
    }
    let one_of_them = plan(named(0)).await;
    assert!(Arc::ptr_eq(&one_of_them, &plan(named(0)).await));
    assert_eq!(world.api.0.plans.count(), 256, "the shelf is full, not fuller");
}
