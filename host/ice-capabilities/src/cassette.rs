//! Cassettes: the answers of models and of HTTP, recorded once and given again.
//!
//! Stands before the ports [`Llm`] and [`Http`], so that the requests of nodes and those of guests pass alike. While
//! it records, every answer is passed on in the form in which it is kept; a replay therefore sees the same. While it
//! replays, nothing is asked outside: a request that is not on the cassette fails with X052 and is remembered
//! ([`Cassette::missed`]). Whether a request is allowed is decided as ever: the gate and the grant come first.
//!
//! Usage and cost come back as recorded, so that outputs and budgets of an execution are the same; that nobody pays
//! them is said by the execution's own start. What components remember is not recorded: start from the same memory.

mod tape;

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use ice_core::budget::Usage;
use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::ports::{
    DeltaSink, Embeddings, Failure, Http, HttpRequest, HttpResponse, Llm, LlmReply, LlmRequest, ModelInfo,
};
use ice_core::problem::{Code, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::redact;
use tape::{Answer, Key, Kind, Tape, Track};

/// Characters of a question that are kept for a reader.
const EXCERPT_CHARS: usize = 120;

/// Headers that differ from run to run without changing what is asked.
const HEADERS_PASSED_OVER: &[&str] =
    &["idempotency-key", "traceparent", "tracestate", "x-request-id", "date", "user-agent"];

/// Headers of answers that let somebody in, or say who is.
const HEADERS_DROPPED: &[&str] = &[
    "set-cookie",
    "set-cookie2",
    "authorization",
    "authentication-info",
    "proxy-authenticate",
    "proxy-authentication-info",
    "www-authenticate",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-amz-security-token",
];

enum Mode {
    Records,
    Replays { digest: Digest },
}

/// A cassette in its recorder.
pub struct Cassette {
    mode: Mode,
    tape: Mutex<Tape>,
}

impl Cassette {
    /// An empty one that records.
    pub fn recording() -> Arc<Self> {
        Arc::new(Self { mode: Mode::Records, tape: Mutex::default() })
    }

    /// One that answers with what [`Cassette::text`] gave. X053 when it is not in its form.
    pub fn replaying(text: &str) -> Result<Arc<Self>, Problem> {
        let mode = Mode::Replays { digest: Digest::of(text.as_bytes()) };
        Ok(Arc::new(Self { mode, tape: Mutex::new(Tape::read(text)?) }))
    }

    /// The digest of what is replayed; `None` while recording.
    pub fn replays(&self) -> Option<Digest> {
        match self.mode {
            Mode::Records => None,
            Mode::Replays { digest } => Some(digest),
        }
    }

    /// What was recorded, as a file: JSON lines in an order that does not depend on which answer came first. X053 when
    /// it grew beyond what can be read again.
    pub fn text(&self) -> Result<String, Problem> {
        self.tape().print()
    }

    /// Requests that a replay could not answer, the first one first.
    pub fn missed(&self) -> Vec<Problem> {
        self.tape().missed.clone()
    }

    /// How many recorded answers nobody asked for.
    pub fn unused(&self) -> usize {
        self.tape().unused()
    }

    /// The models, through this cassette.
    pub fn llm(self: &Arc<Self>, inner: Arc<dyn Llm>) -> Arc<dyn Llm> {
        Arc::new(TapedLlm { cassette: Arc::clone(self), inner })
    }

    /// The way out, through this cassette.
    pub fn http(self: &Arc<Self>, inner: Arc<dyn Http>) -> Arc<dyn Http> {
        Arc::new(TapedHttp { cassette: Arc::clone(self), inner })
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().expect("no panic while taping")
    }

    /// The recorded answer when this replays. `None` when it records, after the request has got its number.
    fn answer<T: DeserializeOwned>(&self, key: &mut Key, summary: &Value) -> Option<Result<T, Failure>> {
        let mut tape = self.tape();
        key.ordinal = tape.count(key);
        if matches!(self.mode, Mode::Records) {
            return None;
        }
        let answered = match tape.play(key) {
            Some(Answer::Failed(failure)) => Err(failure),
            Some(Answer::Given(value)) => serde_json::from_value(value).map_err(|error| {
                let message = format!("the answer to `{}` on the cassette cannot be read: {error}", key.request);
                Failure::never(Problem::new(Code::X053, message).help("record it again with `--record`"))
            }),
            None => Err(tape.miss(key, summary)),
        };
        Some(answered)
    }

    fn keep<T: Serialize>(&self, key: Key, summary: Value, model: Option<ModelInfo>, answer: &Result<T, Failure>) {
        let answer = match answer {
            Ok(answer) => Answer::Given(serde_json::to_value(answer).expect("an answer is JSON")),
            Err(failure) => Answer::Failed(failure.clone()),
        };
        self.tape().keep(Track { key, summary, model, answer });
    }
}

struct TapedLlm {
    cassette: Arc<Cassette>,
    inner: Arc<dyn Llm>,
}

#[async_trait]
impl Llm for TapedLlm {
    /// A recorded request is answered by whom it was answered then, whether or not this host has a key for them. One
    /// that is not recorded costs nothing either: it will be refused when it is made.
    fn resolve(&self, request: &LlmRequest) -> Result<ModelInfo, Failure> {
        if matches!(self.cassette.mode, Mode::Records) {
            return self.inner.resolve(request);
        }
        let known = self.cassette.tape().model(&key(Kind::Complete, request));
        let nobody = || ModelInfo {
            provider: request.provider.clone(),
            model: request.model.clone(),
            estimate: Usage::default(),
        };
        Ok(known.or_else(|| self.inner.resolve(request).ok()).unwrap_or_else(nobody))
    }

    async fn complete(&self, request: &LlmRequest, deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        let (mut key, summary) = (key(Kind::Complete, request), question(request));
        if let Some(answered) = self.cassette.answer::<LlmReply>(&mut key, &summary) {
            if let (Ok(reply), Some(deltas)) = (&answered, deltas) {
                reply.message.content.split_inclusive(' ').for_each(deltas);
            }
            return answered;
        }
        let answered = self.inner.complete(request, deltas).await;
        self.cassette.keep(key, summary, self.inner.resolve(request).ok(), &answered);
        answered
    }

    fn embedding(&self, model: &str, bytes: usize) -> Result<Usage, Failure> {
        match self.cassette.mode {
            Mode::Records => self.inner.embedding(model, bytes),
            _ => Ok(Usage::default()),
        }
    }

    async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, Failure> {
        let summary = json!({ "model": model, "texts": texts.len() });
        let mut key = key(Kind::Embed, &(model, texts));
        if let Some(answered) = self.cassette.answer(&mut key, &summary) {
            return answered;
        }
        let answered = self.inner.embed(model, texts).await;
        self.cassette.keep(key, summary, None, &answered);
        answered
    }
}

struct TapedHttp {
    cassette: Arc<Cassette>,
    inner: Arc<dyn Http>,
}

#[async_trait]
impl Http for TapedHttp {
    async fn send(&self, request: HttpRequest, grant: &Grant) -> Result<HttpResponse, Failure> {
        let what = format!("{} {}", request.method, without_values(&request.url));
        // Without the way out nobody else asks, and a replay must not let through what a run would not.
        if self.cassette.replays().is_some() && !grant.allows_http(&request.method, &request.url) {
            let problem = Problem::new(Code::G001, format!("`http` {what} is not allowed"));
            return Err(Failure::never(problem.help("add it to the grant, as for a run without a cassette")));
        }
        let summary = json!({ "request": what, "body_bytes": request.body.len() });
        let mut key = key(Kind::Http, &tape::request(&request, HEADERS_PASSED_OVER));
        if let Some(answered) = self.cassette.answer::<tape::Response>(&mut key, &summary) {
            return answered?.read();
        }
        let url = request.url.clone();
        let answered = self.inner.send(request, grant).await.map(|answer| kept(answer, &url));
        if matches!(&answered, Err(failure) if failure.problem.code == Code::G001) {
            // Refused on this host, not answered by the other.
            return answered;
        }
        let written = answered.as_ref().map(tape::Response::write).map_err(Clone::clone);
        self.cassette.keep(key, summary, None, &written);
        answered
    }

    fn has_secret(&self, name: &str) -> bool {
        // Nothing is sent, so nothing is missing.
        self.cassette.replays().is_some() || self.inner.has_secret(name)
    }
}

fn key<T: Serialize>(kind: Kind, request: &T) -> Key {
    let request = serde_json::to_value(request).expect("a request is JSON");
    Key { kind, request: Digest::of_json(&request), ordinal: 0 }
}

/// What of a question a reader needs to find it again.
fn question(request: &LlmRequest) -> Value {
    let last = request.messages.last().map(|message| message.content.as_str()).unwrap_or_default();
    let excerpt: String = last.chars().take(EXCERPT_CHARS).collect();
    json!({ "model": request.model, "messages": request.messages.len(), "last": redact::mask(&excerpt) })
}

/// An answer without what lets somebody in; the address it came from without the values of its query when it was
/// redirected there.
fn kept(mut answer: HttpResponse, asked: &str) -> HttpResponse {
    answer.headers.retain(|(name, _)| !HEADERS_DROPPED.contains(&name.to_ascii_lowercase().as_str()));
    if answer.url != asked {
        answer.url = without_values(&answer.url);
    }
    answer
}

/// A URL with the names in its query and not their values, which may be keys.
fn without_values(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else { return url.to_owned() };
    let query = query.split('#').next().unwrap_or_default();
    let names: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default()).collect();
    format!("{before}?{}", names.join("&"))
}

#[cfg(test)]
mod tests;
