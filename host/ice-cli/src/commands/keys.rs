//! `ice keys`.

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::trust::KeyNotes;
use ice_registry::{PrivateKey, PublicKey, Trust};
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::{Layout, make_home};

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a signing key
    ///
    /// Example: ice keys generate dev
    Generate {
        /// Its name; the files are `keys/NAME.pem` (private, keep it) and `keys/NAME.pub.pem` (to hand out)
        #[arg(default_value = "default")]
        name: String,
        /// Write the private key to this file instead
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Believe a key for the plugins of a scope
    ///
    /// Example: ice keys trust acme.pub.pem --scope 'acme/*'
    Trust {
        /// Name of a key in the home, or a PEM file with a public key
        key: String,
        /// Names it may sign: `scope/name`, or `scope/*`
        #[arg(long, required = true)]
        scope: Vec<String>,
        /// Whose it is
        #[arg(long, default_value = "")]
        owner: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Stop believing a key
    Distrust {
        /// Its id, or the first digits of it
        keyid: String,
    },
    /// List believed keys, and for which names
    List,
}

/// A key by name in the home, or by file: its label, and where the private half is.
pub(crate) fn private(key: &str, config: &Config) -> (String, PathBuf) {
    let named = Layout(&config.home).keys().join(format!("{key}.pem"));
    if named.exists() || !key.contains(['/', '.']) {
        return (key.to_owned(), named);
    }
    let path = PathBuf::from(key);
    let label = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    (label, path)
}

pub(crate) fn run(command: KeysCommand, config: &Config, output: &Output) -> Outcome {
    let done = match command {
        KeysCommand::Generate { name, out } => generate(&name, out, config, output),
        KeysCommand::Trust { key, scope, owner, yes } => trust(&key, &scope, owner, yes, config, output),
        KeysCommand::Distrust { keyid } => distrust(&keyid, config, output),
        KeysCommand::List => list(config, output),
    };
    done.map(|()| Exit::Done).map_err(|problem| vec![problem])
}

fn generate(name: &str, out: Option<PathBuf>, config: &Config, output: &Output) -> Result<(), Problem> {
    if name.is_empty() || name.contains(['/', '\\', '.']) {
        return Err(
            Problem::new(Code::C001, format!("`{name}` is no name for a key")).help("use letters, digits, `-` and `_`")
        );
    }
    make_home(config)?;
    let path = out.unwrap_or_else(|| Layout(&config.home).keys().join(format!("{name}.pem")));
    let public = path.with_extension("pub.pem");
    let key = PrivateKey::generate()?;
    key.write_new(&path)?;
    files::replace(&public, key.public().to_pem().as_bytes())?;
    let id = key.public().id();
    output.either(
        || json!({ "keyid": id, "private": path, "public": public }),
        || {
            vec![
                format!("key {id}"),
                format!("  private: {} (keep it)", path.display()),
                format!("  public:  {}", public.display()),
            ]
        },
    );
    Ok(())
}

fn trust(
    key: &str,
    scopes: &[String],
    owner: String,
    yes: bool,
    config: &Config,
    output: &Output,
) -> Result<(), Problem> {
    make_home(config)?;
    let named = Layout(&config.home).keys().join(format!("{key}.pub.pem"));
    let path = if named.exists() { named } else { PathBuf::from(key) };
    let public = PublicKey::read(&path)?;
    output.note(&format!(
        "key {} from {}\n  would be believed for: {}",
        public.id(),
        path.display(),
        scopes.join(", ")
    ));
    if !yes && !output.ask("Believe it?") {
        return Err(Problem::new(Code::C001, "the key is not believed: nobody said yes")
            .help("compare the id with its owner, then add `--yes`"));
    }
    let notes = KeyNotes { label: key.to_owned(), owner, ..KeyNotes::default() };
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    Trust::add_key(&Layout(&config.home).trust(), &public, &notes, &scopes)?;
    output.either(|| json!({ "keyid": public.id(), "scopes": scopes }), || vec!["believed".to_owned()]);
    Ok(())
}

fn distrust(keyid: &str, config: &Config, output: &Output) -> Result<(), Problem> {
    let folder = Layout(&config.home).trust();
    let trust = Trust::open(&folder)?;
    let wanted = keyid.strip_prefix("sha256:").unwrap_or(keyid);
    let fitting: Vec<_> =
        trust.trusted_keys().keys().filter(|id| !wanted.is_empty() && id.hex().starts_with(wanted)).collect();
    let [id] = fitting[..] else {
        let message = format!("{} believed keys begin with `{keyid}`", fitting.len());
        return Err(Problem::new(Code::R001, message).help("`ice keys list` shows their ids"));
    };
    Trust::remove_key(&folder, id)?;
    output.either(|| json!({ "keyid": id }), || vec![format!("{id} is no longer believed")]);
    Ok(())
}

fn list(config: &Config, output: &Output) -> Result<(), Problem> {
    let trust = Trust::open(&Layout(&config.home).trust())?;
    output.either(
        || {
            json!(trust.trusted_keys().iter().map(|(id, key)| json!({
                "keyid": id, "label": key.notes.label, "owner": key.notes.owner,
                "scopes": trust.scopes().iter().filter(|scope| scope.keys.contains(id)).map(|scope| &scope.name).collect::<Vec<_>>(),
            })).collect::<Vec<_>>())
        },
        || {
            let mut lines = Vec::new();
            for (id, key) in trust.trusted_keys() {
                let scopes: Vec<&str> = trust.scopes().iter().filter(|scope| scope.keys.contains(id)).map(|scope| scope.name.as_str()).collect();
                lines.push(format!("{id} {}", key.notes.label));
                lines.push(format!("  {}", scopes.join(", ")));
            }
            lines
        },
    );
    if trust.trusted_keys().is_empty() {
        output.note("nobody is trusted yet; `ice keys trust KEY --scope 'NAME/*'` believes a key");
    }
    Ok(())
}
