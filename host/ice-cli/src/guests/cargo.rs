//! Runs cargo over the plugin workspace and finds the components it made.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Sender, channel};

use ice_core::problem::{Code, Problem};
use serde::Deserialize;

use super::toolchain::{TARGET, Toolchain};
use super::{Guest, cannot};

/// Lines of cargo's own words that a failure quotes: enough for the first error, not a wall of text.
const QUOTED_LINES: usize = 40;

/// The part of cargo's messages that is read (`cargo build --message-format=json`).
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    target: MessageTarget,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize, Default)]
struct MessageTarget {
    #[serde(default)]
    kind: Vec<String>,
}

enum Line {
    Message(String),
    Words(String),
}

/// Builds the crates of `guests` and returns each with its `.wasm` file. With `whole` the workspace is built in one go;
/// else only their packages. What did not change is not built again.
///
/// Fails with C005 when cargo cannot be started or refuses, or when a crate makes no component.
pub(super) fn build<'a>(
    toolchain: &Toolchain,
    plugins: &Path,
    guests: &[&'a Guest],
    whole: bool,
    report: &mut dyn FnMut(String),
) -> Result<Vec<(&'a Guest, PathBuf)>, Problem> {
    let mut command = toolchain.cargo();
    command.arg("--message-format=json-render-diagnostics").arg("--manifest-path").arg(plugins.join("Cargo.toml"));
    command.arg("--target-dir").arg(plugins.join("target"));
    if !whole {
        for guest in guests {
            command.arg("--package").arg(package(guest)?);
        }
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| {
            Problem::new(Code::C005, format!("`cargo` could not be started: {error}"))
                .help("install Rust from https://rustup.rs, then run `make setup`")
        })?;

    let (sender, receiver) = channel();
    let messages = child.stdout.take().expect("the output was piped");
    let words = child.stderr.take().expect("the errors were piped");
    read_lines(messages, sender.clone(), Line::Message);
    read_lines(words, sender, Line::Words);
    let mut artifacts = Vec::new();
    let mut said = Vec::new();
    for line in receiver {
        match line {
            Line::Message(text) => artifacts.extend(artifact(&text)),
            Line::Words(text) => {
                said.push(text.clone());
                report(text);
            }
        }
    }
    let status = child.wait().map_err(|error| Problem::new(Code::C005, format!("`cargo` was lost: {error}")))?;
    if !status.success() {
        return Err(refused(plugins, &said));
    }
    guests.iter().map(|guest| Ok((*guest, find(guest, &artifacts)?))).collect()
}

fn read_lines(from: impl Read + Send + 'static, to: Sender<Line>, kind: fn(String) -> Line) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            // Nobody listens any more once the build was given up.
            if to.send(kind(String::from_utf8_lossy(&line).into_owned())).is_err() {
                break;
            }
        }
    });
}

/// The manifest and the `.wasm` file of a finished component; nothing for every other message.
fn artifact(text: &str) -> Option<(PathBuf, PathBuf)> {
    let message: Message = serde_json::from_str(text).ok()?;
    let component = message.reason == "compiler-artifact" && message.target.kind.iter().any(|kind| kind == "cdylib");
    let file = message.filenames.into_iter().find(|file| file.extension().is_some_and(|end| end == "wasm"))?;
    component.then_some((message.manifest_path, file))
}

fn find(guest: &Guest, artifacts: &[(PathBuf, PathBuf)]) -> Result<PathBuf, Problem> {
    // Cargo resolves links in paths, so both sides are.
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let manifest = real(&guest.folder.join("Cargo.toml"));
    (artifacts.iter().find(|(of, _)| real(of) == manifest)).map(|(_, file)| file.clone()).ok_or_else(|| {
        Problem::new(Code::C005, format!("`{}` is built and makes no component", guest.label()))
            .file(manifest.display().to_string())
            .help("add `crate-type = [\"cdylib\", \"rlib\"]` under `[lib]`, and the folder to the members of the plugin workspace")
    })
}

fn refused(plugins: &Path, said: &[String]) -> Problem {
    let first =
        said.iter().position(|line| line.starts_with("error")).unwrap_or(said.len().saturating_sub(QUOTED_LINES));
    let quoted: Vec<&str> = said[first..].iter().take(QUOTED_LINES).map(String::as_str).collect();
    Problem::new(Code::C005, format!("the plugins do not compile:\n{}", quoted.join("\n")))
        .file(plugins.display().to_string())
        .help(format!("correct the first error; guests are built for `{TARGET}`"))
}

/// The package name in a guest's `Cargo.toml`.
fn package(guest: &Guest) -> Result<String, Problem> {
    let file = guest.folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| cannot("read", &file, &error))?;
    let name = toml::from_str::<toml::Table>(&text)
        .ok()
        .and_then(|table| table.get("package")?.get("name")?.as_str().map(str::to_owned));
    name.ok_or_else(|| {
        Problem::new(Code::C005, "the manifest names no package")
            .file(file.display().to_string())
            .help("write `name` under `[package]`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_are_taken_from_cargos_messages() {
        let message = |reason: &str, kind: &str, file: &str| {
            artifact(&format!(
                r#"{{"reason":"{reason}","manifest_path":"/p/kits/a/Cargo.toml","target":{{"kind":["{kind}"],"name":"a"}},
                    "filenames":["{file}"],"fresh":true}}"#
            ))
        };
        let expected = Some((PathBuf::from("/p/kits/a/Cargo.toml"), PathBuf::from("/t/a.wasm")));
        assert_eq!(message("compiler-artifact", "cdylib", "/t/a.wasm"), expected);
        assert_eq!(message("compiler-artifact", "lib", "/t/liba.rlib"), None);
        assert_eq!(message("compiler-artifact", "cdylib", "/t/liba.so"), None);
        assert_eq!(artifact(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(artifact("no json"), None);
    }

    #[test]
    fn a_failure_quotes_the_first_error() {
        let mut said = vec!["   Compiling a v0.1.0".to_owned(), "error[E0425]: cannot find value `x`".to_owned()];
        said.extend((0..100).map(|line| format!("line {line}")));
        let problem = refused(Path::new("/p"), &said);
        assert!(problem.message.contains("cannot find value `x`"), "{problem}");
        assert!(!problem.message.contains("Compiling"), "{problem}");
        assert!(!problem.message.contains("line 99"), "{problem}");
    }
}
