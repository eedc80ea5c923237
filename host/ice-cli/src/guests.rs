//! Builds the plugins of a folder from source into components: `ice plugins build`.
//!
//! Finds what there is to build, lets cargo build the crates, makes components of the rest, and puts what changed under
//! `target/components/`. Says nothing itself: progress goes to the caller. Which compiler is used belongs to
//! [`toolchain`], running it to [`cargo`], scripts with their interpreter to [`interpreted`], the list of crates each
//! component carries to [`dependencies`], skipping what did not change to [`stamp`].

mod cargo;
mod dependencies;
mod interpreted;
mod javascript;
mod python;
mod stamp;
mod toolchain;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ice_core::problem::{Code, Problem};

pub(crate) use toolchain::Toolchain;

/// The folders of a plugin workspace, with the world of `wit/plugin.wit` that their components are of.
const KINDS: &[(&str, &str)] = &[("kits", "kit"), ("agents", "agent"), ("bundles", "bundle"), ("hostile", "kit")];

/// Where components are put, below the plugin workspace.
const COMPONENTS: &str = "target/components";

/// What a guest is made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A Rust crate (`Cargo.toml`).
    Crate,
    /// Python (`guest.py`), with its interpreter.
    Python,
    /// JavaScript (`guest.js`), with its engine.
    JavaScript,
    /// WebAssembly text (`guest.wat`): a core module for the world of its kind, or a whole component.
    Text,
    /// Blueprint documents (`bundle.yaml`).
    Documents,
}

/// The file that tells what a folder is; the first that exists decides, so a bundle may also be a crate.
const SOURCES: &[(&str, Source)] = &[
    ("Cargo.toml", Source::Crate),
    ("guest.py", Source::Python),
    ("guest.js", Source::JavaScript),
    ("guest.wat", Source::Text),
    ("bundle.yaml", Source::Documents),
];

/// One folder that becomes one component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Guest {
    /// `kits`, `agents`, `bundles` or `hostile`.
    pub(crate) kind: &'static str,
    /// The world of `wit/plugin.wit` it is of.
    pub(crate) world: &'static str,
    /// The folder's name, which is the component's.
    pub(crate) name: String,
    /// The folder.
    pub(crate) folder: PathBuf,
    /// What is in it.
    pub(crate) source: Source,
}

impl Guest {
    /// `kits/search`.
    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    fn component(&self, plugins: &Path) -> PathBuf {
        plugins.join(COMPONENTS).join(self.kind).join(format!("{}.wasm", self.name))
    }
}

/// What is going on, as it goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// The compiler was chosen; in words.
    Compiler(String),
    /// A line that cargo printed.
    Cargo(String),
    /// Something that takes long begins; in words.
    Begins(String),
    /// A component is in its place.
    Placed(Built),
    /// Nothing changed since the last time, so nothing was done.
    Unchanged {
        /// Number of components that are in their place.
        components: usize,
    },
}

/// One component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Built {
    /// `kits/search`.
    pub(crate) label: String,
    /// The `.wasm` file.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// Whether it is another one than before.
    pub(crate) changed: bool,
    /// Time since the build began.
    pub(crate) after: Duration,
}

/// Turns the folder of a bundle that is no crate into a component.
pub(crate) type EncodeBundle<'a> = &'a dyn Fn(&Path) -> Result<Vec<u8>, Vec<Problem>>;

/// Builds the guests of the workspace `plugins`, all of them or those named (`search`, or `kits/search` where two kinds
/// share a name), and returns them in order of kind and name. What did not change is not built and not written again.
///
/// Fails with C001 for a name that is no guest, C002 when a file cannot be read or written, C005 when the compiler is
/// missing or refuses, T036 when a text is no guest of its world, and with what `encode_bundle` says.
pub(crate) fn build(
    plugins: &Path,
    names: &[String],
    encode_bundle: EncodeBundle<'_>,
    report: &mut dyn FnMut(Progress),
) -> Result<Vec<Built>, Vec<Problem>> {
    let one = |problem| vec![problem];
    let everything = guests(plugins).map_err(one)?;
    let chosen = select(&everything, names)?;
    let (crates, others): (Vec<&Guest>, Vec<&Guest>) = chosen.iter().partition(|guest| guest.source == Source::Crate);
    // Two builds at once would place each other's half-built components.
    let _lock = stamp::lock(plugins).map_err(one)?;
    let toolchain = match crates.is_empty() {
        false => Some(toolchain::choose(&toolchain::look(plugins)).map_err(one)?),
        true => None,
    };
    if names.is_empty() {
        sweep(plugins, &everything).map_err(one)?;
    }
    let fingerprint = stamp::fingerprint(plugins, toolchain.as_ref()).map_err(one)?;
    if let Some(built) = stamp::unchanged(plugins, &fingerprint, &chosen) {
        report(Progress::Unchanged { components: built.len() });
        return Ok(built);
    }

    let mut placing = Placing { plugins, start: Instant::now(), built: Vec::new(), problems: Vec::new() };
    for guest in others {
        let bytes = match guest.source {
            Source::Text => text_guest(guest).map_err(one),
            Source::Python => interpreted(guest, plugins, "componentize-py", python::tool, report).map_err(one),
            Source::JavaScript => interpreted(guest, plugins, "componentize-js", javascript::tool, report).map_err(one),
            Source::Documents | Source::Crate => encode_bundle(&guest.folder),
        };
        placing.place(guest, bytes, report);
    }
    if let Some(toolchain) = &toolchain {
        report(Progress::Compiler(toolchain.to_string()));
        let whole = crates.len() == everything.iter().filter(|guest| guest.source == Source::Crate).count();
        let built = cargo::build(toolchain, plugins, &crates, whole, &mut |line| report(Progress::Cargo(line)));
        match built.and_then(|files| Ok((files, dependencies::Lists::read(toolchain, plugins)?))) {
            Ok((files, lists)) => files.into_iter().for_each(|(guest, file)| {
                placing.place(guest, crate_guest(guest, &file, &lists).map_err(one), report);
            }),
            Err(problem) => placing.problems.push(problem),
        }
    }
    let Placing { mut built, problems, .. } = placing;
    if !problems.is_empty() {
        return Err(problems);
    }
    built.sort_by_key(|built| chosen.iter().position(|guest| guest.label() == built.label));
    stamp::write(plugins, &fingerprint, &built).map_err(one)?;
    Ok(built)
}

/// Puts components into their places and keeps count; one that fails does not keep the others away.
struct Placing<'a> {
    plugins: &'a Path,
    start: Instant,
    built: Vec<Built>,
    problems: Vec<Problem>,
}

impl Placing<'_> {
    fn place(&mut self, guest: &Guest, bytes: Result<Vec<u8>, Vec<Problem>>, report: &mut dyn FnMut(Progress)) {
        let path = guest.component(self.plugins);
        let written = bytes
            .and_then(|bytes| Ok((write_if_changed(&path, &bytes).map_err(|problem| vec![problem])?, bytes.len())));
        match written {
            Ok((changed, bytes)) => {
                let (label, bytes, after) = (guest.label(), bytes as u64, self.start.elapsed());
                self.built.push(Built { label, path, bytes, changed, after });
                report(Progress::Placed(self.built[self.built.len() - 1].clone()));
            }
            Err(problems) => self.problems.extend(problems),
        }
    }
}

/// The compiler that would build guests in this folder, in words. Fails with C005 that says what to install.
pub(crate) fn toolchain() -> Result<String, Problem> {
    toolchain::choose(&toolchain::look(Path::new("."))).map(|toolchain| toolchain.to_string())
}

/// Finds every guest of the workspace, in order of kind and name. A folder without any of the known files is none.
///
/// Fails with C002 when `plugins` is no folder that can be read.
pub(crate) fn guests(plugins: &Path) -> Result<Vec<Guest>, Problem> {
    if !plugins.join("Cargo.toml").is_file() {
        return Err(Problem::new(Code::C002, "there is no plugin workspace here")
            .file(plugins.display().to_string())
            .help("run the command in a checkout, or name the folder that holds `kits/`, `agents/` and `bundles/`"));
    }
    let mut found = Vec::new();
    for (kind, world) in KINDS {
        let folder = plugins.join(kind);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(cannot("read", &folder, &error)),
        };
        let mut names: Vec<(String, PathBuf)> = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| cannot("read", &folder, &error))?;
            let name = entry.file_name().into_string().map_err(|name| {
                Problem::new(Code::C002, format!("`{}` is not UTF-8", name.display()))
                    .file(folder.display().to_string())
                    .help("rename the folder: its name becomes the name of a plugin")
            })?;
            names.push((name, entry.path()));
        }
        names.sort();
        for (name, folder) in names {
            let source = SOURCES.iter().find(|(file, _)| folder.join(file).is_file());
            if let Some((_, source)) = source {
                found.push(Guest { kind, world, name, folder, source: *source });
            }
        }
    }
    Ok(found)
}

/// The guests that `names` name; every one when there is no name.
fn select<'a>(guests: &'a [Guest], names: &[String]) -> Result<Vec<&'a Guest>, Vec<Problem>> {
    let is = |guest: &Guest, name: &str| guest.name == name || guest.label() == name;
    let unknown: Vec<Problem> = names
        .iter()
        .filter(|name| !guests.iter().any(|guest| is(guest, name)))
        .map(|name| {
            let all: BTreeSet<String> = guests.iter().map(Guest::label).collect();
            Problem::new(Code::C001, format!("there is no plugin `{name}` to build"))
                .help(format!("name one of {}", all.into_iter().collect::<Vec<_>>().join(", ")))
        })
        .collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    Ok(guests.iter().filter(|guest| names.is_empty() || names.iter().any(|name| is(guest, name))).collect())
}

/// The component that cargo made of a crate, with the list of what it was built from.
fn crate_guest(guest: &Guest, file: &Path, lists: &dependencies::Lists) -> Result<Vec<u8>, Problem> {
    let bytes = std::fs::read(file).map_err(|error| cannot("read", file, &error))?;
    ice_runtime::with_dependency_list(&bytes, &lists.of(guest)?)
        .map_err(|problem| problem.file(file.display().to_string()))
}

/// Makes a component out of `guest.wat`.
fn text_guest(guest: &Guest) -> Result<Vec<u8>, Problem> {
    let file = guest.folder.join("guest.wat");
    let module = wat::parse_file(&file).map_err(|error| {
        Problem::new(Code::T036, format!("the text is not WebAssembly: {error}")).file(file.display().to_string())
    })?;
    // Version 13, layer 1: the text was a component already.
    if module.get(4..8) == Some(&[0x0d, 0, 1, 0]) {
        return Ok(module);
    }
    ice_runtime::contract::componentize(&module, guest.world)
        .map_err(|problem| problem.file(file.display().to_string()))
}

/// Makes a component out of a script, with the tool that `find` finds.
fn interpreted(
    guest: &Guest,
    plugins: &Path,
    name: &str,
    find: fn(&Path) -> Option<interpreted::Tool>,
    report: &mut dyn FnMut(Progress),
) -> Result<Vec<u8>, Problem> {
    let tool = find(plugins).ok_or_else(|| interpreted::missing(name, &guest.label()))?;
    interpreted::build(guest, plugins, &tool, &mut |words| report(Progress::Begins(words)))
}

/// Removes components whose guest is gone, so that nobody ships them.
fn sweep(plugins: &Path, guests: &[Guest]) -> Result<(), Problem> {
    for (kind, _) in KINDS {
        let folder = plugins.join(COMPONENTS).join(kind);
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let ours = path.extension().is_some_and(|extension| extension == "wasm");
            if ours && !guests.iter().any(|guest| guest.component(plugins) == path) {
                std::fs::remove_file(&path).map_err(|error| cannot("remove", &path, &error))?;
            }
        }
    }
    Ok(())
}

/// Writes a file whole or not at all, and only when its bytes differ. Returns whether it did.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool, Problem> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = path.parent().expect("a component lies in a folder");
    let fail = |error: &std::io::Error| cannot("write", path, error);
    std::fs::create_dir_all(folder).map_err(|error| fail(&error))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().expect("a component has a name"));
    name.push(".new");
    let new = folder.join(name);
    let written = std::fs::File::create(&new)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&new, path));
    if let Err(error) = written {
        // The failure to write is what the user has to know; what is left of the new file is only untidy.
        let _ = std::fs::remove_file(&new);
        return Err(fail(&error));
    }
    Ok(true)
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Code::C002, format!("cannot {what} `{}`: {error}", path.display()))
        .help("check the folder's owner and free space")
}

#[cfg(test)]
mod tests;
