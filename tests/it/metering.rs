//! What was used, out of the events: complete, the same every time, and the same sum as elsewhere.

use serde_json::{Value, json};

use crate::home::{Home, Ran};
use crate::servers::Server;

/// A model with a price, at an address of the test.
fn priced(home: &Home) -> Server {
    let server = Server::start(|_, _| {
        let answer = json!({ "answer": "Ingrid Solheim built it.", "citations": [] }).to_string();
        let body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
            "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": answer } }],
            "usage": { "prompt_tokens": 120, "completion_tokens": 20, "total_tokens": 140 },
        });
        (200, "application/json", body.to_string())
    });
    let prices = home.path().join("prices.toml");
    let rows = "[[price]]\nmodel = \"openai/gpt-4o-mini\"\ninput = 1.0\noutput = 10.0\n\
        as_of = \"2026-11-20\"\nsource = \"this test\"\n";
    std::fs::write(&prices, rows).unwrap();
    home.set("llm", &format!("prices = \"{}\"", prices.display()));
    server
}

/// Asks chatkit; returns the id of the execution.
fn ask(home: &Home, server: &Server) -> String {
    let mut command = home.ice();
    command.env("OPENAI_API_KEY", "sk-test-0123456789abcdef").env("OPENAI_BASE_URL", format!("{}/v1", server.url()));
    command.args(["bundle", "run", "chatkit", "--file", "plugins/bundles/chatkit/examples/tiny_docs.md"]);
    command.args(["--query", "Who built the lighthouse at Skarvik?", "--session", "s1", "--json"]);
    let ran = Ran::from(command.output().unwrap()).exits(0).json();
    ran["execution_id"].as_str().unwrap().to_owned()
}

fn export(home: &Home, more: &[&str]) -> Ran {
    home.run(&[&["metering", "export"], more].concat()).exits(0)
}

fn records(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sum(records: &[Value], member: &str) -> u64 {
    records.iter().map(|record| record[member].as_u64().unwrap()).sum()
}

#[test]
fn the_records_of_an_execution_add_up_to_what_it_cost() {
    let home = Home::new();
    let server = priced(&home);
    let id = ask(&home, &server);
    let exported = export(&home, &["--execution", &id]);
    let records = records(&exported);
    let shown = home.run(&["executions", "show", &id, "--json"]).exits(0).json();
    let usage = &shown["usage"];
    assert_eq!(usage["cost_micro_usd"], 320, "{usage}");
    for (member, of) in [
        ("micro_usd", "cost_micro_usd"),
        ("prompt_tokens", "input_tokens"),
        ("completion_tokens", "output_tokens"),
        ("unpriced_calls", "unpriced_calls"),
    ] {
        assert_eq!(json!(sum(&records, member)), usage[of], "{member}: {}", exported.out);
    }

    let calls: Vec<&Value> = records.iter().filter(|record| record["kind"] == "component").collect();
    assert!(!calls.is_empty(), "{}", exported.out);
    for call in &calls {
        assert!(call["plugin"].as_str().is_some_and(|plugin| plugin.starts_with("iceos/")), "{call}");
        assert!(
            ["version", "component", "artifact", "statement"].iter().all(|member| call[member].is_string()),
            "{call}"
        );
        assert!(call["cpu_ms"].as_f64().unwrap() > 0.0 && call["memory_bytes"].as_u64().unwrap() > 0, "{call}");
        assert_eq!((&call["org"], &call["status"], &call["calls"]), (&json!("local"), &json!("finished"), &json!(1)));
    }
    let installed = home.run(&["list", "--json"]).exits(0).json();
    let of = |plugin: &Value| installed.as_array().unwrap().iter().find(|row| row["name"] == *plugin).unwrap().clone();
    assert!(calls.iter().all(|call| of(&call["plugin"])["statement"] == call["statement"]));
    let models: Vec<&Value> = records.iter().filter(|record| record["kind"] == "model").collect();
    assert!(models.iter().any(|record| record["model"].as_str().is_some_and(|model| model.starts_with("openai/"))));
    assert!(exported.err.contains("140 tokens, 0.000320 USD"), "totals go to standard error: {}", exported.err);
}

#[test]
fn a_child_execution_is_counted_once() {
    let home = Home::new();
    let server = priced(&home);
    let file = home.path().join("parent.yaml");
    let blueprint = "schema_version: '1.2.0'\nnodes:\n  \
        - { id: first, type: llm, prompt: Who?, llm_config: { provider: openai, model: gpt-4o-mini } }\n  \
        - { id: child, type: workflow, workflow_ref: chatkit.rag_chat, dependencies: [first],\n      \
            inputs: { query: 'Who built it?', session_id: s2, files: [{ name: a.md, media_type: text/markdown, text: Ingrid built it. }] } }\n";
    std::fs::write(&file, blueprint).unwrap();
    let mut command = home.ice();
    command.env("OPENAI_API_KEY", "sk-test-0123456789abcdef").env("OPENAI_BASE_URL", format!("{}/v1", server.url()));
    let ran = Ran::from(command.args(["run-blueprint", file.to_str().unwrap(), "--json"]).output().unwrap()).exits(0);
    let id = ran.json()["execution_id"].as_str().unwrap().to_owned();
    let shown = home.run(&["executions", "show", &id, "--json"]).exits(0).json();
    assert_eq!(shown["usage"]["cost_micro_usd"], 640, "one question each: {}", shown["usage"]);
    for more in [&["--execution", id.as_str()][..], &[]] {
        let records = records(&export(&home, more));
        assert_eq!(sum(&records, "micro_usd"), 640, "{records:?}");
        let executions: std::collections::BTreeSet<_> =
            records.iter().map(|record| &record["execution"]).map(Value::to_string).collect();
        assert_eq!(executions.len(), 2, "{records:?}");
    }
}

#[test]
fn an_export_is_the_same_every_time_and_can_be_cut_by_time_and_org() {
    let home = Home::new();
    let server = priced(&home);
    ask(&home, &server);
    let first = export(&home, &[]);
    ask(&home, &server);
    let both = export(&home, &[]);
    assert_eq!(export(&home, &[]).out, both.out, "byte by byte");
    assert!(both.out.starts_with(&first.out), "what was exported before is there again");
    let all = records(&both);
    let ids: std::collections::BTreeSet<&str> = all.iter().map(|record| record["record"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "no two records have the same id");

    // From the first record of the second execution on.
    let cut = all[records(&first).len()..].iter().map(|record| record["at"].as_str().unwrap()).min().unwrap();
    let later = export(&home, &["--since", cut]);
    let earlier = export(&home, &["--until", cut]);
    assert!(records(&later).len() >= all.len() - records(&first).len());
    assert!(records(&later).iter().all(|record| record["at"].as_str().unwrap() >= cut), "{}", later.out);
    assert!(records(&earlier).iter().all(|record| record["at"].as_str().unwrap() < cut), "{}", earlier.out);
    assert_eq!(records(&later).len() + records(&earlier).len(), all.len(), "no record is in both or in none");
    assert_eq!(export(&home, &["--since", "2100-01-01T00:00:00Z"]).out, "");
    assert_eq!(export(&home, &["--org", "local"]).out, both.out);
    assert_eq!(export(&home, &["--org", "somebody"]).out, "");

    let file = home.path().join("records.jsonl");
    let written = export(&home, &["--out", file.to_str().unwrap()]);
    assert_eq!((written.out.as_str(), std::fs::read_to_string(&file).unwrap()), ("", both.out.clone()));

    let rows = home.run(&["metering", "summary", "--json"]).exits(0).json();
    let rows = rows.as_array().unwrap();
    assert_eq!(sum(rows, "micro_usd"), sum(&all, "micro_usd"));
    assert_eq!(sum(rows, "calls") + sum(rows, "model_calls"), all.len() as u64);
    let table = home.run(&["metering", "summary"]).exits(0);
    assert!(table.out.contains("iceos/memory") && table.out.lines().count() == rows.len() + 1, "{}", table.out);
}

#[test]
fn what_was_sent_and_every_failed_call_is_metered() {
    let home = Home::new();
    let bin = Server::start(|_, before| match before {
        0 => (500, "application/json", "{}".into()),
        _ => (201, "application/json", "{}".into()),
    });
    home.run(&["plugins", "grant", "iceos/web", &format!("http=POST {}/*", bin.url())]).exits(0);
    home.set("egress", &format!("allow_private = [\"127.0.0.1:{}\"]", bin.port));
    let items = "plugins/bundles/seller_assistant/examples/items.csv";
    let url = format!("post_url={}/listings", bin.url());
    home.run(&["bundle", "run", "seller_assistant", "--file", items, "--input", &url, "--json"]);
    let all = records(&export(&home, &[]));
    let sent: Vec<Value> = all.into_iter().filter(|record| record["plugin"] == "iceos/web").collect();
    assert_eq!(sum(&sent, "http_requests"), bin.received().len() as u64, "{sent:?}");
    assert!(sent.iter().all(|record| record["egress_bytes"].as_u64().unwrap() > 0), "{sent:?}");
    assert!(sent.iter().any(|record| record["status"] != "finished"), "the call that failed is there: {sent:?}");
}

#[test]
fn what_cannot_be_exported_is_said_with_its_exit_code() {
    let home = Home::new();
    let ran = home.run(&["metering", "export", "--since", "yesterday"]).exits(2);
    assert!(ran.err.contains("2026-11-20T00:00:00Z"), "{}", ran.err);
    let ran = home.run(&["metering", "export", "--execution", "nobody"]).exits(1);
    assert!(ran.err.contains("there is no execution `nobody`") && ran.out.is_empty(), "{}", ran.err);
    let ran = home.run(&["metering", "export", "--out", "/nowhere/at/all.jsonl"]).exits(2);
    assert!(ran.err.contains("error[ICE-C002]"), "{}", ran.err);
}
