//! `--input` and `--inputs`: what a user gives a blueprint.

use std::path::PathBuf;

use ice_core::problem::{Code, Problem};
use serde_json::{Map, Value};

/// Inputs of a blueprint.
#[derive(clap::Args, Default)]
pub(crate) struct InputArgs {
    /// One input; the value is JSON where it parses as JSON, else text; `KEY=@FILE` takes the text of a file
    #[arg(long = "input", short = 'i', value_name = "KEY=VALUE")]
    input: Vec<String>,
    /// A JSON file with an object of inputs; `--input` wins over it
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
}

impl InputArgs {
    /// Reads all of them; every problem at once.
    pub(crate) fn read(&self) -> Result<Map<String, Value>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut inputs = match self.inputs.as_ref().map(|path| read_object(path)).transpose() {
            Ok(object) => object.unwrap_or_default(),
            Err(problem) => {
                problems.push(problem);
                Map::new()
            }
        };
        for text in &self.input {
            match parse("--input", text, |_| false) {
                Ok((key, value)) => {
                    inputs.insert(key, value);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(inputs) } else { Err(problems) }
    }
}

fn read_object(path: &std::path::Path) -> Result<Map<String, Value>, Problem> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problem::new(Code::C002, format!("the inputs cannot be read: {error}")).file(place.clone()))?;
    serde_json::from_str(&text).map_err(|error| {
        Problem::new(Code::C001, format!("the inputs are not a JSON object: {error}"))
            .file(place)
            .help(r#"write `{"name": value}`"#)
    })
}

/// Reads `KEY=VALUE` of `flag`; the value stays text where `is_text` says so of the key.
pub(super) fn parse(flag: &str, text: &str, is_text: impl Fn(&str) -> bool) -> Result<(String, Value), Problem> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
        Problem::new(Code::C001, format!("`{flag} {text}` has no `=`")).help(format!("write `{flag} name=value`"))
    })?;
    let value = match value.strip_prefix('@') {
        Some(path) => Value::String(std::fs::read_to_string(path).map_err(|error| {
            Problem::new(Code::C002, format!("the file of `{flag} {key}` cannot be read: {error}")).file(path)
        })?),
        None if is_text(key) => Value::String(value.to_owned()),
        None => serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned())),
    };
    Ok((key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_json_where_it_parses_and_text_otherwise() {
        for (text, value) in [
            ("n=3", json!(3)),
            ("zip=0123", json!("0123")),
            ("city=Oslo", json!("Oslo")),
            ("list=[1,2]", json!([1, 2])),
            ("empty=", json!("")),
            ("equation=a=b", json!("a=b")),
        ] {
            assert_eq!(parse("--input", text, |_| false).unwrap().1, value, "{text}");
            assert!(parse("--input", text, |_| true).unwrap().1.is_string(), "{text}");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let args = InputArgs { input: vec!["x".into(), "=1".into(), "f=@/nowhere/at/all".into()], inputs: None };
        assert_eq!(args.read().unwrap_err().len(), 3);
    }
}
