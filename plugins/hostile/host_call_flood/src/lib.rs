//! Asks the host whether a secret exists, for ever: each question is cheap, their number is not.
//! Stopped by the limit on host calls.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct HostCallFlood;

export!(HostCallFlood);

impl Guest for HostCallFlood {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "host_call_flood".to_owned(),
            description: "Calls into the host without end.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        loop {
            std::hint::black_box(ice::secrets::secrets::exists("any"));
        }
    }
}
