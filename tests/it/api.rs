//! `ice serve` over a real socket: waiting, following, stopping, and `kill -9` in the middle.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use ice_client::Client;
use ice_client::wire::StartRequest;
use ice_core::problem::Problem;
use serde_json::{Value, json};

use crate::home::{Home, root};
use crate::servers::Server;

pub(crate) const TOKEN: &str = "a-token-of-a-test";

/// A running `ice serve`; killed at its end.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Serving {
    pub(crate) fn start(home: &Home) -> Self {
        let mut command = home.ice();
        command.args(["serve", "--listen", "127.0.0.1:0", "--json"]).env("ICE_API_TOKEN", TOKEN);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: std::process::Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { child, url: said["url"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, Some(TOKEN.into())).unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs on one thread: what is tested is the other process.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn concat() -> Value {
    let arguments = json!({ "inputs": "{{ inputs.texts }}", "sep": "-" });
    let node = json!({ "id": "join", "type": "tool", "tool_name": "aggregator_concat", "tool_args": arguments });
    json!({ "schema_version": "1.2.0", "nodes": [node] })
}

/// A chain of posts to a server.
pub(crate) fn posts(url: &str, count: usize) -> Value {
    let node = |number: usize| {
        let arguments = json!({ "url": format!("{url}/{number}"), "json": { "number": number } });
        let before: Vec<String> = number.checked_sub(1).map(|before| format!("p{before}")).into_iter().collect();
        let id = format!("p{number}");
        json!({ "id": id, "type": "tool", "tool_name": "http_post", "tool_args": arguments, "dependencies": before })
    };
    json!({ "schema_version": "1.2.0", "nodes": (0..count).map(node).collect::<Vec<_>>() })
}

/// A home whose web kit may reach `bin`.
pub(crate) fn home_for(bin: &Server) -> Home {
    let home = Home::new();
    home.run(&["plugins", "grant", "iceos/web", &format!("http=* {}/*", bin.url())]).exits(0);
    home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", bin.port));
    home
}

#[track_caller]
fn code<T: std::fmt::Debug>(refused: Result<T, Vec<Problem>>) -> String {
    refused.unwrap_err()[0].code.to_string()
}

#[test]
fn a_blueprint_is_stored_run_listed_and_followed() {
    let home = Home::new();
    let serving = Serving::start(&home);
    block_on(async {
        let mut client = serving.client();
        let stored = client.store(concat()).await.unwrap();
        assert_eq!(client.blueprint(&stored.id).await.unwrap().data, concat());
        let inputs = json!({ "texts": ["a", "b"] });
        let ran = client.start(&StartRequest::of_id(&stored.id, inputs.clone()), 60.0).await.unwrap();
        assert_eq!(ran.status, "completed", "{ran:?}");
        assert_eq!(ran.result.as_ref().unwrap().output["join"]["text"], "a-b");
        let shown = client.execution(&ran.execution_id).await.unwrap();
        assert_eq!(shown.result.unwrap().output, ran.result.unwrap().output);
        let again = client.start(&StartRequest::of_document(concat(), inputs), 60.0).await.unwrap();
        assert_eq!(again.blueprint_id, stored.id, "the same document is the same blueprint");

        let page = client.executions(1, None).await.unwrap();
        assert_eq!(page.executions[0].execution_id, again.execution_id);
        let page = client.executions(1, page.next.as_deref()).await.unwrap();
        assert_eq!(page.executions[0].execution_id, ran.execution_id);

        let mut events = client.events(&ran.execution_id, 0).await.unwrap();
        let mut kinds = Vec::new();
        while let Some(event) = events.next().await.unwrap() {
            assert_eq!(event.id, Some(kinds.len() as u64 + 1));
            kinds.push(event.event);
        }
        assert_eq!(kinds.first().map(String::as_str), Some("execution_started"));
        assert_eq!(kinds.last().map(String::as_str), Some("execution_finished"));

        assert_eq!(code(client.execution("ghost").await), "ICE-X013");
        let large = StartRequest::of_document(concat(), json!({ "texts": ["x".repeat(9 << 20)] }));
        let mut other = serving.client();
        assert!(other.start(&large, 1.0).await.is_err(), "over the limit: refused, or broken off");
        for (token, refused) in [(None, "ICE-A001"), (Some("another-token"), "ICE-A002")] {
            let mut client = Client::new(&serving.url, token.map(str::to_owned)).unwrap();
            assert_eq!(code(client.executions(1, None).await), refused);
        }
        assert_eq!(client.executions(10, None).await.unwrap().executions.len(), 2, "the server is unharmed");
    });
}

#[test]
fn after_kill_9_the_next_server_goes_on_by_itself() {
    // The third post gets no answer until the server that sent it is dead.
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let gate = Arc::clone(&open);
    let bin = Server::start(move |_, before| {
        if before == 2 {
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
        }
        (201, "application/json", "{}".into())
    });
    let home = home_for(&bin);
    let mut serving = Serving::start(&home);
    let url = serving.url.clone();
    let request = StartRequest::of_document(posts(&bin.url(), 5), json!({}));
    let waiting = std::thread::spawn(move || {
        block_on(async { Client::new(&url, Some(TOKEN.into())).unwrap().start(&request, 60.0).await })
    });
    bin.wait_for(3);
    serving.signal("-KILL");
    serving.child.wait().unwrap();
    assert_eq!(code(waiting.join().unwrap()), "ICE-X069", "whoever waited sees that the connection broke off");
    *open.0.lock().unwrap() = true;
    open.1.notify_all();

    let second = Serving::start(&home);
    block_on(async {
        let mut client = second.client();
        let id = client.executions(10, None).await.unwrap().executions[0].execution_id.clone();
        // The server took it up by itself; following it is enough to see its end.
        let mut last = String::new();
        let mut after = 0;
        while last != "execution_finished" {
            let mut events = client.events(&id, after).await.unwrap();
            while let Some(event) = events.next().await.unwrap() {
                (after, last) = (event.id.unwrap_or(after), event.event);
            }
        }
        let ended = client.execution(&id).await.unwrap();
        assert_eq!(ended.status, "completed", "{ended:?}");
    });
    let paths: Vec<String> = bin.received().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/0", "/1", "/2", "/2", "/3", "/4"], "only the one in flight was sent twice");
}

#[test]
fn cancel_stops_what_runs_and_sigterm_leaves_what_does_not_end() {
    let bin = Server::start(|_, _| {
        std::thread::park();
        (201, "application/json", "{}".into())
    });
    let home = home_for(&bin);
    let mut command = home.ice();
    command.args(["serve", "--listen", "127.0.0.1:0", "--json", "--grace", "0"]).env("ICE_API_TOKEN", TOKEN);
    let mut serving = Serving::spawn(command);
    let request = StartRequest::of_document(posts(&bin.url(), 1), json!({}));
    let left = block_on(async {
        let mut client = serving.client();
        let first = client.start(&request, 0.0).await.unwrap();
        assert_eq!(first.status, "accepted");
        bin.wait_for(1);
        let stopped = client.cancel(&first.execution_id).await.unwrap();
        assert_eq!(stopped.status, "canceled");
        assert_eq!(client.execution(&first.execution_id).await.unwrap().status, "cancelled");
        let second = client.start(&request, 0.0).await.unwrap();
        bin.wait_for(2);
        second.execution_id
    });
    serving.signal("-TERM");
    assert!(serving.child.wait().unwrap().success(), "it was asked to stop");
    let listed = home.run(&["executions", "list", "--json"]).exits(0).json();
    assert_eq!((listed[0]["id"].as_str(), &listed[0]["status"]), (Some(left.as_str()), &json!("running")), "{listed}");
    assert_eq!(listed[0]["held"], false, "the next process may go on with it at once");
}

#[test]
fn a_server_without_a_token_does_not_start_unless_only_this_machine_can_ask() {
    let home = Home::empty();
    let refused = home.run(&["serve", "--listen", "127.0.0.1:0", "--json"]).exits(2).json();
    assert_eq!(refused["problems"][0]["code"], "ICE-A013", "{refused}");
    let open = home.run(&["serve", "--listen", "192.0.2.1:0", "--dev-no-auth", "--json"]).exits(2).json();
    assert_eq!(open["problems"][0]["code"], "ICE-A013", "{open}");
    let short = home.write("token", "short\n");
    let short = home.run(&["serve", "--token-file", &short, "--json"]).exits(2).json();
    assert_eq!(short["problems"][0]["code"], "ICE-A013", "{short}");
    assert!(!short.to_string().contains("short\\n"));

    let mut command = home.ice();
    command.args(["serve", "--listen", "127.0.0.1:0", "--dev-no-auth", "--json"]);
    let serving = Serving::spawn(command);
    block_on(async {
        let mut client = Client::new(&serving.url, None).unwrap();
        assert_eq!(client.executions(1, None).await.unwrap().executions, []);
    });
    let taken = serving.url.strip_prefix("http://").unwrap();
    let taken = home.run(&["serve", "--listen", taken, "--dev-no-auth", "--json"]).exits(2).json();
    assert_eq!(taken["problems"][0]["code"], "ICE-C003", "{taken}");
    assert!(root().join("host/docs/api.md").exists(), "the routes are described");
}
