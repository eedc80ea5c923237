//! Logins: where they are found for a registry, and where `ice login` puts them.
//!
//! Never in locks, logs, problems or `Debug`. Reading docker's files and asking its keepers of passwords is
//! `docker_credential`'s part; putting a password into a keeper, or into our own file, is done here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use ice_core::manifest::printable;
use ice_core::problem::{Code, Problem};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;

use super::registries::Auth;
use crate::files::{self, Guard};

/// Some keep hundreds of registries.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A keeper may ask its user to unlock it.
const KEEPER_TIME: Duration = Duration::from_secs(60);
/// Longer ones do not fit into a header that servers take.
const LOGIN_BYTES_MAX: usize = 8 << 10;

/// A login, whole. No `Debug`: it must not be printed.
#[derive(Clone)]
pub(super) enum Login {
    Password {
        user: String,
        password: String,
    },
    /// Exchanged for tokens at the registry's realm.
    IdentityToken(String),
}

/// Where a login was put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kept {
    /// In the login file of ice.
    File(PathBuf),
    /// With `docker-credential-<name>`.
    Keeper(String),
}

type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where logins are looked up.
#[derive(Clone)]
pub struct Credentials {
    own: Option<PathBuf>,
    docker: Option<PathBuf>,
    environment: Environment,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("own", &self.own).field("docker", &self.docker).finish_non_exhaustive()
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Keepers {
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

impl Credentials {
    /// No logins at all; variables of `Auth::Environment` are not set.
    pub fn none() -> Self {
        Self::new(None, None, |_| None)
    }

    /// Looks into `own`, then `docker` (both in the form of docker's `config.json`); `environment` answers for variables.
    pub fn new(
        own: Option<PathBuf>,
        docker: Option<PathBuf>,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { own, docker, environment: Arc::new(environment) }
    }

    /// The logins of this user: `<home>/docker-config.json`, then `config.json` in `$DOCKER_CONFIG` or `~/.docker`.
    pub fn of_home(home: &Path) -> Self {
        let beside = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = beside("DOCKER_CONFIG").or_else(|| beside("HOME").map(|home| home.join(".docker")));
        let docker = docker.map(|folder| folder.join("config.json"));
        Self::new(Some(home.join("docker-config.json")), docker, |name| std::env::var(name).ok())
    }

    /// The login for a registry, where there is one (C006 for settings that cannot be read, T010 for a login file that
    /// others can read).
    pub(super) async fn find(&self, registry: &str, auth: &Auth) -> Result<Option<Login>, Problem> {
        match auth {
            Auth::Anonymous => Ok(None),
            Auth::Environment { user, password } => {
                let read = |name: &str| {
                    (self.environment)(name).filter(|value| !value.is_empty()).ok_or_else(|| {
                        refuse(format!("the login of `{registry}` is in ${name}, which is not set"))
                            .help(format!("set {name}, or change `auth` in `registries.toml`"))
                    })
                };
                Ok(Some(Login::Password { user: read(user)?, password: read(password)? }))
            }
            Auth::Docker => {
                for (path, guarded) in self.files() {
                    let Some(bytes) = read(path, guarded)? else {
                        continue;
                    };
                    keepers(path, &bytes)?;
                    if let Some(login) = look_up(registry, path, bytes).await? {
                        return Ok(Some(login));
                    }
                }
                Ok(None)
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = (&Path, Guarded)> {
        let own = self.own.as_deref().map(|path| (path, Guarded::Ours));
        own.into_iter().chain(self.docker.as_deref().map(|path| (path, Guarded::Dockers)))
    }

    /// Keeps a login: with the keeper that docker's settings name, else in our own file, 0600, replaced in one step.
    /// C006 when neither is there or the keeper refuses.
    pub async fn store(&self, registry: &str, user: &str, password: &str) -> Result<Kept, Problem> {
        if user.is_empty() || user.contains(':') || user.len() + password.len() > LOGIN_BYTES_MAX {
            return Err(refuse("a user name is empty, has a `:`, or a login is too long"));
        }
        if let Some(keeper) = self.keeper(registry)? {
            let entry = json!({"ServerURL": registry, "Username": user, "Secret": password});
            run_keeper(&keeper, "store", entry.to_string().as_bytes()).await?;
            // An older one in our file would be found first.
            self.edit_own(|auths| drop(auths.remove(registry)))?;
            return Ok(Kept::Keeper(keeper));
        }
        let Some(own) = self.own.clone() else {
            return Err(refuse("there is no file for logins"));
        };
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.edit_own(|auths| drop(auths.insert(registry.to_owned(), json!({ "auth": auth }))))?;
        Ok(Kept::File(own))
    }

    /// Forgets the login of a registry, wherever `store` puts it. Docker's own file is left alone.
    pub async fn erase(&self, registry: &str) -> Result<(), Problem> {
        if let Some(keeper) = self.keeper(registry)? {
            run_keeper(&keeper, "erase", registry.as_bytes()).await?;
        }
        self.edit_own(|auths| drop(auths.remove(registry)))
    }

    fn keeper(&self, registry: &str) -> Result<Option<String>, Problem> {
        for (path, guarded) in self.files() {
            let Some(bytes) = read(path, guarded)? else {
                continue;
            };
            let mut keepers = keepers(path, &bytes)?;
            let named = keepers.cred_helpers.remove(registry).or(keepers.creds_store);
            if let Some(keeper) = named.filter(|keeper| !keeper.is_empty()) {
                return Ok(Some(keeper));
            }
        }
        Ok(None)
    }

    fn edit_own(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), Problem> {
        let Some(path) = &self.own else {
            return Ok(());
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        files::make_folder(folder)?;
        let lock_path = folder.join(".docker-config-lock");
        let lock = files::lock_file(&lock_path)?;
        lock.lock().map_err(|error| files::io_problem(Code::R004, "lock", &lock_path, &error))?;
        let bytes = read(path, Guarded::Ours)?;
        let mut document = bytes.as_deref().map_or_else(|| Ok(json!({})), |bytes| parse(path, bytes))?;
        let root = document.as_object_mut().ok_or_else(|| unreadable(path))?;
        let auths = root.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().ok_or_else(|| unreadable(path))?;
        let before = auths.clone();
        change(auths);
        if *auths == before {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&document).expect("JSON has string keys");
        text.push(b'\n');
        files::replace(path, &text)
    }
}

/// Whose file it is decides how strictly its mode is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guarded {
    Ours,
    Dockers,
}

fn read(path: &Path, guarded: Guarded) -> Result<Option<Vec<u8>>, Problem> {
    if guarded == Guarded::Ours {
        return files::read_guarded(path, Guard::Secret, FILE_BYTES_MAX);
    }
    // Docker's file may be a link and of any mode: it is docker's to judge.
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= FILE_BYTES_MAX => {}
        Ok(_) => return Err(unreadable(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(files::io_problem(Code::C006, "read", path, &error)),
    }
    std::fs::read(path).map(Some).map_err(|error| files::io_problem(Code::C006, "read", path, &error))
}

/// What the parser says could quote a password, so it is left out.
fn parse<'a, T: Deserialize<'a>>(path: &Path, bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|_| unreadable(path))
}

fn keepers(path: &Path, bytes: &[u8]) -> Result<Keepers, Problem> {
    let keepers: Keepers = parse(path, bytes)?;
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let named = keepers.creds_store.iter().chain(keepers.cred_helpers.values());
    match named.into_iter().find(|name| !plain(name)) {
        // It becomes a part of the name of a program.
        Some(name) => Err(refuse(format!("`{}` is not the name of a keeper of passwords", printable(name)))
            .file(path.display().to_string())),
        None => Ok(keepers),
    }
}

async fn look_up(registry: &str, path: &Path, bytes: Vec<u8>) -> Result<Option<Login>, Problem> {
    let server = registry.to_owned();
    let asked = tokio::task::spawn_blocking(move || docker_credential::get_credential_from_reader(&bytes[..], &server));
    let failed = |why: &str| {
        Err(refuse(format!("the login of `{registry}` cannot be read: {why}"))
            .file(path.display().to_string())
            .help(format!("log in again: `ice login {registry}`")))
    };
    let answer = match tokio::time::timeout(KEEPER_TIME, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => return failed("the keeper of passwords does not answer"),
    };
    match answer {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Some(Login::Password { user, password })),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Login::IdentityToken(token))),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // Keepers say so in these words, and a registry without a login is no failure.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(None)
        }
        // What a keeper printed may hold the password.
        Err(CredentialRetrievalError::HelperFailure { .. }) => failed("the keeper of passwords failed"),
        Err(CredentialRetrievalError::HelperCommunicationError) => failed("the keeper of passwords cannot be started"),
        Err(CredentialRetrievalError::MalformedHelperResponse) => failed("the keeper of passwords answers nonsense"),
        Err(CredentialRetrievalError::CredentialMismatchError) => failed("`auth` and `username` differ"),
        Err(_) => failed("it is not in docker's form"),
    }
}

/// Runs `docker-credential-<name> <verb>`. What it prints is thrown away: it may hold a password.
async fn run_keeper(name: &str, verb: &str, input: &[u8]) -> Result<(), Problem> {
    let program = format!("docker-credential-{name}");
    let failed =
        |why: &str| refuse(format!("`{program} {verb}` {why}")).help("check that it is installed and unlocked");
    let null = std::process::Stdio::null;
    let mut child = tokio::process::Command::new(&program)
        .arg(verb)
        .stdin(std::process::Stdio::piped())
        .stdout(null())
        .stderr(null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| failed("cannot be started"))?;
    let stdin = child.stdin.take();
    let run = async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(input).await?;
            stdin.shutdown().await?;
        }
        child.wait().await
    };
    match tokio::time::timeout(KEEPER_TIME, run).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(_) => Err(failed("failed")),
        Err(_) => Err(failed("does not end")),
    }
}

fn unreadable(path: &Path) -> Problem {
    refuse("a file of logins is not in docker's form").file(path.display().to_string())
}

fn refuse(why: impl fmt::Display) -> Problem {
    Problem::new(Code::C006, why.to_string())
}
