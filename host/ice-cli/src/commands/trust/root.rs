//! `ice trust import-root` and `ice trust root`: made by those who hold the root keys, imported by everybody.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use ice_core::manifest::print_date;
use ice_core::problem::{Code, Problem};
use ice_registry::trust::{Role, Roles, Root};
use ice_registry::{DocumentKind, PrivateKey, Signed, Trust};
use serde_json::json;

use super::public_key;
use crate::commands::keys;
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::{Layout, make_home, now, refuse_dynamic};

/// Believe a root, or the roots that follow the one at hand
///
/// The first root is believed because you say so: compare its fingerprint with the one its owners publish. Every later
/// one has to be signed by the keys of the one before it.
///
/// Example: ice trust import-root acme.root.1.json
#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// The root, or several that follow each other
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Subcommand)]
pub(crate) enum RootCommand {
    New(NewArgs),
    /// Add a signature
    ///
    /// Example: ice trust root sign acme.root.1.json --key root-b
    Sign {
        /// The root
        file: PathBuf,
        /// Name of a key in the home, or a PEM file; may be given several times
        #[arg(long, required = true)]
        key: Vec<String>,
    },
    /// Show what a root says, whoever signed it
    Show {
        /// The root
        file: PathBuf,
    },
}

/// Make a root, to be signed by its root keys and those of the root before
///
/// Example: ice trust root new --root a.pub.pem --root b.pub.pem --threshold 2 --index index.pub.pem
///          --revocations a.pub.pem --publisher 'acme/*=acme.pub.pem' --out acme.root.1.json
#[derive(clap::Args)]
pub(crate) struct NewArgs {
    /// Keys of the root role: names in the home, or PEM files
    #[arg(long, required = true)]
    root: Vec<String>,
    /// How many root keys have to sign
    #[arg(long, default_value_t = 1)]
    threshold: usize,
    /// Keys that may sign the index
    #[arg(long, required = true)]
    index: Vec<String>,
    /// Keys that may sign revocations
    #[arg(long, required = true)]
    revocations: Vec<String>,
    /// `SCOPE=KEY[,KEY…]`: who may sign plugins; may be given several times
    #[arg(long, value_name = "SCOPE=KEY")]
    publisher: Vec<String>,
    /// The root before this one
    #[arg(long, value_name = "FILE")]
    after: Option<PathBuf>,
    /// Days that it is good for
    #[arg(long, default_value_t = 365)]
    days: u64,
    /// Where to write it
    #[arg(long, short)]
    out: PathBuf,
}

pub(super) fn run(command: RootCommand, config: &Config, output: &Output) -> Result<(), Problem> {
    match command {
        RootCommand::New(args) => new(&args, config, output),
        RootCommand::Sign { file, key } => sign(DocumentKind::Root, &file, &key, config, output),
        RootCommand::Show { file } => {
            let root = Root::unchecked(&read(&file)?)?;
            output.either(|| root.to_value(), || lines(&root));
            Ok(())
        }
    }
}

/// Reads a signed document of whatever kind.
pub(super) fn read(file: &Path) -> Result<Signed, Problem> {
    Signed::parse(&files::read(file)?).map_err(|problem| problem.file(file.display().to_string()))
}

/// Adds signatures to a document in place.
pub(super) fn sign(
    kind: DocumentKind,
    file: &Path,
    names: &[String],
    config: &Config,
    output: &Output,
) -> Result<(), Problem> {
    let mut signed = read(file)?;
    for name in names {
        let (label, path) = keys::private(name, config);
        signed.sign(&PrivateKey::read(&path)?, &label)?;
    }
    files::replace(file, &signed.to_bytes())?;
    output.either(
        || json!({ "file": file, "kind": kind.as_str(), "signed_with": names }),
        || vec![format!("{} is signed with {}", file.display(), names.join(", "))],
    );
    Ok(())
}

fn role(names: &[String], threshold: usize, config: &Config) -> Result<Role, Problem> {
    let keys = names.iter().map(|name| public_key(name, config).map(|(key, _)| key)).collect::<Result<Vec<_>, _>>()?;
    Role::new(keys, threshold)
}

fn new(args: &NewArgs, config: &Config, output: &Output) -> Result<(), Problem> {
    let mut publishers = BTreeMap::new();
    for entry in &args.publisher {
        let (scope, names) = entry.split_once('=').ok_or_else(|| {
            Problem::new(Code::C001, format!("`{entry}` is not `SCOPE=KEY`"))
                .help("write `--publisher 'acme/*=acme.pub.pem'`")
        })?;
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        publishers.insert(scope.to_owned(), role(&names, 1, config)?);
    }
    let roles = Roles {
        root: role(&args.root, args.threshold, config)?,
        index: role(&args.index, 1, config)?,
        revocations: role(&args.revocations, 1, config)?,
        publishers,
    };
    let previous = args.after.as_deref().map(|file| Root::unchecked(&read(file)?)).transpose()?;
    let expires = now().saturating_add(args.days.saturating_mul(24 * 60 * 60));
    let root = Root::after(previous.as_ref(), expires, roles)?;
    files::replace(&args.out, &Signed::new(DocumentKind::Root, &root.to_value()).to_bytes())?;
    output.either(
        || json!({ "file": args.out, "version": root.version() }),
        || vec![format!("root {} in {}; sign it: `ice trust root sign`", root.version(), args.out.display())],
    );
    Ok(())
}

fn lines(root: &Root) -> Vec<String> {
    let roles = root.roles();
    let line = |what: &str, role: &Role| {
        let keys: Vec<String> = role.keys().keys().map(|id| id.short()).collect();
        format!("  {what:<12} {} of {}", role.threshold(), keys.join(", "))
    };
    let mut lines = vec![format!("root {}, until {}", root.version(), print_date(root.expires()))];
    lines.push(line("root", &roles.root));
    lines.push(line("index", &roles.index));
    lines.push(line("revocations", &roles.revocations));
    lines.extend(roles.publishers.iter().map(|(scope, role)| line(scope, role)));
    lines
}

pub(super) fn import(args: &ImportArgs, config: &Config, output: &Output) -> Result<(), Problem> {
    refuse_dynamic(config)?;
    make_home(config)?;
    let folder = Layout(&config.home).trust();
    let documents = args.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    for document in &documents {
        let root = Root::unchecked(document)?;
        lines(&root).iter().for_each(|line| output.note(line));
        output.note(&format!("  fingerprint  {}", document.digest()?));
    }
    let first = Trust::open(&folder)?.root().is_none();
    if first && !args.yes && !output.ask("Believe it?") {
        return Err(Problem::new(Code::C001, "the root is not believed: nobody said yes")
            .help("compare the fingerprint with the one its owners publish, then add `--yes`"));
    }
    Trust::import_root(&folder, &documents, now())?;
    let version = Trust::open(&folder)?.root().map_or(0, Root::version);
    output.either(|| json!({ "version": version }), || vec![format!("root {version} is believed")]);
    Ok(())
}
