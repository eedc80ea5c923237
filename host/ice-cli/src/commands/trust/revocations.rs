//! `ice trust revocations`: keys and statements that were taken back.

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::id::Digest;
use ice_core::manifest::print_date;
use ice_core::problem::{Code, Problem};
use ice_registry::trust::Revoked;
use ice_registry::{DocumentKind, Signed, Trust};
use serde_json::json;

use super::root::{read, sign};
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::{Layout, make_home, now};

#[derive(Subcommand)]
pub(crate) enum RevocationsCommand {
    New(NewArgs),
    /// Add a signature
    Sign {
        /// The list
        file: PathBuf,
        /// Name of a key in the home, or a PEM file; may be given several times
        #[arg(long, required = true)]
        key: Vec<String>,
    },
    /// Take a signed list over: what it takes back is neither installed nor run any more
    ///
    /// Example: ice trust revocations import revoked.json
    Import {
        /// The list
        file: PathBuf,
    },
    /// Show the list in force
    Show,
}

/// Make a list, or the next version of one
///
/// Example: ice trust revocations new --key sha256:… --reason "stolen laptop" --keep sha256:… --out revoked.json
#[derive(clap::Args)]
pub(crate) struct NewArgs {
    /// Ids of keys that are taken back
    #[arg(long, value_name = "KEYID")]
    key: Vec<String>,
    /// Statements that are taken back
    #[arg(long, value_name = "S")]
    statement: Vec<String>,
    /// Statements that the signatures of these keys still count for
    #[arg(long, value_name = "S", requires = "key")]
    keep: Vec<String>,
    /// Why
    #[arg(long)]
    reason: String,
    /// Where more is said
    #[arg(long, value_name = "URL")]
    advisory: Option<String>,
    /// The list before this one, whose entries stay
    #[arg(long, value_name = "FILE")]
    after: Option<PathBuf>,
    /// Days that it is good for
    #[arg(long, default_value_t = 365)]
    days: u64,
    /// Where to write it
    #[arg(long, short)]
    out: PathBuf,
}

pub(super) fn run(command: RevocationsCommand, config: &Config, output: &Output) -> Result<(), Problem> {
    let folder = Layout(&config.home).trust();
    match command {
        RevocationsCommand::New(args) => new(&args, output),
        RevocationsCommand::Sign { file, key } => sign(DocumentKind::Revocations, &file, &key, config, output),
        RevocationsCommand::Import { file } => {
            make_home(config)?;
            Trust::import_revocations(&folder, &read(&file)?, now())
                .map_err(|problem| problem.file(file.display().to_string()))?;
            show(config, output)
        }
        RevocationsCommand::Show => show(config, output),
    }
}

fn digests(texts: &[String]) -> Result<Vec<Digest>, Problem> {
    let read = |text: &String| {
        Digest::parse(text).map_err(|_| {
            Problem::new(Code::T012, format!("`{text}` is not a digest"))
                .help("write `sha256:` and 64 hex digits, as `ice trust list` and `ice list --json` show them")
        })
    };
    texts.iter().map(read).collect()
}

fn new(args: &NewArgs, output: &Output) -> Result<(), Problem> {
    if args.key.is_empty() && args.statement.is_empty() {
        return Err(Problem::new(Code::C001, "nothing is taken back").help("name a `--key` or a `--statement`"));
    }
    let previous = args.after.as_deref().map(|file| Revoked::from_value(&read(file)?.unchecked()?)).transpose()?;
    let issued = now();
    let expires = issued.saturating_add(args.days.saturating_mul(24 * 60 * 60));
    let mut list = Revoked::after(previous.as_ref(), issued, expires)?;
    let keep = digests(&args.keep)?;
    for keyid in digests(&args.key)? {
        list.revoke_key(keyid, &args.reason, keep.iter().copied());
    }
    for statement in digests(&args.statement)? {
        list.revoke_statement(statement, &args.reason, args.advisory.as_deref());
    }
    files::replace(&args.out, &Signed::new(DocumentKind::Revocations, &list.to_value()).to_bytes())?;
    output.either(
        || json!({ "file": args.out, "version": list.version() }),
        || vec![format!("list {} in {}; sign it: `ice trust revocations sign`", list.version(), args.out.display())],
    );
    Ok(())
}

fn show(config: &Config, output: &Output) -> Result<(), Problem> {
    let trust = Trust::open(&Layout(&config.home).trust())?;
    let Some(list) = trust.revoked() else {
        output.either(|| json!(null), || vec!["no list is known: nothing is taken back".to_owned()]);
        return Ok(());
    };
    output.either(
        || list.to_value(),
        || {
            let mut lines = vec![format!("list {}, until {}", list.version(), print_date(list.expires()))];
            lines.extend(list.keys().iter().map(|(id, key)| format!("  key {id}: {}", key.reason)));
            lines.extend(
                list.statements().iter().map(|(id, statement)| format!("  statement {id}: {}", statement.reason)),
            );
            lines
        },
    );
    Ok(())
}
