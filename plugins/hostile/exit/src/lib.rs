//! Ends its process, or so it hopes: `exit` ends this call, never the host. Exits with 0, which must not look like an
//! answer.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct Exit;

export!(Exit);

impl Guest for Exit {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "exit".to_owned(),
            description: "Calls `exit`.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        std::process::exit(0)
    }
}
