//! People: an execution asks, its process ends, somebody answers elsewhere. And webhooks, which reach only what the
//! operator says.

use serde_json::{Value, json};

use crate::home::{Home, Ran};
use crate::servers::Server;

/// Yes or no, a form, and a choice for every item.
const RELEASE: &str = "
schema_version: '1.2.0'
inputs: {required: [what]}
nodes:
  - {id: ship, type: human, prompt_message: 'Ship {{ what }}?'}
  - id: notes
    type: human
    approval_type: input_required
    prompt_message: Fill in the release notes
    form: {title: str, pages: int, hot: 'bool?'}
    dependencies: [ship]
    run_if: ship.approved
  - id: colours
    type: loop
    items_source: [cover, back]
    parallel: true
    body:
      - {id: pick, type: human, approval_type: choice, choices: [red, dark blue], prompt_message: 'Colour of {{ item }}?'}
outputs:
  by: '{{ ship.responder }}'
  notes: '{{ notes.response }}'
  colours: '{{ colours.results }}'
";

impl Home {
    fn blueprint(&self, text: &str) -> String {
        let file = self.path().join("asks.yaml");
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Runs a blueprint until it waits.
    fn asks(&self, text: &str) -> Value {
        let ran = self.run(&["run-blueprint", &self.blueprint(text), "--input", "what=it", "--json"]).exits(0).json();
        assert_eq!((&ran["status"], &ran["outputs"]), (&json!("waiting"), &Value::Null), "{ran}");
        ran
    }

    /// The open wait at a path.
    fn wait_at(&self, path: &str) -> String {
        let open = self.run(&["waits", "list", "--json"]).exits(0).json();
        let found = open.as_array().unwrap().iter().find(|wait| wait["path"] == path);
        found.unwrap_or_else(|| panic!("{path} in {open}"))["id"].as_str().unwrap().to_owned()
    }

    fn answer(&self, path: &str, args: &[&str]) -> Ran {
        let wait = self.wait_at(path);
        self.run(&[&["waits", "answer", &wait, "--json"], args].concat())
    }

    fn status(&self) -> (String, u64) {
        let listed = self.run(&["executions", "list", "--json"]).exits(0).json();
        (listed[0]["status"].as_str().unwrap().to_owned(), listed[0]["waits"].as_u64().unwrap())
    }
}

fn code(ran: &Ran) -> &'static str {
    let problems = ran.json();
    let code = problems["problems"][0]["code"].as_str().unwrap();
    ["ICE-X019", "ICE-X020", "ICE-X042", "ICE-C001"].into_iter().find(|known| *known == code).unwrap_or("another")
}

#[test]
fn what_an_execution_asks_is_answered_by_other_processes() {
    let home = Home::new();
    let asked = home.asks(RELEASE);
    let id = asked["execution_id"].as_str().unwrap();
    let paths: Vec<&str> = asked["waits"].as_array().unwrap().iter().map(|w| w["path"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    assert_eq!(home.status(), ("waiting".into(), 3));

    // A restart changes nothing: whoever takes it up asks the same.
    let again = home.run(&["executions", "resume", id, "--json"]).exits(0).json();
    assert_eq!((&again["status"], &again["waits"]), (&json!("waiting"), &asked["waits"]));
    let shown = home.run(&["executions", "show", id]).exits(0).out;
    assert!(shown.contains("waiting    ship") && shown.contains("Ship it?"), "{shown}");
    let listed = home.run(&["executions", "list"]).exits(0).out;
    assert!(listed.contains("waiting (3 open)"), "{listed}");
    // Of another user nothing is shown, of everybody all.
    let other = |args: &[&str]| Ran::from(home.ice().env("ICE_DEFAULT_USER_ID", "eve").args(args).output().unwrap());
    assert_eq!(other(&["waits", "list", "--json"]).exits(0).json(), json!([]));
    assert_eq!(other(&["waits", "list", "--all", "--json"]).exits(0).json().as_array().unwrap().len(), 3);

    let ran = home.answer("colours[1]/pick", &["--choice", "dark blue", "--as", "ann"]).exits(0).json();
    assert_eq!((&ran["status"], &ran["execution_id"]), (&json!("waiting"), &json!(id)), "{ran}");
    let ran = home.answer("ship", &["--approve", "--comment", "go", "--as", "bob"]).exits(0).json();
    assert_eq!(ran["waits"].as_array().unwrap().len(), 2, "a form is asked now: {ran}");
    home.answer("colours[0]/pick", &["--choice", "red"]).exits(0);

    // What a person reads is enough to answer.
    let text = home.run(&["waits", "list", "--execution", id]).exits(0).out;
    for words in ["Fill in the release notes", "title: text", "pages: integer", "hot: boolean, may be left out"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let ran = home.answer("notes", &["--response", "title=12", "--response", "pages=3"]).exits(0).json();
    assert_eq!(ran["status"], "completed", "{ran}");
    assert_eq!((&ran["outputs"]["by"], &ran["outputs"]["notes"]), (&json!("bob"), &json!({"title": "12", "pages": 3})));
    let colours: Vec<&Value> =
        ran["outputs"]["colours"].as_array().unwrap().iter().map(|one| &one["response"]).collect();
    assert_eq!(colours, [&json!("red"), &json!("dark blue")], "{ran}");
    assert_eq!(home.status(), ("completed".into(), 0));
    assert_eq!(home.run(&["waits", "list", "--json"]).exits(0).json(), json!([]));
}

#[test]
fn a_wrong_answer_names_its_place_and_changes_nothing() {
    let home = Home::new();
    let blueprint = "
nodes:
  - {id: ask, type: human, approval_type: input_required, prompt_message: fill in, form: {n: int, s: str}}
outputs: {said: '{{ ask.response }}'}
";
    let blueprint = format!("schema_version: '1.2.0'\ninputs: {{required: [what]}}{blueprint}");
    let id = home.asks(&blueprint)["execution_id"].as_str().unwrap().to_owned();
    let events = || home.run(&["executions", "events", &id]).exits(0).out;
    let (wait, before) = (home.wait_at("ask"), events());
    for (given, place) in [(r#"{"n": "x", "s": "y"}"#, "/response/n"), (r#"{"n": 1}"#, "/response")] {
        let ran = home.answer("ask", &["--response", given]).exits(1);
        assert_eq!(code(&ran), "ICE-X020", "{}", ran.out);
        assert_eq!(ran.json()["problems"][0]["at"]["pointer"], place, "{}", ran.out);
    }
    assert_eq!(code(&home.answer("ask", &["--approve"]).exits(1)), "ICE-X020");
    let nothing = home.answer("ask", &[]).exits(2);
    assert_eq!(code(&nothing), "ICE-C001");
    assert!(nothing.out.contains("--response"), "{}", nothing.out);
    home.answer("ask", &["--approve", "--reject"]).exits(2);
    assert_eq!((events(), home.status()), (before, ("waiting".into(), 1)));

    let ran = home.answer("ask", &["--response", r#"{"n": 1, "s": "y"}"#]).exits(0).json();
    assert_eq!(ran["outputs"]["said"], json!({"n": 1, "s": "y"}));
    for (wait, words) in [(wait.as_str(), "answered it"), ("nonsense", "no wait"), ("0190.0123456789abcdef", "no wait")]
    {
        let late = home.run(&["waits", "answer", wait, "--reject", "--json"]).exits(1);
        assert_eq!(code(&late), "ICE-X019", "{}", late.out);
        assert!(late.out.contains(words), "{}", late.out);
    }
}

const ONE: &str = "
schema_version: '1.2.0'
inputs: {required: [what]}
nodes:
  - {id: ask, type: human, prompt_message: 'Ship {{ what }}?'}
outputs: {approved: '{{ ask.approved }}', by: '{{ ask.responder }}'}
";

#[test]
fn of_two_processes_that_answer_at_once_one_wins() {
    let home = Home::new();
    let id = home.asks(ONE)["execution_id"].as_str().unwrap().to_owned();
    let wait = home.wait_at("ask");
    let answer = |args: &[&str]| {
        let mut command = home.ice();
        command.args(["waits", "answer", &wait, "--json"]).args(args);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let both = [answer(&["--approve", "--as", "ann"]), answer(&["--reject", "--as", "bob"])];
    let both = both.map(|child| Ran::from(child.wait_with_output().unwrap()));
    let (won, lost): (Vec<&Ran>, Vec<&Ran>) = both.iter().partition(|ran| ran.code == Some(0));
    assert_eq!((won.len(), lost.len()), (1, 1), "{} {}", both[0].out, both[1].out);
    assert!(["ICE-X019", "ICE-X042"].contains(&code(lost[0])), "{}", lost[0].out);
    let outputs = &won[0].json()["outputs"];
    let ann = json!({"approved": true, "by": "ann"});
    assert!([ann, json!({"approved": false, "by": "bob"})].contains(outputs), "{outputs}");
    let events = home.run(&["executions", "events", &id]).exits(0).out;
    assert_eq!(events.matches("\"wait_resolved\"").count(), 1, "{events}");
}

#[test]
fn an_answer_can_be_left_for_whoever_comes_next() {
    let home = Home::new();
    home.asks(ONE);
    assert_eq!(home.run(&["waits", "due", "--json"]).exits(0).json(), json!([]), "nobody has answered");
    let left = home.answer("ask", &["--approve", "--no-run", "--as", "ann"]).exits(0).json();
    assert_eq!((&left["status"], home.status()), (&json!("due"), ("waiting".into(), 0)));
    let woken = home.run(&["waits", "due", "--json"]).exits(0).json();
    assert_eq!((&woken[0]["status"], &woken[0]["execution_id"]), (&json!("completed"), &left["execution_id"]));
    let shown = home.run(&["executions", "show", left["execution_id"].as_str().unwrap(), "--json"]).exits(0).json();
    assert_eq!(shown["outputs"], json!({"approved": true, "by": "ann"}));
    assert_eq!(home.run(&["waits", "due"]).exits(0).out, "nothing is due\n");
}

#[test]
fn silence_gets_its_meaning_when_somebody_looks() {
    let home = Home::new();
    let blueprint = ONE.replace("?'}", "?', timeout_seconds: 1, on_timeout: approve}");
    let file = home.blueprint(&blueprint);
    let ran = home.run(&["run-blueprint", &file, "--input", "what=it", "--json"]).exits(0).json();
    let id = ran["execution_id"].as_str().unwrap();
    // Starting a process takes time, so this ends; on a slow machine the second is over before the process is.
    let mut woken = json!([]);
    while ran["status"] == "waiting" && woken == json!([]) {
        woken = home.run(&["waits", "due", "--json"]).exits(0).json();
        assert!(woken == json!([]) || woken[0]["status"] == "completed", "{woken}");
    }
    let shown = home.run(&["executions", "show", id, "--json"]).exits(0).json();
    assert_eq!((&shown["status"], &shown["outputs"]), (&json!("completed"), &json!({"approved": true, "by": ""})));
}

#[test]
fn an_execution_that_waits_can_be_cancelled() {
    let home = Home::new();
    let id = home.asks(ONE)["execution_id"].as_str().unwrap().to_owned();
    let wait = home.wait_at("ask");
    assert_eq!(home.run(&["executions", "cancel", &id]).exits(0).out, "cancelled\n");
    assert_eq!(home.status(), ("cancelled".into(), 0));
    let late = home.run(&["waits", "answer", &wait, "--approve", "--json"]).exits(1);
    assert_eq!(code(&late), "ICE-X019");
    assert_eq!(home.run(&["executions", "cancel", &id, "--json"]).exits(0).json(), json!({"running": false}));
}

const HOOK: &str = "
schema_version: '1.2.0'
nodes:
  - id: hook
    type: webhook
    url: 'URL/orders'
    body: {total: 3}
    signing_secret: SIGN
outputs: {status: '{{ hook.status }}', body: '{{ hook.body }}'}
";

/// As `printf '{"total":3}' | openssl dgst -sha256 -hmac 'a-secret-of-the-test'` says.
const SIGNATURE: &str = "sha256=d0cc964e2785b5da047c4a4ef195ced4a7e19c538963d988a039110477ca684b";

#[test]
fn a_webhook_reaches_what_the_operator_says_and_signs_its_body() {
    let home = Home::new();
    let server = Server::start(|_, _| (201, "application/json", "{\"ok\": true}".into()));
    let file = home.blueprint(&HOOK.replace("URL", &server.url()));
    let run = || {
        let mut command = home.ice();
        command.env("ICE_SECRET_SIGN", "a-secret-of-the-test").args(["run-blueprint", &file, "--json"]);
        Ran::from(command.output().unwrap())
    };
    let refused = |ran: Ran, code: &str| {
        let problem = ran.json()["problem"].clone();
        assert_eq!(problem["code"], code, "{problem}");
        assert!(problem["help"].as_str().unwrap().contains("[engine]"), "{problem}");
        assert!(server.received().is_empty());
    };
    home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", server.port));
    refused(run().exits(3), "ICE-G001");
    let rule = format!("http = [\"POST {}/orders\"]", server.url());
    let settings = home.path().join("ice.toml");
    let before = std::fs::read_to_string(&settings).unwrap();
    home.set("engine", &rule);
    refused(run().exits(3), "ICE-G021");
    std::fs::write(&settings, before).unwrap();
    home.set("engine", &format!("{rule}\nsecrets = {{ SIGN = [\"127.0.0.1\"] }}"));

    let ran = run().exits(0);
    assert_eq!(ran.json()["outputs"], json!({"status": 201, "body": {"ok": true}}));
    let received = server.received();
    assert_eq!((received.len(), received[0].body.as_str()), (1, "{\"total\":3}"));
    let header = |name: &str| received[0].headers.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    assert_eq!(header("x-ice-signature-256").map(String::as_str), Some(SIGNATURE));
    let id = ran.json()["execution_id"].as_str().unwrap().to_owned();
    let events = home.run(&["executions", "events", &id]).exits(0).out;
    assert!(!events.contains("a-secret-of-the-test") && !events.contains(&SIGNATURE[7..]), "{events}");
}

#[test]
fn an_http_bin_takes_a_webhook() {
    use std::io::{BufRead, BufReader};

    let home = Home::new();
    let mut bin = home.ice().args(["http-bin"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(bin.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let (url, authority) = (url.trim(), url.trim().trim_start_matches("http://"));
    home.set("egress", &format!("allow_private = [\"{authority}\"]"));
    home.set("engine", &format!("http = [\"POST {url}/*\"]"));
    let blueprint = HOOK.replace("URL", url).replace("    signing_secret: SIGN\n", "");
    let ran = home.run(&["run-blueprint", &home.blueprint(&blueprint), "--json"]);
    bin.kill().unwrap();
    bin.wait().unwrap();
    assert_eq!(ran.exits(0).json()["outputs"], json!({"status": 201, "body": {"id": 1}}));
}

#[test]
fn settings_of_nodes_are_checked() {
    let home = Home::empty();
    let cases = [
        ("http = [\"ftp://x/\"]", "/engine/http/0"),
        ("secrets = { \"A B\" = [\"x\"] }", "/engine/secrets/A B"),
        ("alert_gateways = { pigeon = \"https://x.example/\" }", "/engine/alert_gateways/pigeon"),
        ("alert_gateways = { slack = \"https://x.example/t0k3n\" }", "/engine/alert_gateways/slack"),
    ];
    for (line, pointer) in cases {
        std::fs::write(home.path().join("ice.toml"), "").unwrap();
        home.set("engine", line);
        let ran = home.run(&["waits", "list", "--json"]).exits(2);
        let problem = &ran.json()["problems"][0];
        assert_eq!((&problem["code"], &problem["at"]["pointer"]), (&json!("ICE-C004"), &json!(pointer)), "{problem}");
        assert!(problem["help"].is_string() && !ran.out.contains("t0k3n"), "{problem}");
    }
    std::fs::write(home.path().join("ice.toml"), "").unwrap();
    home.set("engine", "http = [\"POST https://x.example/*\"]\nalert_gateways = { slack = \"https://x.example/a\" }");
    home.run(&["waits", "list", "--json"]).exits(0);
}
