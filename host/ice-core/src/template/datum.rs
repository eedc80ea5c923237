//! Values of the template language: made from JSON once per output, shared afterwards, turned back into JSON.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ValueKind};
use serde_json::{Map, Number, Value};

/// A value of the template language. Cheap to clone: arrays, objects and long strings are shared.
pub type Datum = minijinja::Value;

/// Levels of arrays and objects a result may have; a template can build values that JSON readers choke on.
const DEPTH_MAX: usize = 128;

/// Makes a template value from JSON. Integers stay integers. Costs the size of `value`: keep the result.
pub fn datum(value: &Value) -> Datum {
    Datum::from(minijinja::value::Serde(value))
}

/// Turns a template value into JSON. An undefined value, a number JSON does not have, or a value that is no data is
/// an error in words.
pub fn json(value: &Datum) -> Result<Value, String> {
    convert(value, DEPTH_MAX)
}

fn convert(value: &Datum, depth: usize) -> Result<Value, String> {
    if depth == 0 {
        return Err(format!("the value is nested deeper than {DEPTH_MAX} levels"));
    }
    match value.kind() {
        ValueKind::Undefined => Err("the value is undefined".into()),
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number(value),
        ValueKind::String => Ok(Value::String(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| error.to_string())?;
            items.map(|item| convert(&item, depth - 1)).collect()
        }
        ValueKind::Map => {
            let keys = value.try_iter().map_err(|error| error.to_string())?;
            let field = |key: Datum| {
                let field = value.get_item(&key).map_err(|error| error.to_string())?;
                Ok((key.to_string(), convert(&field, depth - 1)?))
            };
            keys.map(field).collect::<Result<Map<_, _>, String>>().map(Value::Object)
        }
        kind => Err(format!("a value of kind {kind} is not JSON")),
    }
}

fn number(value: &Datum) -> Result<Value, String> {
    let not_json = || format!("the number {value} is not JSON");
    if value.is_integer() {
        let signed = i64::try_from(value.clone()).map(Number::from);
        let number = signed.or_else(|_| u64::try_from(value.clone()).map(Number::from));
        return number.map(Value::Number).map_err(|_| not_json());
    }
    let float = f64::try_from(value.clone()).map_err(|_| not_json())?;
    Number::from_f64(float).map(Value::Number).ok_or_else(not_json)
}

/// The context of one rendering: the few names a template mentions.
#[derive(Debug)]
pub(super) struct Frame(pub(super) Vec<(String, Datum)>);

impl Object for Frame {
    fn get_value(self: &Arc<Self>, key: &Datum) -> Option<Datum> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Datum> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Datum::from(name.as_str())).collect())
    }
}
