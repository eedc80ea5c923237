//! Spins for ever while it is asked what it is. Stopped by the limit on `describe`, before anything is installed.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct SpinInDescribe;

export!(SpinInDescribe);

impl Guest for SpinInDescribe {
    fn describe() -> Vec<Tool> {
        loop {
            std::hint::spin_loop();
        }
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        Ok("{}".to_owned())
    }
}
