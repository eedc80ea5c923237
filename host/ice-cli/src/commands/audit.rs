//! `ice audit`: what is known against the plugins that are installed. Reads nothing from the network.
//!
//! [`CHECKS`] is the list of what is looked at; a check is one function over one plugin.

mod advisories;
mod condition;
mod installed;

use std::path::PathBuf;

use clap::ValueEnum;
use ice_core::manifest::{UnixSeconds, printable, qualified};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::{Store, Trust};
use serde::Serialize;
use serde_json::{Value, json};

use super::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::wire::{Indexes, Layout, make_home, now};
use advisories::{Advisory, Database};
use installed::Installed;

/// Look for known vulnerabilities in what plugins were built from, and for whatever else is known against them
///
/// Every plugin built with `ice plugins build` carries the list of its crates; they are matched against a folder with the
/// RustSec advisories, without the network. Also told: plugins that do not verify, were revoked, carry no list, name no
/// licence, are deprecated or past their date, and those that the indexes on this machine list as yanked. Whether a crate
/// was yanked is known to the crate registry only and is not told.
///
/// Exits with 3 when a vulnerability is found or a plugin does not verify or was revoked.
///
/// Example: ice audit --db advisory-db --deny warnings
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which plugins; all of them by default
    names: Vec<String>,
    /// A checkout of https://github.com/RustSec/advisory-db [default: advisory-db in the home]
    #[arg(long, value_name = "DIR")]
    db: Option<PathBuf>,
    /// Exit with 3 for warnings too: unmaintained, unsound or deprecated code, plugins yanked or past their date
    #[arg(long, value_name = "WHAT")]
    deny: Option<Deny>,
}

/// What ends with exit code 3 besides errors.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deny {
    Warnings,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Good to know.
    Note,
    /// To be mended soon; `--deny warnings` makes it an error.
    Warning,
    /// Must not stay.
    Error,
}

/// What a check found in one plugin.
#[derive(Clone, PartialEq, Serialize, Debug)]
struct Finding {
    level: Level,
    /// One lower-case sentence.
    message: String,
    /// What to do.
    help: String,
    /// The advisory, for a finding about a crate.
    #[serde(skip_serializing_if = "Option::is_none")]
    advisory: Option<Advisory>,
}

impl Finding {
    fn new(level: Level, message: String, help: impl Into<String>) -> Self {
        Self { level, message, help: help.into(), advisory: None }
    }
}

/// What checks know besides the plugin.
struct Context {
    database: Option<Database>,
    trust: Trust,
    /// As the last refresh left them.
    indexes: Indexes,
    now: UnixSeconds,
}

/// One thing to look at. Fails only when it cannot be looked at: a file that cannot be read.
type Check = fn(&Installed, &Context) -> Result<Vec<Finding>, Problem>;

/// Everything that is looked at, in the order in which it is told: a name for programs, and who looks.
const CHECKS: &[(&str, Check)] = &[
    ("verified", condition::verified),
    ("revoked", condition::revoked),
    ("yanked", condition::yanked),
    ("advisory", advisories::check),
    ("dependency_list", condition::dependency_list),
    ("licence", condition::licence),
    ("deprecated", condition::deprecated),
    ("expired", condition::expired),
];

/// A plugin with what was found.
struct Row {
    plugin: Installed,
    /// Name of the check, and what it found.
    findings: Vec<(&'static str, Finding)>,
}

pub(crate) fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    make_home(config).map_err(one)?;
    let place = args.db.clone().unwrap_or_else(|| config.home.join("advisory-db"));
    let database = Database::open(&place);
    if args.db.is_some() && database.is_none() {
        let problem = Problem::new(Code::C002, "there are no advisories: the folder has no folder `crates`");
        return Err(one(problem.file(place.display().to_string()).help(fetch(&place))));
    }
    let trust = Trust::open(&Layout(&config.home).trust()).map_err(one)?;
    let indexes = Indexes::open(config, &trust).map_err(one)?;
    indexes.warnings.iter().for_each(|problem| output.warn(problem));
    let context = Context { database, trust, indexes, now: now() };
    let plugins = chosen(&args.names, &context.trust, config)?;
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for plugin in plugins {
        let mut findings = Vec::new();
        for (name, check) in CHECKS {
            match check(&plugin, &context) {
                Ok(found) => findings.extend(found.into_iter().map(|finding| (*name, finding))),
                Err(problem) => problems.push(problem),
            }
        }
        rows.push(Row { plugin, findings });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let missing = context.database.is_none().then(|| fetch(&place));
    output.either(|| document(&rows, missing.as_deref()), || rows.iter().flat_map(lines).collect());
    if let Some(help) = missing {
        output.note(&format!("crates were not matched against advisories, because there are none; {help}"));
    }
    output.note(&words(&rows));
    let denied = if args.deny == Some(Deny::Warnings) { Level::Warning } else { Level::Error };
    let refused = rows.iter().flat_map(|row| &row.findings).any(|(_, finding)| finding.level >= denied);
    Ok(if refused { Exit::Refused } else { Exit::Done })
}

/// How to get the advisories.
fn fetch(place: &std::path::Path) -> String {
    format!("fetch them: `git clone --depth 1 https://github.com/RustSec/advisory-db {}`", place.display())
}

/// The plugins that are asked for; R001 for names that are not installed.
fn chosen(names: &[String], trust: &Trust, config: &Config) -> Result<Vec<Installed>, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let store = Store::open(&Layout(&config.home).plugins()).map_err(one)?;
    let entries = store.list().map_err(one)?;
    let names: Vec<String> = names.iter().map(|name| qualified(name)).collect();
    let unknown = names.iter().filter(|name| !entries.iter().any(|entry| entry.name == **name));
    let problems: Vec<Problem> = unknown
        .map(|name| {
            Problem::new(Code::R001, format!("`{}` is not installed", printable(name)))
                .help("list what is installed with `ice list`")
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let wanted = entries.iter().filter(|entry| names.is_empty() || names.contains(&entry.name));
    Ok(wanted.map(|entry| Installed::read(&store, trust, entry)).collect())
}

fn count(rows: &[Row], level: Level) -> usize {
    rows.iter().flat_map(|row| &row.findings).filter(|(_, finding)| finding.level == level).count()
}

fn document(rows: &[Row], missing: Option<&str>) -> Value {
    let finding = |(check, finding): &(&str, Finding)| {
        let mut value = json!(finding);
        value["check"] = json!(check);
        value
    };
    let row = |row: &Row| {
        json!({
            "name": row.plugin.name,
            "version": row.plugin.version,
            "licence": row.plugin.licence(),
            "crates": row.plugin.crates,
            "findings": row.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    json!({
        "plugins": rows.iter().map(row).collect::<Vec<_>>(),
        "errors": count(rows, Level::Error),
        "warnings": count(rows, Level::Warning),
        "advisories": missing.is_none(),
        "help": missing,
    })
}

fn lines(row: &Row) -> Vec<String> {
    let Installed { name, version, crates, .. } = &row.plugin;
    let licence = row.plugin.licence().map_or_else(|| "no licence".to_owned(), printable);
    let mut lines = vec![format!("{name} {version}, {licence}, {} crates", crates.len())];
    if !crates.is_empty() {
        let crates: Vec<String> = crates.iter().map(ToString::to_string).collect();
        lines.push(format!("  built from {}", crates.join(", ")));
    }
    for (_, finding) in &row.findings {
        let level = match finding.level {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "ERROR",
        };
        lines.push(format!("  {level}: {}", finding.message));
        lines.push(format!("    help: {}", finding.help));
    }
    lines
}

fn words(rows: &[Row]) -> String {
    let crates: usize = rows.iter().map(|row| row.plugin.crates.len()).sum();
    let (errors, warnings) = (count(rows, Level::Error), count(rows, Level::Warning));
    format!("{} plugins with {crates} crates: {errors} errors, {warnings} warnings", rows.len())
}
