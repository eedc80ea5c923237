//! `ice run`: what it takes, what a program reads, what a person watches.

use serde_json::{Value, json};

use crate::home::Home;

const HELLO: &str = "
inputs: {required: [who]}
nodes:
  - {id: join, type: tool, tool_name: aggregator_concat, tool_args: {inputs: ['hello', '{{ who }}'], sep: ' '}}
outputs: {text: '{{ join.text }}'}
";

fn home_with(document: &str) -> (Home, String) {
    let home = Home::new();
    let file = home.file("hello.yaml");
    std::fs::write(&file, document).unwrap();
    (home, file)
}

/// The lines of a run that a program reads: events, and the result as the last one.
fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_program_reads_every_event_and_then_the_result() {
    let (home, file) = home_with(HELLO);
    let lines = lines(&home.run(&["run", &file, "--input", "who=bob"]).exits(0).out);
    let (result, events) = lines.split_last().unwrap();
    assert_eq!((&result["status"], &result["outputs"]), (&json!("completed"), &json!({ "text": "hello bob" })));
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=u64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(events[0]["event"], "execution_started");
    assert_eq!(events.last().unwrap()["event"], "execution_finished");
    let quiet = home.run(&["run", &file, "--input", "who=bob", "--quiet"]).exits(0);
    assert_eq!(quiet.json()["outputs"]["text"], "hello bob", "with --quiet the result alone");
}

#[test]
fn the_last_run_is_run_again_with_other_inputs_from_any_folder() {
    let (home, file) = home_with(HELLO);
    assert!(home.run(&["run", "--last"]).exits(2).err.contains("nothing was run here yet"));
    home.run(&["run", &file, "--input", "who=bob"]).exits(0);
    let again = |args: &[&str]| {
        let ran = home.ice().current_dir("/").args(args).output().unwrap();
        let out = String::from_utf8(ran.stdout).unwrap();
        lines(&out).pop().unwrap()["outputs"]["text"].clone()
    };
    assert_eq!(again(&["run", "--last"]), "hello bob");
    assert_eq!(again(&["run", "--last", "--input", "who=eve"]), "hello eve");
    assert_eq!(again(&["run", "--last"]), "hello eve", "which is now the last");
}

#[test]
fn bundles_entries_and_stored_blueprints_have_names() {
    let (home, file) = home_with(HELLO);
    for name in ["getting_started", "iceos/getting_started"] {
        let result = lines(&home.run(&["run", name]).exits(0).out).pop().unwrap();
        assert_eq!(result["status"], "completed", "{name}");
    }
    let first = lines(&home.run(&["run", &file, "--input", "who=bob"]).exits(0).out);
    let digest = first[0]["blueprint"].as_str().unwrap().to_owned();
    std::fs::remove_file(&file).unwrap();
    let result = lines(&home.run(&["run", &digest, "--input", "who=ann"]).exits(0).out).pop().unwrap();
    assert_eq!(result["outputs"]["text"], "hello ann");
    let unknown = home.run(&["run", "geting_started"]).exits(2);
    assert!(unknown.err.contains("did you mean"), "{}", unknown.err);
    assert!(home.run(&["run", "nowhere.yaml"]).exits(2).err.contains("nowhere.yaml"));
    assert!(home.run(&["run"]).exits(2).err.contains("<BLUEPRINT>"));
}

#[test]
fn a_budget_given_here_is_kept() {
    let paid = "
nodes:
  - {id: ask, type: llm, prompt: 'a question', llm_config: {provider: echo, model: priced, max_tokens: 1000}}
outputs: {text: '{{ ask.text }}'}
";
    let (home, file) = home_with(paid);
    let prices = "[[price]]\nmodel = 'echo/priced'\ninput = 1\noutput = 10\nas_of = '2026-11-01'\nsource = 'a test'\n";
    std::fs::write(home.file("prices.toml"), prices).unwrap();
    home.set("llm", &format!("prices = {:?}", home.file("prices.toml")));
    let refused = home.run(&["run", &file, "--budget-usd", "0.001"]).exits(1);
    assert!(refused.err.contains("ICE-X005"), "{}", refused.err);
    let result = lines(&home.run(&["run", &file, "--budget-usd", "1"]).exits(0).out).pop().unwrap();
    let usage = &result["usage"];
    let tokens = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(tokens("cost_micro_usd"), tokens("input_tokens") + 10 * tokens("output_tokens"), "{usage}");
}

#[test]
fn a_person_sees_a_tree_and_the_terminal_is_left_as_it_was() {
    let (home, file) = home_with(HELLO);
    let ice = env!("CARGO_BIN_EXE_ice");
    // `script` gives the command a terminal of its own.
    let command = format!("stty rows 24 cols 80; {ice} run {file} --input who=bob");
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env("ICE_HOME", home.path());
    let ran = script.env("LANG", "C.UTF-8").env("TERM", "xterm").output();
    let ran = ran.unwrap_or_else(|error| panic!("`script` is missing: install bsdutils ({error})"));
    let seen = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{seen}");
    assert!(seen.contains('✔') && seen.contains("join") && seen.contains("completed, "), "{seen}");
    assert!(seen.contains("hello bob"), "{seen}");
    assert_eq!(seen.matches("\x1b[?25l").count(), seen.matches("\x1b[?25h").count(), "the cursor is back: {seen:?}");
}
