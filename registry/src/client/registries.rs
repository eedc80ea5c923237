//! `registries.toml`: what is known about registries beyond their names. Reading is strict; editing keeps comments.
//!
//! Opens no socket and reads no password: it says where they are found.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ice_core::manifest::printable;
use ice_core::problem::{Code, Problem};
use serde::Deserialize;
use toml_edit::{Array, DocumentMut, Item, Table, value};
use url::Url;

use super::repository::{Repository, split_prefix};
use crate::files::{self, Guard};

/// Thousands of registries with a certificate each stay below.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Each one costs its timeouts when a registry is down.
const MIRRORS_MAX: usize = 8;
const REALMS_MAX: usize = 8;

/// Where the login for a registry is found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Auth {
    /// In the login file of ice, then where docker keeps it. Without a login there, requests go out without one.
    #[default]
    Docker,
    /// Nowhere: requests go out without a login.
    Anonymous,
    /// In two environment variables, which must be set.
    Environment {
        /// Name of the variable that holds the user.
        user: String,
        /// Name of the variable that holds the password.
        password: String,
    },
}

impl Auth {
    /// Reads the form of `registries.toml`: `docker`, `anonymous` or `env:USER_VARIABLE,PASSWORD_VARIABLE` (C006).
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let variable = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match (text, text.strip_prefix("env:").and_then(|names| names.split_once(','))) {
            ("docker", _) => Ok(Self::Docker),
            ("anonymous", _) => Ok(Self::Anonymous),
            (_, Some((user, password))) if variable(user) && variable(password) => {
                Ok(Self::Environment { user: user.to_owned(), password: password.to_owned() })
            }
            // What stands there may be a password that somebody put in the wrong place.
            _ => Err(refuse("`auth` is none of its forms")
                .help("write `docker`, `anonymous` or `env:USER_VARIABLE,PASSWORD_VARIABLE`")),
        }
    }
}

/// What is known about the registry below one prefix.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RegistrySettings {
    /// Where its index is, as written.
    pub index: Option<String>,
    /// The only certificates that may sign for it: PEM text, or the path of a file of it.
    pub ca: Option<String>,
    /// Where the login is found.
    pub auth: Auth,
    /// Prefixes that hold copies; asked in this order.
    pub mirrors: Vec<String>,
    /// Whether it speaks http; only for a loopback address with its port.
    pub plain_http: bool,
    /// URLs on other hosts that may be sent this registry's login to exchange it for a token.
    pub realms: Vec<String>,
}

/// Every known registry, by prefix.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registries {
    // Invariant: keys are prefixes; entries of one host agree on `ca` and `plain_http`.
    entries: BTreeMap<String, RegistrySettings>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Option<u32>,
    #[serde(default)]
    registry: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    index: Option<String>,
    ca: Option<String>,
    auth: Option<String>,
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(default)]
    plain_http: bool,
    #[serde(default)]
    realms: Vec<String>,
}

impl Registries {
    /// Reads the file; one that is not there knows nothing. T010 when others could change it, C006 for its content.
    /// A relative path of a certificate is looked up beside the file.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let mut registries = match read_text(path)? {
            Some(text) => Self::parse(&text).map_err(|problem| problem.file(path.display().to_string()))?,
            None => Self::default(),
        };
        for settings in registries.entries.values_mut() {
            let Some(ca) = settings.ca.as_mut().filter(|ca| !is_pem(ca)) else {
                continue;
            };
            let beside = path.parent().unwrap_or(Path::new(".")).join(&*ca);
            *ca = beside.to_string_lossy().into_owned();
        }
        Ok(registries)
    }

    /// Reads the content of such a file (C006).
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            refuse(format!("line {line}: {}", printable(error.message())))
        })?;
        if let Some(version) = file.version.filter(|version| *version != 1) {
            return Err(refuse(format!("it is of version {version}, and this one reads version 1")));
        }
        let mut entries = BTreeMap::new();
        for (prefix, entry) in file.registry {
            let settings = read_entry(&prefix, entry)
                .map_err(|problem| problem.subject(format!("[registry.\"{}\"]", printable(&prefix))))?;
            entries.insert(prefix, settings);
        }
        let registries = Self { entries };
        registries.check_hosts()?;
        Ok(registries)
    }

    /// What was written about exactly this prefix.
    pub fn get(&self, prefix: &str) -> Option<&RegistrySettings> {
        self.entries.get(prefix)
    }

    /// Every prefix with its settings, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RegistrySettings)> {
        self.entries.iter().map(|(prefix, settings)| (prefix.as_str(), settings))
    }

    /// What holds for a repository: the longest prefix of it, and the path below.
    pub(super) fn of<'a>(&self, repository: &'a Repository) -> (Option<&RegistrySettings>, &'a str) {
        let full = repository.to_string();
        let below = |prefix: &str| full.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let longest = self.entries.iter().filter(|(prefix, _)| below(prefix)).max_by_key(|(prefix, _)| prefix.len());
        match longest {
            Some((prefix, settings)) => {
                let rest = full.len() - prefix.len() - 1;
                (Some(settings), &repository.path[repository.path.len() - rest..])
            }
            None => (None, &repository.path),
        }
    }

    /// What holds for a host as a whole: its own entry, else the first below it.
    pub(super) fn of_host(&self, host: &str) -> Option<&RegistrySettings> {
        let on_host = |(prefix, _): &(&String, _)| prefix.split('/').next() == Some(host);
        self.entries.iter().find(on_host).map(|(_, settings)| settings)
    }

    /// Writes settings for `prefix` into the file, which is made when it is not there. Comments and what was written
    /// about others stay. C006 when the file would not be read back.
    pub fn set(path: &Path, prefix: &str, settings: &RegistrySettings) -> Result<(), Problem> {
        edit(path, |document| {
            let registries = document.entry("registry").or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            });
            let registries = registries.as_table_mut().ok_or_else(|| refuse("`registry` is not a table"))?;
            let entry = registries.entry(prefix).or_insert_with(|| Item::Table(Table::new()));
            let entry = entry.as_table_like_mut().ok_or_else(|| refuse("a registry is not a table"))?;
            for (key, item) in rows(settings) {
                match (item, entry.get_mut(key)) {
                    (Some(item), Some(there)) => exchange(there, item),
                    (Some(item), None) => drop(entry.insert(key, item)),
                    (None, _) => drop(entry.remove(key)),
                }
            }
            Ok(())
        })
    }

    /// Takes `prefix` out of the file. `Ok(false)` when it was not there.
    pub fn remove(path: &Path, prefix: &str) -> Result<bool, Problem> {
        if Self::read(path)?.get(prefix).is_none() {
            return Ok(false);
        }
        let mut removed = false;
        edit(path, |document| {
            let registries = document.get_mut("registry").and_then(Item::as_table_like_mut);
            removed = registries.is_some_and(|registries| registries.remove(prefix).is_some());
            Ok(())
        })?;
        Ok(removed)
    }

    /// A connection belongs to a host, so what decides about it cannot differ below the host.
    fn check_hosts(&self) -> Result<(), Problem> {
        for (prefix, settings) in &self.entries {
            let host = prefix.split('/').next().unwrap_or(prefix);
            let first = self.of_host(host).unwrap_or(settings);
            if (&first.ca, first.plain_http) != (&settings.ca, settings.plain_http) {
                return Err(refuse(format!("the entries of `{host}` differ in `ca` or `plain_http`"))
                    .help("a connection belongs to a host: write the same in all of them"));
            }
        }
        Ok(())
    }
}

/// Puts `item` in the place of another and keeps the comment beside it.
fn exchange(there: &mut Item, mut item: Item) {
    if let (Some(old), Some(new)) = (there.as_value(), item.as_value_mut()) {
        *new.decor_mut() = old.decor().clone();
    }
    *there = item;
}

fn rows(settings: &RegistrySettings) -> [(&'static str, Option<Item>); 6] {
    let list = |list: &[String]| (!list.is_empty()).then(|| value(Array::from_iter(list.iter().map(String::as_str))));
    let auth = match &settings.auth {
        Auth::Docker => None,
        Auth::Anonymous => Some(value("anonymous")),
        Auth::Environment { user, password } => Some(value(format!("env:{user},{password}"))),
    };
    [
        ("index", settings.index.as_deref().map(value)),
        ("ca", settings.ca.as_deref().map(value)),
        ("auth", auth),
        ("mirrors", list(&settings.mirrors)),
        ("plain_http", settings.plain_http.then(|| value(true))),
        ("realms", list(&settings.realms)),
    ]
}

fn read_text(path: &Path) -> Result<Option<String>, Problem> {
    let Some(bytes) = files::read_guarded(path, Guard::Own, FILE_BYTES_MAX)? else {
        return Ok(None);
    };
    String::from_utf8(bytes).map(Some).map_err(|_| refuse("it is not UTF-8").file(path.display().to_string()))
}

fn edit(path: &Path, change: impl FnOnce(&mut DocumentMut) -> Result<(), Problem>) -> Result<(), Problem> {
    const NEW: &str = "# What is known about registries. Written by `ice registry add`; edit it freely.\nversion = 1\n";
    let folder = path.parent().unwrap_or(Path::new("."));
    files::make_folder(folder)?;
    let lock_path: PathBuf = folder.join(".registries-lock");
    let lock = files::lock_file(&lock_path)?;
    lock.lock().map_err(|error| files::io_problem(Code::R004, "lock", &lock_path, &error))?;
    let text = read_text(path)?.unwrap_or_else(|| NEW.to_owned());
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| refuse(printable(error.message())))?;
    change(&mut document)?;
    let text = document.to_string();
    Registries::parse(&text)?;
    files::replace(path, text.as_bytes())
}

fn read_entry(prefix: &str, entry: Entry) -> Result<RegistrySettings, Problem> {
    let (host, _) = split_prefix(prefix).map_err(|problem| refuse(problem.message))?;
    if entry.plain_http && !is_loopback(host) {
        return Err(refuse(format!("`{host}` may not speak plain http"))
            .help("plain http is only for a loopback address with its port, such as `127.0.0.1:5000`"));
    }
    if entry.plain_http && entry.ca.is_some() {
        return Err(refuse("`ca` and `plain_http` exclude each other").help("remove one of them"));
    }
    if entry.mirrors.len() > MIRRORS_MAX || entry.realms.len() > REALMS_MAX {
        return Err(refuse(format!("it has more than {MIRRORS_MAX} mirrors or {REALMS_MAX} realms")));
    }
    for mirror in &entry.mirrors {
        split_prefix(mirror).map_err(|problem| refuse(problem.message))?;
    }
    let realms = entry.realms.iter().map(|realm| read_realm(realm, entry.plain_http));
    Ok(RegistrySettings {
        index: entry.index,
        ca: entry.ca,
        auth: entry.auth.as_deref().map_or(Ok(Auth::Docker), Auth::parse)?,
        realms: realms.collect::<Result<_, _>>()?,
        mirrors: entry.mirrors,
        plain_http: entry.plain_http,
    })
}

/// The one spelling of a realm: what a registry names is compared with it.
fn read_realm(text: &str, plain_http: bool) -> Result<String, Problem> {
    let refused = || {
        refuse("a realm is not an https URL without login, query and fragment")
            .help("write it as the registry names it, such as `https://auth.example/token`")
    };
    let url = Url::parse(text).map_err(|_| refused())?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let plain = plain_http && url.scheme() == "http" && url.port().is_some() && url_is_loopback(&url);
    if !bare || url.fragment().is_some() || !(url.scheme() == "https" || plain) {
        return Err(refused());
    }
    Ok(url.to_string())
}

/// A literal loopback address with its port: what stands for this machine only, whatever a resolver says.
fn is_loopback(host: &str) -> bool {
    let with_port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    with_port.is_some() && Url::parse(&format!("http://{host}/")).is_ok_and(|url| url_is_loopback(&url))
}

/// Whether the host is written as a loopback address.
pub(super) fn url_is_loopback(url: &Url) -> bool {
    let address = match url.host() {
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address),
        Some(url::Host::Domain(_)) | None => return false,
    };
    address.is_loopback()
}

/// Whether `ca` is the certificate itself and not the path of one.
pub(super) fn is_pem(ca: &str) -> bool {
    ca.contains("-----BEGIN")
}

fn refuse(why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::C006, format!("the settings of registries cannot be used: {why}"))
}

#[cfg(test)]
mod tests;
