//! Panics. The trap is a failure of this call and of nothing else.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct Trap;

export!(Trap);

impl Guest for Trap {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "trap".to_owned(),
            description: "Traps.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        panic!("on purpose")
    }
}
