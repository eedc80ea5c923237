//! `ice install`, `ice update` and `ice remove`: shown before it is believed, written down after it is done.
//!
//! Order of writes: blobs and the store's index, grants and `[plugins]` in `ice.toml`, and last `ice.lock`. A crash in
//! between is mended by running the same command again.

mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ice_core::bundle::Needs;
use ice_core::grant::Grant;
use ice_core::lock::{Lock, LockedPackage, permitted_words};
use ice_core::manifest::qualified;
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::archive::{Archive, ArchiveEntry};
use ice_registry::install::{Change, Mode, Prepared, Request, apply, prepare};
use ice_registry::trust::State;
use ice_registry::{Source, Trust};
use semver::VersionReq;
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::project;
use crate::wire::{self, Indexes, Installed, Layout, Network, host_version, inspect, make_home, now, refuse_dynamic};

/// Install plugins from their registries
///
/// Which registry a name comes from, and who may sign it, is a matter of trust: `ice trust add`. Name, signer, what it
/// asks for and what a model will read are shown before anything is written. Without names, what `ice.toml` and
/// `ice.lock` say is installed.
///
/// Example: ice install acme/chatkit
/// Example: ice install 'acme/search@^1.2' --yes --grant
#[derive(clap::Args)]
pub(crate) struct InstallArgs {
    /// `NAME` or `NAME@REQUIREMENT`; a name without scope belongs to `iceos`
    names: Vec<String>,
    /// Fail when the lock would have to change
    #[arg(long)]
    locked: bool,
    /// Like `--locked`, and use no network
    #[arg(long)]
    frozen: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Update plugins, within what `ice.toml` allows
///
/// Shows what changes: version, signer, capabilities, what a model reads. Stops when somebody else signed, when more is
/// asked for, or when the model would read something else, unless `--accept` is given.
///
/// Example: ice update acme/chatkit
#[derive(clap::Args)]
pub(crate) struct UpdateArgs {
    /// Which; everything by default
    names: Vec<String>,
    /// Accept another signer, wider capabilities and another text for the model
    #[arg(long)]
    accept: bool,
    #[command(flatten)]
    consent: Consent,
}

/// What is asked once, said beforehand.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Answer {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Permit plugins what they ask for
    #[arg(long)]
    grant: bool,
}

/// What may be done without a further word.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Consent {
    #[command(flatten)]
    answer: Answer,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: InstallArgs, config: &Config, output: &Output) -> Outcome {
    let mode = match (args.frozen, args.locked) {
        (true, _) => Mode::Frozen,
        (false, true) => Mode::Locked,
        (false, false) => Mode::Add,
    };
    let wants = args.names.iter().map(|name| Needs::parse(name)).collect::<Result<Vec<_>, _>>();
    let wants = wants.map_err(|problem| vec![problem])?;
    let task = Task { wants, mode, accept: false, consent: args.consent, keep_wants: true };
    go(task, config, output).await
}

pub(crate) async fn update(args: UpdateArgs, config: &Config, output: &Output) -> Outcome {
    let names = args.names.iter().map(|name| qualified(name)).collect();
    let mode = Mode::Update(names);
    let task = Task { wants: Vec::new(), mode, accept: args.accept, consent: args.consent, keep_wants: false };
    go(task, config, output).await
}

/// Installs what an archive holds, as if it came from a registry: shown, asked, verified, locked.
pub(crate) async fn load(file: &Path, consent: Consent, config: &Config, output: &Output) -> Outcome {
    let (_, done) = take(file, consent, config, output).await?;
    show::done(&done, output);
    Ok(Exit::Done)
}

/// Installs what an archive holds, to run it: what is printed is what the run prints.
pub(crate) async fn load_to_run(
    file: &Path,
    answer: Answer,
    config: &Config,
    output: &Output,
) -> Result<Archive, Vec<Problem>> {
    take(file, Consent { answer, dry_run: false }, config, output).await.map(|(archive, _)| archive)
}

async fn take(
    file: &Path,
    consent: Consent,
    config: &Config,
    output: &Output,
) -> Result<(Archive, Performed), Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    refuse_dynamic(config).map_err(one)?;
    let installed = Installed::open(config)?;
    let archive = wire::archive(file, &installed.plugins).map_err(one)?;
    wire::take_revocations(&archive, config).map_err(one)?;
    let exactly = |entry: &ArchiveEntry| Needs::parse(&format!("{}@={}", entry.name, entry.version));
    let wants = archive.entries().iter().map(exactly).collect::<Result<Vec<_>, _>>().map_err(one)?;
    let task = Task { wants, mode: Mode::Add, accept: false, consent, keep_wants: false };
    let done = perform(task, &archive, Vec::new(), config, output).await?;
    Ok((archive, done))
}

/// What was done, or would have been.
struct Performed {
    prepared: Prepared,
    /// Bytes.
    fetched: u64,
}

struct Task {
    wants: Vec<Needs>,
    mode: Mode,
    accept: bool,
    consent: Consent,
    /// Write what was asked for into `[plugins]`.
    keep_wants: bool,
}

async fn go(task: Task, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let network = Network::open(config).map_err(one)?;
    let trust = Trust::open(&Layout(&config.home).trust()).map_err(one)?;
    let indexes = match task.mode {
        // What the lock pins needs no index: nothing is chosen.
        Mode::Locked | Mode::Frozen => Indexes::open(config, &trust),
        Mode::Add | Mode::Update(_) => network.indexes(config, &trust).await,
    };
    let indexes = indexes.map_err(one)?;
    indexes.warnings.iter().for_each(|problem| output.warn(problem));
    // The list of what was taken back may have come with an index.
    let trust = Trust::open(&Layout(&config.home).trust()).map_err(one)?;
    let remote = network.remote(&trust, &indexes);
    let known_names = remote.known_names();
    let done = perform(task, &remote, known_names, config, output).await?;
    show::done(&done, output);
    Ok(Exit::Done)
}

async fn perform(
    task: Task,
    source: &dyn Source,
    known_names: Vec<String>,
    config: &Config,
    output: &Output,
) -> Result<Performed, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    make_home(config).map_err(one)?;
    let _changing = project::begin(config, output).map_err(one)?;
    let installed = Installed::open(config)?;
    let lock = project::lock(config).map_err(one)?;
    let state = State::of(&Layout(&config.home).trust());
    let request = Request {
        wants: task.wants.clone(),
        constraints: config.wants.clone(),
        mode: task.mode.clone(),
        now: now(),
        host: host_version(),
        no_dynamic: false,
        unattended: task.consent.answer.yes,
        grants: &config.grants,
        known_names,
    };
    let bar = output.spinner("resolving");
    let prepared = prepare(&request, &lock, &installed.plugins, &installed.trust, &state, source).await;
    bar.finish_and_clear();
    let mut prepared = prepared?;
    show::changes(&prepared, &installed.trust, output);
    let wider = asked_beyond(&prepared, &config.grants);
    let needs = prepared.needs_acceptance();
    if !needs.is_empty() && task.accept {
        prepared = prepared.accept();
    } else if !needs.is_empty() {
        return Err(needs);
    }
    if task.consent.dry_run {
        return Ok(Performed { prepared, fetched: 0 });
    }
    consent(&prepared, &wider, task.consent.answer, output).map_err(one)?;
    let bars = output.bars();
    let applied = apply(&prepared, &installed.plugins, &state, source, &inspect, &bars).await?;
    write_down(&task, &mut prepared, wider, config).map_err(one)?;
    Ok(Performed { prepared, fetched: applied.fetched })
}

/// What new and changed plugins ask for and the operator has not granted: the grants they would have.
fn asked_beyond(prepared: &Prepared, grants: &BTreeMap<String, Grant>) -> BTreeMap<String, Grant> {
    let open: BTreeSet<&str> = prepared
        .warnings
        .iter()
        .filter(|problem| problem.code == Code::G003)
        .filter_map(|problem| problem.at.as_ref()?.subject.as_deref())
        .collect();
    let steps = prepared.steps.iter().filter(|step| *step.change() != Change::Same);
    let steps = steps.filter(|step| open.contains(format!("plugin `{}`", step.locked().name).as_str()));
    steps
        .map(|step| {
            let name = step.locked().name.clone();
            let limits = grants.get(&name).map(|grant| grant.limits).unwrap_or_default();
            (name, Grant { limits, ..step.verified().value().asks() })
        })
        .collect()
}

/// Asks once. What is not answered is no. Without anybody to ask, `--yes` stands for installing and `--grant` for
/// permitting: neither stands for the other.
fn consent(
    prepared: &Prepared,
    wider: &BTreeMap<String, Grant>,
    consent: Answer,
    output: &Output,
) -> Result<(), Problem> {
    let changed = prepared.steps.iter().any(|step| *step.change() != Change::Same);
    if !changed || consent.yes && (wider.is_empty() || consent.grant) {
        return Ok(());
    }
    if consent.yes {
        let mut open = prepared.warnings.iter().filter(|problem| problem.code == Code::G003).cloned();
        let problem = open.next().unwrap_or_else(|| Problem::new(Code::G003, "plugins ask for more than is granted"));
        return Err(problem.help(
            "permit it with `--grant`, or bound it first in `[grants]` of ice.toml or in the scope of the trust policy",
        ));
    }
    let question = if wider.is_empty() { "Install?" } else { "Install, and permit what they ask for?" };
    if output.ask(question) {
        return Ok(());
    }
    Err(Problem::new(Code::C001, "nothing is installed: nobody said yes")
        .help("add `--yes`, and `--grant` to permit what they ask for"))
}

/// Grants, requirements, and last the lock.
fn write_down(
    task: &Task,
    prepared: &mut Prepared,
    grants: BTreeMap<String, Grant>,
    config: &Config,
) -> Result<(), Problem> {
    if matches!(task.mode, Mode::Locked | Mode::Frozen) {
        return Ok(());
    }
    if !grants.is_empty() {
        project::write_grants(config, &grants)?;
        for step in &prepared.steps {
            let manifest = step.verified().value();
            let Some(operator) = grants.get(&manifest.name) else { continue };
            let granted = permitted_words(operator, manifest);
            let Some(package) = prepared.lock.get(&manifest.name, &manifest.version).cloned() else { continue };
            prepared.lock.insert(LockedPackage { granted, ..package });
        }
    }
    let wants: Vec<Needs> = task.wants.iter().map(|needs| pinned(needs, &prepared.lock)).collect();
    if task.keep_wants && !wants.is_empty() {
        project::write_wants(config, &wants)?;
    }
    project::write_lock(config, &prepared.lock)
}

/// A requirement as it is kept: what was asked for, or what is compatible with what was found.
fn pinned(needs: &Needs, lock: &Lock) -> Needs {
    let found = lock.find(&needs.name).filter(|_| needs.req == VersionReq::STAR);
    let req = found.and_then(|package| VersionReq::parse(&format!("^{}", package.version)).ok());
    Needs { name: needs.name.clone(), req: req.unwrap_or_else(|| needs.req.clone()) }
}

/// Remove plugins
///
/// Takes them out of the store, the lock, `[plugins]` and `[grants]`. Their blobs go with the next clean-up.
///
/// Example: ice remove acme/chatkit
#[derive(clap::Args)]
pub(crate) struct RemoveArgs {
    /// Which
    #[arg(required = true)]
    names: Vec<String>,
    /// Also when another installed plugin needs it
    #[arg(long)]
    force: bool,
}

pub(crate) fn remove(args: RemoveArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    refuse_dynamic(config).map_err(one)?;
    make_home(config).map_err(one)?;
    let _changing = project::begin(config, output).map_err(one)?;
    let installed = Installed::open(config)?;
    let lock = project::lock(config).map_err(one)?;
    let names: BTreeSet<String> = args.names.iter().map(|name| qualified(name)).collect();
    let needed = needed(&lock, &names);
    if !needed.is_empty() && !args.force {
        return Err(needed);
    }
    // What is not in the store may still be in the lock, and the other way round; in neither is a problem.
    for name in &names {
        let locked = lock.find(name).is_some();
        match installed.plugins.remove(name, None) {
            Err(problem) if problem.code != Code::R001 || !locked => return Err(one(problem)),
            _ => {}
        }
    }
    let kept = lock.packages().iter().filter(|package| !names.contains(&package.name)).cloned();
    project::write_lock(config, &Lock::new(kept)).map_err(one)?;
    for name in &names {
        project::forget(config, name).map_err(one)?;
    }
    let swept = installed.plugins.gc(GRACE, std::time::SystemTime::now()).map_err(one)?;
    output.either(
        || json!({ "removed": names, "files_swept": swept }),
        || names.iter().map(|name| format!("{name} is removed")).collect(),
    );
    Ok(Exit::Done)
}

/// Another process may be installing what shares a blob; it has this long to list it.
const GRACE: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

fn needed(lock: &Lock, names: &BTreeSet<String>) -> Vec<Problem> {
    let others = lock.packages().iter().filter(|package| !names.contains(&package.name));
    let mut problems = Vec::new();
    for package in others {
        for dependency in package.dependencies.iter().filter_map(|text| text.split(' ').next()) {
            if names.contains(dependency) {
                let message = format!("`{}` needs `{dependency}`", package.name);
                problems.push(
                    Problem::new(Code::R010, message).help(format!("remove `{}` too, or add `--force`", package.name)),
                );
            }
        }
    }
    problems
}
