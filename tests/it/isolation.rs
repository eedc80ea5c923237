//! Executions know nothing of each other.

use serde_json::json;

use crate::home::Home;

const BLUEPRINT: &str = r#"
schema_version: "1.2.0"
inputs: { type: object, required: [who], properties: { who: { type: string } } }
nodes:
  - id: write
    type: tool
    tool_name: writer_tool
    tool_args: { notes: "hello {{ inputs.who }}", style: concise }
  - id: ask
    type: llm
    dependencies: [write]
    llm_config: { model: default }
    prompt: "{{ write.summary }}"
outputs: { summary: "{{ write.summary }}", text: "{{ ask.text }}" }
"#;

#[test]
fn the_same_blueprint_twice_gives_the_same_output_and_another_id() {
    let home = Home::new();
    let file = home.path().join("b.yaml");
    std::fs::write(&file, BLUEPRINT).unwrap();
    let run = || home.run(&["run-blueprint", file.to_str().unwrap(), "-i", "who=bob", "--json"]).exits(0).json();
    let (first, second) = (run(), run());
    assert_eq!(first["outputs"], second["outputs"]);
    assert_eq!(first["outputs"]["summary"], "[concise] hello bob");
    assert_ne!(first["execution_id"], second["execution_id"]);
}

#[test]
fn fifty_processes_at_once_each_see_their_own_inputs() {
    let home = Home::new();
    let file = home.path().join("b.yaml");
    std::fs::write(&file, BLUEPRINT).unwrap();
    let children: Vec<_> = (0..50)
        .map(|number| {
            let child = home
                .ice()
                .args(["run-blueprint", file.to_str().unwrap(), "--json", "-i", &format!("who=guest-{number}-end")])
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            (number, child)
        })
        .collect();
    for (number, child) in children {
        let ran = crate::home::Ran::from(child.wait_with_output().unwrap()).exits(0);
        assert_eq!(ran.json()["outputs"]["summary"], json!(format!("[concise] hello guest-{number}-end")));
    }
    let listed = home.run(&["executions", "list", "--limit", "100", "--json"]).exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 50);
}
