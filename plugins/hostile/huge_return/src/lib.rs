//! Returns an answer of as many bytes as its input says, `{"bytes": N}`: the host has to copy what a guest returns.
//! Stopped by the limit on the size of an answer.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct HugeReturn;

export!(HugeReturn);

impl Guest for HugeReturn {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "huge_return".to_owned(),
            description: "Returns as many bytes as it is asked for.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, input: String, _: CallContext) -> Result<String, Error> {
        let digits: String = input.chars().filter(char::is_ascii_digit).collect();
        let bytes: usize = digits.parse().map_err(|_| Error::InvalidInput("`bytes` is not a number".to_owned()))?;
        // One allocation of the right size: the answer shall meet the limit on answers, not the one on memory.
        let mut answer = String::with_capacity(bytes + 2);
        answer.push('"');
        answer.extend(std::iter::repeat_n('x', bytes));
        answer.push('"');
        Ok(answer)
    }
}
