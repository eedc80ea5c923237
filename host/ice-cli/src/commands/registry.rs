//! `ice registry`, `ice login` and `ice logout`: which registries there are, and who we are there.

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::client::{Auth, Kept, Registries, RegistrySettings};
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::wire::{Layout, Network, credentials, make_home, refuse_dynamic};

#[derive(Subcommand)]
pub(crate) enum RegistryCommand {
    Add(AddArgs),
    /// List the registries that have settings
    List,
    /// Forget the settings of a registry
    Remove {
        /// `HOST/PREFIX`
        prefix: String,
    },
}

/// Set how a registry is reached
///
/// A registry that needs nothing but HTTPS needs no settings. Which names come from it is a matter of trust:
/// `ice trust add KEY --scope 'acme/*' --registry HOST/PREFIX`.
///
/// Example: ice registry add registry.acme.example/ice --ca acme-ca.pem --mirror mirror.example/ice
#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// `HOST/PREFIX`
    prefix: String,
    /// Where its index is, when that is not `PREFIX/ice-index:v0`
    #[arg(long, value_name = "REFERENCE")]
    index: Option<String>,
    /// A PEM file with the certificates that are believed for this host, instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Another place with the same content, asked when this one does not answer; needs no trust
    #[arg(long, value_name = "HOST/PREFIX")]
    mirror: Vec<String>,
    /// A place that may be given the login of this registry, besides its own host
    #[arg(long, value_name = "URL")]
    realm: Vec<String>,
    /// How to log in: `docker` (docker's configuration and helpers), `anonymous`, or `env:USER_VARIABLE,PASSWORD_VARIABLE`
    #[arg(long)]
    auth: Option<String>,
    /// Speak HTTP without TLS: only for an address of this machine, such as `127.0.0.1:5000/ice`
    #[arg(long)]
    plain_http: bool,
}

pub(crate) fn run(command: RegistryCommand, config: &Config, output: &Output) -> Outcome {
    let done = match command {
        RegistryCommand::Add(args) => add(args, config, output),
        RegistryCommand::List => list(config, output),
        RegistryCommand::Remove { prefix } => remove(&prefix, config, output),
    };
    done.map(|()| Exit::Done).map_err(|problem| vec![problem])
}

fn add(args: AddArgs, config: &Config, output: &Output) -> Result<(), Problem> {
    refuse_dynamic(config)?;
    make_home(config)?;
    let settings = RegistrySettings {
        index: args.index,
        ca: args.ca.map(|path| path.display().to_string()),
        auth: args.auth.as_deref().map(Auth::parse).transpose()?.unwrap_or_default(),
        mirrors: args.mirror,
        plain_http: args.plain_http,
        realms: args.realm,
    };
    Registries::set(&Layout(&config.home).registries(), &args.prefix, &settings)?;
    output.either(|| json!({ "registry": args.prefix }), || vec![format!("{} is set", args.prefix)]);
    Ok(())
}

fn list(config: &Config, output: &Output) -> Result<(), Problem> {
    let registries = Registries::read(&Layout(&config.home).registries())?;
    output.either(
        || json!(registries.iter().map(|(prefix, settings)| json!({ "registry": prefix, "index": settings.index, "mirrors": settings.mirrors, "plain_http": settings.plain_http, "realms": settings.realms })).collect::<Vec<_>>()),
        || {
            let mirrors = |list: &[String]| if list.is_empty() { String::new() } else { format!(", mirrors {}", list.join(", ")) };
            let http = |plain: bool| if plain { ", without TLS" } else { "" };
            registries.iter().map(|(prefix, s)| format!("{prefix}{}{}", http(s.plain_http), mirrors(&s.mirrors))).collect()
        },
    );
    Ok(())
}

fn remove(prefix: &str, config: &Config, output: &Output) -> Result<(), Problem> {
    refuse_dynamic(config)?;
    if !Registries::remove(&Layout(&config.home).registries(), prefix)? {
        return Err(
            Problem::new(Code::R001, format!("`{prefix}` has no settings")).help("`ice registry list` shows them")
        );
    }
    output.either(|| json!({ "registry": prefix }), || vec![format!("{prefix} is forgotten")]);
    Ok(())
}

/// Log in to a registry
///
/// The password is asked for, or read from standard input. It is proven against the registry and kept by docker's
/// credential helper where one is configured, else in a file that only you can read.
///
/// Example: ice login registry.acme.example --user alice
#[derive(clap::Args)]
pub(crate) struct LoginArgs {
    /// `HOST` or `HOST:PORT`
    registry: String,
    /// The user
    #[arg(long, short)]
    user: String,
    /// Read the password from standard input without asking
    #[arg(long)]
    password_stdin: bool,
}

pub(crate) async fn login(args: LoginArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    make_home(config).map_err(one)?;
    let network = Network::open(config).map_err(one)?;
    let prompt = format!("password of {} at {}", args.user, args.registry);
    let password = if args.password_stdin { Output::first_line() } else { output.secret(&prompt) };
    let password =
        password.map_err(|error| one(Problem::new(Code::C002, format!("the password cannot be read: {error}"))))?;
    network.client.login(&args.registry, &args.user, &password).await.map_err(one)?;
    let kept = credentials(config).store(&args.registry, &args.user, &password).await.map_err(one)?;
    let place = match kept {
        Kept::File(path) => path.display().to_string(),
        Kept::Keeper(name) => format!("docker-credential-{name}"),
    };
    output.either(
        || json!({ "registry": args.registry, "user": args.user, "kept_in": place }),
        || vec![format!("logged in to {} as {}, kept in {place}", args.registry, args.user)],
    );
    Ok(Exit::Done)
}

/// Forget the login of a registry
///
/// Example: ice logout registry.acme.example
#[derive(clap::Args)]
pub(crate) struct LogoutArgs {
    /// `HOST` or `HOST:PORT`
    registry: String,
}

pub(crate) async fn logout(args: &LogoutArgs, config: &Config, output: &Output) -> Outcome {
    credentials(config).erase(&args.registry).await.map_err(|problem| vec![problem])?;
    output.either(|| json!({ "registry": args.registry }), || vec![format!("logged out of {}", args.registry)]);
    Ok(Exit::Done)
}
