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

/// Where compiled components are kept in a home.
const COMPILED: &str = "cache/aot";

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

    /// With everything installed, and the interpreters of Python and JavaScript compiled too.
    pub(crate) fn with_interpreters() -> Self {
        let home = Self::new();
        let (from, to) = (template().join(COMPILED), home.path().join(COMPILED));
        for entry in std::fs::read_dir(from).unwrap().flatten().filter(is_large) {
            std::fs::hard_link(entry.path(), to.join(entry.file_name())).unwrap();
        }
        home
    }

    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With nothing in it but the belief in the key that signed what [`Home::new`] has.
    pub(crate) fn believing() -> Self {
        let home = Self::empty();
        let key = template().join("keys/test.pub.pem");
        home.run(&["trust", "add", key.to_str().unwrap(), "--scope", "iceos/*", "--yes"]).exits(0);
        home
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

    /// Runs `ice` to its end on a machine without a network: not even the loopback interface is up.
    pub(crate) fn run_unplugged(&self, args: &[&str]) -> Ran {
        Ran::from(self.unplugged(ICE).args(args).output().unwrap())
    }

    /// Any program, with a clean environment, on a machine without a network.
    pub(crate) fn unplugged(&self, program: &str) -> Command {
        let allowed = Command::new("unshare").args(["-n", "true"]).output();
        let allowed = allowed.unwrap_or_else(|error| panic!("`unshare` is missing: install util-linux ({error})"));
        let why = String::from_utf8_lossy(&allowed.stderr);
        assert!(allowed.status.success(), "`unshare -n` is not permitted here, run the tests as root: {why}");
        let mut command = clean("unshare", self.path());
        command.args(["-n", program]);
        command
    }

    /// A file of this home, as an argument.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path().join(name).to_str().unwrap().to_owned()
    }

    /// A file of this home with this content, as an argument.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path().join(name), content).unwrap();
        self.file(name)
    }

    /// Signs a first-party kit under another version, after `edit`; its sequence grows by the version's last number.
    pub(crate) fn release(&self, kit: &str, version: &str, edit: impl FnOnce(&mut Value)) -> Ran {
        let bytes = std::fs::read(root().join(format!("manifests/kits/{kit}.json"))).unwrap();
        let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let last: u64 = version.rsplit('.').next().unwrap().parse().unwrap();
        manifest["version"] = version.into();
        manifest["sequence"] = (manifest["sequence"].as_u64().unwrap() + last).into();
        for component in manifest["components"].as_array_mut().unwrap() {
            component["version"] = version.into();
        }
        edit(&mut manifest);
        let file = self.write(&format!("{kit}-{version}.json"), manifest.to_string());
        self.run(&["plugins", "sign", &file, "--key", "test"])
    }

    /// Statement, keys and the rest of a row of `ice list`.
    #[track_caller]
    pub(crate) fn listed(&self, name: &str, version: &str) -> Value {
        let rows = self.run(&["list", "--json"]).exits(0).json();
        let found = rows.as_array().unwrap().iter().find(|row| row["name"] == name && row["version"] == version);
        found.unwrap_or_else(|| panic!("{name} {version}: {rows}")).clone()
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

const ICE: &str = env!("CARGO_BIN_EXE_ice");

fn command(home: &Path) -> Command {
    clean(ICE, home)
}

fn clean(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("ICE_HOME", home).env("PATH", std::env::var_os("PATH").unwrap()).current_dir(root());
    command
}

fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        assert!(root().join("manifests/kits/memory.json").exists(), "the plugins are not built: run `make plugins`");
        let dir = tempfile::tempdir().unwrap().keep();
        // `make plugins` compiled everything to ask it what it is; an interpreter takes half a minute.
        let compiled = root().join("plugins/target/aot");
        if compiled.exists() {
            std::fs::create_dir_all(dir.join("cache")).unwrap();
            copy_files(&compiled, &dir.join(COMPILED), |_| true);
        }
        for args in [
            &["keys", "generate", "test"][..],
            &["trust", "add", "test", "--scope", "iceos/*", "--yes"],
            &["plugins", "sign", "--all", "--key", "test"],
            &["plugins", "grant", "--all", "--requested"],
            &["plugins", "precompile"],
        ] {
            Ran::from(command(&dir).args(args).output().unwrap()).exits(0);
        }
        dir
    })
}

/// What an interpreter is compiled to. Tests that do not call it need not copy it: that is 70 MB for each of them.
fn is_large(entry: &std::fs::DirEntry) -> bool {
    entry.metadata().unwrap().len() > 8 << 20
}

/// Copies a home, without what is compiled and large.
fn copy(from: &Path, to: &Path) {
    copy_files(from, to, |entry| entry.path().extension().is_none_or(|end| end != "aot") || !is_large(entry));
}

fn copy_files(from: &Path, to: &Path, wanted: fn(&std::fs::DirEntry) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &target, wanted);
        } else if wanted(&entry) {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
