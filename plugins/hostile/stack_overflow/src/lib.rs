//! Recurses without end. Stopped by the limit on the wasm stack, well before the host's own stack is in danger.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct StackOverflow;

export!(StackOverflow);

impl Guest for StackOverflow {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "stack_overflow".to_owned(),
            description: "Recurses without end.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        Ok(down(0).to_string())
    }
}

/// Never comes back. `black_box` keeps the compiler from turning the recursion into a loop.
#[expect(unconditional_recursion, reason = "that is the attack")]
fn down(depth: u64) -> u64 {
    down(std::hint::black_box(depth) + 1).wrapping_mul(31).wrapping_add(depth)
}
