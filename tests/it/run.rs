//! `ice run`: files, stored blueprints, bundle entries; JSON lines, a tree on a terminal, watching and running again.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::home::{Home, Ran, root};
use crate::servers::Server;

/// Greets through a real component.
const HELLO: &str = "
id: hello
schema_version: '1.2.0'
inputs: {required: [who]}
nodes:
  - {id: greet, type: tool, tool_name: writer_tool, tool_args: {notes: 'hello {{ inputs.who }}', style: warm}}
outputs: {greeting: '{{ greet.summary }}', who: '{{ inputs.who }}'}
";

const ASK: &str = "
schema_version: '1.2.0'
nodes: [{id: ship, type: human, prompt_message: 'Ship it?'}]
outputs: {approved: '{{ ship.approved }}'}
";

/// A blueprint without nodes that do anything, which says which version it is.
fn says(version: &str) -> String {
    format!(
        "schema_version: '1.2.0'\ninputs: {{optional: [x]}}\nnodes: [{{id: a, type: condition, expression: 'true'}}]\n\
         outputs: {{version: '{version}'}}\n"
    )
}

impl Ran {
    /// Standard output as JSON lines; the last one is the result.
    #[track_caller]
    pub(crate) fn lines(&self) -> (Vec<Value>, Value) {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let mut lines: Vec<Value> = self.out.lines().map(parse).collect();
        let result = lines.pop().unwrap_or_else(|| panic!("no line; {}", self.err));
        assert_eq!(result["event"], "result", "{result}");
        (lines, result)
    }
}

#[test]
fn a_file_is_run_with_an_event_a_line_and_the_result_at_last() {
    let home = Home::new();
    let file = home.write("hello.yaml", HELLO);
    let ran = home.run(&["run", &file, "-i", "who=Ada"]).exits(0);
    let (events, result) = ran.lines();
    let told: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((told.first(), told.last()), (Some(&"execution_started"), Some(&"execution_finished")), "{told:?}");
    assert!(events.iter().enumerate().all(|(index, event)| event["seq"] == index + 1), "no hole: {told:?}");
    assert_eq!((&result["status"], &result["outputs"]["who"]), (&json!("completed"), &json!("Ada")), "{result}");
    assert!(ran.err.contains("completed in ") && ran.err.contains(" tokens  $"), "{}", ran.err);

    let id = result["execution_id"].as_str().unwrap();
    let (again, same) = home.run(&["run", "--follow", id, "--json"]).exits(0).lines();
    assert_eq!((again, &same["outputs"]), (events, &result["outputs"]), "watching one that has ended shows all of it");
    let ran = home.run(&["run", "--follow", "00000000-0000-7000-8000-000000000000"]).exits(1);
    assert!(ran.err.contains("ICE-X041"), "{}", ran.err);
}

#[test]
fn a_failure_says_where_to_look() {
    let home = Home::empty();
    let file = home.write(
        "bad.yaml",
        "schema_version: '1.2.0'\ninputs: {required: [n]}\nfailure_policy: halt\n\
         nodes: [{id: each, type: loop, items_source: '{{ inputs.n }}', body: [{id: a, type: condition, expression: 'true'}]}]\n",
    );
    let ran = home.run(&["run", &file, "-i", "n=3"]).exits(1);
    let (_, result) = ran.lines();
    let id = result["execution_id"].as_str().unwrap();
    assert_eq!((&result["status"], &result["problem"]["code"]), (&json!("failed"), &json!("ICE-X014")), "{result}");
    assert!(ran.err.contains(&format!("see `ice executions show {id}`")), "{}", ran.err);
}

#[test]
fn what_was_run_last_is_run_again() {
    let home = Home::new();
    let here = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| -> Ran { home.ice().current_dir(here.path()).args(args).output().unwrap().into() };
    let ran = run(&["run", "--last"]).exits(2);
    assert!(ran.err.contains("nothing was run in this folder yet"), "{}", ran.err);

    std::fs::write(here.path().join("hello.yaml"), HELLO).unwrap();
    run(&["run", "hello.yaml", "-i", "who=Ada"]).exits(0);
    assert_eq!(run(&["run", "--last"]).exits(0).lines().1["outputs"]["who"], "Ada");
    assert_eq!(run(&["run", "--last", "-i", "who=Bob"]).exits(0).lines().1["outputs"]["who"], "Bob");
    std::fs::write(here.path().join("hello.yaml"), HELLO.replace("who: '{{", "who: 'Sir {{")).unwrap();
    assert_eq!(run(&["run", "--last"]).exits(0).lines().1["outputs"]["who"], "Sir Bob", "the file as it is now");
    let elsewhere = home.run(&["run", "--last"]).exits(2);
    assert!(elsewhere.err.contains("in this folder"), "{}", elsewhere.err);

    let mut command = home.ice();
    let child = command.current_dir(here.path()).args(["run", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = child.stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), says("piped").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(run(&["run", "--last"]).exits(0).lines().1["outputs"]["version"], "piped", "standard input is kept");
}

#[test]
fn stored_blueprints_are_named_and_never_change() {
    let home = Home::empty();
    let (one, two) = (home.write("news.yaml", says("one")), home.write("other.yaml", says("two")));
    let pushed = home.run(&["blueprints", "push", &one, "--json"]).exits(0).json();
    assert_eq!((&pushed["name"], &pushed["version"]), (&json!("news"), &json!("1.0.0")), "named after the file");
    home.run(&["blueprints", "push", &one, "--name", "news", "--version", "1.0.0"]).exits(0);
    let ran = home.run(&["blueprints", "push", &two, "--name", "news", "--version", "1.0.0"]).exits(2);
    assert!(ran.err.contains("ICE-R003") && ran.err.contains("another version"), "{}", ran.err);
    let next = home.run(&["blueprints", "push", &two, "--name", "news", "--json"]).exits(0).json();
    assert_eq!(next["version"], "1.0.1", "the next one");
    let ran = home.run(&["blueprints", "push", &one, "--name", "no/name"]).exits(2);
    assert!(ran.err.contains("ICE-C001"), "{}", ran.err);

    let id = pushed["digest"].as_str().unwrap();
    for (reference, version) in
        [("news", "two"), ("news@^1", "two"), ("news@=1.0.0", "one"), (id, "one"), (&id[..19], "one")]
    {
        let (_, result) = home.run(&["run", reference]).exits(0).lines();
        assert_eq!(result["outputs"]["version"], version, "{reference}");
        let shown = home.run(&["blueprints", "show", reference]).exits(0).json();
        assert_eq!(shown["outputs"]["version"], version, "{reference}");
    }
    let listed = home.run(&["blueprints", "list", "--json"]).exits(0).json();
    let versions: Vec<&Value> = listed.as_array().unwrap().iter().map(|row| &row["version"]).collect();
    assert_eq!(versions, ["1.0.1", "1.0.0"]);
    home.run(&["blueprints", "rm", "news@1.0.1"]).exits(0);
    assert_eq!(home.run(&["run", "news"]).exits(0).lines().1["outputs"]["version"], "one");
    for (reference, help) in
        [("newz", "did you mean `news`?"), ("news@^2", "known: news@1.0.0"), ("news@1.0.1", "`news@1.0.0`")]
    {
        let ran = home.run(&["run", reference]).exits(2);
        assert!(ran.err.contains("ICE-R001") && ran.err.contains(help), "{reference}: {}", ran.err);
    }
}

/// A child is the newest version that fits when the execution starts, whatever is pushed before it goes on.
#[test]
fn a_workflow_node_keeps_the_version_that_its_execution_started_with() {
    let home = Home::empty();
    let news = home.write("news.yaml", says("one"));
    home.run(&["blueprints", "push", &news]).exits(0);
    let parent = home.write(
        "parent.yaml",
        "schema_version: '1.2.0'\nnodes:\n  - {id: ship, type: human, prompt_message: 'Ship it?'}\n  \
         - {id: news, type: workflow, workflow_ref: news@^1, dependencies: [ship]}\n\
         outputs: {version: '{{ news.version }}'}\n",
    );
    let (_, waiting) = home.run(&["run", &parent]).exits(0).lines();
    assert_eq!(waiting["status"], "waiting", "{waiting}");
    let wait = waiting["waits"].as_object().unwrap().keys().next().unwrap().clone();
    let two = home.write("two.yaml", says("two"));
    home.run(&["blueprints", "push", &two, "--name", "news", "--version", "1.1.0"]).exits(0);
    home.run(&["waits", "answer", &wait, "--approve"]).exits(0);
    let id = waiting["execution_id"].as_str().unwrap();
    let (_, result) = home.run(&["run", "--follow", id]).exits(0).lines();
    assert_eq!(result["outputs"]["version"], "one", "{result}");

    let unknown =
        home.write("unknown.yaml", "schema_version: '1.2.0'\nnodes: [{id: a, type: workflow, workflow_ref: nws}]");
    let ran = home.run(&["run", &unknown]).exits(2);
    assert!(ran.err.contains("ICE-B016") && ran.err.contains("did you mean `news`?"), "{}", ran.err);
}

#[test]
fn a_name_that_means_two_things_is_refused_and_a_bundle_entry_runs() {
    let home = Home::new();
    let notes = "notes=[\"one\",\"two\"]";
    let (_, result) = home.run(&["run", "note_digest", "-i", notes]).exits(0).lines();
    assert_eq!(result["status"], "completed", "{result}");
    home.run(&["run", "note_digest.digest", "-i", notes]).exits(0);
    let news = home.write("news.yaml", says("stored"));
    home.run(&["blueprints", "push", &news, "--name", "note_digest"]).exits(0);
    let ran = home.run(&["run", "note_digest"]).exits(2);
    for words in ["more than one thing", "`note_digest.digest` of a bundle", "stored blueprint `note_digest@*`"] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert_eq!(home.run(&["run", "note_digest@*"]).exits(0).lines().1["outputs"]["version"], "stored");
}

/// Somebody else answers; the one who follows sees the end.
#[test]
fn following_stays_until_somebody_answered() {
    let home = Home::empty();
    let file = home.write("ask.yaml", ASK);
    let mut child = home.ice().args(["run", &file, "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut wait = None;
    let mut seen = String::new();
    while std::io::BufRead::read_line(&mut out, &mut seen).unwrap() > 0 {
        let event: Value = serde_json::from_str(seen.lines().last().unwrap()).unwrap();
        if event["event"] == "wait_opened" {
            wait = event["wait"].as_str().map(str::to_owned);
        }
        if event["event"] == "execution_parked" {
            break;
        }
    }
    let wait = wait.unwrap_or_else(|| panic!("{seen}"));
    // It may not have been given back yet.
    home.run(&["waits", "answer", &wait, "--approve"]).exits(0);
    std::io::Read::read_to_string(&mut out, &mut seen).unwrap();
    assert!(child.wait().unwrap().success());
    let result: Value = serde_json::from_str(seen.lines().last().unwrap()).unwrap();
    assert_eq!((&result["event"], &result["outputs"]["approved"]), (&json!("result"), &json!(true)), "{seen}");
}

/// Nobody is told that a process died; the one who follows its execution finds out, and says what to do.
#[test]
fn one_whose_process_died_is_not_followed_for_ever() {
    let home = Home::empty();
    let server = Server::start(|_, _| {
        loop {
            std::thread::park();
        }
    });
    let file = home.write(
        "slow.yaml",
        "schema_version: '1.2.0'\nnodes: [{id: a, type: llm, prompt: hello, llm_config: {model: gpt-4o}}]\n",
    );
    let mut runs = home
        .ice()
        .env("OPENAI_API_KEY", "sk-test-0123456789abcdef")
        .env("OPENAI_BASE_URL", format!("{}/v1", server.url()))
        .args(["run", &file, "--quiet"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    server.wait_for(1);
    let listed = home.run(&["executions", "list", "--json"]).exits(0).json();
    let id = listed[0]["id"].as_str().unwrap();
    let mut follows = home.ice();
    let mut follows =
        follows.args(["run", "--follow", id]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(follows.stdout.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut out, &mut first).unwrap();
    assert!(first.contains("execution_started"), "{first}");
    runs.kill().unwrap(); // SIGKILL
    runs.wait().unwrap();
    let ended = follows.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("left by its process") && said.contains(&format!("ice executions resume {id}")), "{said}");
}

#[test]
fn a_budget_of_nothing_stops_a_paid_call_before_it_is_made() {
    let home = Home::empty();
    let row = "[[price]]\nmodel = \"echo/echo\"\ninput = 1000.0\noutput = 1000.0\nas_of = \"2026-01-01\"\nsource = \"test\"\n";
    let prices = home.write("prices.toml", row);
    home.set("llm", &format!("prices = \"{prices}\""));
    let file = home.write(
        "paid.yaml",
        "schema_version: '1.2.0'\nnodes: [{id: a, type: llm, prompt: hello, llm_config: {provider: echo, model: echo, max_tokens: 9}}]\n",
    );
    let ran = home.run(&["run", &file, "--budget-usd", "0.000001"]);
    assert!(ran.out.contains("ICE-X005") || ran.err.contains("ICE-X005"), "{}{}", ran.out, ran.err);
    home.run(&["run", &file, "--budget-usd", "-1"]).exits(2);
}

/// Runs `ice` on a terminal of 80 columns and 24 rows; what it wrote, both streams together.
pub(crate) fn on_a_terminal(home: &Home, environment: &[&str], args: &str) -> String {
    let ice = env!("CARGO_BIN_EXE_ice");
    let command = format!("stty rows 24 cols 80; {} {ice} {args}", environment.join(" "));
    let ran = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env_clear()
        .env("ICE_HOME", home.path())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("SHELL", "/bin/sh")
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("`script` is missing: install util-linux ({error})"));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn a_terminal_shows_a_tree_and_then_the_outputs() {
    let home = Home::new();
    let file = home.write("hello.yaml", HELLO);
    let text = on_a_terminal(&home, &["TERM=xterm"], &format!("run {file} -i who=Ada"));
    assert!(text.contains("\x1b[?2026h") && text.contains("\x1b[32m✓\x1b[0m greet"), "{text:?}");
    assert!(text.contains("\"who\": \"Ada\"") && text.contains("completed in "), "{text:?}");
    assert!(!text.contains("\"event\""), "no JSON lines: {text:?}");
    assert_eq!(text.matches("\x1b[?2026h").count(), text.matches("\x1b[?2026l").count(), "every update ends");

    let plain = on_a_terminal(&home, &["TERM=xterm", "NO_COLOR=1"], &format!("run {file} -i who=Ada"));
    assert!(plain.contains("✓ greet") && !plain.contains("\x1b[32m"), "{plain:?}");
    let dumb = on_a_terminal(&home, &["TERM=dumb"], &format!("run {file} -i who=Ada"));
    assert!(dumb.contains("  done greet (") && !dumb.contains('\x1b'), "{dumb:?}");
    let lines = on_a_terminal(&home, &["TERM=xterm"], &format!("run {file} -i who=Ada --json"));
    assert!(lines.contains("\"event\":\"result\"") && !lines.contains('\x1b'), "{lines:?}");
}
