//! `ice publish` and `ice attest`: signed plugins go out.

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::manifest::{Kind, Manifest};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::client::Repository;
use ice_registry::publish::{
    MovingTags, PublishOptions, Published, Release, attest, attestations, part_manifests, publish,
};
use ice_registry::store::StoreEntry;
use ice_registry::{Envelope, PrivateKey, archive};
use semver::VersionReq;
use serde_json::{Value, json};

use super::{Outcome, keys};
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::{Indexes, Installed, Network, now};

/// Push a signed plugin to a registry, read it back and verify it
///
/// The plugin is taken from the local store, where `ice plugins sign` put it. A version that is there stays as it is:
/// the same content again is no change, another one is refused.
///
/// Example: ice publish acme/csv --to registry.acme.example/ice
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `NAME` or `NAME@VERSION`; the newest version by default
    #[arg(required = true)]
    names: Vec<String>,
    /// The registry [default: the one the trust policy names]
    #[arg(long, value_name = "HOST/PREFIX")]
    to: Option<String>,
    /// Publish what it depends on too
    #[arg(long)]
    with_dependencies: bool,
    /// Also publish each component of a kit as a plugin of its own, signed with this key
    #[arg(long, value_name = "KEY")]
    parts: Option<String>,
    /// Move `latest` and `MAJOR.MINOR` forward; they are hints and nothing is installed by them
    #[arg(long)]
    move_tags: bool,
    /// Do not stop to look at warnings: a name close to another one is refused
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let network = Network::open(config).map_err(one)?;
    let installed = Installed::open(config)?;
    let indexes = Indexes::open(config, &installed.trust).map_err(one)?;
    let mut done = Vec::new();
    for entry in entries(&args, &installed)? {
        let release = release(&installed, &entry).map_err(one)?;
        let prefix = match &args.to {
            Some(prefix) => prefix.clone(),
            None => own_registry(&installed, &entry).map_err(one)?,
        };
        let options = PublishOptions {
            kit_parts: parts(&args, &installed, &entry, config)?,
            moving_tags: if args.move_tags { MovingTags::Forward } else { MovingTags::Leave },
            now: now(),
            known_names: indexes.all.values().flat_map(|index| index.names().map(str::to_owned)).collect(),
            unattended: args.yes,
        };
        let bars = output.bars();
        let published =
            publish(&*network.client, &prefix, &release, &installed.trust, &options, &bars).await.map_err(one)?;
        published.warnings.iter().for_each(|problem| output.warn(problem));
        lines(&published).iter().for_each(|line| {
            if !output.json() {
                output.line(line)
            }
        });
        done.push(published);
    }
    if output.json() {
        output.value(&json!(done.iter().map(value).collect::<Vec<_>>()));
    }
    Ok(Exit::Done)
}

/// What is asked for, dependencies first; each once.
fn entries(args: &Args, installed: &Installed) -> Result<Vec<StoreEntry>, Vec<Problem>> {
    let mut all: Vec<StoreEntry> = Vec::new();
    for name in &args.names {
        let (name, version) = name.split_once('@').unwrap_or((name, "*"));
        let exactly = if version == "*" { Ok(VersionReq::STAR) } else { VersionReq::parse(&format!("={version}")) };
        let req = exactly.map_err(|error| {
            vec![
                Problem::new(Code::C001, format!("`{version}` is no version: {error}"))
                    .help("write it like `acme/csv@1.2.3`"),
            ]
        })?;
        let entry = installed.plugins.find(name, Some(&req)).map_err(|problem| vec![problem])?;
        let with = if args.with_dependencies {
            archive::closure(&installed.plugins, &installed.trust, &entry)?
        } else {
            vec![entry]
        };
        for entry in with {
            if !all.contains(&entry) {
                all.push(entry);
            }
        }
    }
    Ok(all)
}

fn own_registry(installed: &Installed, entry: &StoreEntry) -> Result<String, Problem> {
    let scope = installed.trust.scope_for(&entry.name)?;
    scope.registry.clone().ok_or_else(|| {
        Problem::new(Code::C001, format!("the trust policy names no registry for `{}`", entry.name))
            .help("say where: `--to HOST/PREFIX`")
    })
}

fn release(installed: &Installed, entry: &StoreEntry) -> Result<Release, Problem> {
    let verified = installed.plugins.verified(entry, &installed.trust)?;
    let envelope = installed.plugins.envelope(entry)?;
    let blobs = verified.blobs().into_iter().map(|(digest, _)| installed.plugins.blob(&verified, &digest));
    Ok(Release { envelope, blobs: blobs.collect::<Result<Vec<_>, _>>()? })
}

/// Each component of a kit, signed as a plugin of its own.
fn parts(
    args: &Args,
    installed: &Installed,
    entry: &StoreEntry,
    config: &Config,
) -> Result<Vec<Release>, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let Some(key) = &args.parts else { return Ok(Vec::new()) };
    let verified = installed.plugins.verified(entry, &installed.trust).map_err(one)?;
    if verified.value().kind != Kind::Kit {
        return Ok(Vec::new());
    }
    let (label, path) = keys::private(key, config);
    let key = PrivateKey::read(&path).map_err(one)?;
    let mut releases = Vec::new();
    for manifest in part_manifests(verified.value())? {
        let blobs = manifest.artifacts().into_iter().map(|(digest, _)| installed.plugins.blob(&verified, &digest));
        let blobs = blobs.collect::<Result<Vec<_>, _>>().map_err(one)?;
        releases.push(Release { envelope: Envelope::sign(&manifest, &key, &label)?, blobs });
    }
    Ok(releases)
}

fn lines(published: &Published) -> Vec<String> {
    let what = if published.already_there { "was there already" } else { "published" };
    let mut lines = vec![format!("{}:{} {what}", published.repository, published.tag)];
    lines.push(format!("  digest     {}", published.oci_digest));
    lines.push(format!("  statement  {}", published.statement));
    if !published.moved.is_empty() {
        lines.push(format!("  tags       {}", published.moved.join(", ")));
    }
    lines.extend(published.parts.iter().map(|part| format!("  part       {}:{}", part.repository, part.tag)));
    lines
}

fn value(published: &Published) -> Value {
    json!({ "repository": published.repository, "tag": published.tag, "digest": published.oci_digest,
            "statement": published.statement, "bytes_uploaded": published.uploaded,
            "already_there": published.already_there, "moved": published.moved,
            "parts": published.parts.iter().map(value).collect::<Vec<_>>() })
}

#[derive(Subcommand)]
pub(crate) enum AttestCommand {
    Add(AttestArgs),
    /// List the signatures that stand beside an artifact
    ///
    /// Example: ice attest list registry.acme.example/ice/acme/csv:1.2.3
    List {
        /// `HOST/PATH:TAG`
        reference: String,
    },
}

/// Sign an artifact that somebody else pushed, and put the signature beside it
///
/// The manifest says what the artifact is; `ice plugins export` writes one.
///
/// Example: ice attest add registry.acme.example/ice/acme/csv:1.2.3 --manifest csv.json --key acme
#[derive(clap::Args)]
pub(crate) struct AttestArgs {
    /// `HOST/PATH:TAG`
    reference: String,
    /// The manifest
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Name of a key in the home, or a PEM file
    #[arg(long)]
    key: String,
}

pub(crate) async fn run_attest(command: AttestCommand, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let network = Network::open(config).map_err(one)?;
    let installed = Installed::open(config)?;
    match command {
        AttestCommand::Add(args) => {
            let (repository, tag) = reference(&args.reference).map_err(one)?;
            let bytes = files::read(&args.manifest).map_err(one)?;
            let document = ice_core::manifest::parse_strict(&bytes).map_err(one)?;
            let manifest = Manifest::from_value(&document)?;
            let (label, path) = keys::private(&args.key, config);
            let key = PrivateKey::read(&path).map_err(one)?;
            let envelope = Envelope::sign(&manifest, &key, &label)?;
            let added =
                attest(&*network.client, &repository, &tag, &envelope, &installed.trust, now()).await.map_err(one)?;
            output.either(
                || json!({ "digest": added.digest, "tag": added.tag }),
                || vec![format!("{} is signed, as {}", args.reference, added.tag)],
            );
        }
        AttestCommand::List { reference: text } => {
            let (repository, tag) = reference(&text).map_err(one)?;
            let pulled = network.client.manifest(&repository, &tag).await.map_err(one)?;
            let subject = pulled.ok_or_else(|| one(Problem::new(Code::R001, format!("there is no `{text}`"))))?.digest;
            let found = attestations(&*network.client, &repository, &subject).await.map_err(one)?;
            let keys = |envelope: &Envelope| envelope.signatures.iter().map(|s| s.keyid.clone()).collect::<Vec<_>>();
            output.either(
                || {
                    json!(
                        found
                            .iter()
                            .map(|a| json!({ "digest": a.digest, "tag": a.tag, "keyids": keys(&a.envelope) }))
                            .collect::<Vec<_>>()
                    )
                },
                || found.iter().map(|a| format!("{} {}", a.tag, keys(&a.envelope).join(", "))).collect(),
            );
        }
    }
    Ok(Exit::Done)
}

fn reference(text: &str) -> Result<(Repository, String), Problem> {
    let refuse = || {
        Problem::new(Code::R014, format!("`{text}` is not HOST/PATH:TAG"))
            .help("write it like `registry.acme.example/ice/acme/csv:1.2.3`")
    };
    let (path, tag) = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).ok_or_else(refuse)?;
    let (host, path) = path.split_once('/').ok_or_else(refuse)?;
    Ok((Repository::parse(host, path)?, tag.to_owned()))
}
