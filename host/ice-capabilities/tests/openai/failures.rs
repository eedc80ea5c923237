//! What is no answer, what is none yet, and what never will be one.

use std::sync::atomic::{AtomicUsize, Ordering};

use ice_capabilities::llm::Patient;

use super::*;
use crate::server::{Asked, closed_port};

#[tokio::test]
async fn passes_no_parameter_through_that_is_the_hosts_to_set() {
    let server = Server::saying("").await;
    for key in ["model", "messages", "n", "stream", "api_key", "base_url", "max_tokens"] {
        let mut request = question();
        request.extra.insert(key.into(), json!(1));
        failed(models(&server).complete(&request, None).await, Code::X078, Retry::Never);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn without_done_an_answer_with_reason_is_whole_and_one_without_is_cut() {
    let (_, reply) = stream(events(&[delta(json!({"content": "a"}), Some("stop"))], false), Then::Close).await;
    assert_eq!(reply.unwrap().message.content, "a");
    let (pieces, reply) = stream(events(&[delta(json!({"content": "a"}), None)], false), Then::Close).await;
    assert_eq!(pieces, "a");
    failed(reply, Code::X076, Retry::Maybe);
    // The connection ends inside the body.
    let mut cut = events(&[delta(json!({"content": "a"}), None), delta(json!({"content": "b"}), Some("stop"))], true);
    cut.truncate(cut.len() - 40);
    let (_, reply) = stream(cut, Then::Close).await;
    failed(reply, Code::X076, Retry::Maybe);
}

#[tokio::test]
async fn a_stream_that_stops_moving_times_out() {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec();
    bytes.extend(format!("data: {}\n\n", delta(json!({"content": "a"}), None)).bytes());
    let (pieces, reply) = stream(bytes, Then::Stall).await;
    assert_eq!(pieces, "a");
    assert!(failed(reply, Code::X064, Retry::Maybe).contains("waiting for the body"));
    let (_, reply) = stream("", Then::Stall).await;
    assert!(failed(reply, Code::X064, Retry::Maybe).contains("waiting for an answer"));
}

#[tokio::test]
async fn an_error_inside_a_stream_or_answer_is_one() {
    let error = json!({"error": {"message": format!("you asked: {PROMPT}"), "type": "server_error"}});
    let (_, reply) = stream(events(&[delta(json!({"content": "a"}), None), error.clone()], true), Then::Close).await;
    assert!(failed(reply, Code::X073, Retry::Maybe).contains("server_error"));
    failed(ask(answer("200 OK", &[JSON], error.to_string())).await, Code::X073, Retry::Maybe);
}

#[tokio::test]
async fn refusals_say_whether_to_try_again_and_what_to_do() {
    let error = |code: &str| {
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}. You said: {PROMPT}"), "code": code}})
            .to_string()
    };
    let busy = [("retry-after", "7")];
    /// Status, headers, the error's code; then code, retry and a word of the message.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, Code, Retry, &'a str);
    let table: &[Row<'_>] = &[
        ("401 Unauthorized", &[], "invalid_api_key", Code::X072, Retry::Never, "OPENAI_API_KEY"),
        ("403 Forbidden", &[], "", Code::X072, Retry::Never, "OPENAI_API_KEY"),
        (
            "429 Too Many Requests",
            &busy,
            "rate_limit_exceeded",
            Code::X073,
            Retry::AfterMs(7000),
            "rate_limit_exceeded",
        ),
        ("429 Too Many Requests", &[], "", Code::X073, Retry::Maybe, "429"),
        ("429 Too Many Requests", &busy, "insufficient_quota", Code::X072, Retry::Never, "billing"),
        ("500 Internal Server Error", &[], "", Code::X073, Retry::Maybe, "500"),
        ("503 Unavailable", &busy, "", Code::X073, Retry::AfterMs(7000), "503"),
        ("529 Overloaded", &[], "overloaded_error", Code::X073, Retry::Maybe, "overloaded_error"),
        ("404 Not Found", &[], "model_not_found", Code::X070, Retry::Never, "model_not_found"),
        ("400 Bad Request", &[], "context_length_exceeded", Code::X074, Retry::Never, "shorten"),
        ("400 Bad Request", &[], "content_filter", Code::X077, Retry::Never, "refused"),
        ("400 Bad Request", &[], "a whole sentence", Code::X074, Retry::Never, "400"),
        ("302 Found", &[("location", "https://elsewhere.example/")], "", Code::X074, Retry::Never, "redirects"),
    ];
    for (status, headers, code, expected, retry, says) in table {
        let text = failed(ask(answer(status, headers, error(code))).await, *expected, *retry);
        assert!(text.contains(says), "{status} {code}: {text}");
    }
    // A reason that is no JSON is no reason to fail in another way.
    failed(ask(answer("500 Oops", &[("content-type", "text/html")], "<html>")).await, Code::X073, Retry::Maybe);
}

#[tokio::test]
async fn refuses_what_is_no_answer() {
    let html = ("content-type", "text/html");
    for bytes in [
        answer("200 OK", &[JSON], "{\"choices\": [{\"mess"),
        answer("200 OK", &[JSON], ""),
        answer("200 OK", &[JSON], "{}"),
        answer("200 OK", &[JSON], "{\"choices\": []}"),
        answer("200 OK", &[JSON], "[]"),
        answer("200 OK", &[html], "<html>log in</html>"),
        answer("200 OK", &[EVENTS], "data: {\"choices\"\n\n"),
        answer("200 OK", &[EVENTS], b"data: \xff\xfe\n\n".as_slice()),
        completion(json!({"tool_calls": [{"id": "a", "function": {"arguments": "{}"}}]}), "tool_calls"),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let text = failed(ask(bytes).await, Code::X075, Retry::Maybe);
        assert!(text.contains("`openai`"), "{shown}: {text}");
    }
    let cut = json!({"tool_calls": [{"id": "a", "function": {"name": "t", "arguments": "{\"q\": \"lo"}}]});
    assert!(failed(ask(completion(cut.clone(), "length")).await, Code::X076, Retry::Never).contains("max_tokens"));
    // Broken arguments that were not cut off are the model's mistake, which the caller tells it.
    let reply = ask(completion(cut, "tool_calls")).await.unwrap();
    assert_eq!(reply.message.tool_calls[0].arguments, json!("{\"q\": \"lo"));
    failed(ask("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{").await, Code::X069, Retry::Maybe);
}

#[tokio::test]
async fn a_refusal_of_the_model_is_not_an_answer() {
    failed(ask(completion(json!({"content": null, "refusal": PROMPT}), "stop")).await, Code::X077, Retry::Never);
    failed(ask(completion(json!({"content": ""}), "content_filter")).await, Code::X077, Retry::Never);
    let (_, reply) =
        stream(events(&[delta(json!({"refusal": "no"}), None), delta(json!({}), Some("stop"))], true), Then::Close)
            .await;
    failed(reply, Code::X077, Retry::Never);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_connection_problem() {
    let models = models_at("openai", format!("http://{}/v1", closed_port().await));
    failed(models.complete(&question(), None).await, Code::X062, Retry::Maybe);
}

#[tokio::test]
async fn refuses_vectors_that_do_not_fit_the_texts() {
    for data in [
        json!([]),
        json!([{"index": 0, "embedding": [1]}]),
        json!([{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]),
        json!([{"index": 0, "embedding": [1]}, {"index": 7, "embedding": [1]}]),
        json!([{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]),
        json!([{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]),
        json!([{"index": 0, "embedding": ["x"]}, {"index": 1, "embedding": [1]}]),
        json!([{"index": 0, "embedding": [1e300]}, {"index": 1, "embedding": [1]}]),
    ] {
        let server = Server::saying(answer("200 OK", &[JSON], json!({"data": data}).to_string())).await;
        let failure = models(&server).embed("", &["a".into(), "b".into()]).await.unwrap_err();
        assert_eq!(failure.problem.code, Code::X075, "{data}");
    }
    let server = Server::saying("").await;
    for texts in [vec![], vec![String::new()], vec!["x".to_owned(); 257]] {
        assert_eq!(models(&server).embed("", &texts).await.unwrap_err().problem.code, Code::X078);
    }
}

/// What a component asks is asked again while the provider is busy, and not for ever; what is wrong is not.
#[tokio::test]
async fn a_busy_provider_is_asked_again_for_components() {
    let busy = || answer("429 Too Many Requests", &[("retry-after", "7")], "{}");
    let good = || completion(json!({"content": "yes"}), "stop");
    for (busy_for, requests, answered) in [(0, 1, true), (2, 3, true), (9, 3, false)] {
        let before = AtomicUsize::new(0);
        let say = move |_: &Asked| if before.fetch_add(1, Ordering::SeqCst) < busy_for { busy() } else { good() };
        let server = Server::start(move |asked| (say(asked), Then::Close)).await;
        let patient = Patient::new(Arc::new(models(&server)), Arc::new(Asleep));
        assert_eq!(patient.complete(&question(), None).await.is_ok(), answered);
        assert_eq!(server.asked().len(), requests, "busy for {busy_for}");
    }
    let server = Server::saying(answer("401 Unauthorized", &[], "{}")).await;
    failed(
        Patient::new(Arc::new(models(&server)), Arc::new(Asleep)).complete(&question(), None).await,
        Code::X072,
        Retry::Never,
    );
    assert_eq!(server.asked().len(), 1);
}

/// What was said already is not said twice: an answer that breaks off is a failure.
#[tokio::test]
async fn an_answer_that_has_begun_is_not_begun_again() {
    let error = json!({"error": {"type": "server_error"}});
    let broken = events(&[delta(json!({"content": "a"}), None), error], true);
    let server = Server::saying(broken).await;
    let heard = Mutex::new(String::new());
    let hear = |text: &str| heard.lock().unwrap().push_str(text);
    let patient = Patient::new(Arc::new(models(&server)), Arc::new(Asleep));
    failed(patient.complete(&question(), Some(&hear)).await, Code::X073, Retry::Maybe);
    assert_eq!((server.asked().len(), heard.into_inner().unwrap().as_str()), (1, "a"));
}

/// A clock on which no time passes.
struct Asleep;

#[async_trait::async_trait]
impl ice_core::ports::Clock for Asleep {
    fn now_ms(&self) -> u64 {
        0
    }
    async fn sleep(&self, _ms: u64) {}
    fn random(&self) -> u64 {
        0
    }
}
