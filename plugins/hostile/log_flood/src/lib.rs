//! Writes one kilobyte to the log, for ever. Lines over the log limit are dropped; the call ends at the limit on
//! host calls or time.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct LogFlood;

export!(LogFlood);

impl Guest for LogFlood {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "log_flood".to_owned(),
            description: "Logs without end.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        let line = "flood ".repeat(170);
        loop {
            ice::log::log::write(ice::log::log::Level::Info, &line);
        }
    }
}
