//! A home with a development key, every first-party plugin signed and granted what it asks for.
//! Made once per test run, copied for each test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A home of its own for one test; removed at its end.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// With everything installed.
    pub(crate) fn new() -> Self {
        let home = Self::empty();
        copy(template(), home.path());
        home
    }

    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `ice` with a clean environment and this home.
    pub(crate) fn ice(&self) -> Command {
        command(self.path())
    }

    /// Runs `ice` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.ice().args(args).output().unwrap())
    }

    /// Adds a line to `ice.toml` under a section.
    pub(crate) fn set(&self, section: &str, line: &str) {
        let path = self.path().join("ice.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{text}\n[{section}]\n{line}\n")).unwrap();
    }
}

/// What a command left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Asserts the exit code, showing everything when it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.out, self.err))
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ice"));
    command.env_clear().env("ICE_HOME", home).env("PATH", std::env::var_os("PATH").unwrap()).current_dir(root());
    command
}

fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        assert!(root().join("manifests/kits/memory.json").exists(), "the plugins are not built: run `make plugins`");
        let dir = tempfile::tempdir().unwrap().keep();
        for args in [
            &["keys", "generate", "test"][..],
            &["keys", "trust", "test", "--scope", "iceos/*", "--yes"],
            &["plugins", "sign", "--all", "--key", "test"],
            &["plugins", "grant", "--all", "--requested"],
            &["plugins", "precompile"],
        ] {
            Ran::from(command(&dir).args(args).output().unwrap()).exits(0);
        }
        dir
    })
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            let permissions = entry.metadata().unwrap().permissions();
            std::fs::set_permissions(&target, permissions).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
