//! `ice trust`: whom this machine believes, for which names, and what was taken back.

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::client::Repository;
use ice_registry::trust::{KeyNotes, KeyRole, ScopeEdit};
use ice_registry::{PublicKey, Trust};
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::wire::{Layout, make_home, refuse_dynamic};

#[derive(Subcommand)]
pub(crate) enum TrustCommand {
    Add(AddArgs),
    /// List believed keys, and for which names
    List,
    /// Stop believing a key
    ///
    /// Example: ice trust remove 324be2dea8bc
    Remove {
        /// Its id, or the first digits of it
        keyid: String,
    },
    /// Show a key, or who decides about a name
    ///
    /// Example: ice trust show acme/csv_reader
    Show {
        /// A key id, the first digits of one, or a plugin name
        what: String,
    },
    Scope(ScopeArgs),
    ImportRoot(root::ImportArgs),
    /// Make and sign roots: the keys of every role, replaced together
    #[command(subcommand)]
    Root(root::RootCommand),
    /// Make, sign and import lists of keys and statements that were taken back
    #[command(subcommand)]
    Revocations(revocations::RevocationsCommand),
}

/// Believe a key
///
/// Plugins are installed and run when keys that are believed for their names have signed them. Compare the id that is
/// printed with the one its owner gives.
///
/// Example: ice trust add acme.pub.pem --scope 'acme/*' --registry registry.acme.example/ice
#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// Name of a key in the home, or a PEM file with a public key
    key: String,
    /// Names it may sign: `scope/name`, or `scope/*`
    #[arg(long, required_unless_present = "role")]
    scope: Vec<String>,
    /// The only registry such names come from: `HOST/PREFIX`
    #[arg(long, value_name = "HOST/PREFIX", requires = "scope")]
    registry: Option<String>,
    /// How many keys of the scope have to have signed
    #[arg(long, requires = "scope")]
    threshold: Option<usize>,
    /// Hours between a release and its installation [default: 72 where the index knows the release]
    #[arg(long, requires = "scope")]
    cooldown_hours: Option<u32>,
    /// What else it may sign: `index`, `revocations`; `dev` marks a key of development
    #[arg(long)]
    role: Vec<String>,
    /// Whose it is
    #[arg(long, default_value = "")]
    owner: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Say where the plugins of a scope come from, and how long their releases wait
///
/// For scopes of the trust policy, and for those that a root names: their keys stay the root's.
///
/// Example: ice trust scope 'acme/*' --registry registry.acme.example/ice
#[derive(clap::Args)]
pub(crate) struct ScopeArgs {
    /// `scope/name`, or `scope/*`, as `ice trust list` shows it
    name: String,
    /// The only registry such names come from: `HOST/PREFIX`
    #[arg(long, value_name = "HOST/PREFIX", required_unless_present_any = ["threshold", "cooldown_hours"])]
    registry: Option<String>,
    /// How many keys of the scope have to have signed
    #[arg(long)]
    threshold: Option<usize>,
    /// Hours between a release and its installation
    #[arg(long)]
    cooldown_hours: Option<u32>,
}

mod list;
mod revocations;
mod root;

pub(crate) fn run(command: TrustCommand, config: &Config, output: &Output) -> Outcome {
    let done = match command {
        TrustCommand::Add(args) => add(args, config, output),
        TrustCommand::List => list::run(config, output),
        TrustCommand::Remove { keyid } => remove(&keyid, config, output),
        TrustCommand::Show { what } => list::show(&what, config, output),
        TrustCommand::Scope(args) => scope(args, config, output),
        TrustCommand::ImportRoot(args) => root::import(&args, config, output),
        TrustCommand::Root(command) => root::run(command, config, output),
        TrustCommand::Revocations(command) => revocations::run(command, config, output),
    };
    done.map(|()| Exit::Done).map_err(|problem| vec![problem])
}

/// A public key by its name in the home, or by file.
pub(crate) fn public_key(key: &str, config: &Config) -> Result<(PublicKey, PathBuf), Problem> {
    let named = Layout(&config.home).keys().join(format!("{key}.pub.pem"));
    let path = if named.exists() { named } else { PathBuf::from(key) };
    Ok((PublicKey::read(&path)?, path))
}

/// A registry that could not be asked is refused when it is written down, not when something is installed.
fn check_registry(prefix: Option<&str>) -> Result<(), Problem> {
    prefix.map_or(Ok(()), |prefix| Repository::parse(prefix, "scope/name").map(drop))
}

fn add(args: AddArgs, config: &Config, output: &Output) -> Result<(), Problem> {
    refuse_dynamic(config)?;
    check_registry(args.registry.as_deref())?;
    make_home(config)?;
    let (public, path) = public_key(&args.key, config)?;
    output.note(&format!("key {} from {}", public.id(), path.display()));
    if !args.scope.is_empty() {
        output.note(&format!("  would be believed for {}", args.scope.join(", ")));
    }
    if !args.role.is_empty() {
        output.note(&format!("  would be believed as {}", args.role.join(", ")));
    }
    if !args.yes && !output.ask("Believe it?") {
        return Err(Problem::new(Code::C001, "the key is not believed: nobody said yes")
            .help("compare the id with its owner, then add `--yes`"));
    }
    let folder = Layout(&config.home).trust();
    let roles = args.role.iter().map(|role| KeyRole::parse(role)).collect::<Result<Vec<_>, _>>()?;
    let label = path.file_name().unwrap_or_default().to_string_lossy();
    let label = label.trim_end_matches(".pem").trim_end_matches(".pub").to_owned();
    let notes = KeyNotes { label, owner: args.owner, roles, ..KeyNotes::default() };
    let edit = |scope: &String| ScopeEdit {
        name: scope.clone(),
        registry: args.registry.clone(),
        threshold: args.threshold,
        cooldown_hours: args.cooldown_hours,
    };
    let scopes: Vec<ScopeEdit> = args.scope.iter().map(edit).collect();
    Trust::add_key_with(&folder, &public, &notes, &scopes)?;
    output.either(
        || json!({ "keyid": public.id(), "scopes": args.scope, "roles": args.role }),
        || vec!["believed".to_owned()],
    );
    Ok(())
}

fn scope(args: ScopeArgs, config: &Config, output: &Output) -> Result<(), Problem> {
    refuse_dynamic(config)?;
    let ScopeArgs { name, registry, threshold, cooldown_hours } = args;
    check_registry(registry.as_deref())?;
    let folder = Layout(&config.home).trust();
    Trust::set_scope(&folder, &ScopeEdit { name: name.clone(), registry, threshold, cooldown_hours })?;
    output.either(|| json!({ "scope": name }), || vec![format!("{name} is set")]);
    Ok(())
}

fn remove(keyid: &str, config: &Config, output: &Output) -> Result<(), Problem> {
    let folder = Layout(&config.home).trust();
    let id = list::believed(&Trust::open(&folder)?, keyid)?;
    Trust::remove_key(&folder, &id)?;
    output.either(|| json!({ "keyid": id }), || vec![format!("{id} is no longer believed")]);
    Ok(())
}
