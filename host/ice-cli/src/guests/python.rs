//! Guests in Python (`guest.py`): componentize-py puts CPython, its standard library and the source into a component.
//!
//! The component holds the interpreter as it is after `guest.py` was imported; modules that were not imported by then
//! are not in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::interpreted::{Tool, WORLD};

/// The environment `make setup` installs into, beside the plugin workspace.
const ENVIRONMENT: &str = "../target/venv";

/// Finds componentize-py; `None` when it is not installed.
pub(super) fn tool(plugins: &Path) -> Option<Tool> {
    let environment = plugins.join(ENVIRONMENT);
    let program = environment.join("bin/componentize-py");
    let version = version(&environment).filter(|_| program.is_file())?;
    Some(Tool {
        name: format!("componentize-py {version}"),
        command: Box::new(move |work| {
            let mut command = Command::new(&program);
            // Nothing of the user's own Python may end in the component.
            command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("VIRTUAL_ENV", &environment);
            command.args(["--quiet", "--wit-path"]).arg(&work.wit).args(["--world", WORLD, "componentize", "guest"]);
            command.arg("--python-path").arg(&work.source).arg("--output").arg(&work.component);
            command
        }),
    })
}

/// The version that pip wrote down: asking the program costs half a second in every build.
fn version(environment: &Path) -> Option<String> {
    let entries = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries(environment.join("lib")).flat_map(|python| entries(python.path().join("site-packages"))).find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix("componentize_py-")?.strip_suffix(".dist-info").map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        assert!(tool(&plugins).is_none());
        let environment = folder.path().join("target/venv");
        std::fs::create_dir_all(environment.join("lib/python3.11/site-packages/componentize_py-0.25.0.dist-info"))
            .unwrap();
        std::fs::create_dir_all(&plugins).unwrap();
        assert!(tool(&plugins).is_none(), "a package without its program");
        std::fs::create_dir_all(environment.join("bin")).unwrap();
        std::fs::write(environment.join("bin/componentize-py"), "").unwrap();
        assert_eq!(tool(&plugins).unwrap().name, "componentize-py 0.25.0");
    }
}
