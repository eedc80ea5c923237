//! `ice new`: begins a blueprint or a plugin from `sdk/templates`.
//!
//! What is written is made to be run at once and changed afterwards: a blueprint of `echo` models, a crate with a test.

mod lock;
mod template;

use std::path::{Path, PathBuf};

use ice_core::problem::{Code, Exit, Problem};
use serde_json::json;

use self::template::{Kind, PLUGIN_ROOT, Place, Template, template};
use super::Outcome;
use crate::files;
use crate::output::Output;

/// Begin a blueprint or a plugin
///
/// Kinds of nodes write one commented blueprint, `NAME.yaml`, that runs as it is with the offline model. `tool`, `kit`,
/// `llm-node-tool` (a tool that asks a model), `agent` and `agent-tool` (an agent that calls tools) write a Rust crate
/// with a test and an example, `bundle` a folder of blueprints; they go to `kits`, `agents` or `bundles` of a plugin
/// workspace, which is made when there is none, with the versions of crates that the SDK is built with: what is on this
/// machine is not fetched again. Nothing is overwritten without `--force`.
///
/// Example: ice new loop shorten_notes && ice run-blueprint shorten_notes.yaml
///
/// Example: ice new tool word_count --scope acme && ice plugins build --plugins plugins --manifests plugins/manifests
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to begin
    #[arg(value_enum)]
    kind: Kind,
    #[command(flatten)]
    rest: Rest,
    /// Whom the plugin belongs to: the part of its name before `/`
    #[arg(long, default_value = "local")]
    scope: String,
    /// The folder of the Rust SDK (`sdk/rust` of a checkout), for a new plugin workspace [default: where this program was built]
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// Begin a blueprint of two steps
///
/// The same as `ice new workflow`; `ice new --help` lists the other kinds.
///
/// Example: ice blueprints new report && ice blueprints check report.yaml
#[derive(clap::Args)]
pub(crate) struct WorkflowArgs {
    #[command(flatten)]
    rest: Rest,
}

#[derive(clap::Args)]
struct Rest {
    /// Its name: small letters, digits and `_`, a letter first
    name: String,
    /// The folder to write to [default: here; for plugins `plugins`]
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What it is for, in a sentence
    #[arg(long)]
    description: Option<String>,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

/// A name becomes a file, a crate and a function.
const NAME_CHARS_MAX: usize = 48;

pub(crate) fn run(args: Args, output: &Output) -> Outcome {
    write(&args.rest, template(args.kind), &args.scope, args.sdk.as_deref(), output)
}

pub(crate) fn workflow(args: WorkflowArgs, output: &Output) -> Outcome {
    write(&args.rest, template(Kind::Workflow), "local", None, output)
}

fn write(args: &Rest, template: &Template, scope: &str, sdk: Option<&Path>, output: &Output) -> Outcome {
    let problems: Vec<Problem> = [("name", &args.name), ("--scope", &scope.to_owned())]
        .into_iter()
        .filter_map(|(what, word)| refuse_word(what, word))
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let out = args.out.clone().unwrap_or_else(|| match template.place {
        Place::Here => PathBuf::from("."),
        Place::Plugin { .. } => PathBuf::from("plugins"),
    });
    let words = Words { name: &args.name, scope, description: args.description.as_deref().unwrap_or(template.about) };
    let mut written: Vec<(PathBuf, String)> = Vec::new();
    let folder = match template.place {
        Place::Here => out.clone(),
        Place::Plugin { folder, .. } => {
            if !out.join("Cargo.toml").exists() {
                written.extend(workspace(&out, sdk).map_err(|problem| vec![problem])?);
            }
            out.join(folder).join(&args.name)
        }
    };
    for (file, text) in template.files {
        written.push((folder.join(words.fill(file, template)), words.fill(text, template)));
    }
    refuse_existing(&written, args.force)?;
    write_all(&written).map_err(|problem| vec![problem])?;
    let next: Vec<String> = template
        .next
        .iter()
        .map(|line| words.fill(line, template).replace("__out__", &plain(&out)).replace("__folder__", &plain(&folder)))
        .collect();
    let paths: Vec<String> = written.iter().map(|(path, _)| plain(path)).collect();
    output.either(
        || json!({ "kind": template.name(), "name": args.name, "files": paths, "next": next }),
        || {
            let wrote = paths.iter().map(|path| format!("wrote {path}"));
            wrote.chain(["next:".to_owned()]).chain(next.iter().map(|line| format!("  {line}"))).collect()
        },
    );
    Ok(Exit::Done)
}

/// The files of a new plugin workspace.
fn workspace(out: &Path, sdk: Option<&Path>) -> Result<Vec<(PathBuf, String)>, Problem> {
    let sdk = find_sdk(sdk)?;
    let manifest = PLUGIN_ROOT.replace("__sdk__", &sdk);
    let lock = lock::of_sdk(Path::new(&sdk), &shared_dependencies(&manifest));
    let mut files = vec![(out.join("Cargo.toml"), manifest)];
    files.extend(lock.map(|text| (out.join("Cargo.lock"), text)));
    Ok(files)
}

/// What plugins of a workspace may depend on: the names under `[workspace.dependencies]`.
fn shared_dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("the template is TOML, the test of every kind builds it");
    let dependencies = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies")?.as_table());
    dependencies.into_iter().flat_map(toml::Table::keys).cloned().collect()
}

/// What is filled into a template.
struct Words<'a> {
    name: &'a str,
    scope: &'a str,
    description: &'a str,
}

impl Words<'_> {
    fn fill(&self, text: &str, template: &Template) -> String {
        let prefix = match template.place {
            Place::Here => "",
            Place::Plugin { prefix, .. } => prefix,
        };
        // In YAML, TOML and Rust comments alike a description is one line without quotes.
        let line: String = self.description.chars().filter(|c| !c.is_control() && !"\"\\{}".contains(*c)).collect();
        let line = line.replace("__", "_");
        text.replace("__description__", &line)
            .replace("__prefix__", prefix)
            .replace("__scope__", self.scope)
            .replace("__name__", self.name)
    }
}

fn refuse_word(what: &str, word: &str) -> Option<Problem> {
    let starts = word.starts_with(|c: char| c.is_ascii_lowercase());
    let good = starts && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if good && word.len() <= NAME_CHARS_MAX && !RESERVED.contains(&word) {
        return None;
    }
    let message = format!("`{word}` cannot be the {}", if what == "name" { "name" } else { "scope" });
    let help = format!("use small letters, digits and `_`, a letter first, at most {NAME_CHARS_MAX}; no word of Rust");
    Some(Problem::new(Code::C001, message).help(help))
}

/// Words of Rust that a function cannot be called by.
const RESERVED: &[&str] = &[
    "as", "async", "await", "box", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern", "false",
    "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "union", "unsafe", "use", "where",
    "while", "yield",
];

/// The SDK, absolute: given, or beside the source this program was built from.
fn find_sdk(given: Option<&Path>) -> Result<String, Problem> {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust");
    let folder = given.unwrap_or(Path::new(built));
    let found = folder.canonicalize().ok().filter(|folder| folder.join("Cargo.toml").is_file());
    found.map(|folder| plain(&folder)).ok_or_else(|| {
        Problem::new(Code::C005, "the Rust SDK for plugins is not here")
            .file(folder.display().to_string())
            .help("get a checkout of ice and name its folder: `--sdk CHECKOUT/sdk/rust`")
    })
}

fn refuse_existing(written: &[(PathBuf, String)], force: bool) -> Result<(), Vec<Problem>> {
    let there = |path: &Path| {
        Problem::new(Code::C002, "the file is there already")
            .file(plain(path))
            .help("choose another name or `--out`, or overwrite it with `--force`")
    };
    let problems: Vec<Problem> =
        written.iter().filter(|(path, _)| path.exists() && !force).map(|(path, _)| there(path)).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Writes every file; where one cannot be, those that were new are removed again.
fn write_all(written: &[(PathBuf, String)]) -> Result<(), Problem> {
    let mut new: Vec<&Path> = Vec::new();
    for (path, text) in written {
        let is_new = !path.exists();
        if let Err(problem) = files::replace(path, text.as_bytes()) {
            for path in new {
                // What cannot be removed is only untidy; the failure to write is what matters.
                let _ = std::fs::remove_file(path);
            }
            return Err(problem);
        }
        new.extend(is_new.then_some(path.as_path()));
    }
    Ok(())
}

fn plain(path: &Path) -> String {
    path.strip_prefix("./").unwrap_or(path).display().to_string()
}
