//! Answers with something that is not the JSON it promised. Input: `{"kind": "text"}` for no JSON at all,
//! `{"kind": "deep"}` for lists nested so deep that a careless reader runs out of stack, `{"kind": "error"}` for a
//! megabyte of error text.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct BadAnswer;

export!(BadAnswer);

impl Guest for BadAnswer {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "bad_answer".to_owned(),
            description: "Answers with something that is no JSON.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, input: String, _: CallContext) -> Result<String, Error> {
        const DEPTH: usize = 200_000;
        match input.split('"').nth(3) {
            Some("text") => Ok("this is not JSON".to_owned()),
            Some("deep") => Ok("[".repeat(DEPTH) + &"]".repeat(DEPTH)),
            Some("error") => Err(Error::Failed("e".repeat(1 << 20))),
            _ => Err(Error::InvalidInput("`kind` is `text`, `deep` or `error`".to_owned())),
        }
    }
}
