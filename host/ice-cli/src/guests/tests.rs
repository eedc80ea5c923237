//! Building in a workspace without crates: no compiler is needed, everything else happens.

use std::cell::Cell;

use super::*;

const WAT: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "ice:plugin/tools@0.1.0#describe") (result i32) (i32.const 16))
  (func (export "ice:plugin/tools@0.1.0#call")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32) unreachable))"#;

struct Workspace {
    folder: tempfile::TempDir,
    encoded: Cell<u32>,
}

impl Workspace {
    fn new() -> Self {
        let workspace = Self { folder: tempfile::tempdir().unwrap(), encoded: Cell::new(0) };
        workspace.write("Cargo.toml", "[workspace]");
        workspace.write("hostile/trap/guest.wat", WAT);
        workspace.write("bundles/chat/bundle.yaml", "name: chat");
        workspace.write("kits/notes.txt", "not a guest");
        workspace
    }

    fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.plugins().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Builds; a bundle's component is the bytes of its `bundle.yaml`.
    fn build(&self, names: &[&str]) -> Result<(Vec<Built>, Vec<Progress>), Vec<Problem>> {
        let mut progress = Vec::new();
        let encode = |folder: &Path| {
            self.encoded.set(self.encoded.get() + 1);
            std::fs::read(folder.join("bundle.yaml")).map_err(|error| vec![cannot("read", folder, &error)])
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let built = build(&self.plugins(), &names, &encode, &mut |step| progress.push(step))?;
        Ok((built, progress))
    }

    fn component(&self, label: &str) -> PathBuf {
        self.plugins().join(format!("target/components/{label}.wasm"))
    }
}

fn labels(built: &[Built]) -> Vec<(&str, bool)> {
    built.iter().map(|built| (built.label.as_str(), built.changed)).collect()
}

#[test]
fn texts_and_bundles_become_components() {
    let workspace = Workspace::new();
    let (built, progress) = workspace.build(&[]).unwrap();
    assert_eq!(labels(&built), [("bundles/chat", true), ("hostile/trap", true)]);
    assert_eq!(progress.len(), 2);
    assert_eq!(std::fs::read(workspace.component("bundles/chat")).unwrap(), b"name: chat");
    let trap = std::fs::read(workspace.component("hostile/trap")).unwrap();
    assert_eq!(ice_runtime::inspect::inspect(&trap).unwrap().world, ice_runtime::inspect::World::Kit);
}

#[test]
fn a_second_build_does_nothing() {
    let workspace = Workspace::new();
    workspace.build(&[]).unwrap();
    let (built, progress) = workspace.build(&[]).unwrap();
    assert_eq!(labels(&built), [("bundles/chat", false), ("hostile/trap", false)]);
    assert_eq!(progress, [Progress::Unchanged { components: 2 }]);
    assert_eq!(workspace.encoded.get(), 1);
}

#[test]
fn a_changed_source_and_a_changed_component_are_built_again() {
    let workspace = Workspace::new();
    workspace.build(&[]).unwrap();
    workspace.write("bundles/chat/bundle.yaml", "name: chat # changed");
    let (built, _) = workspace.build(&[]).unwrap();
    assert_eq!(labels(&built), [("bundles/chat", true), ("hostile/trap", false)]);
    std::fs::write(workspace.component("hostile/trap"), "tampered").unwrap();
    let (built, _) = workspace.build(&[]).unwrap();
    assert_eq!(labels(&built), [("bundles/chat", false), ("hostile/trap", true)]);
}

#[test]
fn one_guest_is_built_by_its_name() {
    let workspace = Workspace::new();
    assert_eq!(labels(&workspace.build(&["trap"]).unwrap().0), [("hostile/trap", true)]);
    assert!(!workspace.component("bundles/chat").exists());
    assert_eq!(labels(&workspace.build(&["bundles/chat"]).unwrap().0), [("bundles/chat", true)]);
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let problems = Workspace::new().build(&["trapp", "trap", "other"]).unwrap_err();
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0].code, Code::C001);
    assert!(problems[0].help.as_ref().unwrap().contains("bundles/chat, hostile/trap"), "{}", problems[0]);
}

#[test]
fn every_broken_guest_is_named_and_the_rest_is_placed() {
    let workspace = Workspace::new();
    workspace.write("hostile/broken/guest.wat", "(module");
    workspace.write("hostile/wrong/guest.wat", "(module)");
    let problems = workspace.build(&[]).unwrap_err();
    let files: Vec<String> = problems.iter().map(|problem| problem.at.clone().unwrap().file.unwrap()).collect();
    assert!(files[0].ends_with("broken/guest.wat") && files[1].ends_with("wrong/guest.wat"), "{files:?}");
    assert!(workspace.component("hostile/trap").exists());
    // Nothing is remembered as done: the next build says the same again.
    assert_eq!(workspace.build(&[]).unwrap_err().len(), 2);
}

#[test]
fn the_component_of_a_removed_guest_goes_away() {
    let workspace = Workspace::new();
    workspace.build(&[]).unwrap();
    std::fs::remove_dir_all(workspace.plugins().join("hostile/trap")).unwrap();
    workspace.build(&["chat"]).unwrap();
    assert!(workspace.component("hostile/trap").exists(), "a build of one guest leaves the others alone");
    workspace.build(&[]).unwrap();
    assert!(!workspace.component("hostile/trap").exists());
}

#[test]
fn a_folder_that_is_no_workspace_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(guests(folder.path()).unwrap_err().code, Code::C002);
}

/// A tool for Python that writes another component each time, as the real one does, and counts how often it was asked.
const PYTHON_TOOL: &str = r#"#!/bin/sh
for last; do :; done
here=$(dirname "$0")
echo run >> "$here/runs"
here=$(cd "$here" && pwd) && cd "$(dirname "$last")"
ls source wit wit/deps > "$here/seen"
if grep -q broken source/guest.py; then echo 'SyntaxError: it is broken' >&2; exit 1; fi
wc -l < "$here/runs" > component.wasm
"#;

impl Workspace {
    /// With a guest in Python and a tool that builds it.
    fn with_python() -> Self {
        let workspace = Self::new();
        workspace.write("kits/snake/guest.py", "pass");
        workspace.write("kits/snake/world.wit", "package ice:guest;");
        workspace
    }

    fn install(&self, version: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let packages = "../target/venv/lib/python3/site-packages";
        let _ = std::fs::remove_dir_all(self.plugins().join(packages));
        self.write(&format!("{packages}/componentize_py-{version}.dist-info/METADATA"), "");
        let program = self.plugins().join("../target/venv/bin/componentize-py");
        self.write("../target/venv/bin/componentize-py", PYTHON_TOOL);
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn runs(&self) -> usize {
        std::fs::read_to_string(self.plugins().join("../target/venv/bin/runs")).unwrap_or_default().lines().count()
    }
}

#[test]
fn a_script_without_its_tool_names_the_way_to_it() {
    let workspace = Workspace::with_python();
    let problems = workspace.build(&[]).unwrap_err();
    assert_eq!((problems.len(), problems[0].code), (1, Code::C005));
    assert!(problems[0].help.as_ref().unwrap().contains("make setup"), "{}", problems[0]);
    assert!(workspace.component("hostile/trap").exists(), "the others are built");
}

#[test]
fn a_script_is_built_again_only_when_it_or_its_tool_changed() {
    let workspace = Workspace::with_python();
    workspace.install("1.0.0");
    workspace.build(&["snake"]).unwrap();
    let seen = std::fs::read_to_string(workspace.plugins().join("../target/venv/bin/seen")).unwrap();
    for file in ["guest.py", "world.wit", "plugin.wit", "ice-types@0.1.0.wit"] {
        assert!(seen.contains(file), "{seen}");
    }
    // Another plugin changed, and the component of this one was lost: its bytes must not become others.
    workspace.write("bundles/chat/bundle.yaml", "name: other");
    std::fs::remove_file(workspace.component("kits/snake")).unwrap();
    workspace.build(&[]).unwrap();
    assert_eq!(
        (workspace.runs(), std::fs::read_to_string(workspace.component("kits/snake")).unwrap().trim()),
        (1, "1")
    );
    // What an interpreter leaves beside its source is no source.
    workspace.write("kits/snake/__pycache__/guest.pyc", "");
    workspace.build(&[]).unwrap();
    assert_eq!(workspace.runs(), 1);
    workspace.write("kits/snake/guest.py", "pass  # changed");
    workspace.build(&[]).unwrap();
    assert_eq!(workspace.runs(), 2);
    workspace.install("1.0.1");
    workspace.build(&[]).unwrap();
    assert_eq!(workspace.runs(), 3);
}

#[test]
fn what_the_tool_says_is_quoted() {
    let workspace = Workspace::with_python();
    workspace.install("1.0.0");
    workspace.write("kits/snake/guest.py", "broken");
    let problems = workspace.build(&["snake"]).unwrap_err();
    assert!(problems[0].message.contains("SyntaxError: it is broken"), "{}", problems[0]);
    assert_eq!(workspace.build(&["snake"]).unwrap_err().len(), 1, "nothing is remembered as done");
}
