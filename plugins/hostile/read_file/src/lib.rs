//! Reads and writes the host's files, by absolute and relative paths and by climbing out of where it stands.
//! Answers with what worked; nothing does, because no folder is opened for a guest.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct ReadFile;

export!(ReadFile);

impl Guest for ReadFile {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "read_file".to_owned(),
            description: "Reads and writes files.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        let read = ["/etc/passwd", "etc/passwd", "../../../../etc/passwd", "/proc/self/environ", "./Cargo.toml"];
        let mut worked: Vec<String> = Vec::new();
        for path in read {
            if std::fs::read(path).is_ok() {
                worked.push(format!("\"read {path}\""));
            }
        }
        for path in ["/tmp/ice_hostile_guest", "ice_hostile_guest"] {
            if std::fs::write(path, "was here").is_ok() {
                worked.push(format!("\"write {path}\""));
            }
        }
        for path in ["/", "."] {
            if std::fs::read_dir(path).is_ok() {
                worked.push(format!("\"list {path}\""));
            }
        }
        Ok(format!("{{\"worked\":[{}]}}", worked.join(",")))
    }
}
