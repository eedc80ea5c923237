//! Whether what one node gives can be what another one takes, judged from the schemas alone.
//!
//! Conservative: silence is not a proof. Only `type`, `properties`, `required`, `additionalProperties`, `items` and
//! local `$ref` are read; wherever another keyword could change the answer, nothing is said.

use serde_json::Value;

/// Levels of schemas that are followed; a `$ref` can be recursive.
const DEPTH_MAX: usize = 16;

/// Why no value of the producer fits the consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// Where in the value, as a JSON pointer with `*` for "every item".
    pub pointer: String,
    /// One sentence, lower case.
    pub message: String,
}

/// Compares the schema of what is given with the schema of what is asked. `None` when they may go together.
pub fn compatible(producer: &Value, consumer: &Value) -> Option<Mismatch> {
    compare(&Side::new(producer), &Side::new(consumer), DEPTH_MAX)
}

/// What a schema says about one property of its object.
#[derive(Clone, PartialEq, Debug)]
pub enum Property {
    /// It has this schema, with the definitions its references need.
    Known(Value),
    /// It may or may not exist.
    Unknown,
    /// No such property can exist; these can.
    Absent(Vec<String>),
}

/// Looks up the schema of `name` in an object schema.
pub fn property(schema: &Value, name: &str) -> Property {
    let side = Side::new(schema);
    if side.is_combined() {
        return Property::Unknown;
    }
    let fields = side.at.get("properties").and_then(Value::as_object);
    match fields.and_then(|fields| fields.get(name)) {
        Some(found) => Property::Known(with_definitions(found, side.root)),
        None if side.is_closed() => {
            Property::Absent(fields.map(|fields| fields.keys().cloned().collect()).unwrap_or_default())
        }
        None => Property::Unknown,
    }
}

/// A part of a schema leaves its root behind, but its references start there.
fn with_definitions(schema: &Value, root: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(fields) = &mut schema {
        for key in ["$defs", "definitions"] {
            if let (Some(definitions), false) = (root.get(key), fields.contains_key(key)) {
                fields.insert(key.to_owned(), definitions.clone());
            }
        }
    }
    schema
}

/// A place in a schema, and the root its `$ref`s start from.
#[derive(Clone, Copy)]
struct Side<'a> {
    at: &'a Value,
    root: &'a Value,
}

impl<'a> Side<'a> {
    fn new(root: &'a Value) -> Self {
        Self { at: root, root }.resolved()
    }

    fn to(self, at: &'a Value) -> Self {
        Self { at, root: self.root }.resolved()
    }

    /// Follows local references; a reference that leads nowhere stays and then says nothing.
    fn resolved(mut self) -> Self {
        for _ in 0..DEPTH_MAX {
            let pointer = self.at.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
            match pointer.and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => self.at = target,
                None => break,
            }
        }
        self
    }

    /// Whether keywords that are not read here take part in the answer.
    fn is_combined(self) -> bool {
        ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "$dynamicRef"].iter().any(|key| self.at.get(key).is_some())
    }

    fn is_closed(self) -> bool {
        self.at.get("additionalProperties") == Some(&Value::Bool(false)) && self.at.get("patternProperties").is_none()
    }

    fn types(self) -> Vec<&'a str> {
        match self.at.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

fn compare(producer: &Side<'_>, consumer: &Side<'_>, depth: usize) -> Option<Mismatch> {
    if depth == 0 || producer.is_combined() || consumer.is_combined() {
        return None;
    }
    let (gives, takes) = (producer.types(), consumer.types());
    let known = !gives.is_empty() && !takes.is_empty();
    if known && !gives.iter().any(|give| takes.iter().any(|take| overlap(give, take))) {
        let message = format!("gives {}, but {} is asked for", gives.join(" or "), takes.join(" or "));
        return Some(Mismatch { pointer: String::new(), message });
    }
    // With more than one type on either side the parts below need not be reached.
    if gives == ["object"] && takes == ["object"] {
        return objects(*producer, *consumer, depth);
    }
    if gives == ["array"] && takes == ["array"] {
        let (give, take) = (producer.at.get("items")?, consumer.at.get("items")?);
        return compare(&producer.to(give), &consumer.to(take), depth - 1).map(|mismatch| under("*", mismatch));
    }
    None
}

fn objects(producer: Side<'_>, consumer: Side<'_>, depth: usize) -> Option<Mismatch> {
    let required = consumer.at.get("required").and_then(Value::as_array)?;
    for name in required.iter().filter_map(Value::as_str) {
        let given = producer.at.get("properties").and_then(|fields| fields.get(name));
        let Some(given) = given else {
            if producer.is_closed() {
                let message = format!("has no `{name}`, which is asked for");
                return Some(Mismatch { pointer: String::new(), message });
            }
            continue;
        };
        let Some(taken) = consumer.at.get("properties").and_then(|fields| fields.get(name)) else { continue };
        if let Some(mismatch) = compare(&producer.to(given), &consumer.to(taken), depth - 1) {
            return Some(under(name, mismatch));
        }
    }
    None
}

fn under(segment: &str, mismatch: Mismatch) -> Mismatch {
    Mismatch { pointer: format!("/{segment}{}", mismatch.pointer), message: mismatch.message }
}

/// An integer is a number, and a number may be an integer.
fn overlap(give: &str, take: &str) -> bool {
    give == take || matches!((give, take), ("integer", "number") | ("number", "integer"))
}
