//! Networks: systems of blueprints in one file.

use serde_json::{Value, json};

use crate::home::Home;
use crate::run::on_a_terminal;

pub(crate) const HELLO: &str = "
inputs: {required: [who]}
nodes:
  - {id: join, type: tool, tool_name: aggregator_concat, tool_args: {inputs: ['hello', '{{ who }}'], sep: ' '}}
outputs: {text: '{{ join.text }}'}
";

#[test]
fn a_network_runs_its_blueprints_one_after_the_other() {
    let home = Home::new();
    home.write("hello.yaml", HELLO);
    let network = "
api_version: network.v1
name: greetings
inputs: {required: [who]}
workflows:
  - {id: first, ref: ./hello.yaml, inputs: {who: '{{ who }}'}}
  - {id: second, ref: ./hello.yaml, after: [first], inputs: {who: '{{ first.text }}'}}
outputs: {text: '{{ second.text }}'}
";
    let file = home.write("network.yaml", network);
    let checked = home.run(&["run-network", &file, "--check", "--json"]).exits(0).json();
    assert_eq!((&checked["network"], &checked["members"]), (&json!("greetings"), &json!(2)));
    let tape = home.file("tape.jsonl");
    let (events, result) = home.run(&["run-network", &file, "--input", "who=bob", "--record", &tape]).exits(0).lines();
    assert_eq!(result["outputs"]["text"], "hello hello bob");
    assert_eq!(events.last().map(|event| &event["event"]), Some(&json!("execution_finished")));
    let (_, again) = home.run(&["run-network", &file, "--input", "who=bob", "--replay", &tape]).exits(0).lines();
    assert_eq!(again["outputs"], result["outputs"]);
    let shown = on_a_terminal(&home, &["TERM=xterm", "NO_COLOR=1"], &format!("run-network {file} --input who=bob"));
    assert!(shown.contains("✓ first") && shown.contains("✓ second"), "a tree: {shown}");
    home.write("network.yaml", network.replace("./hello.yaml", "./gone.yaml"));
    assert!(home.run(&["run-network", &file, "--check"]).exits(2).err.contains("gone.yaml"));
    // What only planning finds has the line of the network.
    home.write("network.yaml", network.replace("{who: '{{ who }}'}", "{whom: '{{ who }}'}"));
    let refused = home.run(&["run-network", &file, "--check"]).exits(2);
    assert!(refused.err.contains(&format!("{file}:6:")) && refused.err.contains("`whom`"), "{}", refused.err);
}

#[test]
fn what_ice_new_begins_is_checked_run_and_scheduled() {
    let home = Home::empty();
    let out = home.file("flows");
    let made = home.run(&["new", "network", "evening", "--out", &out, "--json"]).exits(0).json();
    let file = made["files"][0].as_str().unwrap().to_owned();
    home.run(&["run-network", &file, "--check"]).exits(0);
    let (_, ran) = home.run(&["run-network", &file, "--json"]).exits(0).lines();
    assert_eq!(ran["status"], "completed", "{ran}");
    assert!(ran["outputs"].as_object().is_some_and(|outputs| !outputs.is_empty()), "{ran}");
    // The example in the comment is one.
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("    # schedule: "), "{text}");
    std::fs::write(&file, text.replace("    # schedule: ", "    schedule: ")).unwrap();
    let rows = home.run(&["run-network", &file, "--schedule", "--json"]).exits(0).json();
    assert_eq!(names(&rows), ["evening.second"]);
}

const PLANNED: &str = "
api_version: network.v1
name: news
inputs: {required: [who]}
members:
  - {id: first, blueprint: hello.yaml, inputs: {who: '{{ who }}'}, schedule: {cron: '@daily', inputs: {who: ann}}}
  - {id: second, blueprint: hello.yaml, inputs: {who: '{{ who }}'}, schedule: {cron: '@weekly', inputs: {who: ann}, enabled: false}}
schedules:
  - {cron: '@hourly', inputs: {who: bob}}
";

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["schedule"]["name"].as_str().unwrap()).collect()
}

#[test]
fn applying_a_network_again_keeps_pauses_and_removes_what_is_gone() {
    let home = Home::new();
    home.write("hello.yaml", HELLO);
    let file = home.write("news.yaml", PLANNED);
    let apply = ["run-network", &file, "--schedule", "--json"];
    let rows = home.run(&apply).exits(0).json();
    assert_eq!(names(&rows), ["news.first", "news.second", "news"]);
    assert_eq!((&rows[0]["paused"], &rows[1]["paused"]), (&json!(false), &json!(true)), "as the file says");
    let ran = home.run(&["schedules", "run-now", "news", "--json"]).exits(0);
    assert!(ran.out.contains("hello bob"), "{}", ran.out);
    home.run(&["schedules", "pause", "news.first"]).exits(0);

    // A mistake in one of them changes none of them.
    home.write("news.yaml", PLANNED.replace("@hourly", "@daily").replace("{who: bob}", "{whom: bob}"));
    let refused = home.run(&apply).exits(1).json();
    assert_eq!(refused["problems"][0]["code"], "ICE-X006", "{refused}");
    let listed = home.run(&["schedules", "list", "--json"]).exits(0).json();
    assert_eq!(listed[0]["schedule"]["when"]["cron"], "@hourly", "{listed}");

    // The pause was a person's and stays; the one the file had off runs when the file says so.
    home.write("news.yaml", PLANNED.replace(", enabled: false", ""));
    let rows = home.run(&apply).exits(0).json();
    assert_eq!((&rows[0]["paused"], &rows[1]["paused"]), (&json!(true), &json!(false)), "{rows}");
    let shorter: String =
        PLANNED.lines().filter(|line| !line.contains("id: second")).map(|line| format!("{line}\n")).collect();
    home.write("news.yaml", shorter);
    home.run(&apply).exits(0);
    let listed = home.run(&["schedules", "list", "--json"]).exits(0).json();
    assert_eq!(names(&listed), ["news", "news.first"]);
    home.run(&["schedules", "resume", "news.first"]).exits(0);
}
