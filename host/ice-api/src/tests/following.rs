//! Events as they happen.

use super::*;

/// `id` and `event` of every event of a stream.
fn seen(text: &str) -> Vec<(Option<u64>, String)> {
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    let events = text.split("\n\n").filter(|block| block.contains("data: "));
    events.map(|block| (field(block, "id").map(|id| id.parse().unwrap()), field(block, "event").unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_is_shown_from_any_event_on_and_then_never_again() {
    let world = World::new();
    let id = world.start("echo").await;
    world.rested(&id).await;
    let path = format!("/api/v1/executions/{id}/events");
    let all = world.get(&path).await;
    assert_eq!(all.headers["content-type"], "text/event-stream");
    assert!(all.text.contains("retry: 2000"), "{}", all.text);
    let events = seen(&all.text);
    let stored = world.store.events_of(&ExecutionId(id.clone()));
    assert_eq!(events.len(), stored.len());
    assert_eq!(events.first().map(|event| event.1.as_str()), Some("execution_started"));
    assert_eq!(events.last().map(|event| event.1.as_str()), Some("execution_finished"));
    for (position, event) in stored.iter().enumerate() {
        let seq = event.seq.to_string();
        let rest = world.ask("GET", &path, &[("last-event-id", &seq)], None).await;
        assert_eq!(seen(&rest.text), events[position + 1..], "after {seq}");
        assert_eq!(rest.status == StatusCode::NO_CONTENT, position + 1 == stored.len());
        assert_eq!(seen(&world.get(&format!("{path}?after={seq}")).await.text), events[position + 1..]);
    }
    let data = all.text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap(), serde_json::to_value(&stored[0]).unwrap());
    let wrong = world.ask("GET", &path, &[("last-event-id", "x")], None).await;
    assert_eq!(wrong.refused(), (422, "ICE-A003".into()));
}

#[tokio::test(start_paused = true)]
async fn one_that_runs_is_followed_to_its_end() {
    let world = World::new();
    let id = world.start("slow").await;
    let path = format!("/api/v1/executions/{id}/events");
    // Returns at the end of the stream, which is an hour away.
    let from_the_middle = [("last-event-id", "1")];
    let (all, rest) = tokio::join!(world.get(&path), world.ask("GET", &path, &from_the_middle, None));
    let kinds: Vec<String> = seen(&all.text).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["execution_started", "node_started", "node_finished", "execution_finished"]);
    assert_eq!(seen(&rest.text), seen(&all.text)[1..]);
}

#[tokio::test(start_paused = true)]
async fn streamed_text_comes_between_the_events_and_has_no_id() {
    let world = World::new();
    let model = json!({ "model": "m" });
    let nodes = json!([
        { "id": "first", "type": "tool", "tool_name": "slow" },
        { "id": "say", "type": "llm", "prompt": "one two", "llm_config": model, "dependencies": ["first"] },
    ]);
    let started = world.post("/api/v1/executions", json!({ "blueprint": { "nodes": nodes } })).await.json();
    let path = format!("/api/v1/executions/{}/events", started["execution_id"].as_str().unwrap());
    let all = world.get(&path).await;
    let deltas = seen(&all.text).into_iter().filter(|(id, kind)| kind == "delta" && id.is_none()).count();
    assert_eq!(deltas, 2, "{}", all.text);
}

#[tokio::test(start_paused = true)]
async fn one_that_another_process_runs_is_followed_to_its_end() {
    let first = World::new();
    let id = first.start("slow").await;
    let other = World::over(Arc::clone(&first.store), NOW, |_| {});
    assert!(other.api.0.parts.engine.running(&ExecutionId(id.clone())).is_none(), "it runs in the first");
    let all = other.get(&format!("/api/v1/executions/{id}/events")).await;
    let kinds: Vec<String> = seen(&all.text).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["execution_started", "node_started", "node_finished", "execution_finished"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_an_answer_is_followed_over_the_wait() {
    let world = World::new();
    let nodes = json!([{ "id": "ask", "type": "human", "prompt_message": "Ship it?" }]);
    let started = world.post("/api/v1/executions?wait_seconds=60", json!({ "blueprint": { "nodes": nodes } })).await;
    assert_eq!(started.json()["status"], "waiting", "{}", started.text);
    let id = started.json()["execution_id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/executions/{id}/events");
    let answer = async {
        let engine = &world.api.0.parts.engine;
        let filter = WaitFilter { execution: Some(ExecutionId(id.clone())), limit: 1, ..WaitFilter::default() };
        let wait = engine.waits(&filter).await.expect("listed").remove(0).id;
        let answer = ice_core::wait::Answer {
            approved: Some(true),
            response: None,
            choice: None,
            responder: "anna".into(),
            comment: None,
        };
        engine.answer(&wait, answer).await.expect("answered");
    };
    let (all, ()) = tokio::join!(world.get(&path), answer);
    let events = seen(&all.text);
    assert_eq!(events.last().map(|event| event.1.as_str()), Some("execution_finished"), "{}", all.text);
    assert!(events.iter().any(|event| event.1 == "execution_parked"), "{}", all.text);
    assert!(events.iter().map(|event| event.0).eq((1..=events.len() as u64).map(Some)), "{}", all.text);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_answers_whoever_waits_and_lets_executions_end() {
    let world = World::new();
    let waiting = world.post("/api/v1/executions?wait_seconds=600", json!({ "blueprint": one("slow") }));
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.api.stop(10_000).await
    };
    let (answer, left) = tokio::join!(waiting, stop);
    assert_eq!(answer.json()["status"], "running");
    assert_eq!(left, 1, "it takes an hour, and had ten seconds");
    let refused = world.post("/api/v1/executions", json!({ "blueprint": one("echo") })).await;
    assert_eq!(refused.refused(), (503, "ICE-A014".into()));
    let ready = world.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["reason"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("stopping")));
    assert_eq!(world.api.stop(7_200_000).await, 0, "with two hours it ends");
}
