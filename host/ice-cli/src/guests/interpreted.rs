//! What guests in Python and JavaScript share: a component is made of the interpreter and their source by a tool under
//! `target/`, in a folder of its own, and only when something it is made from changed.
//!
//! Which tool, and how it is called, is in [`python`](super::python) and [`javascript`](super::javascript). The tools
//! do not give the same bytes for the same source (the snapshot of an interpreter holds its random seeds), so a
//! component is kept for as long as its source, its tool and the contract stay the same: else its digest, the compiled code
//! and the signature would change with every build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use ice_runtime::contract;
use serde::{Deserialize, Serialize};

use super::{Guest, cannot, stamp, write_if_changed};

/// Where the work folders are, below the plugin workspace.
const WORK: &str = "target/interpreted";

/// The file of a guest that says what it imports and exports: one world, called [`WORLD`].
pub(super) const WORLD_FILE: &str = "world.wit";

/// The world a guest is built for.
pub(super) const WORLD: &str = "guest";

/// Characters at the end of a tool's output that a failure quotes: the cause comes last.
const QUOTED_CHARACTERS: usize = 4_000;

/// A tool that makes components out of source.
pub(super) struct Tool {
    /// With its version, for people: `componentize-py 0.25.0`.
    pub(super) name: String,
    /// Makes the command that builds one guest.
    pub(super) command: Box<dyn Fn(&Work) -> Command>,
}

/// The folder in which one guest is built.
pub(super) struct Work {
    /// A copy of the guest's folder: tools leave files beside what they read.
    pub(super) source: PathBuf,
    /// `world.wit`, with everything it can name.
    pub(super) wit: PathBuf,
    /// Where the tool puts the component.
    pub(super) component: PathBuf,
}

/// What the component in a work folder was made from, and which it is.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Made {
    sources: Digest,
    component: Digest,
}

/// Returns the component of `guest`, made by `tool`, or the one that was made before from the same things. `report`
/// hears what takes long.
///
/// Fails with C002 when a file cannot be read or written, C005 when the tool cannot be started or refuses.
pub(super) fn build(
    guest: &Guest,
    plugins: &Path,
    tool: &Tool,
    report: &mut dyn FnMut(String),
) -> Result<Vec<u8>, Problem> {
    let folder = plugins.join(WORK).join(guest.kind).join(&guest.name);
    let stamp = folder.join("made.json");
    let sources = sources(guest, tool)?;
    let work =
        Work { source: folder.join("source"), wit: folder.join("wit"), component: folder.join("component.wasm") };
    if let Some(bytes) = made_before(&stamp, &sources, &work.component) {
        return Ok(bytes);
    }
    report(format!("{} builds {}; this takes up to a minute", tool.name, guest.label()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| cannot("empty", &folder, &error))?;
    }
    copy(&guest.folder, &work.source)?;
    for (name, text) in contract::files() {
        let name = Path::new(name).file_name().expect("a file of the contract has a name");
        write_if_changed(&work.wit.join("deps").join(name), text.as_bytes())?;
    }
    copy_file(&guest.folder.join(WORLD_FILE), &work.wit.join(WORLD_FILE))?;
    run(guest, tool, &work)?;
    let bytes = std::fs::read(&work.component).map_err(|error| cannot("read", &work.component, &error))?;
    let made = Made { sources, component: Digest::of(&bytes) };
    write_if_changed(&stamp, &serde_json::to_vec_pretty(&made).expect("a stamp prints"))?;
    Ok(bytes)
}

fn run(guest: &Guest, tool: &Tool, work: &Work) -> Result<(), Problem> {
    let refuse = |what: String| {
        Problem::new(Code::C005, format!("{} cannot build `{}`: {what}", tool.name, guest.label()))
            .file(guest.folder.display().to_string())
    };
    let output = (tool.command)(work)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refuse(format!("it does not start: {error}")).help("run `make setup`"))?;
    if output.status.success() && work.component.is_file() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let from = said.char_indices().rev().nth(QUOTED_CHARACTERS).map_or(0, |(at, _)| at);
    Err(refuse(format!("{}\n{}", output.status, said[from..].trim())).help("correct the last error"))
}

/// Digest of everything a component is made from.
fn sources(guest: &Guest, tool: &Tool) -> Result<Digest, Problem> {
    let mut text = tool.name.clone();
    for (name, contract) in contract::files() {
        text += &format!("\n{name:?} {}", Digest::of(contract.as_bytes()));
    }
    let mut files = BTreeSet::new();
    stamp::walk(&guest.folder, &mut BTreeSet::new(), &mut files)?;
    for file in files {
        let bytes = std::fs::read(&file).map_err(|error| cannot("read", &file, &error))?;
        let name = file.strip_prefix(&guest.folder).unwrap_or(&file);
        text += &format!("\n{name:?} {}", Digest::of(&bytes));
    }
    Ok(Digest::of(text.as_bytes()))
}

fn made_before(stamp: &Path, sources: &Digest, component: &Path) -> Option<Vec<u8>> {
    let made: Made = serde_json::from_slice(&std::fs::read(stamp).ok()?).ok()?;
    let bytes = std::fs::read(component).ok()?;
    (made == Made { sources: *sources, component: Digest::of(&bytes) }).then_some(bytes)
}

fn copy(from: &Path, to: &Path) -> Result<(), Problem> {
    let mut files = BTreeSet::new();
    stamp::walk(from, &mut BTreeSet::new(), &mut files)?;
    for file in files {
        copy_file(&file, &to.join(file.strip_prefix(from).unwrap_or(&file)))?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Problem> {
    let bytes = std::fs::read(from).map_err(|error| cannot("read", from, &error))?;
    write_if_changed(to, &bytes).map(drop)
}

/// A tool that is not there. Its help is the way to get it.
pub(super) fn missing(tool: &str, guest: &str) -> Problem {
    Problem::new(Code::C005, format!("{tool} is not installed, and `{guest}` needs it"))
        .help("run `make setup`, which installs it under `target/`; other plugins can be built by their names")
}
