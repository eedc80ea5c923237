//! Allocates and touches memory until the host refuses. Stopped by the memory limit of the call.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct MemoryBomb;

export!(MemoryBomb);

impl Guest for MemoryBomb {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "memory_bomb".to_owned(),
            description: "Allocates until the host refuses.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        let mut hoard = Vec::new();
        loop {
            // Written to, so that the pages are really there.
            hoard.push(vec![1_u8; 1 << 20]);
        }
    }
}
