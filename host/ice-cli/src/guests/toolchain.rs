//! Which compiler builds guests: rustup's, when it has the target, else Debian's with the standard library from source.
//!
//! [`look`] finds what is there, [`choose`] decides. Nothing is installed here; `make setup` does that.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ice_core::problem::{Code, Problem};

/// The target guests are built for; what comes out is a component.
pub(super) const TARGET: &str = "wasm32-wasip2";

/// The oldest compiler that builds the guests: the `rust-version` of the host workspace.
const RUST_MIN: (u32, u32) = (1, 95);

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

/// How guests are built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Toolchain {
    /// `cargo` of the path, whose compiler has the target.
    Plain {
        /// What the compiler says it is.
        version: String,
    },
    /// Debian's cargo and compiler, with the standard library built from its source package and linked by rustup's linker.
    Debian {
        /// What the compiler says it is.
        version: String,
        /// The folder with `wasm-component-ld` and `rust-lld`.
        linkers: PathBuf,
    },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain { version } => write!(f, "{version} with the target {TARGET}"),
            Self::Debian { version, .. } => write!(f, "Debian's {version} with the standard library from source"),
        }
    }
}

impl Toolchain {
    /// A cargo command that tells what is built for the target, from the lock. It may fetch what only tests need, which a
    /// build leaves out.
    pub(super) fn metadata(&self) -> Command {
        let mut command = self.program();
        command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", TARGET]);
        if let Self::Debian { .. } = self {
            command.env("RUSTC", DEBIAN_RUSTC);
        }
        command
    }

    fn program(&self) -> Command {
        match self {
            Self::Plain { .. } => Command::new("cargo"),
            Self::Debian { .. } => Command::new(DEBIAN_CARGO),
        }
    }

    /// A cargo command that builds for the target, ready for further arguments.
    pub(super) fn cargo(&self) -> Command {
        let mut command = self.program();
        command.args(["build", "--release", "--target", TARGET]);
        // Flags and wrappers of an outer build are meant for the host.
        for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_BUILD_RUSTFLAGS"] {
            command.env_remove(variable);
        }
        if let Self::Debian { linkers, .. } = self {
            let mut folders = vec![linkers.join("gcc-ld"), linkers.clone()];
            folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
            // A folder with a colon in its name cannot be in a path; then the linker is found by its absolute name only.
            if let Ok(path) = std::env::join_paths(folders) {
                command.env("PATH", path);
            }
            command
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_WASIP2_LINKER", linkers.join("wasm-component-ld"))
                .env("RUSTFLAGS", format!("-L {WASI_LIBC}"));
        }
        command
    }
}

/// What is on this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Found {
    /// `rustc --version` of the path.
    pub(super) rustc: Option<String>,
    /// Whether that compiler has the standard library of the target.
    pub(super) target: bool,
    /// The folder of rust's own linkers, when `wasm-component-ld` is in it.
    pub(super) linkers: Option<PathBuf>,
    /// `rustc --version` of Debian, when its cargo is there too.
    pub(super) debian: Option<String>,
    /// Whether the source of the standard library lies beside Debian's compiler.
    pub(super) source: bool,
    /// Whether Debian's `wasi-libc` is installed.
    pub(super) libc: bool,
}

/// Looks for compilers, as they are seen from `folder`: rustup may choose another one for each folder.
pub(super) fn look(folder: &Path) -> Found {
    let ask = |rustc: &str, arguments: &[&str]| -> Option<String> {
        let output = Command::new(rustc)
            .args(arguments)
            .current_dir(folder)
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let libraries = ask("rustc", &["--print", "target-libdir", "--target", TARGET]).map(PathBuf::from);
    let has_std = |folder: PathBuf| {
        std::fs::read_dir(folder)
            .is_ok_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
    };
    // The libraries of the compiler's own machine lie in `lib`, its programs beside it in `bin`.
    let linkers = ask("rustc", &["--print", "target-libdir"])
        .and_then(|lib| Path::new(&lib).parent().map(|rustlib| rustlib.join("bin")))
        .filter(|bin| bin.join("wasm-component-ld").is_file());
    let debian = (Path::new(DEBIAN_CARGO).is_file()).then(|| ask(DEBIAN_RUSTC, &["--version"])).flatten();
    let source = ask(DEBIAN_RUSTC, &["--print", "sysroot"])
        .is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file());
    Found {
        rustc: ask("rustc", &["--version"]),
        target: libraries.is_some_and(has_std),
        linkers,
        debian,
        source,
        libc: Path::new(WASI_LIBC).join("libc.a").is_file(),
    }
}

/// Chooses how to build. Fails with C005 that says what to install.
pub(super) fn choose(found: &Found) -> Result<Toolchain, Problem> {
    let refuse = |message: String, help: &str| Err(Problem::new(Code::C005, message).help(help));
    let minimum = format!("{}.{}", RUST_MIN.0, RUST_MIN.1);
    let Some(rustc) = &found.rustc else {
        return refuse(
            "there is no Rust compiler to build plugins with".into(),
            "install Rust from https://rustup.rs, then run `make setup`",
        );
    };
    if found.target {
        if !recent(rustc) {
            return refuse(
                format!("`{rustc}` is too old to build plugins; {minimum} is needed"),
                "run `rustup update stable`",
            );
        }
        return Ok(Toolchain::Plain { version: rustc.clone() });
    }
    let missing: Vec<&str> = [
        ("`rustc-web` and `cargo-web`", found.debian.as_deref().is_some_and(recent)),
        ("`rust-web-src`", found.source),
        ("`wasi-libc`", found.libc),
        ("`wasm-component-ld` of rustup's toolchain", found.linkers.is_some()),
    ]
    .into_iter()
    .filter(|(_, there)| !there)
    .map(|(name, _)| name)
    .collect();
    match (&found.debian, &found.linkers) {
        (Some(version), Some(linkers)) if missing.is_empty() => {
            Ok(Toolchain::Debian { version: version.clone(), linkers: linkers.clone() })
        }
        _ => refuse(
            format!("`{rustc}` has no target `{TARGET}`, and building its library needs {}", missing.join(", ")),
            "run `rustup target add wasm32-wasip2`, or on Debian `apt-get install rustc-web cargo-web rust-web-src wasi-libc`",
        ),
    }
}

/// Whether `rustc 1.95.0 (…)` is at least [`RUST_MIN`].
fn recent(version: &str) -> bool {
    let mut numbers = version.split_whitespace().nth(1).unwrap_or_default().split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= RUST_MIN,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Found {
        Found {
            rustc: Some("rustc 1.95.0 (59807616e 2026-04-14)".into()),
            target: false,
            linkers: Some("/rust/bin".into()),
            debian: Some("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)".into()),
            source: true,
            libc: true,
        }
    }

    #[test]
    fn the_target_of_rustup_is_taken_first() {
        let found = Found { target: true, ..all() };
        assert_eq!(choose(&found), Ok(Toolchain::Plain { version: found.rustc.unwrap() }));
        let alone = Found { target: true, rustc: all().rustc, ..Found::default() };
        assert!(choose(&alone).is_ok());
    }

    #[test]
    fn without_the_target_debian_builds() {
        let found = all();
        let expected = Toolchain::Debian { version: found.debian.clone().unwrap(), linkers: "/rust/bin".into() };
        assert_eq!(choose(&found), Ok(expected));
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases = [
            (Found { debian: None, ..all() }, "`rustc-web` and `cargo-web`"),
            (Found { debian: Some("rustc 1.63.0".into()), ..all() }, "`rustc-web` and `cargo-web`"),
            (Found { source: false, ..all() }, "`rust-web-src`"),
            (Found { libc: false, ..all() }, "`wasi-libc`"),
            (Found { linkers: None, ..all() }, "`wasm-component-ld`"),
        ];
        for (found, name) in cases {
            let problem = choose(&found).unwrap_err();
            assert_eq!(problem.code, Code::C005);
            assert!(problem.message.contains(name), "{problem}");
            assert!(problem.help.unwrap().contains("rustup target add wasm32-wasip2"));
        }
    }

    #[test]
    fn no_compiler_and_an_old_one_are_refused_with_their_own_way_out() {
        let none = choose(&Found::default()).unwrap_err();
        assert!(none.help.unwrap().contains("rustup.rs"));
        let old = choose(&Found { target: true, rustc: Some("rustc 1.94.1 (x)".into()), ..all() }).unwrap_err();
        assert!(old.message.contains("1.95"), "{old}");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, expected) in [
            ("rustc 1.95.0 (x)", true),
            ("rustc 1.100.0", true),
            ("rustc 2.0.0-nightly", true),
            ("rustc 1.9.0", false),
            ("rustc", false),
            ("", false),
        ] {
            assert_eq!(recent(version), expected, "{version}");
        }
    }
}
