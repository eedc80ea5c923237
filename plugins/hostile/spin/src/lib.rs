//! Spins for ever. Stopped by the processor-time or wall-clock limit of the call.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct Spin;

export!(Spin);

impl Guest for Spin {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "spin".to_owned(),
            description: "Spins for ever in `call`.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        loop {
            std::hint::spin_loop();
        }
    }
}
