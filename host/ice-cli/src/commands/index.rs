//! `ice index`: keeping the index of a marketplace, and fetching those of others.
//!
//! The folder of an index is meant for version control: `plugins/` has a file a plugin, `queue/` a folder a submission.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use ice_core::id::Digest;
use ice_core::manifest::{print_date, qualified};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::client::Repository;
use ice_registry::index::{BuildOptions, INDEX_REFERENCE, Ledger, Queue, ScanPolicy, Submission, build, pack};
use ice_registry::{DocumentKind, PrivateKey, Signed, Store, Trust};
use semver::Version;
use serde_json::{Value, json};

use super::{Outcome, keys};
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::{Layout, Network, now};

#[derive(Subcommand)]
pub(crate) enum IndexCommand {
    /// Fetch what changed in the indexes of the trusted registries
    ///
    /// Example: ice index refresh
    Refresh,
    /// Hand an installed, signed release in
    ///
    /// Exits with 3 when it was handed in before and rejected; the reasons are shown.
    ///
    /// Example: ice index submit acme/csv_reader@1.2.3 --folder index
    Submit {
        /// `NAME@VERSION`, as it is in the store
        release: String,
        /// Digest of the OCI manifest it was published as [default: as `ice publish` makes it]
        #[arg(long, value_name = "DIGEST")]
        oci_digest: Option<String>,
        /// The folder of the index
        #[arg(long, default_value = "index")]
        folder: PathBuf,
    },
    /// List submissions with their state and reasons
    Queue {
        /// The folder of the index
        #[arg(long, default_value = "index")]
        folder: PathBuf,
    },
    /// Apply the rules to what was handed in
    ///
    /// The rules are in `policy.toml` of the folder; without one the built-in ones hold. Exits with 3 when a rule rejects
    /// one of them.
    Scan {
        /// Statements, or the first digits of them; everything that waits by default
        statements: Vec<String>,
        /// The folder of the index
        #[arg(long, default_value = "index")]
        folder: PathBuf,
    },
    /// Take a scanned submission into the index
    Accept {
        /// The statement, or the first digits of it
        statement: String,
        /// The folder of the index
        #[arg(long, default_value = "index")]
        folder: PathBuf,
    },
    /// Turn a scanned submission down
    Reject {
        /// The statement, or the first digits of it
        statement: String,
        /// Why; the findings of the scan by default
        #[arg(long)]
        reason: Option<String>,
        /// The folder of the index
        #[arg(long, default_value = "index")]
        folder: PathBuf,
    },
    /// Say why a version should no longer be installed newly; where it is locked it still runs
    ///
    /// Example: ice index yank acme/csv_reader@1.2.3 --reason "loses the last line"
    Yank {
        /// `NAME@VERSION`
        release: String,
        /// Why; without one the yank is taken back
        #[arg(long)]
        reason: Option<String>,
        /// The folder of the index
        #[arg(long, default_value = "index")]
        folder: PathBuf,
    },
    /// List a version as a security release, which need not wait out a cooldown
    Security {
        /// `NAME@VERSION`
        release: String,
        /// The folder of the index
        #[arg(long, default_value = "index")]
        folder: PathBuf,
    },
    Build(BuildArgs),
    Publish(PublishArgs),
}

/// Make the signed index of a folder
///
/// Example: ice index build --folder index --key index --out dist/index
#[derive(clap::Args)]
pub(crate) struct BuildArgs {
    /// The folder of the index
    #[arg(long, default_value = "index")]
    folder: PathBuf,
    /// Name of a key in the home, or a PEM file
    #[arg(long)]
    key: String,
    /// Days until it expires, at most 7
    #[arg(long, default_value_t = 7)]
    days: u64,
    /// Where to write the header and the shards
    #[arg(long, default_value = "dist/index")]
    out: PathBuf,
}

/// Make the signed index of a folder and push it
///
/// Example: ice index publish --folder index --key index --to registry.acme.example/ice
#[derive(clap::Args)]
pub(crate) struct PublishArgs {
    /// The folder of the index
    #[arg(long, default_value = "index")]
    folder: PathBuf,
    /// Name of a key in the home, or a PEM file
    #[arg(long)]
    key: String,
    /// Days until it expires, at most 7
    #[arg(long, default_value_t = 7)]
    days: u64,
    /// The registry
    #[arg(long, value_name = "HOST/PREFIX")]
    to: String,
}

pub(crate) async fn run(command: IndexCommand, config: &Config, output: &Output) -> Outcome {
    use IndexCommand as C;
    let plain = |done: Result<(), Problem>| done.map(|()| Exit::Done);
    let done = match command {
        C::Refresh => return refresh(config, output).await,
        C::Publish(args) => return publish(args, config, output).await,
        C::Submit { release, oci_digest, folder } => submit(&release, oci_digest, &folder, config, output),
        C::Queue { folder } => plain(queue(&folder).list().map(|all| show(&all, output))),
        C::Scan { statements, folder } => scan(&statements, &folder, config, output),
        C::Accept { statement, folder } => plain(accept(&statement, &folder, config, output)),
        C::Reject { statement, reason, folder } => plain(reject(&statement, reason.as_deref(), &folder, output)),
        C::Yank { release, reason, folder } => plain(yank(&release, reason.as_deref(), &folder, output)),
        C::Security { release, folder } => plain(security(&release, &folder, output)),
        C::Build(args) => plain(write(&args, config, output)),
    };
    done.map_err(|problem| vec![problem])
}

fn trust(config: &Config) -> Result<Trust, Problem> {
    Trust::open(&Layout(&config.home).trust())
}

fn accept(statement: &str, folder: &Path, config: &Config, output: &Output) -> Result<(), Problem> {
    let queue = queue(folder);
    let statement = one(&queue, statement)?;
    queue.accept(&statement, &trust(config)?, &mut Ledger::open(&plugins(folder))?, now())?;
    show(&[queue.get(&statement)?], output);
    Ok(())
}

fn reject(statement: &str, reason: Option<&str>, folder: &Path, output: &Output) -> Result<(), Problem> {
    let queue = queue(folder);
    let statement = one(&queue, statement)?;
    show(&[queue.reject(&statement, reason, now())?], output);
    Ok(())
}

fn yank(release: &str, reason: Option<&str>, folder: &Path, output: &Output) -> Result<(), Problem> {
    let (name, version) = read_release(release)?;
    let mut ledger = Ledger::open(&plugins(folder))?;
    match reason {
        Some(reason) => ledger.yank(&name, &version, reason)?,
        None => ledger.unyank(&name, &version)?,
    };
    let what = if reason.is_some() { "yanked" } else { "no longer yanked" };
    output.either(
        || json!({ "name": name, "version": version, "yanked": reason }),
        || vec![format!("{name} {version} is {what}")],
    );
    Ok(())
}

fn security(release: &str, folder: &Path, output: &Output) -> Result<(), Problem> {
    let (name, version) = read_release(release)?;
    Ledger::open(&plugins(folder))?.mark_security(&name, &version)?;
    output.either(
        || json!({ "name": name, "version": version, "security": true }),
        || vec![format!("{name} {version} is a security release")],
    );
    Ok(())
}

fn write(args: &BuildArgs, config: &Config, output: &Output) -> Result<(), Problem> {
    let made = make(&args.folder, &args.key, args.days, config)?;
    files::replace(&args.out.join("header.json"), &made.signed.to_bytes())?;
    for shard in &made.built.shards {
        files::replace(&args.out.join(format!("shard-{}.jsonl", shard.prefix)), &shard.bytes)?;
    }
    made.keep(&args.folder)?;
    output.either(|| made.value(), || vec![format!("{} in {}", made.line(), args.out.display())]);
    Ok(())
}

fn plugins(folder: &Path) -> PathBuf {
    folder.join("plugins")
}

fn queue(folder: &Path) -> Queue {
    Queue::of(&folder.join("queue"))
}

/// `NAME@VERSION`.
pub(super) fn read_release(text: &str) -> Result<(String, Version), Problem> {
    let parsed = text.split_once('@').and_then(|(name, version)| Some((qualified(name), version.parse().ok()?)));
    parsed.ok_or_else(|| {
        Problem::new(Code::C001, format!("`{text}` is not NAME@VERSION")).help("write it like `acme/csv_reader@1.2.3`")
    })
}

fn submit(
    release: &str,
    oci_digest: Option<String>,
    folder: &Path,
    config: &Config,
    output: &Output,
) -> Result<Exit, Problem> {
    let store = Store::open(&Layout(&config.home).plugins())?;
    let (name, version) = read_release(release)?;
    let exactly = semver::VersionReq::parse(&format!("={version}")).expect("a version is a requirement");
    let entry = store.find(&name, Some(&exactly))?;
    let envelope = store.envelope(&entry)?;
    // The same envelope gives the same OCI manifest, wherever it is pushed.
    let oci_digest = oci_digest.map_or(Ok(entry.oci.digest), |text| Digest::parse(&text))?;
    let submission = queue(folder).submit(&envelope, oci_digest, now())?;
    show(std::slice::from_ref(&submission), output);
    Ok(verdict(&[submission]))
}

/// Refused when one of them is rejected, or will be: its reasons were shown.
fn verdict(submissions: &[Submission]) -> Exit {
    let bad = submissions.iter().any(|submission| submission.reasons().rejections().next().is_some());
    if bad { Exit::Refused } else { Exit::Done }
}

/// The one submission whose statement begins with this.
fn one(queue: &Queue, text: &str) -> Result<Digest, Problem> {
    let wanted = text.strip_prefix("sha256:").unwrap_or(text);
    let all = queue.list()?;
    let mut fitting =
        all.iter().filter(|submission| !wanted.is_empty() && submission.statement.hex().starts_with(wanted));
    match (fitting.next(), fitting.next()) {
        (Some(submission), None) => Ok(submission.statement),
        _ => Err(Problem::new(Code::R001, format!("not exactly one submission begins with `{text}`"))
            .help("`ice index queue` shows them")),
    }
}

fn scan(statements: &[String], folder: &Path, config: &Config, output: &Output) -> Result<Exit, Problem> {
    let (queue, trust) = (queue(folder), trust(config)?);
    let statements = if statements.is_empty() {
        queue
            .list()?
            .iter()
            .filter(|submission| submission.state().is_open())
            .map(|submission| submission.statement)
            .collect()
    } else {
        statements.iter().map(|text| one(&queue, text)).collect::<Result<Vec<_>, _>>()?
    };
    let policy = policy(folder)?;
    let ledger = Ledger::open(&plugins(folder))?;
    for statement in &statements {
        queue.scan(statement, &trust, &policy, &ledger, now())?;
    }
    let scanned = statements.iter().map(|statement| queue.get(statement)).collect::<Result<Vec<_>, _>>()?;
    show(&scanned, output);
    Ok(verdict(&scanned))
}

fn policy(folder: &Path) -> Result<ScanPolicy, Problem> {
    let path = folder.join("policy.toml");
    if !path.exists() {
        return Ok(ScanPolicy::default());
    }
    toml::from_str(&files::read_text(&path)?).map_err(|error| {
        Problem::new(Code::C004, format!("the rules cannot be read: {}", error.message()))
            .file(path.display().to_string())
    })
}

fn show(submissions: &[Submission], output: &Output) {
    output.either(
        || json!(submissions.iter().map(value).collect::<Vec<_>>()),
        || submissions.iter().flat_map(lines).collect(),
    );
    if submissions.is_empty() {
        output.note("there is nothing in the queue");
    }
}

fn value(submission: &Submission) -> Value {
    json!({ "name": submission.name, "version": submission.version, "statement": submission.statement,
            "state": submission.state().as_str(), "history": submission.history })
}

fn lines(submission: &Submission) -> Vec<String> {
    let Submission { name, version, statement, .. } = submission;
    let mut lines = vec![format!("{} {:<10} {name} {version}", statement.short(), submission.state().as_str())];
    let reasons = submission.reasons();
    lines.extend(
        reasons
            .0
            .iter()
            .map(|finding| format!("  {:<8} {}: {}", finding.severity.as_str(), finding.rule, finding.message)),
    );
    lines
}

/// An index that is built and signed.
struct Made {
    version: u64,
    built: ice_registry::index::Built,
    signed: Signed,
    rows: usize,
    expires: u64,
}

impl Made {
    fn value(&self) -> Value {
        json!({ "version": self.version, "plugins": self.rows, "shards": self.built.shards.len(),
                "expires": print_date(self.expires) })
    }

    fn line(&self) -> String {
        format!(
            "index {}: {} plugins in {} shards, until {}",
            self.version,
            self.rows,
            self.built.shards.len(),
            print_date(self.expires)
        )
    }

    /// Remembers the version, so that the next one is higher.
    fn keep(&self, folder: &Path) -> Result<(), Problem> {
        files::replace(&folder.join("version"), format!("{}\n", self.version).as_bytes())
    }
}

fn make(folder: &Path, key: &str, days: u64, config: &Config) -> Result<Made, Problem> {
    let trust = trust(config)?;
    let ledger = Ledger::open(&plugins(folder))?;
    let last = std::fs::read_to_string(folder.join("version")).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let revocations = trust.revocations_document().map(Signed::to_bytes);
    let lifetime = days.saturating_mul(24 * 60 * 60);
    let options = BuildOptions {
        version: last.unwrap_or(0) + 1,
        root_version: trust.root_version(),
        now: now(),
        lifetime,
        revocations: revocations.as_deref(),
    };
    let built = build(&ledger, &options)?;
    let mut signed = Signed::new(DocumentKind::Index, &built.header);
    let (label, path) = keys::private(key, config);
    signed.sign(&PrivateKey::read(&path)?, &label)?;
    let rows = ledger.rows().count();
    Ok(Made { version: options.version, built, signed, rows, expires: options.now + lifetime })
}

async fn publish(args: PublishArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let network = Network::open(config).map_err(one)?;
    let made = make(&args.folder, &args.key, args.days, config).map_err(one)?;
    let packed = pack(&made.built, &made.signed).map_err(one)?;
    let (path, tag) = INDEX_REFERENCE.split_once(':').unwrap_or((INDEX_REFERENCE, "v0"));
    let repository = Repository::parse(&args.to, path).map_err(one)?;
    let bars = output.bars();
    for (_, bytes) in packed.blobs {
        network.client.put_blob(&repository, bytes.into(), &bars).await.map_err(one)?;
    }
    let media_type = ice_registry::oci::MANIFEST_MEDIA_TYPE;
    let digest = network.client.put_manifest(&repository, tag, media_type, &packed.manifest).await.map_err(one)?;
    made.keep(&args.folder).map_err(one)?;
    output.either(
        || {
            let mut value = made.value();
            value["digest"] = json!(digest);
            value
        },
        || vec![made.line(), format!("published as {}:{tag}", repository.uri())],
    );
    Ok(Exit::Done)
}

async fn refresh(config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let network = Network::open(config).map_err(one)?;
    let trust = trust(config).map_err(one)?;
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    for prefix in network.prefixes(&trust) {
        match network.refresh(&prefix, config, &trust).await {
            Ok(refreshed) => rows.push((prefix, refreshed)),
            Err(problem) => problems.push(problem),
        }
    }
    output.either(
        || {
            json!(
                rows.iter()
                    .map(|(prefix, r)| json!({ "registry": prefix, "version": r.version, "age_seconds": r.age,
                "expires": print_date(r.expires), "bytes_fetched": r.bytes_fetched, "shards_fetched": r.shards_fetched,
                "shards_kept": r.shards_kept }))
                    .collect::<Vec<_>>()
            )
        },
        || {
            rows.iter()
                .map(|(prefix, r)| {
                    let (fetched, all) = (r.shards_fetched, r.shards_fetched + r.shards_kept);
                    format!(
                        "{prefix}: index {}, until {}, {fetched} of {all} shards, {} bytes",
                        r.version,
                        print_date(r.expires),
                        r.bytes_fetched
                    )
                })
                .collect()
        },
    );
    if rows.is_empty() && problems.is_empty() {
        output.note(
            "no trusted registry is known; `ice trust add KEY --scope 'NAME/*' --registry HOST/PREFIX` names one",
        );
    }
    if problems.is_empty() { Ok(Exit::Done) } else { Err(problems) }
}
