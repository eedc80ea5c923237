//! What is on a cassette, and its form as a file.
//!
//! JSON lines: a head with the format and its version, then one line an answer, sorted by kind, request and number
//! among equal requests, so that two recordings of the same differ in little. Requests are kept by digest, with a few
//! words for a reader.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ice_core::id::Digest;
use ice_core::ports::{Failure, HttpRequest, HttpResponse, ModelInfo};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The first line names these.
const FORMAT: &str = "ice.cassette";
const VERSION: u64 = 1;

/// A cassette is read whole into memory.
const BYTES_MAX: usize = 256 << 20;

/// Misses that are told; the rest are more of the same.
const MISSES_MAX: usize = 100;

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Complete,
    Embed,
    Http,
}

/// Which request: its digest, and how many equal ones came before it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) request: Digest,
    pub(super) ordinal: u32,
}

/// What came back.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Given(Value),
    Failed(Failure),
}

/// One line.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(super) struct Track {
    #[serde(flatten)]
    pub(super) key: Key,
    /// For a reader.
    pub(super) summary: Value,
    /// Who answers a question, as it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<ModelInfo>,
    #[serde(flatten)]
    pub(super) answer: Answer,
}

/// Everything recorded, and what was asked for so far.
#[derive(Default)]
pub(super) struct Tape {
    tracks: BTreeMap<Key, Track>,
    counts: BTreeMap<(Kind, Digest), u32>,
    played: BTreeSet<Key>,
    /// What the tracks take as text.
    bytes: usize,
    pub(super) missed: Vec<Problem>,
}

impl Tape {
    /// The number of this request among equal ones.
    pub(super) fn count(&mut self, key: &Key) -> u32 {
        let count = self.counts.entry((key.kind, key.request)).or_default();
        let ordinal = *count;
        *count = count.saturating_add(1);
        ordinal
    }

    /// Keeps an answer. A recording that has grown too large keeps no more, and cannot be printed.
    pub(super) fn keep(&mut self, track: Track) {
        if self.bytes > BYTES_MAX {
            return;
        }
        self.bytes += line(&track).len() + 1;
        self.tracks.insert(track.key.clone(), track);
    }

    pub(super) fn play(&mut self, key: &Key) -> Option<Answer> {
        let answer = self.tracks.get(key)?.answer.clone();
        self.played.insert(key.clone());
        Some(answer)
    }

    /// Who answers the question, when it is on the cassette at all.
    pub(super) fn model(&self, first: &Key) -> Option<ModelInfo> {
        self.tracks.get(first)?.model.clone()
    }

    /// Remembers that a request was not answered, and says so.
    pub(super) fn miss(&mut self, key: &Key, summary: &Value) -> Failure {
        let what = match key.kind {
            Kind::Complete => format!("the question to `{}`", summary["model"].as_str().unwrap_or_default()),
            Kind::Embed => format!("the texts to embed by `{}`", summary["model"].as_str().unwrap_or_default()),
            Kind::Http => format!("`{}`", summary["request"].as_str().unwrap_or_default()),
        };
        let known = key.ordinal;
        let times = match known {
            0 => String::new(),
            1 => ", which it answers once".to_owned(),
            _ => format!(", which it answers {known} times"),
        };
        let last = summary["last"].as_str().map(|last| format!(": {last:?}")).unwrap_or_default();
        let message = format!("the cassette has no answer to {what}{times}{last} ({})", key.request.short());
        let problem = Problem::new(Code::X052, message).help("record it again: `--record` in the place of `--replay`");
        if self.missed.len() < MISSES_MAX {
            self.missed.push(problem.clone());
        }
        Failure::never(problem)
    }

    pub(super) fn unused(&self) -> usize {
        self.tracks.len() - self.played.len()
    }

    /// As a file.
    pub(super) fn print(&self) -> Result<String, Problem> {
        if self.bytes > BYTES_MAX {
            return Err(too_large());
        }
        let mut text = json!({ "format": FORMAT, "version": VERSION, "answers": self.tracks.len() }).to_string();
        text.push('\n');
        for track in self.tracks.values() {
            text.push_str(&line(track));
            text.push('\n');
        }
        Ok(text)
    }

    /// Reads what [`Tape::print`] wrote; X053 with the line that is not as it should be.
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        if text.len() > BYTES_MAX {
            return Err(too_large());
        }
        let wrong = |message: String| Problem::new(Code::X053, message).help("record it again with `--record`");
        let mut lines = text.lines();
        let head: Value = lines.next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        if head["format"] != FORMAT {
            return Err(wrong("the file is no cassette: it does not begin with its format".into()));
        }
        if head["version"] != VERSION {
            return Err(wrong(format!("version {} of cassettes is not one that is read here", head["version"])));
        }
        let mut tape = Self::default();
        for (number, line) in (2..).zip(lines) {
            let track: Track = serde_json::from_str(line)
                .map_err(|error| wrong(format!("line {number} of the cassette cannot be read: {error}")))?;
            if tape.tracks.insert(track.key.clone(), track).is_some() {
                return Err(wrong(format!("line {number} of the cassette answers what another line answers")));
            }
        }
        if head["answers"] != tape.tracks.len() {
            let message = format!("the cassette holds {} answers and says {}", tape.tracks.len(), head["answers"]);
            return Err(wrong(message));
        }
        Ok(tape)
    }
}

fn line(track: &Track) -> String {
    serde_json::to_string(track).expect("a track is JSON")
}

fn too_large() -> Problem {
    Problem::new(Code::X053, format!("the cassette is over {} MiB", BYTES_MAX >> 20))
        .help("record a smaller run, or several of them")
}

/// What of an HTTP request decides its answer.
pub(super) fn request(request: &HttpRequest, passed_over: &[&str]) -> Value {
    let asks = |(name, _): &&(String, String)| !passed_over.contains(&name.to_ascii_lowercase().as_str());
    let headers: Vec<&(String, String)> = request.headers.iter().filter(asks).collect();
    json!({ "method": request.method, "url": request.url, "headers": headers, "body": Digest::of(&request.body) })
}

/// An HTTP answer as it is kept: a body that is text is readable.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(super) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    url: String,
}

impl Response {
    pub(super) fn write(answer: &HttpResponse) -> Self {
        let text = String::from_utf8(answer.body.clone()).ok();
        let base64 = text.is_none().then(|| STANDARD.encode(&answer.body));
        let (headers, url) = (answer.headers.clone(), answer.url.clone());
        Self { status: answer.status, headers, text, base64, url }
    }

    pub(super) fn read(self) -> Result<HttpResponse, Failure> {
        let Self { status, headers, text, base64, url } = self;
        let body = match (text, base64) {
            (Some(text), _) => text.into_bytes(),
            (None, base64) => STANDARD.decode(base64.unwrap_or_default()).map_err(|error| {
                let problem = Problem::new(Code::X053, format!("a body on the cassette cannot be read: {error}"));
                Failure::never(problem.help("record it again with `--record`"))
            })?,
        };
        Ok(HttpResponse { status, headers, body, url })
    }
}
