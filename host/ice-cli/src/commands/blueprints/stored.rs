//! `ice blueprints push|list|show|rm`: blueprints in the store, under a name and a version.

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::blueprint::{Parsed, did_you_mean};
use ice_core::id::Digest;
use ice_core::ports::{Documents, NamedDocument, check_name};
use ice_core::problem::{Code, Exit, Problem};
use ice_engine::{VERSIONS_MAX, newest, stored};
use semver::Version;
use serde_json::json;

use crate::commands::{Outcome, build};
use crate::config::Config;
use crate::output::Output;
use crate::view::waiting::moment;
use crate::wire::{Host, Storage};

#[derive(Subcommand)]
pub(crate) enum StoredCommand {
    /// Check a blueprint and keep it under a name and a version
    ///
    /// What a version holds never changes: pushing the same content again does nothing, other content needs another
    /// version. `ice run NAME`, `ice run NAME@RANGE` and `workflow` nodes find it.
    ///
    /// Example: ice blueprints push news.yaml --name news --version 1.2.0
    #[command(disable_version_flag = true)]
    Push {
        /// The blueprint; `-` reads standard input
        file: PathBuf,
        /// Its name [default: `id` of the blueprint, else the name of the file]
        #[arg(long)]
        name: Option<String>,
        /// Its version [default: 1.0.0, or what is there with the last number one higher]
        #[arg(long)]
        version: Option<Version>,
    },
    /// List the kept blueprints, by name, newest version first
    List {
        /// Only versions of this name
        name: Option<String>,
    },
    /// Print a kept blueprint as JSON
    ///
    /// Example: ice blueprints show news@^1
    Show {
        /// Its name, `NAME@RANGE`, or its id `sha256:…`
        reference: String,
    },
    /// Take a version out of the list; executions that hold it go on
    ///
    /// Example: ice blueprints rm news@1.2.0
    Rm {
        /// The version, `NAME@VERSION`
        reference: String,
    },
}

pub(crate) async fn run(command: StoredCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        StoredCommand::Push { file, name, version } => push(file, name, version, config, output).await,
        StoredCommand::List { name } => list(name.as_deref(), config, output).await,
        StoredCommand::Show { reference } => show(&reference, config, output).await,
        StoredCommand::Rm { reference } => remove(&reference, config, output).await,
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

async fn push(
    file: PathBuf,
    name: Option<String>,
    version: Option<Version>,
    config: &Config,
    output: &Output,
) -> Outcome {
    let parsed = build::parse_file(&file)?;
    let of_file = || file.file_stem().filter(|stem| *stem != "-").map(|stem| stem.to_string_lossy().into_owned());
    let name = name
        .or_else(|| parsed.blueprint.id.clone())
        .or_else(of_file)
        .ok_or_else(|| one(Problem::new(Code::C001, "the blueprint has no name").help("add `--name NAME`")))?;
    check_name(&name).map_err(one)?;
    if version.as_ref().is_some_and(|version| !version.build.is_empty()) {
        let problem = Problem::new(Code::C001, "a version has no build metadata");
        return Err(one(problem.help("leave out what begins with `+`")));
    }
    let host = Host::open(config, output).await?;
    host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    let storage = host.storage();
    let store: &dyn Documents = &*storage.store;
    let failed = |failure: ice_core::ports::Failure| one(failure.problem);
    let there = store.versions(Some(&name), VERSIONS_MAX).await.map_err(failed)?;
    let digest = store.put("blueprint", &parsed.blueprint.document).await.map_err(failed)?;
    let version = version.unwrap_or_else(|| next_version(&there, &digest));
    let named = NamedDocument { name, version, digest, stored: storage.clock.now_ms() };
    store.publish(&named).await.map_err(failed)?;
    output.either(|| json!(named), || vec![line(&named)]);
    Ok(Exit::Done)
}

/// The version of what is pushed without one: that of the same content, else one after the newest.
fn next_version(there: &[NamedDocument], digest: &Digest) -> Version {
    if let Some(same) = there.iter().find(|named| named.digest == *digest) {
        return same.version.clone();
    }
    match there.first().map(|newest| &newest.version) {
        None => Version::new(1, 0, 0),
        // A pre-release comes before its release.
        Some(newest) if !newest.pre.is_empty() => Version::new(newest.major, newest.minor, newest.patch),
        Some(newest) => Version::new(newest.major, newest.minor, newest.patch.saturating_add(1)),
    }
}

fn line(named: &NamedDocument) -> String {
    let reference = format!("{}@{}", named.name, named.version);
    format!("{reference:<32} {}  {}", named.digest, moment(named.stored))
}

async fn list(name: Option<&str>, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let rows = storage.store.versions(name, VERSIONS_MAX).await.map_err(|failure| one(failure.problem))?;
    output.either(|| json!(rows), || rows.iter().map(line).collect());
    Ok(Exit::Done)
}

async fn show(reference: &str, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let Some(digest) = find(&*storage.store, reference).await.map_err(one)? else {
        return Err(one(unknown(&*storage.store, reference).await));
    };
    let parsed = read(&*storage.store, &digest).await?;
    output.value(&parsed.blueprint.document);
    Ok(Exit::Done)
}

async fn remove(reference: &str, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let exact = reference.split_once('@').and_then(|(name, version)| Some((name, version.parse::<Version>().ok()?)));
    let Some((name, version)) = exact else {
        let problem = Problem::new(Code::C001, format!("`{reference}` is not one version"));
        return Err(one(problem.help("write NAME@VERSION, as `ice blueprints list` shows it")));
    };
    let done = storage.store.withdraw(name, &version).await.map_err(|failure| one(failure.problem))?;
    if !done {
        return Err(one(unknown(&*storage.store, reference).await));
    }
    output.either(|| json!({ "removed": reference }), || vec![format!("removed {reference}")]);
    Ok(Exit::Done)
}

/// What a reference means now; also for the first hex digits of an id.
pub(crate) async fn find(store: &dyn Documents, reference: &str) -> Result<Option<Digest>, Problem> {
    /// Digits of an id that are enough to mean one: those that listings show short.
    const DIGITS_MIN: usize = 12;
    let found = stored(store, reference).await.map_err(|failure| failure.problem)?;
    let short = reference.strip_prefix("sha256:").filter(|hex| (DIGITS_MIN..64).contains(&hex.len()));
    let (None, Some(hex)) = (found, short) else { return Ok(found) };
    let rows = store.versions(None, VERSIONS_MAX).await.map_err(|failure| failure.problem)?;
    Ok(rows.into_iter().map(|named| named.digest).find(|digest| digest.hex().starts_with(hex)))
}

/// The blueprint of an id that was found.
pub(crate) async fn read(store: &dyn Documents, digest: &Digest) -> Result<Parsed, Vec<Problem>> {
    let document = store.get(digest).await.map_err(|failure| one(failure.problem))?;
    let gone = || one(Problem::new(Code::R001, format!("there is no blueprint `{digest}`")));
    Parsed::from_value(document.ok_or_else(gone)?)
}

/// Says that nothing is kept under `reference`, and what is.
async fn unknown(store: &dyn Documents, reference: &str) -> Problem {
    let problem = Problem::new(Code::R001, format!("there is no stored blueprint `{reference}`"));
    let rows = match store.versions(None, VERSIONS_MAX).await {
        Ok(rows) => rows,
        Err(failure) => return failure.problem,
    };
    let name = reference.split('@').next().unwrap_or_default();
    let same: Vec<NamedDocument> = rows.iter().filter(|named| named.name == name).cloned().collect();
    if let Some(newest) = newest(&same, None) {
        return problem.help(format!("the newest is `{name}@{}`", newest.version));
    }
    let mut names: Vec<&str> = rows.iter().map(|named| named.name.as_str()).collect();
    names.dedup();
    let help = did_you_mean(name, names).unwrap_or_else(|| "keep one: `ice blueprints push FILE`".into());
    problem.help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_without_a_version_takes_the_next_one() {
        let row = |version: &str| NamedDocument {
            name: "n".into(),
            version: version.parse().unwrap(),
            digest: Digest::of(version.as_bytes()),
            stored: 0,
        };
        let fresh = Digest::of(b"fresh");
        for (there, next) in
            [(vec![], "1.0.0"), (vec![row("1.2.9"), row("1.0.0")], "1.2.10"), (vec![row("2.0.0-rc.1")], "2.0.0")]
        {
            assert_eq!(next_version(&there, &fresh).to_string(), next);
        }
        let again = next_version(&[row("1.2.9"), row("1.0.0")], &Digest::of(b"1.0.0"));
        assert_eq!(again.to_string(), "1.0.0", "the same content has its version already");
    }
}
