//! Makes timers on the host and drops none of them, to fill the host's memory instead of its own.
//! Stopped by the limit on host calls or on resources.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct ResourceBomb;

export!(ResourceBomb);

impl Guest for ResourceBomb {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "resource_bomb".to_owned(),
            description: "Makes host resources and drops none.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        loop {
            // Forgotten, so that the handle is never given back.
            std::mem::forget(wasi::clocks::monotonic_clock::subscribe_duration(u64::MAX));
        }
    }
}
