//! Sleeps for an hour through the host's timers. It uses no processor time at all, so only the wall-clock limit or a
//! cancel stops it.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct SleepPoll;

export!(SleepPoll);

impl Guest for SleepPoll {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "sleep_poll".to_owned(),
            description: "Waits an hour.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        std::thread::sleep(std::time::Duration::from_secs(3600));
        Ok("{}".to_owned())
    }
}
