//! The program itself: `ice` with real components is killed while an effect has no answer yet, at every effect of a
//! run, and another `ice` goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use crate::home::Home;
use crate::servers::{Received, Server};

const BLUEPRINT: &str = "
schema_version: '1.2.0'
inputs: {required: [url]}
nodes:
  - {id: send, type: tool, tool_name: http_post, tool_args: {url: '{{ url }}/send', json: {n: 1}}}
  - id: each
    type: loop
    items_source: [a, b, c]
    dependencies: [send]
    body:
      - {id: one, type: tool, tool_name: http_post, tool_args: {url: '{{ url }}/one', json: '{{ item }}'}}
      - {id: two, type: tool, tool_name: http_post, dependencies: [one], tool_args: {url: '{{ url }}/two', json: '{{ item }}'}}
  - id: check
    type: condition
    expression: each.results | length == 3
    dependencies: [each]
    true_path: [{id: good, type: tool, tool_name: http_post, tool_args: {url: '{{ url }}/good', json: yes}}]
  - {id: write, type: llm, prompt: 'write about {{ send.status }}', llm_config: {provider: echo, model: echo}, dependencies: [send]}
  - {id: sub, type: workflow, workflow_ref: getting_started.llm_only, inputs: {query: 'say hello'}, dependencies: [write]}
  - id: both
    type: parallel
    dependencies: [send]
    branches:
      - [{id: left, type: tool, tool_name: http_post, tool_args: {url: '{{ url }}/left', json: {n: 2}}}]
      - [{id: right, type: webhook, url: '{{ url }}/right', body: {n: 3}}]
  - {id: ask, type: human, prompt_message: 'Ship it?', dependencies: [check, both, sub]}
  - {id: ship, type: tool, tool_name: http_post, dependencies: [ask], tool_args: {url: '{{ url }}/ship', json: '{{ ask.responder }}'}}
  - {id: tidy, type: tool, tool_name: http_post, finally: true, tool_args: {url: '{{ url }}/tidy', json: {n: 4}}}
outputs:
  each: '{{ each.results | length }}'
  branch: '{{ check.branch }}'
  text: '{{ write.text }}'
  sub: '{{ sub.answer }}'
  right: '{{ both.branch_results | length }}'
  shipped: '{{ ship.status }}'
";

/// What a run asks of the outside: send, six in the loop, good, left, right, ship, tidy.
const EFFECTS: usize = 12;

/// One case at the bin: which of its requests gets no answer while the gate is shut.
#[derive(Default)]
struct Gate {
    case: String,
    hold: usize,
    seen: usize,
    shut: bool,
    exited: bool,
}

type Shared = Arc<(Mutex<Gate>, Condvar)>;

fn answer(request: &Received, shared: &Shared) {
    let mut gate = shared.0.lock().unwrap();
    if request.path.starts_with(&format!("/{}/", gate.case)) {
        gate.seen += 1;
        if gate.seen == gate.hold {
            shared.1.notify_all();
            drop(shared.1.wait_while(gate, |gate| gate.shut).unwrap());
        }
    }
}

struct Bin {
    home: Home,
    server: Server,
    shared: Shared,
    file: String,
}

impl Bin {
    fn new(store: Option<String>) -> Self {
        let home = Home::new();
        let shared = Shared::default();
        let gate = Arc::clone(&shared);
        let server = Server::start(move |request, _| {
            answer(request, &gate);
            (201, "application/json", "{}".into())
        });
        home.run(&["plugins", "grant", "iceos/web", &format!("http=POST {}/*", server.url())]).exits(0);
        home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", server.port));
        home.set("engine", &format!("http = [\"POST {}/*\"]", server.url()));
        if let Some(url) = store {
            home.set("store", &format!("url = \"{url}\""));
        }
        let file = home.write("shipped.yaml", BLUEPRINT);
        Self { home, server, shared, file }
    }

    /// Runs one `ice` to its end, or kills it when the request that is held has come. `None` when it was killed.
    fn step(&self, args: &[&str]) -> Option<Value> {
        self.shared.0.lock().unwrap().exited = false;
        let mut command = self.home.ice();
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let shared = Arc::clone(&self.shared);
        let ended = std::thread::spawn(move || {
            let output = Child::wait_with_output(child).unwrap();
            shared.0.lock().unwrap().exited = true;
            shared.1.notify_all();
            output
        });
        let gate = self.shared.0.lock().unwrap();
        let came = |gate: &Gate| gate.shut && gate.seen >= gate.hold;
        let mut gate = self.shared.1.wait_while(gate, |gate| !gate.exited && !came(gate)).unwrap();
        if came(&gate) {
            drop(gate);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            ended.join().unwrap();
            gate = self.shared.0.lock().unwrap();
            gate.shut = false;
            self.shared.1.notify_all();
            return None;
        }
        drop(gate);
        Some(crate::home::Ran::from(ended.join().unwrap()).exits(0).json())
    }

    /// Runs the blueprint for a case, with one request held; goes on after the kill. Returns how it ended.
    fn run(&self, case: &str, hold: usize) -> Value {
        *self.shared.0.lock().unwrap() = Gate { case: case.into(), hold, seen: 0, shut: hold > 0, exited: false };
        let url = format!("url={}/{case}", self.server.url());
        let mut ran = self.step(&["run-blueprint", &self.file, "--input", &url, "--json", "--quiet"]);
        let mut over = None;
        loop {
            let Some(result) = ran else {
                let id = self.newest();
                over = Some((self.finished(&id), self.keys(case)));
                ran = self.step(&["executions", "resume", &id, "--json"]);
                continue;
            };
            if result["status"] != "waiting" {
                assert_eq!(over.is_some(), hold > 0, "it was killed at request {hold}");
                if let Some((finished, before)) = over {
                    let after = self.keys(case);
                    let id = self.newest();
                    for path in finished {
                        let key = format!("{id}:{path}");
                        assert_eq!(after.get(&key), before.get(&key), "{path} had finished and was sent again");
                    }
                }
                return result;
            }
            let wait = result["waits"][0]["id"].as_str().unwrap().to_owned();
            ran = self.step(&["waits", "answer", &wait, "--approve", "--as", "ann", "--json"]);
        }
    }

    fn newest(&self) -> String {
        let listed = self.home.run(&["executions", "list", "--json"]).exits(0).json();
        let of_ours = listed.as_array().unwrap().iter().find(|row| row["name"] != "llm_only");
        of_ours.unwrap_or_else(|| panic!("{listed}"))["id"].as_str().unwrap().to_owned()
    }

    /// Paths of the nodes that had finished by now.
    fn finished(&self, id: &str) -> Vec<String> {
        let events = self.home.run(&["executions", "events", id]).exits(0).out;
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let finished = events.filter(|event| event["event"] == "node_finished");
        finished.map(|event| event["path"].as_str().unwrap().to_owned()).collect()
    }

    /// How often each effect of a case came, by its idempotency key.
    fn keys(&self, case: &str) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        for request in self.of(case) {
            *keys.entry(key(&request)).or_default() += 1;
        }
        keys
    }

    fn of(&self, case: &str) -> Vec<Received> {
        let mut received = self.server.received();
        received.retain(|request| request.path.starts_with(&format!("/{case}/")));
        received
    }

    /// What was asked for, each thing once.
    fn effects(&self, case: &str) -> Vec<(String, String)> {
        let mut distinct: BTreeMap<String, (String, String)> = BTreeMap::new();
        for request in self.of(case) {
            let what = (request.path[case.len() + 1..].to_owned(), request.body.clone());
            let known = distinct.entry(key(&request)).or_insert_with(|| what.clone());
            assert_eq!(*known, what, "a repetition is what was sent before");
        }
        let mut effects: Vec<_> = distinct.into_values().collect();
        effects.sort();
        effects
    }
}

fn key(request: &Received) -> String {
    let found = request.headers.iter().find(|(name, _)| name == "idempotency-key");
    found.expect("every effect can be told from its repetition").1.clone()
}

fn at_every_effect(store: Option<String>) {
    let bin = Bin::new(store);
    let calm = bin.run("calm", 0);
    assert_eq!(calm["status"], "completed", "{calm}");
    let shipped = json!(201);
    assert_eq!((&calm["outputs"]["each"], &calm["outputs"]["shipped"]), (&json!(3), &shipped), "{calm}");
    let effects = bin.effects("calm");
    assert_eq!((effects.len(), bin.of("calm").len()), (EFFECTS, EFFECTS));
    for hold in 1..=EFFECTS {
        let case = format!("case{hold}");
        let found = bin.run(&case, hold);
        for part in ["status", "outputs", "usage"] {
            assert_eq!(found[part], calm[part], "{part} after a kill at request {hold}");
        }
        assert_eq!(bin.effects(&case), effects, "a kill at request {hold}");
        let repeated: BTreeSet<String> =
            bin.keys(&case).into_iter().filter(|(_, times)| *times > 1).map(|(key, _)| key).collect();
        assert!(!repeated.is_empty(), "the request that had no answer is made again");
    }
}

#[test]
fn ice_killed_at_every_effect_ends_the_same_on_sqlite() {
    at_every_effect(None);
}

#[test]
fn ice_killed_at_every_effect_ends_the_same_on_postgres() {
    at_every_effect(Some(crate::postgres::database()));
}
