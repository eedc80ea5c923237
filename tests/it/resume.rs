//! `kill -9`, then `ice executions resume`: finished calls do not run again.

use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;

use crate::home::{Home, root};
use crate::servers::Server;

#[test]
fn after_kill_9_only_what_had_not_finished_runs_again() {
    let home = Home::new();
    // The fifth request gets no answer until the process that sent it is dead.
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let gate = Arc::clone(&open);
    let bin = Server::start(move |_, before| {
        if before == 4 {
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
        }
        (201, "application/json", "{}".into())
    });
    home.run(&["plugins", "grant", "iceos/web", &format!("http=POST {}/*", bin.url())]).exits(0);
    home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", bin.port));
    let blueprint =
        std::fs::read_to_string(root().join("plugins/bundles/seller_assistant/workflows/list_items.yaml")).unwrap();
    let file = home.path().join("one_by_one.yaml");
    std::fs::write(&file, blueprint.replace("parallel: true", "parallel: false")).unwrap();
    let items = std::fs::read_to_string(root().join("plugins/bundles/seller_assistant/examples/items.csv")).unwrap();
    let inputs = home.path().join("inputs.json");
    let post_url = format!("{}/listings", bin.url());
    std::fs::write(
        &inputs,
        json!({ "files": [{ "name": "items.csv", "text": items }], "post_url": post_url }).to_string(),
    )
    .unwrap();

    let mut child = home
        .ice()
        .args(["run-blueprint", file.to_str().unwrap(), "--inputs", inputs.to_str().unwrap(), "--quiet"])
        .spawn()
        .unwrap();
    bin.wait_for(5);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    *open.0.lock().unwrap() = true;
    open.1.notify_all();

    let listed = home.run(&["executions", "list", "--json"]).exits(0).json();
    assert_eq!(listed[0]["status"], "running", "{listed}");
    let id = listed[0]["id"].as_str().unwrap();
    let ran = home.run(&["executions", "resume", id, "--json"]).exits(0);
    let result = ran.json();
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!((&result["outputs"]["total"], &result["outputs"]["success"]), (&json!(9), &json!(9)), "{result}");

    // Nine listings; only the one in flight when the process died was sent twice.
    let posted: Vec<String> = bin.received().iter().map(|request| request.body.clone()).collect();
    assert_eq!(posted.len(), 10);
    assert_eq!(posted[4], posted[5], "the request in flight is repeated as it was");
    let distinct: std::collections::BTreeSet<_> = posted.iter().collect();
    assert_eq!(distinct.len(), 9);

    let again = home.run(&["executions", "resume", id, "--json"]).exits(0).json();
    assert_eq!(again["outputs"], result["outputs"], "one that has ended is shown as it ended");
    assert_eq!(bin.received().len(), 10);
}

#[test]
fn a_killed_bundle_run_is_resumed_without_repeating_what_had_finished() {
    let home = Home::new();
    // From the sixth request on nobody is answered until the process is dead; four are sent at once.
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let gate = Arc::clone(&open);
    let bin = Server::start(move |_, before| {
        if before >= 5 {
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
        }
        (201, "application/json", "{}".into())
    });
    home.run(&["plugins", "grant", "iceos/web", &format!("http=POST {}/*", bin.url())]).exits(0);
    home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", bin.port));
    let items = "plugins/bundles/seller_assistant/examples/items.csv";
    let post_url = format!("post_url={}/listings", bin.url());
    let mut child =
        home.ice().args(["bundle", "run", "seller_assistant", "-q", "--file", items, "-i", &post_url]).spawn().unwrap();
    bin.wait_for(6);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    *open.0.lock().unwrap() = true;
    open.1.notify_all();

    let listed = home.run(&["executions", "list", "--json"]).exits(0).json();
    let id = listed[0]["id"].as_str().unwrap();
    let events = home.run(&["executions", "events", id]).exits(0).out;
    let finished: Vec<String> = (events.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["event"] == "node_finished")
        .filter_map(|event| event["path"].as_str().filter(|path| path.ends_with("/post")).map(str::to_owned))
        .collect();
    assert!((1..=5).contains(&finished.len()), "some had finished, not all: {finished:?}");

    let result = home.run(&["executions", "resume", id, "--json"]).exits(0).json();
    assert_eq!(result["outputs"]["success"], 9, "{result}");
    let sent = |path: &str| {
        let key = ("idempotency-key".to_owned(), format!("{id}:{path}"));
        bin.received().iter().filter(|request| request.headers.contains(&key)).count()
    };
    for path in &finished {
        assert_eq!(sent(path), 1, "{path} had finished and was not sent again");
    }
    assert!((0..9).all(|item| sent(&format!("listings[{item}]/post")) >= 1), "every listing was sent");
}

#[test]
fn ctrl_c_leaves_a_cancelled_execution_and_says_so() {
    let home = Home::new();
    let bin = Server::start(|_, _| {
        std::thread::park();
        (201, "application/json", "{}".into())
    });
    home.run(&["plugins", "grant", "iceos/web", &format!("http=GET {}/*", bin.url())]).exits(0);
    home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", bin.port));
    let file = home.path().join("b.yaml");
    let url = format!("{}/slow", bin.url());
    std::fs::write(&file, format!("schema_version: '1.2.0'\nnodes:\n  - {{ id: get, type: tool, tool_name: http_get, tool_args: {{ url: '{url}' }} }}\n")).unwrap();
    let child = home
        .ice()
        .args(["run-blueprint", file.to_str().unwrap(), "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    bin.wait_for(1);
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = crate::home::Ran::from(child.wait_with_output().unwrap()).exits(130);
    assert_eq!(ran.json()["status"], "cancelled");
}
