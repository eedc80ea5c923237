//! Reads what a program usually inherits: environment variables, arguments, the working directory.
//! Answers with what it found; there is nothing to find.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct ReadEnv;

export!(ReadEnv);

impl Guest for ReadEnv {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "read_env".to_owned(),
            description: "Reads the environment.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        let variables = std::env::vars_os().count();
        let arguments = std::env::args_os().count();
        let named = ["PATH", "HOME", "OPENAI_API_KEY"].iter().filter(|name| std::env::var_os(name).is_some()).count();
        Ok(format!("{{\"variables\":{variables},\"arguments\":{arguments},\"named\":{named}}}"))
    }
}
