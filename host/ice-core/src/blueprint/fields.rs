//! Reads typed fields out of a mapping and collects what is wrong with them, each with a pointer.

use serde_json::{Map, Value};

use super::nearest::did_you_mean;
use crate::problem::{Code, Problem};

/// A mapping being read. A field that is missing or wrong yields `None`, and a problem where it was wrong.
pub struct Fields<'a, 'p> {
    map: &'a Map<String, Value>,
    pointer: String,
    problems: &'p mut Vec<Problem>,
}

impl<'a, 'p> Fields<'a, 'p> {
    /// Reads `map`, which is at `pointer` of the document.
    pub fn new(map: &'a Map<String, Value>, pointer: impl Into<String>, problems: &'p mut Vec<Problem>) -> Self {
        Self { map, pointer: pointer.into(), problems }
    }

    /// The pointer of a field.
    pub fn pointer(&self, key: &str) -> String {
        join(&self.pointer, key)
    }

    /// The field as it is; null counts as missing.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Adds a problem about a field.
    pub fn problem(&mut self, code: Code, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::new(code, message).pointer(self.pointer(key)).help(help);
        self.problems.push(problem);
    }

    /// Adds a problem about the mapping itself.
    pub fn problem_here(&mut self, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(code, message).pointer(self.pointer.clone()).help(help));
    }

    fn wrong_type(&mut self, key: &str, wanted: &str) {
        let found = noun(&self.map[key]);
        self.problem(
            Code::B004,
            key,
            format!("`{key}` must be {wanted}, not {found}"),
            format!("write {wanted} after `{key}:`"),
        );
    }

    /// Text.
    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        let text = self.get(key)?.as_str();
        if text.is_none() {
            self.wrong_type(key, "text");
        }
        text
    }

    /// Text that must be there and not be empty.
    pub fn required_text(&mut self, key: &str) -> Option<&'a str> {
        if self.get(key).is_none() {
            self.missing(key);
            return None;
        }
        let text = self.text(key)?;
        if text.trim().is_empty() {
            self.problem(Code::B006, key, format!("`{key}` is empty"), format!("write something after `{key}:`"));
            return None;
        }
        Some(text)
    }

    /// Says that a field must be there.
    pub fn missing(&mut self, key: &str) {
        self.problem_here(Code::B006, format!("`{key}` is missing"), format!("add `{key}:`"));
    }

    /// Yes or no; `default` when missing.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong_type(key, "true or false");
        }
        flag.unwrap_or(default)
    }

    /// A whole number from `min` to `max`.
    pub fn whole(&mut self, key: &str, min: u64, max: u64) -> Option<u64> {
        let value = self.get(key)?;
        if !value.is_i64() && !value.is_u64() {
            self.wrong_type(key, "a whole number");
            return None;
        }
        let number = value.as_u64().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            let bound = if value.as_u64().is_some_and(|number| number > max) { max } else { min };
            let relation = if bound == max { "at most" } else { "at least" };
            let message = format!("`{key}` is {value}, but must be {relation} {bound}");
            let help = match max {
                u64::MAX => format!("write a number, {min} or more"),
                _ => format!("write a number from {min} to {max}"),
            };
            self.problem(Code::B005, key, message, help);
        }
        number
    }

    /// A number from `min` to `max`.
    pub fn number(&mut self, key: &str, min: f64, max: f64) -> Option<f64> {
        let Some(number) = self.get(key)?.as_f64() else {
            self.wrong_type(key, "a number");
            return None;
        };
        if (min..=max).contains(&number) {
            return Some(number);
        }
        let message = format!("`{key}` is {number}, but must be from {min} to {max}");
        self.problem(Code::B005, key, message, format!("write a number from {min} to {max}"));
        None
    }

    /// A positive number of seconds, as milliseconds.
    pub fn seconds(&mut self, key: &str) -> Option<u64> {
        let Some(seconds) = self.get(key)?.as_f64() else {
            self.wrong_type(key, "a number of seconds");
            return None;
        };
        if seconds <= 0.0 || seconds > SECONDS_MAX {
            let message = format!("`{key}` is {seconds}, but must be more than 0 and at most {SECONDS_MAX}");
            self.problem(Code::B005, key, message, format!("leave `{key}` out for no limit of its own"));
            return None;
        }
        Some(milliseconds(seconds))
    }

    /// A number of seconds that may be 0, as milliseconds.
    pub fn pause(&mut self, key: &str) -> Option<u64> {
        self.number(key, 0.0, SECONDS_MAX).map(milliseconds)
    }

    /// A list.
    pub fn list(&mut self, key: &str) -> Option<&'a [Value]> {
        let list = self.get(key)?.as_array();
        if list.is_none() {
            self.wrong_type(key, "a list");
        }
        list.map(Vec::as_slice)
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        let items = self.list(key).unwrap_or_default();
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    let message = format!("an item of `{key}` must be text, not {}", noun(item));
                    self.problem(Code::B004, &format!("{key}/{index}"), message, "quote it");
                }
            }
        }
        texts
    }

    /// A mapping.
    pub fn mapping(&mut self, key: &str) -> Option<&'a Map<String, Value>> {
        let map = self.get(key)?.as_object();
        if map.is_none() {
            self.wrong_type(key, "a mapping");
        }
        map
    }

    /// One of a few words, whatever their case.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            let help = did_you_mean(text, names).unwrap_or_default();
            self.problem(Code::B005, key, format!("`{text}` is not a value of `{key}`"), help);
        }
        found.map(|(_, value)| *value)
    }

    /// Reports every key that is not among `known`; `whose` says what does not have it, as in "a tool node".
    pub fn refuse_unknown(&mut self, known: &[&[&str]], whose: &str) {
        for key in self.map.keys() {
            if !known.iter().any(|keys| keys.contains(&key.as_str())) {
                let names = known.iter().flat_map(|keys| keys.iter().copied());
                let help = did_you_mean(key, names).unwrap_or_else(|| format!("remove `{key}`"));
                self.problem(Code::B002, key, format!("{whose} has no key `{key}`"), help);
            }
        }
    }
}

/// Ten years: longer is a mistake, and the milliseconds still fit everywhere.
const SECONDS_MAX: f64 = 315_360_000.0;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to SECONDS_MAX · 1000")]
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).ceil() as u64
}

/// Extends a JSON pointer by one key; `a/0` as key goes two levels down when the slash is part of the pointer.
fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{key}")
}

/// What a value is, with its article.
pub(super) fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
