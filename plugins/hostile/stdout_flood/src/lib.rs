//! Prints to standard output and error for ever. Both become log lines, so the log limit holds for them too.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct StdoutFlood;

export!(StdoutFlood);

impl Guest for StdoutFlood {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "stdout_flood".to_owned(),
            description: "Prints without end.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        let line = "flood ".repeat(170);
        loop {
            println!("{line}");
            eprintln!("{line}");
        }
    }
}
