//! `ice schedules`: adding, looking, running, pausing. Times that come are in `serve.rs`.

use serde_json::json;

use crate::home::Home;
use crate::networks::HELLO;

#[test]
fn a_schedule_is_added_looked_at_run_paused_and_removed() {
    let home = Home::new();
    let file = home.write("hello.yaml", HELLO);
    let add = ["schedules", "add", "morning", &file, "--cron", "0 7 * * 1-5", "--tz", "Europe/Oslo"];
    let add = [&add[..], &["--input", "who=bob", "--json"]].concat();
    home.run(&add).exits(0);
    let next = home.run(&["schedules", "next", "morning", "-n", "3", "--json"]).exits(0).json();
    assert_eq!(next.as_array().map(Vec::len), Some(3), "{next}");
    assert!(home.run(&["schedules", "list"]).exits(0).out.contains("morning"));
    let ran = home.run(&["schedules", "run-now", "morning", "--json"]).exits(0);
    assert_eq!(ran.lines().1["outputs"]["text"], "hello bob", "{}", ran.out);
    home.run(&["schedules", "serve", "--once"]).exits(0);
    home.run(&["schedules", "pause", "morning"]).exits(0);
    assert!(home.run(&["schedules", "list"]).exits(0).out.contains("next paused"));
    // Adding it again, as whoever sets a host up does, does not undo a person's pause.
    assert_eq!(home.run(&add).exits(0).json()["paused"], true);
    let resumed = home.run(&["schedules", "resume", "morning", "--json"]).exits(0).json();
    assert_eq!(resumed["paused"], false, "{resumed}");
    // What was added runs, whatever the file becomes.
    std::fs::write(&file, "nodes: []").unwrap();
    home.run(&["schedules", "run-now", "morning"]).exits(0);
    home.run(&["schedules", "remove", "morning"]).exits(0);
    let gone = home.run(&["schedules", "show", "morning", "--json"]).exits(1).json();
    assert_eq!(gone["problems"][0]["code"], "ICE-X025", "{gone}");
}

#[test]
fn what_could_never_run_is_not_added() {
    let home = Home::new();
    let file = home.write("hello.yaml", HELLO);
    let add = |more: &[&str]| home.run(&[&["schedules", "add", "x", "--json"], more].concat());
    for (more, exit, code) in [
        (&[&file, "--cron", "61 7 * * *"][..], 2, "ICE-B028"),
        (&[&file, "--cron", "@daily", "--tz", "Europe/Osslo"], 2, "ICE-B029"),
        (&[&file, "--cron", "@daily", "--overlap", "quue"], 2, "ICE-C001"),
        (&[&file, "--cron", "@daily"], 1, "ICE-X006"),
        (&["hello@^1", "--cron", "@daily"], 2, "ICE-R001"),
    ] {
        let refused = add(more).exits(exit).json();
        assert_eq!(refused["problems"][0]["code"], code, "{refused}");
    }
    for amount in ["1e3", "-1", "0.1234567", "much"] {
        add(&[&file, "--cron", "@daily", "--budget-usd", amount]).exits(2);
    }
    assert_eq!(home.run(&["schedules", "list", "--json"]).exits(0).json(), json!([]));
}

#[test]
fn a_name_means_what_it_finds_at_each_time() {
    let home = Home::new();
    let file = home.write("hello.yaml", HELLO);
    home.run(&["blueprints", "push", &file, "--name", "hello", "--version", "1.0.0"]).exits(0);
    let add = ["schedules", "add", "greet", "hello@^1", "--cron", "@daily", "--input", "who=bob"];
    let row = home.run(&[&add[..], &["--budget-usd", "0.30", "--json"]].concat()).exits(0).json();
    assert_eq!(
        (&row["schedule"]["blueprint"], &row["schedule"]["budget"]),
        (&json!("hello@^1"), &json!({"micro_usd": 300_000}))
    );
    let said = |word: &str| {
        let ran = home.run(&["schedules", "run-now", "greet", "--json"]).exits(0);
        assert!(ran.out.contains(&format!("{word} bob")), "{}", ran.out);
    };
    said("hello");
    home.write("hello.yaml", HELLO.replace("'hello'", "'howdy'"));
    home.run(&["blueprints", "push", &file, "--name", "hello", "--version", "1.1.0"]).exits(0);
    said("howdy");
    // An id means that very document.
    let id = home.run(&["blueprints", "list", "--json"]).exits(0).json()[0]["digest"].as_str().map(str::to_owned);
    let id = id.unwrap_or_else(|| panic!("{}", home.run(&["blueprints", "list", "--json"]).out));
    let row =
        home.run(&["schedules", "add", "pinned", &id, "--cron", "@daily", "-i", "who=bob", "--json"]).exits(0).json();
    assert_eq!(row["schedule"]["blueprint"], id.as_str());
    for version in ["1.0.0", "1.1.0"] {
        home.run(&["blueprints", "rm", &format!("hello@{version}")]).exits(0);
    }
    let gone = home.run(&["schedules", "run-now", "greet", "--json"]).exits(1).json();
    assert_eq!(gone["problems"][0]["code"], "ICE-X009", "{gone}");
}
