//! Manners of the command line: exit codes, streams, bad input, an unfriendly machine.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::home::{Home, Ran};

#[test]
fn a_bad_blueprint_gets_every_problem_at_once_with_line_column_and_help() {
    let home = Home::new();
    let file = home.path().join("bad.yaml");
    std::fs::write(
        &file,
        "schema_version: '1.2.0'\nnodes:\n  - id: a\n    type: tol\n  - id: b\n    type: tool\n    tool_name: writer_tol\n    dependencies: [c]\n",
    )
    .unwrap();
    let ran = home.run(&["run-blueprint", file.to_str().unwrap()]).exits(2);
    assert_eq!(ran.out, "");
    assert!(ran.err.matches("error[ICE-B").count() >= 3, "{}", ran.err);
    for expected in ["bad.yaml:4:", "bad.yaml:7:", "`tool`", "`writer_tool`", "help:"] {
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
    }
    let ran = home.run(&["run-blueprint", file.to_str().unwrap(), "--json"]).exits(2);
    assert!(ran.json()["problems"].as_array().unwrap().len() >= 3);
    assert_eq!(ran.err, "");
}

#[test]
fn a_blueprint_that_waits_for_a_person_says_so() {
    let home = Home::new();
    let file = home.path().join("b.yaml");
    std::fs::write(&file, "schema_version: '1.2.0'\nnodes: [{ id: h, type: human, prompt_message: Ship it? }]\n")
        .unwrap();
    let ran = home.run(&["run-blueprint", file.to_str().unwrap()]).exits(0);
    assert!(ran.out.contains("Ship it?") && ran.out.contains("ice waits answer "), "{}", ran.out);
}

#[test]
fn a_blueprint_is_read_from_standard_input() {
    let home = Home::new();
    let mut child =
        home.ice().args(["run-blueprint", "-", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let blueprint = "schema_version: '1.2.0'\nnodes: [{ id: w, type: tool, tool_name: writer_tool, tool_args: { notes: hi } }]\noutputs: { s: '{{ w.summary }}' }\n";
    child.stdin.take().unwrap().write_all(blueprint.as_bytes()).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap()).exits(0);
    assert_eq!(ran.json()["outputs"]["s"], "[concise] hi");
}

#[test]
fn without_home_the_help_says_what_to_set() {
    let home = Home::empty();
    let output =
        home.ice().env_remove("ICE_HOME").env("HOME", "/dev/null/nowhere").args(["executions", "list"]).output();
    let ran = Ran::from(output.unwrap()).exits(2);
    assert!(ran.err.contains("/dev/null/nowhere/.iceos") && ran.err.contains("ICE_HOME"), "{}", ran.err);
}

#[test]
fn a_home_that_is_a_file_or_cannot_be_written_is_a_clear_problem() {
    let home = Home::empty();
    let file = home.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let ran = Ran::from(home.ice().env("ICE_HOME", &file).args(["executions", "list"]).output().unwrap()).exits(2);
    assert!(ran.err.contains("error[ICE-C"), "{}", ran.err);

    let closed = home.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    let output = home.ice().env("ICE_HOME", closed.join("inner")).args(["executions", "list"]).output().unwrap();
    let ran = Ran::from(output);
    // Root may write everywhere; everybody else gets the problem.
    assert!(ran.code == Some(0) || (ran.code == Some(2) && ran.err.contains("closed")), "{}", ran.err);
}

#[test]
fn a_home_with_bytes_that_are_no_text_is_no_panic() {
    let home = Home::empty();
    let odd = home.path().join(OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir(&odd).unwrap();
    let ran = Ran::from(home.ice().env("ICE_HOME", &odd).args(["executions", "list"]).output().unwrap()).exits(2);
    assert!(ran.err.contains("error[ICE-C040]") && ran.err.contains("UTF-8"), "{}", ran.err);
    Ran::from(home.ice().env("ICE_HOME", &odd).args(["trust", "list"]).output().unwrap()).exits(0);
}

#[test]
fn a_full_disk_ends_without_panic() {
    let home = Home::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = home.ice().args(["list"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let home = Home::new();
    let mut child = home.ice().args(["list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(ran.stderr).unwrap(), "");
}

#[test]
fn closed_standard_streams_are_no_panic() {
    let home = Home::new();
    let line = format!("{} list <&- 2>&-", env!("CARGO_BIN_EXE_ice"));
    let output = std::process::Command::new("sh").args(["-c", &line]).env("ICE_HOME", home.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_wrong_setting_names_file_line_and_key() {
    let home = Home::empty();
    std::fs::write(home.path().join("ice.toml"), "[llm]\nmodell = \"x\"\n").unwrap();
    let ran = home.run(&["executions", "list"]).exits(2);
    assert!(ran.err.contains("ice.toml:2") && ran.err.contains("modell"), "{}", ran.err);
    let ran = Ran::from(
        home.ice()
            .env("ICE_SANDBOX_TOOL_MEMORY_MB", "lots")
            .args(["--config", "/dev/null", "doctor"])
            .output()
            .unwrap(),
    );
    assert!(ran.exits(2).err.contains("ICE_SANDBOX_TOOL_MEMORY_MB"));
}

#[test]
fn a_file_in_the_current_folder_cannot_grant_anything() {
    let home = Home::new();
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("ice.toml"), "[grants.\"iceos/web\"]\nhttp = [\"* https://evil.example/*\"]\n")
        .unwrap();
    let output = home.ice().current_dir(here.path()).args(["plugins", "grants", "iceos/web"]).output().unwrap();
    assert!(!Ran::from(output).exits(0).out.contains("evil.example"));
}

#[test]
fn help_version_and_completions_go_to_standard_output() {
    let home = Home::empty();
    for args in [&["--help"][..], &["--version"], &["completions", "bash"], &["bundle", "run", "--help"]] {
        let ran = home.run(args).exits(0);
        assert!(!ran.out.is_empty() && ran.err.is_empty(), "{args:?}");
    }
    for command in ["bundle run", "new", "schemas", "schemas export", "schemas import", "schemas check"] {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        assert!(home.run(&args).out.contains(&format!("Example: ice {command}")), "{command}");
    }
    home.run(&["no-such-command"]).exits(2);
    home.run(&[]).exits(2);
}

#[test]
fn doctor_finds_everything_in_order_and_names_the_fix_where_it_is_not() {
    let home = Home::new();
    let report = home.run(&["doctor", "--json"]).json();
    for check in ["home", "store", "trust", "plugins", "disk", "versions"] {
        let found = report["checks"].as_array().unwrap().iter().find(|entry| entry["name"] == check);
        assert_eq!(found.unwrap_or_else(|| panic!("{check}: {report}"))["ok"], true, "{report}");
    }
    let empty = Home::empty();
    let ran = empty.run(&["doctor"]);
    assert!(ran.out.contains("ice keys"), "says what to do: {}", ran.out);
}

#[test]
fn a_plugin_without_a_grant_is_refused_with_the_command_that_allows_it() {
    let home = Home::new();
    home.run(&["plugins", "grant", "iceos/web", "http="]).exits(0);
    let file = home.path().join("b.yaml");
    std::fs::write(
        &file,
        "schema_version: '1.2.0'\nnodes: [{ id: g, type: tool, tool_name: http_get, tool_args: { url: 'https://api.example.com/' } }]\n",
    )
    .unwrap();
    let ran = home.run(&["run-blueprint", file.to_str().unwrap()]).exits(3);
    assert!(ran.err.contains("error[ICE-G"), "{}", ran.err);
    assert!(ran.err.contains("ice plugins grant web") && ran.err.contains("api.example.com"), "{}", ran.err);
}
