//! How a reply is kept in the event list, so that paid and effectful requests are never made twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ice_core::budget::Usage;
use ice_core::id::ExecutionId;
use ice_core::ports::{Embeddings, HttpResponse, LlmReply};
use serde_json::{Value, json};

/// Largest response body that is kept. A larger one would make the event list a cache.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 10;

/// A reply that can go into an event and come back.
pub(crate) trait Kept: Sized {
    /// The form in the event; `None` when asking again is harmless.
    fn keep(&self) -> Option<Value>;

    /// Reads that form; `None` when it is not of this type, and then the question is asked again.
    fn restore(reply: Value) -> Option<Self>;

    /// What it cost when it was first asked for.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// A reply that is read anew after a crash: nothing happened outside.
pub(crate) struct Fresh<T>(pub(crate) T);

impl<T> Kept for Fresh<T> {
    fn keep(&self) -> Option<Value> {
        None
    }

    fn restore(_: Value) -> Option<Self> {
        None
    }
}

/// Something was done and has no answer.
impl Kept for () {
    fn keep(&self) -> Option<Value> {
        Some(Value::Bool(true))
    }

    fn restore(reply: Value) -> Option<Self> {
        (reply == Value::Bool(true)).then_some(())
    }
}

impl Kept for ExecutionId {
    fn keep(&self) -> Option<Value> {
        Some(Value::String(self.0.clone()))
    }

    fn restore(reply: Value) -> Option<Self> {
        serde_json::from_value(reply).ok()
    }
}

impl Kept for LlmReply {
    fn keep(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }

    fn restore(reply: Value) -> Option<Self> {
        serde_json::from_value(reply).ok()
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}

/// Vectors are kept as base64 of their little-endian numbers: a tenth of their JSON.
impl Kept for Embeddings {
    fn keep(&self) -> Option<Value> {
        let vectors: Vec<String> = self
            .vectors
            .iter()
            .map(|vector| STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()))
            .collect();
        Some(json!({ "model": self.model, "usage": self.usage, "vectors": vectors }))
    }

    fn restore(mut reply: Value) -> Option<Self> {
        let vectors = reply.get("vectors")?.as_array()?.iter().map(|text| {
            let bytes = STANDARD.decode(text.as_str()?).ok()?;
            let numbers = bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            Some(numbers.collect())
        });
        let vectors = vectors.collect::<Option<Vec<Vec<f32>>>>()?;
        let usage = serde_json::from_value(reply.get_mut("usage")?.take()).ok()?;
        Some(Self { vectors, model: reply.get("model")?.as_str()?.to_owned(), usage })
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}

/// An answer from the outside, or the memory of one whose body was too large to keep.
pub(crate) struct HttpReply {
    /// Status, headers and body.
    pub(crate) response: HttpResponse,
    /// Whether asking again changes nothing out there (GET and HEAD), so that a large answer need not be kept.
    pub(crate) repeatable: bool,
    /// Whether the body was not kept. The request was made, and is not made again.
    pub(crate) lost: bool,
}

impl Kept for HttpReply {
    fn keep(&self) -> Option<Value> {
        let HttpResponse { status, headers, body, url } = &self.response;
        let fits = body.len() <= BODY_BYTES_MAX;
        if !fits && self.repeatable {
            return None;
        }
        let body = fits.then(|| STANDARD.encode(body));
        Some(json!({ "status": status, "headers": headers, "body": body, "url": url }))
    }

    fn restore(mut reply: Value) -> Option<Self> {
        let mut part = |name: &str| reply.get_mut(name).map(Value::take);
        let body: Option<String> = serde_json::from_value(part("body")?).ok()?;
        let lost = body.is_none();
        let response = HttpResponse {
            status: serde_json::from_value(part("status")?).ok()?,
            headers: serde_json::from_value(part("headers")?).ok()?,
            body: STANDARD.decode(body.unwrap_or_default()).ok()?,
            url: serde_json::from_value(part("url")?).ok()?,
        };
        Some(Self { response, repeatable: false, lost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(bytes: usize, repeatable: bool) -> HttpReply {
        let response = HttpResponse {
            status: 201,
            headers: vec![("content-type".into(), "text/plain".into())],
            body: vec![7; bytes],
            url: "https://a.example/x".into(),
        };
        HttpReply { response, repeatable, lost: false }
    }

    #[test]
    fn a_small_http_answer_comes_back_as_it_was() {
        let kept = HttpReply::restore(reply(1_000, false).keep().unwrap()).unwrap();
        assert_eq!(kept.response, reply(1_000, false).response);
        assert!(!kept.lost);
    }

    #[test]
    fn a_large_answer_is_asked_for_again_only_when_that_is_harmless() {
        assert!(reply(BODY_BYTES_MAX + 1, true).keep().is_none());
        let kept = HttpReply::restore(reply(BODY_BYTES_MAX + 1, false).keep().unwrap()).unwrap();
        assert!(kept.lost);
    }

    #[test]
    fn vectors_come_back_bit_by_bit() {
        let usage = Usage { input_tokens: 3, ..Usage::default() };
        let embeddings = Embeddings { vectors: vec![vec![0.1, -2.5e-9], vec![]], model: "m".into(), usage };
        assert_eq!(Embeddings::restore(embeddings.keep().unwrap()).unwrap(), embeddings);
    }

    #[test]
    fn a_reply_of_another_type_is_not_taken() {
        assert!(LlmReply::restore(Value::Bool(true)).is_none());
        assert!(<()>::restore(json!({ "status": 200 })).is_none());
        assert!(HttpReply::restore(json!({ "status": "x" })).is_none());
    }
}
