//! Money: no call is made that an org cannot pay, whatever dies and however many run at once; and what `ice budget` says.

use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};

use ice_core::budget::{Budget, Usage};
use ice_core::event::{Event, Fact};
use ice_core::id::{Digest, ExecutionId, Identity, NodePath};
use ice_core::ports::Events;
use serde_json::{Value, json};

use crate::home::{Home, Ran};
use crate::servers::Server;

/// What an answer may cost at most: its room of 20 tokens, at 1,000 micro-USD each. Questions are free.
const ROOM: u64 = 20_000;
/// What an answer of the model of the test costs.
const PAID: u64 = 5_000;

/// A home whose models cost 1,000 USD per million tokens written.
fn home() -> Home {
    let home = Home::empty();
    let row = |model: &str| {
        format!(
            "[[price]]\nmodel = \"{model}\"\ninput = 0\noutput = 1000\nas_of = \"2026-11-20\"\nsource = \"this test\"\n"
        )
    };
    let prices = home.write("prices.toml", ["echo/echo", "openai/gpt-4o-mini"].map(row).concat());
    home.set("llm", &format!("prices = \"{prices}\""));
    home
}

/// Nine paid questions, one after the other.
fn paid(home: &Home, model: &str) -> String {
    let text = format!(
        "
schema_version: '1.2.0'
nodes:
  - id: each
    type: loop
    items_source: [1, 2, 3, 4, 5, 6, 7, 8, 9]
    body:
      - {{id: ask, type: llm, prompt: 'one two three', llm_config: {{model: {model}, max_tokens: 20}}}}
"
    );
    home.write("paid.yaml", text)
}

/// `ice` with an org budget of so many micro-USD.
fn limited(home: &Home, micro_usd: u64, args: &[&str]) -> std::process::Command {
    let mut command = home.ice();
    command.env("ORG_BUDGET_USD", format!("0.{micro_usd:06}")).args(args);
    command
}

fn ran(mut command: std::process::Command) -> Ran {
    Ran::from(command.output().unwrap())
}

/// The last line of `ice run`.
#[track_caller]
fn result(ran: &Ran) -> Value {
    let last = ran.out.lines().last().unwrap_or_else(|| panic!("no output: {}", ran.err));
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"))
}

fn standing(home: &Home) -> (u64, u64) {
    let shown = home.run(&["budget", "show", "--json"]).exits(0).json();
    let of = |member: &str| shown["orgs"][0][member].as_u64().unwrap_or_else(|| panic!("{member}: {shown}"));
    assert_eq!(shown["orgs"][0]["org"], "local", "{shown}");
    (of("spent_micro_usd"), of("reserved_micro_usd"))
}

/// The ledger says what the events say, and nothing is set aside.
#[track_caller]
fn is_balanced(home: &Home, spent: u64) {
    let checked = home.run(&["budget", "check", "--json"]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.out, checked.err);
    let checked = checked.json();
    assert_eq!((&checked["equal"], &checked["events_micro_usd"]), (&json!(true), &json!(spent)), "{checked}");
    assert_eq!(standing(home), (spent, 0));
}

#[test]
fn a_loop_of_paid_calls_stops_before_the_one_that_its_org_cannot_pay() {
    let home = home();
    let file = paid(&home, "echo/echo");
    let free = home.run(&["run", &file, "--json"]).exits(0);
    let total = result(&free)["usage"]["cost_micro_usd"].as_u64().unwrap();
    let each = total / 9;
    assert!(total > 0 && total == each * 9 && each < ROOM, "{total}");
    is_balanced(&home, total);

    // Room for the third answer, not for a fourth.
    let limit = total + 2 * each + ROOM;
    let stopped = ran(limited(&home, limit, &["run", &file, "--json"])).exits(1);
    let ended = result(&stopped);
    assert_eq!(ended["usage"]["cost_micro_usd"], 3 * each, "{ended}");
    assert_eq!((&ended["problem"]["code"], &ended["status"]), (&json!("ICE-X005"), &json!("failed")), "{ended}");
    assert!(stopped.err.contains("warning[ICE-X005]"), "it was said before: {}", stopped.err);
    is_balanced(&home, total + 3 * each);

    // What is left is less than one answer may cost: nothing begins.
    let refused = ran(limited(&home, limit, &["run", &file])).exits(1);
    assert!(refused.err.contains("error[ICE-X005]") && refused.err.contains("before the start"), "{}", refused.err);
    assert_eq!(home.run(&["executions", "list", "--json"]).exits(0).json().as_array().unwrap().len(), 2);
}

/// A model of the test, whose answer to one question is held back.
struct Model {
    server: Server,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

/// Question number `from` and those after it get no answer until `until` questions have come, or it is opened.
struct Gate {
    from: usize,
    until: usize,
    came: usize,
}

impl Model {
    fn holding(from: usize, until: usize) -> Self {
        let gate = Arc::new((Mutex::new(Gate { from, until, came: 0 }), Condvar::new()));
        let shared = Arc::clone(&gate);
        let server = Server::start(move |_, _| {
            let mut gate = shared.0.lock().unwrap();
            gate.came += 1;
            shared.1.notify_all();
            if gate.came >= gate.from {
                drop(shared.1.wait_while(gate, |gate| gate.came < gate.until).unwrap());
            }
            let body = json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
                "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "yes" } }],
                "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 },
            });
            (200, "application/json", body.to_string())
        });
        Self { server, gate }
    }

    /// Waits until so many questions have come.
    fn wait_for(&self, count: usize) {
        let gate = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(gate, |gate| gate.came < count).unwrap());
    }

    /// Answers everything from here on.
    fn open(&self) {
        self.gate.0.lock().unwrap().until = 0;
        self.gate.1.notify_all();
    }

    fn ask(&self, home: &Home, limit: u64, args: &[&str]) -> std::process::Command {
        let mut command = limited(home, limit, args);
        command.env("OPENAI_API_KEY", "sk-test-0123456789abcdef");
        command.env("OPENAI_BASE_URL", format!("{}/v1", self.server.url()));
        command
    }
}

/// `kill -9` while a paid call is under way: the one that goes on stops at the same total as one nobody disturbed.
fn killed_in_a_paid_call(store: Option<String>) {
    let home = home();
    if let Some(url) = store {
        home.set("store", &format!("url = \"{url}\""));
    }
    let file = paid(&home, "openai/gpt-4o-mini");
    let limit = 3 * PAID + ROOM;
    // An undisturbed one makes four calls: the fifth could end at 20,000 + 20,000.
    let model = Model::holding(3, usize::MAX);
    let mut child =
        model.ask(&home, limit, &["run", &file, "--json"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    model.wait_for(3);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    model.open();

    assert_eq!(standing(&home), (2 * PAID, ROOM), "what was under way is still set aside");
    let listed = home.run(&["executions", "list", "--json"]).exits(0).json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let resumed = ran(model.ask(&home, limit, &["executions", "resume", &id, "--json"])).exits(1);
    let ended = resumed.json();
    assert_eq!(ended["usage"]["cost_micro_usd"], 4 * PAID, "{ended}");
    assert!(resumed.out.contains("ICE-X005"), "{}", resumed.out);
    assert_eq!(model.gate.0.lock().unwrap().came, 5, "only the question without an answer was asked again");
    is_balanced(&home, 4 * PAID);
    let text = home.run(&["budget", "check"]).exits(0).out;
    assert!(text.starts_with("equal: 1 executions, $0.02 by their events"), "{text}");

    let calm = ran(model.ask(&home, 7 * PAID + ROOM, &["run", &file, "--json"])).exits(1);
    assert_eq!(result(&calm)["usage"]["cost_micro_usd"], 4 * PAID, "the same as after a kill");
}

#[test]
fn killed_in_a_paid_call_it_stops_at_the_same_total_on_sqlite() {
    killed_in_a_paid_call(None);
}

#[test]
fn killed_in_a_paid_call_it_stops_at_the_same_total_on_postgres() {
    killed_in_a_paid_call(Some(crate::postgres::database()));
}

/// A process that died with a call under way does not keep its money: the next one that needs it gets it.
#[test]
fn what_a_killed_process_had_set_aside_is_there_for_the_next() {
    let home = home();
    let file = paid(&home, "openai/gpt-4o-mini");
    let model = Model::holding(1, usize::MAX);
    let mut child =
        model.ask(&home, ROOM, &["run", &file]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    model.wait_for(1);
    let refused = ran(model.ask(&home, ROOM, &["run", &file])).exits(1);
    assert!(refused.err.contains("ICE-X005"), "as long as it lives: {}", refused.err);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    model.open();
    let next = ran(model.ask(&home, ROOM, &["run", &file, "--json"])).exits(1);
    assert_eq!(result(&next)["usage"]["cost_micro_usd"], PAID);
    is_balanced(&home, PAID);
}

fn two_at_once(store: Option<String>) {
    let home = home();
    if let Some(url) = store {
        home.set("store", &format!("url = \"{url}\""));
    }
    let file = paid(&home, "openai/gpt-4o-mini");
    let limit = 2 * ROOM + 3 * PAID;
    // The first question of each gets its answer when that of the other has come: both have money set aside then.
    let model = Model::holding(1, 2);
    let start = || {
        let mut command = model.ask(&home, limit, &["run", &file, "--json", "--quiet"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = [start(), start()];
    let mut spent = 0;
    for child in children {
        let ended = result(&Ran::from(child.wait_with_output().unwrap()).exits(1));
        assert_eq!(ended["problem"]["code"], "ICE-X005", "{ended}");
        spent += ended["usage"]["cost_micro_usd"].as_u64().unwrap();
    }
    assert!(spent <= limit && limit - spent < 2 * ROOM, "{spent} of {limit}");
    assert_eq!(model.gate.0.lock().unwrap().came as u64 * PAID, spent, "every question was paid, and counted once");
    is_balanced(&home, spent);
}

#[test]
fn two_executions_at_once_never_spend_more_than_their_org_has_on_sqlite() {
    two_at_once(None);
}

#[test]
fn two_executions_at_once_never_spend_more_than_their_org_has_on_postgres() {
    two_at_once(Some(crate::postgres::database()));
}

#[test]
fn an_estimate_says_low_likely_and_high_by_node() {
    let home = home();
    let file = home.write(
        "e.yaml",
        "
schema_version: '1.2.0'
inputs: {required: [items]}
budget: {usd: 0.05}
nodes:
  - {id: first, type: llm, prompt: hi, llm_config: {model: echo/echo, max_tokens: 20}}
  - id: each
    type: loop
    items_source: '{{ items }}'
    dependencies: [first]
    body: [{id: ask, type: llm, prompt: hi, retries: 1, llm_config: {model: echo/echo, max_tokens: 10}}]
",
    );
    let estimated = home.run(&["budget", "estimate", &file, "--input", "items=[1,2]", "--json"]).exits(0);
    let found = estimated.json();
    let cost = |value: &Value| ["low", "likely", "high"].map(|part| value[part]["cost_micro_usd"].as_u64().unwrap());
    assert_eq!(cost(&found), [3_000, 28_000, 60_000], "{found}");
    assert_eq!(found["calls"], json!([3, 3, 5]));
    let nodes = found["nodes"].as_array().unwrap();
    assert_eq!((&nodes[0]["id"], cost(&nodes[0])), (&json!("first"), [1_000, 14_000, 20_000]));
    assert_eq!((&nodes[1]["id"], cost(&nodes[1])), (&json!("each"), [2_000, 14_000, 40_000]));
    assert_eq!(found["budget"]["micro_usd"], 50_000, "{found}");
    assert!(estimated.err.contains("warning[ICE-X005]") && estimated.err.contains("$0.06"), "{}", estimated.err);
    assert!(home.run(&["executions", "list", "--json"]).exits(0).json().as_array().unwrap().is_empty());

    let text = ran(limited(&home, 70_000, &["budget", "estimate", &file, "-i", "items=[1,2]"])).exits(0).out;
    let each = text.lines().find(|line| line.starts_with("each")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(each.split_whitespace().collect::<Vec<_>>(), ["each", "loop", "2/2/4", "$0.002", "$0.014", "$0.04"]);
    assert!(text.contains("org `local` has $0.07 of $0.07 left (this month)"), "{text}");
    let missing = home.run(&["budget", "estimate", &file]).exits(1);
    assert!(missing.err.contains("ICE-X006"), "{}", missing.err);
}

#[test]
fn what_an_execution_spent_is_shown_by_node_and_what_an_org_spent_by_window() {
    let home = home();
    let file = paid(&home, "echo/echo");
    let ended = result(&home.run(&["run", &file, "--json"]).exits(0));
    let (id, total) = (ended["execution_id"].as_str().unwrap(), ended["usage"]["cost_micro_usd"].as_u64().unwrap());
    let shown = home.run(&["budget", "show", id, "--json"]).exits(0).json();
    let nodes = shown["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 9, "{shown}");
    assert_eq!(nodes[0]["node"], "each[0]/ask");
    let sum: u64 = nodes.iter().map(|node| node["cost_micro_usd"].as_u64().unwrap()).sum();
    assert_eq!((sum, shown["ledger"][0]["micro_usd"].as_u64()), (total, Some(total)), "{shown}");
    let text = home.run(&["budget", "show", id]).exits(0).out;
    assert!(text.contains("each[8]/ask") && text.lines().any(|line| line.starts_with("total")), "{text}");

    home.set("budget", "org_usd = \"1.5\"\nwindow = \"day\"\norgs = {acme = 2}");
    let shown = home.run(&["budget", "show", "--json"]).exits(0).json();
    assert_eq!(shown["window"], "day");
    let org = |name: &str| shown["orgs"].as_array().unwrap().iter().find(|row| row["org"] == name).unwrap().clone();
    assert_eq!(
        (&org("local")["left_micro_usd"], &org("acme")["left_micro_usd"]),
        (&json!(1_500_000 - total), &json!(2_000_000))
    );
    let text = home.run(&["budget", "show", "--org", "local"]).exits(0).out;
    assert!(text.starts_with("today, since ") && text.contains("$1.50") && text.contains(id), "{text}");
    home.run(&["budget", "show", "0193a1b2-c3d4-7000-8000-000000000000"]).exits(1);
}

#[test]
fn prices_are_shown_with_their_day_and_source() {
    let home = home();
    let rows = home.run(&["budget", "prices", "--json"]).exits(0).json();
    let of = |model: &str| rows.as_array().unwrap().iter().find(|row| row["model"] == model).unwrap().clone();
    assert_eq!(
        (&of("openai/gpt-4o-mini")["built_in"], &of("openai/gpt-4o")["built_in"]),
        (&json!(false), &json!(true))
    );
    assert!(rows.as_array().unwrap().iter().all(|row| row["as_of"].as_str().is_some_and(|day| day.len() == 10)));
    let text = home.run(&["budget", "prices", "--provider", "anthropic"]).exits(0).out;
    assert!(
        text.contains("anthropic/claude-sonnet-4-5") && text.contains("https://") && !text.contains("openai/"),
        "{text}"
    );
    let unknown = home.run(&["budget", "prices", "--provider", "antropic"]).exits(2);
    assert!(unknown.err.contains("anthropic"), "{}", unknown.err);
    home.write(
        "prices.toml",
        "[[price]]\nmodel = \"x/y\"\ninput = 1\ncached_input = 2\noutput = 1\nas_of = \"2026-11-20\"\nsource = \"s\"\n",
    );
    for command in [&["budget", "prices"][..], &["budget", "check"]] {
        assert!(home.run(command).exits(2).err.contains("ICE-C022"), "{command:?}");
    }
}

#[test]
fn a_model_without_a_price_is_refused_where_the_org_has_a_budget() {
    let home = Home::empty();
    let model = Model::holding(usize::MAX, 0);
    let file = paid(&home, "openai/gpt-9");
    let refused = ran(model.ask(&home, 900_000, &["run", &file])).exits(1);
    assert!(refused.err.contains("ICE-X005") && refused.err.contains("[[price]]"), "{}", refused.err);
    assert_eq!(model.gate.0.lock().unwrap().came, 0);
}

#[test]
fn settings_of_money_are_read_digit_by_digit_or_refused() {
    let home = home();
    for (variable, value) in [("ORG_BUDGET_USD", "1e3"), ("ICE_BUDGET_USD", "-1"), ("ICE_BUDGET_WINDOW", "week")] {
        let refused = ran({
            let mut command = home.ice();
            command.env(variable, value).args(["budget", "show"]);
            command
        });
        assert!(refused.exits(2).err.contains(variable), "{variable}");
    }
    let file = paid(&home, "echo/echo");
    for amount in ["0.0000001", "1e-2", "nan", "-0.5"] {
        home.run(&["run", &file, &format!("--budget-usd={amount}")]).exits(2);
    }
    // A start that even the least could not pay is refused before it.
    let refused = home.run(&["run", &file, "--budget-usd", "0.008999"]).exits(1);
    assert!(refused.err.contains("before the start"), "{}", refused.err);
}

/// What the ledger does not know, such as executions that are older than it, is named and can be put in.
#[test]
fn what_differs_is_named_and_put_right() {
    let home = home();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite:{}", home.file("ice.db"));
        let store = ice_store::open(&url, Arc::new(ice_capabilities::SystemClock)).await.unwrap();
        let (id, who) = (ExecutionId("older".into()), Identity::local());
        let lease = store.create(&id, "older", &who, &older(&who), 1_000).await.unwrap();
        store.release(&lease).await.unwrap();
        store.close().await;
    });
    let found = home.run(&["budget", "check"]).exits(1);
    assert!(found.err.contains("error[ICE-X027]") && found.err.contains("`older`"), "{}", found.err);
    assert!(found.err.contains("$0.000042") && found.err.contains("--repair"), "{}", found.err);
    let found = home.run(&["budget", "check", "--json"]).exits(1).json();
    assert_eq!((&found["equal"], &found["differences"][0]["events_micro_usd"]), (&json!(false), &json!(42)), "{found}");
    let put_right = home.run(&["budget", "check", "--repair", "--json"]).exits(0).json();
    assert_eq!((&put_right["equal"], &put_right["repaired"]), (&json!(true), &json!(1)), "{put_right}");
    let ever = ran({
        let mut command = home.ice();
        command.env("ICE_BUDGET_WINDOW", "total").args(["budget", "show", "--json"]);
        command
    });
    assert_eq!(ever.exits(0).json()["orgs"][0]["spent_micro_usd"], 42);
}

/// The events of an execution that paid 42 micro-USD.
fn older(who: &Identity) -> Vec<Event> {
    let start = Fact::ExecutionStarted {
        blueprint: Digest::of(b"b"),
        name: "older".into(),
        inputs: json!({}),
        identity: who.clone(),
        components: Default::default(),
        blueprints: Default::default(),
        parent: None,
        budget: Budget::default(),
        origin: None,
    };
    let paid = Fact::BudgetSettled { used: Usage { cost_micro_usd: 42, ..Usage::default() } };
    let event = |(seq, fact)| Event { seq, at: 1_700_000_000_000, path: NodePath("a".into()), attempt: 1, fact };
    (1..).zip([start, paid]).map(event).collect()
}
