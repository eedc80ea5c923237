//! With a key and a base URL the same command asks the model. The server speaks the OpenAI wire format.

use serde_json::{Value, json};

use crate::home::Home;
use crate::servers::{Reply, Server};

fn completion(content: &str) -> Reply {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": content } }],
        "usage": { "prompt_tokens": 120, "completion_tokens": 20, "total_tokens": 140 },
    });
    (200, "application/json", body.to_string())
}

fn ask(home: &Home, server: &Server, more: &[&str]) -> crate::home::Ran {
    let mut command = home.ice();
    command.env("OPENAI_API_KEY", "sk-test-0123456789abcdef").env("OPENAI_BASE_URL", format!("{}/v1", server.url()));
    command.args(["bundle", "run", "chatkit", "--file", "plugins/bundles/chatkit/examples/tiny_docs.md"]);
    command.args(["--query", "Who built the lighthouse at Skarvik?", "--session", "s1", "--json"]).args(more);
    crate::home::Ran::from(command.output().unwrap())
}

#[test]
fn the_model_answers_and_its_quotes_are_checked() {
    let server = Server::start(|_, _| {
        completion(
            &json!({
                "answer": "Ingrid Solheim built it in 1871.",
                "citations": [
                    { "id": 1, "quote": "The lighthouse at Skarvik was built in 1871 by the engineer Ingrid Solheim." },
                    { "id": 1, "quote": "This sentence is in no document." },
                ],
            })
            .to_string(),
        )
    });
    let home = Home::new();
    let result = ask(&home, &server, &[]).exits(0).json();
    let outputs = &result["outputs"];
    assert_eq!(outputs["answer"], "Ingrid Solheim built it in 1871.", "{result}");
    assert_eq!(outputs["offline"], false);
    assert_eq!(outputs["citations"].as_array().unwrap().len(), 1, "an invented quote is dropped: {result}");
    assert_eq!(
        (&result["usage"]["input_tokens"], &result["usage"]["output_tokens"]),
        (&json!(120), &json!(20)),
        "{result}"
    );
    assert_eq!(
        result["usage"]["unpriced_calls"], 1,
        "built-in prices do not hold at an address of one's own: {result}"
    );

    let requests = server.received();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/v1/chat/completions"));
    let authorization = requests[0].headers.iter().find(|(name, _)| name == "authorization").unwrap();
    assert_eq!(authorization.1, "Bearer sk-test-0123456789abcdef");
    let body: Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(body["model"], "gpt-4o-mini", "the default of the provider");
    assert!(body["messages"].to_string().contains("Ingrid Solheim"), "the passages are in the prompt");
}

#[test]
fn a_busy_provider_is_asked_again_and_the_key_is_shown_nowhere() {
    let server = Server::start(|_, before| match before {
        0 => (429, "application/json", json!({ "error": { "message": "slow down" } }).to_string()),
        _ => completion(&json!({ "answer": "Yes.", "citations": [] }).to_string()),
    });
    let home = Home::new();
    let ran = ask(&home, &server, &[]).exits(0);
    assert_eq!(server.received().len(), 2);
    assert!(!ran.out.contains("sk-test") && !ran.err.contains("sk-test"));
    for entry in std::fs::read_dir(home.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"sk-test"), "{:?} holds the key", entry.path());
    }
}

#[test]
fn a_refused_key_is_a_clear_problem() {
    let server = Server::start(|_, _| {
        (
            401,
            "application/json",
            json!({ "error": { "message": "Incorrect API key provided: sk-test-0123456789abcdef" } }).to_string(),
        )
    });
    let home = Home::new();
    let ran = ask(&home, &server, &[]);
    assert_ne!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("OPENAI_API_KEY"), "{}", ran.out);
    assert!(!ran.out.contains("sk-test") && !ran.err.contains("sk-test"), "{}\n{}", ran.out, ran.err);
}
