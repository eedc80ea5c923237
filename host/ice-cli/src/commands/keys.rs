//! `ice keys`.

use std::path::PathBuf;

use clap::Subcommand;
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::PrivateKey;
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
    let KeysCommand::Generate { name, out } = command;
    generate(&name, out, config, output).map(|()| Exit::Done).map_err(|problem| vec![problem])
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
