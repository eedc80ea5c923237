//! The embeddings endpoint. Pure.

use ice_core::ports::Failure;
use serde_json::{Value, json};

use super::{OpenAi, Vectors, failure, reply};

/// Larger than any model's; a wrong answer must not fill the memory.
const DIMENSION_MAX: usize = 16_384;

pub(super) fn body(model: &str, texts: &[String]) -> Value {
    json!({"model": model, "input": texts, "encoding_format": "float"})
}

/// Reads one vector per text, in the order of the texts. X075 when they are not that.
pub(super) fn read(provider: &OpenAi, body: &Value, count: usize) -> Result<Vectors, Failure> {
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Err(failure::in_answer(provider, error));
    }
    let refuse = |what: &str| failure::no_answer(provider, what);
    let data = body["data"].as_array().ok_or_else(|| refuse("it holds no `data`"))?;
    if data.len() != count {
        return Err(refuse("it does not hold one vector for each text"));
    }
    let mut vectors = vec![Vec::new(); count];
    for (position, entry) in data.iter().enumerate() {
        let index = entry["index"].as_u64().map_or(position, |index| usize::try_from(index).unwrap_or(usize::MAX));
        let slot = vectors.get_mut(index).filter(|slot: &&mut Vec<f32>| slot.is_empty());
        let slot = slot.ok_or_else(|| refuse("its vectors are not numbered from 0"))?;
        *slot = vector(&entry["embedding"]).ok_or_else(|| refuse("a vector is not a list of finite numbers"))?;
    }
    if vectors.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
        return Err(refuse("its vectors have different lengths"));
    }
    Ok(Vectors { vectors, tokens: reply::tokens(&body["usage"]) })
}

#[expect(clippy::cast_possible_truncation, reason = "vectors are kept as f32; what overflows is refused")]
fn vector(value: &Value) -> Option<Vec<f32>> {
    let numbers = value.as_array().filter(|numbers| (1..=DIMENSION_MAX).contains(&numbers.len()))?;
    numbers.iter().map(|number| number.as_f64().map(|it| it as f32).filter(|it| it.is_finite())).collect()
}
