//! JSON in its one canonical spelling (RFC 8785), and a reader that accepts no second meaning.
//!
//! Knows nothing of manifests: every signed document goes through here.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::problem::{Code, Problem};

/// Deepest nesting of signed JSON. Far above any manifest, far below what could exhaust a stack.
pub const DEPTH_MAX: usize = 64;

/// Returns the canonical bytes of `value`: sorted members, shortest numbers, no white space.
///
/// ```text
/// {"b":1.0,"a":"é"}  →  {"a":"é","b":1}
/// ```
pub fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).expect("a JSON value has no map with other keys than strings")
}

/// Reads JSON, refusing duplicate members and nesting beyond [`DEPTH_MAX`] (T007, M001).
pub fn parse_strict(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(noncanonical("begins with a byte order mark"));
    }
    if depth(bytes) > DEPTH_MAX {
        return Err(Problem::new(Code::M001, format!("the JSON is nested deeper than {DEPTH_MAX} levels"))
            .help("write it flatter; nothing that is signed needs more"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    parsed.map_err(|error| {
        let text = error.to_string();
        if text.starts_with(DUPLICATE) {
            return noncanonical(&text);
        }
        Problem::new(Code::M001, format!("this is not JSON: {text}"))
    })
}

/// Reads JSON that must be byte for byte `canonical` of itself. This one rule ends duplicate members, numbers beyond
/// 2^53, `-0`, `1.0`, needless escapes, white space and byte order marks (T007).
pub fn parse_canonical(bytes: &[u8]) -> Result<Value, Problem> {
    let value = parse_strict(bytes)?;
    let expected = canonical(&value);
    if expected == bytes {
        return Ok(value);
    }
    let at = expected.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    Err(noncanonical(&format!("differs from its canonical form at byte {at}")))
}

fn noncanonical(how: &str) -> Problem {
    Problem::new(Code::T007, format!("the signed JSON {how}"))
        .help("write it with `ice plugins export` or any RFC 8785 writer, and sign those bytes")
}

/// Levels of arrays and objects, counted without recursion.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (true, _) => {}
            (false, b'"') => in_string = true,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (false, _) => {}
        }
    }
    deepest
}

const DUPLICATE: &str = "has the member";

/// Builds a [`Value`] like serde_json does, but refuses the second member of a name instead of keeping the last.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
                return Err(A::Error::custom(format!("{DUPLICATE} `{name}` twice")));
            }
            object.insert(name, members.next_value_seed(Strict)?);
        }
        Ok(Value::Object(object))
    }
}
