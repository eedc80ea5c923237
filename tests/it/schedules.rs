//! Networks, and blueprints that run at certain times.

use serde_json::json;

use crate::home::Home;
use crate::run::on_a_terminal;

const HELLO: &str = "
inputs: {required: [who]}
nodes:
  - {id: join, type: tool, tool_name: aggregator_concat, tool_args: {inputs: ['hello', '{{ who }}'], sep: ' '}}
outputs: {text: '{{ join.text }}'}
";

#[test]
fn a_network_runs_its_blueprints_one_after_the_other() {
    let home = Home::new();
    std::fs::write(home.file("hello.yaml"), HELLO).unwrap();
    let network = "
api_version: network.v1
name: greetings
inputs: {required: [who]}
workflows:
  - {id: first, ref: ./hello.yaml, inputs: {who: '{{ who }}'}}
  - {id: second, ref: ./hello.yaml, after: [first], inputs: {who: '{{ first.text }}'}}
outputs: {text: '{{ second.text }}'}
";
    let file = home.file("network.yaml");
    std::fs::write(&file, network).unwrap();
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
    std::fs::write(&file, network.replace("./hello.yaml", "./gone.yaml")).unwrap();
    assert!(home.run(&["run-network", &file, "--check"]).exits(2).err.contains("gone.yaml"));
}

#[test]
fn a_schedule_is_added_looked_at_run_paused_and_removed() {
    let home = Home::new();
    let file = home.file("hello.yaml");
    std::fs::write(&file, HELLO).unwrap();
    let add = ["schedules", "add", "morning", &file, "--cron", "0 7 * * 1-5", "--tz", "Europe/Oslo"];
    home.run(&[&add[..], &["--input", "who=bob"]].concat()).exits(0);
    // What was added runs, whatever the file becomes.
    std::fs::write(&file, "nodes: []").unwrap();
    let next = home.run(&["schedules", "next", "morning", "-n", "3", "--json"]).exits(0).json();
    assert_eq!(next.as_array().map(Vec::len), Some(3), "{next}");
    assert!(home.run(&["schedules", "list"]).exits(0).out.contains("morning"));
    let ran = home.run(&["schedules", "run-now", "morning", "--json"]).exits(0);
    assert_eq!(ran.lines().1["outputs"]["text"], "hello bob", "{}", ran.out);
    home.run(&["schedules", "serve", "--once"]).exits(0);
    home.run(&["schedules", "pause", "morning"]).exits(0);
    home.run(&["schedules", "resume", "morning"]).exits(0);
    home.run(&["schedules", "remove", "morning"]).exits(0);
    assert_ne!(home.run(&["schedules", "show", "morning"]).code, Some(0));
    let wrong = home.run(&["schedules", "add", "x", &file, "--cron", "61 7 * * *"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
}
