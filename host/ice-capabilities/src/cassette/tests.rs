//! Cassettes against ports that count.

use std::sync::atomic::{AtomicUsize, Ordering};

use ice_core::ports::{Message, Role};

use super::*;

/// A model and a way out that number their answers.
#[derive(Default)]
struct Outside(AtomicUsize);

impl Outside {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[async_trait]
impl Llm for Outside {
    fn resolve(&self, request: &LlmRequest) -> Result<ModelInfo, Failure> {
        let estimate = Usage { cost_micro_usd: 9, ..Usage::default() };
        Ok(ModelInfo { provider: "p".into(), model: request.model.clone(), estimate })
    }

    async fn complete(&self, request: &LlmRequest, deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        let number = self.next();
        if request.model == "busy" && number == 0 {
            return Err(Failure::maybe(Problem::new(Code::X073, "busy")));
        }
        let content = format!("answer {number}");
        deltas.into_iter().for_each(|deltas| deltas(&content));
        let message = Message { role: Role::Assistant, content, tool_calls: Vec::new(), answers: None };
        let usage = Usage { input_tokens: 3, output_tokens: 2, cost_micro_usd: 7, unpriced_calls: 0 };
        Ok(LlmReply { message, model: "p/m".into(), usage, offline: false, finish_reason: "stop".into() })
    }

    async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, Failure> {
        self.next();
        Ok(Embeddings { vectors: vec![vec![0.1, -2.5e-7]; texts.len()], model: model.into(), usage: Usage::default() })
    }
}

#[async_trait]
impl Http for Outside {
    async fn send(&self, request: HttpRequest, _grant: &Grant) -> Result<HttpResponse, Failure> {
        let number = self.next();
        let headers = [("content-type", "text/plain"), ("set-cookie", "session=hunter2"), ("x-n", "1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let body = if request.method == "GET" { vec![0xff, 0, number as u8] } else { format!("n {number}").into() };
        Ok(HttpResponse { status: 200, headers, body, url: format!("{}#moved?token=t0ken", request.url) })
    }

    fn has_secret(&self, _name: &str) -> bool {
        false
    }
}

/// An outside that must not be reached.
struct Nobody;

#[async_trait]
impl Llm for Nobody {
    fn resolve(&self, _request: &LlmRequest) -> Result<ModelInfo, Failure> {
        Err(Failure::never(Problem::new(Code::X070, "no key here")))
    }

    async fn complete(&self, _request: &LlmRequest, _deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        panic!("a replay asks nobody")
    }

    async fn embed(&self, _model: &str, _texts: &[String]) -> Result<Embeddings, Failure> {
        panic!("a replay asks nobody")
    }
}

#[async_trait]
impl Http for Nobody {
    async fn send(&self, _request: HttpRequest, _grant: &Grant) -> Result<HttpResponse, Failure> {
        panic!("a replay sends nothing")
    }

    fn has_secret(&self, _name: &str) -> bool {
        false
    }
}

fn ask(model: &str, text: &str) -> LlmRequest {
    let message = Message { role: Role::User, content: text.into(), tool_calls: Vec::new(), answers: None };
    LlmRequest { model: model.into(), messages: vec![message], temperature: Some(0.7), ..LlmRequest::default() }
}

fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> HttpRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HttpRequest { method: method.into(), url: url.into(), headers, body: b"b".to_vec(), timeout_ms: 5 }
}

fn open() -> Grant {
    Grant { http: vec!["* https://example.com/*".into()], ..Grant::default() }
}

/// A session of both ports: what each request got.
async fn session(llm: &dyn Llm, http: &dyn Http, key: &str) -> Vec<Value> {
    let mut got = Vec::new();
    for (model, text) in [("m", "one"), ("m", "one"), ("m", "two"), ("busy", "x"), ("busy", "x")] {
        got.push(json!(llm.complete(&ask(model, text), None).await));
    }
    got.push(json!(llm.embed("e", &["a".into(), "b".into()]).await));
    for method in ["GET", "POST", "POST"] {
        let headers = [("accept", "*/*"), ("idempotency-key", key)];
        let answer = http.send(request(method, "https://example.com/x?key=s3cret", &headers), &open()).await.unwrap();
        got.push(json!([answer.status, answer.headers, answer.body, answer.url]));
    }
    got
}

#[tokio::test]
async fn a_replay_gives_what_the_recording_gave_and_asks_nobody() {
    let recording = Cassette::recording();
    let outside = Arc::new(Outside::default());
    let first = session(&*recording.llm(Arc::clone(&outside) as _), &*recording.http(outside), "k1").await;
    let text = recording.text().unwrap();
    let replaying = Cassette::replaying(&text).unwrap();
    let (llm, http) = (replaying.llm(Arc::new(Nobody)), replaying.http(Arc::new(Nobody)));
    assert_eq!(session(&*llm, &*http, "another key").await, first);
    assert_eq!((replaying.unused(), replaying.missed()), (0, Vec::new()));
    assert_eq!(llm.resolve(&ask("m", "two")).unwrap().estimate.cost_micro_usd, 9, "no key is needed");
    assert_eq!(llm.resolve(&ask("m", "three")).unwrap().estimate, Usage::default(), "it is refused when it is asked");
}

#[tokio::test]
async fn what_lets_somebody_in_is_not_on_the_cassette() {
    let cassette = Cassette::recording();
    let outside = Arc::new(Outside::default());
    let got = session(&*cassette.llm(Arc::clone(&outside) as _), &*cassette.http(Arc::clone(&outside) as _), "k").await;
    let prompt = "my key is sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD and my mail a.b@example.com";
    cassette.llm(outside).complete(&ask("m", prompt), None).await.unwrap();
    let text = cassette.text().unwrap();
    for secret in ["hunter2", "set-cookie", "s3cret", "t0ken", "sk-abc", "a.b@example.com"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(text.contains("x-n") && text.contains("GET https://example.com/x?key"), "{text}");
    assert!(!json!(got).to_string().contains("hunter2"), "the run sees what a replay will see");
}

#[tokio::test]
async fn the_file_does_not_depend_on_which_answer_came_first() {
    let record = async |texts: [&str; 3]| {
        let cassette = Cassette::recording();
        let llm = cassette.llm(Arc::new(Outside::default()));
        for text in texts {
            llm.complete(&ask("m", text), None).await.unwrap();
        }
        let text = cassette.text().unwrap();
        text.lines().map(|line| line.split("\"given\"").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(record(["a", "b", "c"]).await, record(["c", "a", "b"]).await);
}

#[tokio::test]
async fn a_request_that_is_not_there_is_named() {
    let recording = Cassette::recording();
    let outside = Arc::new(Outside::default());
    recording.llm(Arc::clone(&outside) as _).complete(&ask("m", "one"), None).await.unwrap();
    let replaying = Cassette::replaying(&recording.text().unwrap()).unwrap();
    let (llm, http) = (replaying.llm(Arc::new(Nobody)), replaying.http(Arc::new(Nobody)));
    llm.complete(&ask("m", "one"), None).await.unwrap();
    let again = llm.complete(&ask("m", "one"), None).await.unwrap_err();
    assert!(again.problem.code == Code::X052 && again.problem.message.contains("answers once"), "{again}");
    assert_eq!(again.retry, ice_core::ports::Retry::Never);
    let sent = http.send(request("POST", "https://example.com/new?q=1", &[]), &open()).await.unwrap_err();
    assert!(sent.problem.message.contains("`POST https://example.com/new?q`"), "{sent}");
    let refused = http.send(request("POST", "https://elsewhere.com/", &[]), &open()).await.unwrap_err();
    assert_eq!(refused.problem.code, Code::G001, "a replay lets through no more than a run");
    assert_eq!(replaying.missed().len(), 2);
}

#[tokio::test]
async fn streams_come_in_pieces() {
    let recording = Cassette::recording();
    recording.llm(Arc::new(Outside::default())).complete(&ask("m", "one"), None).await.unwrap();
    let replaying = Cassette::replaying(&recording.text().unwrap()).unwrap();
    let pieces = Mutex::new(Vec::new());
    let sink = |text: &str| pieces.lock().unwrap().push(text.to_owned());
    replaying.llm(Arc::new(Nobody)).complete(&ask("m", "one"), Some(&sink)).await.unwrap();
    assert_eq!(*pieces.lock().unwrap(), ["answer ", "0"]);
}

#[test]
fn what_is_no_cassette_is_refused() {
    let good = Cassette::recording().text().unwrap();
    assert!(Cassette::replaying(&good).is_ok());
    let line = "{\"kind\":\"http\",\"request\":\"sha256:00\",\"ordinal\":0}";
    for (text, words) in [
        (String::new(), "no cassette"),
        ("{}".into(), "no cassette"),
        (good.replace("\"version\":1", "\"version\":2"), "version 2"),
        (format!("{good}{line}\n"), "line 2"),
        (good.replace("\"answers\":0", "\"answers\":4"), "says 4"),
    ] {
        let problem = Cassette::replaying(&text).err().unwrap();
        assert!(problem.code == Code::X053 && problem.message.contains(words), "{problem}");
    }
}
