//! The chat-completions format against hand-built answers: whole, streamed, broken, refused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ice_capabilities::{Egress, EgressOptions, LlmOptions, Models, ProviderOptions, Secret, Secrets};
use ice_core::ports::{Failure, Llm as _, LlmReply, LlmRequest, Message, Retry, Role, ToolCall, ToolSpec};
use ice_core::problem::Code;
use serde_json::{Value, json};

use crate::server::{Names, Server, Then, answer};

mod failures;

const KEY: &str = "sk-test-0123456789";
const PROMPT: &str = "the secret prompt of the user";
const JSON: (&str, &str) = ("content-type", "application/json");
const EVENTS: (&str, &str) = ("content-type", "text/event-stream; charset=utf-8");

fn models_at(provider: &str, base_url: String) -> Models {
    let settings = ProviderOptions { key: Some(Secret::new(KEY)), base_url: Some(base_url), default_model: None };
    let options = LlmOptions {
        providers: [(provider.to_owned(), settings)].into(),
        embedder: Some(format!("{provider}/embedder")),
        first_byte: Duration::from_millis(400),
        idle: Duration::from_millis(200),
        total: Duration::from_secs(20),
        ..LlmOptions::default()
    };
    let egress = Egress::new(EgressOptions::default(), Secrets::default(), Names::of(&[])).unwrap();
    Models::new(options, Arc::new(egress)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn models(server: &Server) -> Models {
    models_at("openai", server.url("/v1/"))
}

fn say(role: Role, content: &str) -> Message {
    Message { role, content: content.into(), tool_calls: vec![], answers: None }
}

fn question() -> LlmRequest {
    LlmRequest { model: "gpt-4o".into(), messages: vec![say(Role::User, PROMPT)], ..LlmRequest::default() }
}

fn completion(message: Value, finish_reason: &str) -> Vec<u8> {
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}});
    let body = json!({"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": usage});
    answer("200 OK", &[JSON], body.to_string())
}

async fn ask(bytes: impl Into<Vec<u8>>) -> Result<LlmReply, Failure> {
    let server = Server::saying(bytes).await;
    models(&server).complete(&question(), None).await
}

/// The pieces that were passed on, and the reply.
async fn stream(bytes: impl Into<Vec<u8>>, then: Then) -> (String, Result<LlmReply, Failure>) {
    let bytes = bytes.into();
    let server = Server::start(move |_| (bytes.clone(), then)).await;
    let pieces = Mutex::new(String::new());
    let sink = |piece: &str| pieces.lock().unwrap().push_str(piece);
    let reply = models(&server).complete(&question(), Some(&sink)).await;
    (pieces.into_inner().unwrap(), reply)
}

fn events(events: &[Value], done: bool) -> Vec<u8> {
    let mut body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    body.push_str(if done { "data: [DONE]\n\n" } else { "" });
    answer("200 OK", &[EVENTS], body)
}

fn delta(delta: Value, finish_reason: Option<&str>) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], "usage": null})
}

#[track_caller]
fn failed(result: Result<LlmReply, Failure>, code: Code, retry: Retry) -> String {
    let failure = result.unwrap_err();
    let text = failure.problem.to_string();
    assert_eq!((failure.problem.code, failure.retry), (code, retry), "{text}");
    assert!(!text.contains(KEY) && !text.contains("sk-") && !text.contains("secret prompt"), "{text}");
    text
}

#[tokio::test]
async fn asks_and_reads_a_plain_answer() {
    let server = Server::saying(completion(json!({"role": "assistant", "content": "hello"}), "stop")).await;
    let mut request = question();
    request.messages.insert(0, say(Role::System, "be brief"));
    (request.temperature, request.max_tokens) = (Some(0.7), Some(50));
    request.extra.insert("top_p".into(), json!(0.9));
    let reply = models(&server).complete(&request, None).await.unwrap();
    assert_eq!((reply.message.content.as_str(), reply.message.role), ("hello", Role::Assistant));
    assert_eq!((reply.model.as_str(), reply.finish_reason.as_str(), reply.offline), ("openai/gpt-4o", "stop", false));
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.unpriced_calls), (11, 5, 1));

    let asked = server.asked().remove(0);
    assert_eq!(asked.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(asked.headers["authorization"], format!("Bearer {KEY}"));
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let expected = json!({
        "model": "gpt-4o", "temperature": 0.7, "max_tokens": 50, "top_p": 0.9,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": PROMPT}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn prices_answers_by_the_operators_table() {
    let server = Server::saying(completion(json!({"content": "hello"}), "stop")).await;
    let prices = "[[price]]\nmodel='openai/gpt-4o'\ninput=2\ncached_input=1\noutput=10\nas_of='2025-01-01'\nsource='x'";
    let settings = ProviderOptions { base_url: Some(server.url("/v1")), ..ProviderOptions::default() };
    let options = LlmOptions {
        providers: [("openai".to_owned(), settings)].into(),
        prices_toml: Some(prices.into()),
        ..LlmOptions::default()
    };
    let egress = Egress::new(EgressOptions::default(), Secrets::default(), Names::of(&[])).unwrap();
    let reply = Models::new(options, Arc::new(egress)).ok().unwrap().complete(&question(), None).await.unwrap();
    assert_eq!((reply.usage.cost_micro_usd, reply.usage.unpriced_calls), (7 * 2 + 4 + 5 * 10, 0));
    assert!(!server.asked()[0].headers.contains_key("authorization"), "there is no key to send");
}

#[tokio::test]
async fn carries_tools_there_and_back() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "kit_lookup", "arguments": "{\"q\": 1}"}});
    let server = Server::saying(completion(json!({"content": null, "tool_calls": [call]}), "tool_calls")).await;
    let mut request = question();
    let input_schema = json!({"type": "object", "properties": {"q": {"type": "integer"}}});
    request.tools.push(ToolSpec {
        name: "kit.lookup".into(),
        description: "finds".into(),
        input_schema: input_schema.clone(),
    });
    let earlier = ToolCall { id: "c0".into(), name: "kit.lookup".into(), arguments: json!({"q": 0}) };
    request.messages.push(Message { tool_calls: vec![earlier], ..say(Role::Assistant, "") });
    request.messages.push(Message { answers: Some("c0".into()), ..say(Role::Tool, "none") });
    let reply = models(&server).complete(&request, None).await.unwrap();
    assert_eq!(reply.finish_reason, "tool_calls");
    assert_eq!(
        reply.message.tool_calls,
        [ToolCall { id: "c1".into(), name: "kit.lookup".into(), arguments: json!({"q": 1}) }]
    );

    let body: Value = serde_json::from_str(&server.asked()[0].body).unwrap();
    let function = json!({"name": "kit_lookup", "description": "finds", "parameters": input_schema});
    assert_eq!(body["tools"], json!([{"type": "function", "function": function}]));
    let sent = json!({"id": "c0", "type": "function", "function": {"name": "kit_lookup", "arguments": "{\"q\":0}"}});
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": null, "tool_calls": [sent]}));
    assert_eq!(body["messages"][2], json!({"role": "tool", "content": "none", "tool_call_id": "c0"}));
}

#[tokio::test]
async fn asks_for_structure_in_the_words_of_the_provider() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let request = LlmRequest { output_schema: Some(schema.clone()), model: String::new(), ..question() };
    for (provider, format, instructed) in [
        (
            "openai",
            json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": false, "schema": schema}}),
            false,
        ),
        ("deepseek", json!({"type": "json_object"}), true),
        ("anthropic", Value::Null, true),
    ] {
        let server = Server::saying(completion(json!({"content": "{}"}), "stop")).await;
        models_at(provider, server.url("")).complete(&request, None).await.unwrap();
        let body: Value = serde_json::from_str(&server.asked()[0].body).unwrap();
        assert_eq!(body["response_format"], format, "{provider}");
        let first = body["messages"][0]["content"].as_str().unwrap();
        assert_eq!(first.contains(&schema.to_string()), instructed, "{provider}");
    }
}

#[tokio::test]
async fn reads_a_stream_with_usage_in_its_last_chunk() {
    let last = json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
    let chunks = [
        delta(json!({"role": "assistant", "content": ""}), None),
        delta(json!({"content": "Grüß "}), None),
        delta(json!({"content": "Gott"}), None),
        delta(json!({}), Some("stop")),
        last,
    ];
    let bytes = events(&chunks, true);
    let server = Server::start(move |_| (bytes.clone(), Then::Stall)).await;
    let pieces = Mutex::new(Vec::new());
    let sink = |piece: &str| pieces.lock().unwrap().push(piece.to_owned());
    let reply = models(&server).complete(&question(), Some(&sink)).await.unwrap();
    assert_eq!(*pieces.lock().unwrap(), ["Grüß ", "Gott"]);
    assert_eq!((reply.message.content.as_str(), reply.finish_reason.as_str()), ("Grüß Gott", "stop"));
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (3, 2));
    let body: Value = serde_json::from_str(&server.asked()[0].body).unwrap();
    assert_eq!((&body["stream"], &body["stream_options"]), (&json!(true), &json!({"include_usage": true})));
}

#[tokio::test]
async fn puts_streamed_tool_calls_together() {
    let piece = |index: u32, id: Option<&str>, name: Option<&str>, arguments: &str| {
        delta(
            json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}),
            None,
        )
    };
    let chunks = [
        piece(0, Some("a"), Some("one"), ""),
        piece(0, None, None, "{\"x\":"),
        piece(1, Some("b"), Some("two"), "{}"),
        piece(0, None, None, " 1}"),
        delta(json!({}), Some("tool_calls")),
    ];
    let (_, reply) = stream(events(&chunks, true), Then::Close).await;
    let calls = reply.unwrap().message.tool_calls;
    let shown: Vec<_> =
        calls.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.to_string())).collect();
    assert_eq!(shown, [("a", "one", "{\"x\":1}".to_owned()), ("b", "two", "{}".to_owned())]);

    let without_index = |id: &str, arguments: &str| {
        delta(json!({"tool_calls": [{"id": id, "function": {"name": "one", "arguments": arguments}}]}), None)
    };
    let chunks = [
        without_index("a", "{}"),
        without_index("b", "{\"y\":"),
        without_index("b", "2}"),
        delta(json!({}), Some("stop")),
    ];
    let (_, reply) = stream(events(&chunks, true), Then::Close).await;
    let reply = reply.unwrap();
    assert_eq!((reply.message.tool_calls.len(), reply.finish_reason.as_str()), (2, "tool_calls"));
    assert_eq!(reply.message.tool_calls[1].arguments, json!({"y": 2}));
}

#[tokio::test]
async fn takes_either_form_of_answer_whatever_was_asked_for() {
    let (pieces, reply) = stream(completion(json!({"content": "whole"}), "stop"), Then::Close).await;
    assert_eq!((pieces.as_str(), reply.unwrap().message.content.as_str()), ("whole", "whole"));
    let reply = ask(events(&[delta(json!({"content": "streamed"}), Some("stop"))], true)).await.unwrap();
    assert_eq!(reply.message.content, "streamed");
}

#[tokio::test]
async fn without_usage_the_estimate_counts_and_the_price_is_unknown() {
    let body = json!({"choices": [{"message": {"content": "six..."}, "finish_reason": "length"}]});
    let reply = ask(answer("200 OK", &[], body.to_string())).await.unwrap();
    assert_eq!((reply.usage.output_tokens, reply.usage.unpriced_calls, reply.finish_reason.as_str()), (2, 1, "length"));
    assert!(reply.usage.input_tokens > 0);
}

#[tokio::test]
async fn reads_vectors_in_the_order_of_the_texts() {
    let body = json!({"data": [{"index": 1, "embedding": [3.0, 4.5]}, {"index": 0, "embedding": [1, 2]}],
        "usage": {"prompt_tokens": 6, "total_tokens": 6}});
    let server = Server::saying(answer("200 OK", &[JSON], body.to_string())).await;
    let models = models(&server);
    assert_eq!(models.embedder().as_deref(), Some("openai/embedder"));
    let embeddings = models.embed("", &["one".into(), "two".into()]).await.unwrap();
    assert_eq!(embeddings.vectors, [[1.0, 2.0], [3.0, 4.5]]);
    assert_eq!((embeddings.model.as_str(), embeddings.usage.input_tokens), ("openai/embedder", 6));
    let asked = server.asked().remove(0);
    assert_eq!(asked.line, "POST /v1/embeddings HTTP/1.1");
    let expected = json!({"model": "embedder", "input": ["one", "two"], "encoding_format": "float"});
    assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap(), expected);
}
