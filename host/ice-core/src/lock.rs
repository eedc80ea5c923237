//! `ice.lock`: exactly which plugins a project runs. Reads and prints; resolving belongs to the registry.
//!
//! A lock is an integrity pin and no root of trust: signatures are checked all the same.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use semver::Version;
use serde::Deserialize;
use serde_json::Value;

use crate::grant::{Grant, widens};
use crate::id::Digest;
use crate::manifest::{Kind, Manifest, check_name, printable};
use crate::problem::{Code, Problem};

/// A whole lock file.
// Invariant: `packages` is sorted by (name, version) and has no two entries of the same name and version.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lock {
    packages: Vec<LockedPackage>,
}

/// One locked plugin.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// `scope/name`.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// What it is.
    pub kind: Kind,
    /// As signed.
    pub sequence: u64,
    /// Where it came from, such as `oci://registry.example/ice/acme/csv`; absent for a local one.
    #[serde(default)]
    pub source: Option<String>,
    /// Of the OCI manifest; a hint for mirrors.
    #[serde(default)]
    pub oci_digest: Option<Digest>,
    /// The pin.
    pub statement: Digest,
    /// Of the canonical manifest.
    pub manifest: Digest,
    /// Its components.
    #[serde(default)]
    pub artifacts: Vec<LockedArtifact>,
    /// Ids of the keys that signed.
    #[serde(default)]
    pub signed_by: Vec<Digest>,
    /// What the model reads, see [`Manifest::interface`](crate::manifest::Manifest::interface).
    pub interface: Digest,
    /// What was granted, in words.
    #[serde(default)]
    pub granted: Vec<String>,
    /// `scope/name version` of the plugins it needs.
    #[serde(default)]
    pub dependencies: Vec<String>,
}

/// One locked component.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct LockedArtifact {
    /// For a person.
    pub name: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

impl LockedPackage {
    /// The members of this entry that `found` has otherwise. Empty when both pin the same plugin: where it came from
    /// is a hint, so that mirrors do not change an entry; what was granted and chosen beside it is not part of it; who
    /// signed is compared with [`LockedPackage::missing_signers`].
    pub fn differs(&self, found: &Self) -> Vec<&'static str> {
        let members = [
            ("statement", self.statement == found.statement),
            ("manifest", self.manifest == found.manifest),
            ("artifacts", self.artifacts == found.artifacts),
            ("kind", self.kind == found.kind),
            ("sequence", self.sequence == found.sequence),
            ("interface", self.interface == found.interface),
        ];
        members.into_iter().filter(|(_, same)| !same).map(|(member, _)| member).collect()
    }

    /// Keys that signed when this was locked and are not among `signers`. Signing again with one key more is no change.
    pub fn missing_signers(&self, signers: &[Digest]) -> Vec<Digest> {
        self.signed_by.iter().filter(|keyid| !signers.contains(keyid)).copied().collect()
    }
}

/// What a grant allows, in the words of a lock: `http:GET https://api.example.com/*`, sorted. Limits are not rights.
pub fn granted_words(grant: &Grant) -> Vec<String> {
    let rights = Grant { limits: crate::grant::LimitSettings::default(), ..grant.clone() };
    let mut words: Vec<String> =
        widens(&Grant::default(), &rights).iter().map(|line| line.replacen('=', ":", 1)).collect();
    words.sort();
    words.dedup();
    words
}

/// What `operator` permits of what a plugin asks for, in the words of a lock: the one way both sides of a comparison are
/// made. Rules come out in their normal form, however they were written.
pub fn permitted_words(operator: &Grant, manifest: &Manifest) -> Vec<String> {
    let effective = manifest.requested().into_iter().map(|(_, asked)| operator.intersect(asked));
    let words: BTreeSet<String> = effective.flat_map(|grant| granted_words(&grant)).collect();
    words.into_iter().collect()
}

/// Exactly which plugins a project runs. Written by `ice install`, `ice update` and `ice remove`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// Of the format.
    #[schemars(extend("const" = VERSION))]
    version: u32,
    /// Sorted by name and version.
    #[serde(default)]
    package: Vec<LockedPackage>,
}

/// JSON Schema of `ice.lock`, from the types that read it.
pub fn schema() -> Value {
    crate::schema::of_type::<File>("ice.lock", "ice.lock:1")
}

/// The only version so far.
const VERSION: u32 = 1;

impl Lock {
    /// A lock of these packages, which need not be sorted. Of two of the same name and version the last stays.
    pub fn new(packages: impl IntoIterator<Item = LockedPackage>) -> Self {
        let mut lock = Self::default();
        for package in packages {
            lock.insert(package);
        }
        lock
    }

    /// Adds a package, replacing the one of the same name and version.
    pub fn insert(&mut self, package: LockedPackage) {
        let key = |package: &LockedPackage| (package.name.clone(), package.version.clone());
        match self.packages.binary_search_by_key(&key(&package), key) {
            Ok(index) => self.packages[index] = package,
            Err(index) => self.packages.insert(index, package),
        }
    }

    /// Adds a package in the place of every version of that name.
    pub fn replace(&mut self, package: LockedPackage) {
        self.packages.retain(|other| other.name != package.name);
        self.insert(package);
    }

    /// The entry of exactly this version.
    pub fn get(&self, name: &str, version: &Version) -> Option<&LockedPackage> {
        self.packages.iter().find(|package| package.name == name && package.version == *version)
    }

    /// The entry of this name; of several, which only a merge makes, the newest.
    pub fn find(&self, name: &str) -> Option<&LockedPackage> {
        self.packages.iter().rfind(|package| package.name == name)
    }

    /// Whether exactly this plugin is locked.
    pub fn covers(&self, statement: &Digest) -> bool {
        self.packages.iter().any(|package| package.statement == *statement)
    }

    /// Every package, sorted by name and version.
    pub fn packages(&self) -> &[LockedPackage] {
        &self.packages
    }

    /// Reads the file (M007). Order and repeats are mended by [`Lock::new`], so a merge never breaks it.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |message: String| {
            Problem::new(Code::M007, message).help("restore it from version control, or remove it and install again")
        };
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let mut problem = refuse(format!("the lock cannot be read: {}", printable(error.message())));
            if let Some(line) = line {
                problem.at.get_or_insert_default().line = u32::try_from(line).ok();
            }
            problem
        })?;
        if file.version != VERSION {
            return Err(refuse(format!("the lock has version {}, this host reads {VERSION}", file.version)));
        }
        for package in &file.package {
            check_name(&package.name)?;
        }
        Ok(Self::new(file.package))
    }

    /// Prints the file: sorted, LF, the same text for the same packages.
    pub fn print(&self) -> String {
        let mut text = format!("version = {VERSION}\n");
        for package in &self.packages {
            text.push_str("\n[[package]]\n");
            print_package(&mut text, package);
        }
        text
    }
}

fn print_package(text: &mut String, package: &LockedPackage) {
    let mut line = |key: &str, value: String| text.push_str(&format!("{key} = {value}\n"));
    let digest = |digest: &Digest| quote(&digest.to_string());
    line("name", quote(&package.name));
    line("version", quote(&package.version.to_string()));
    line("kind", quote(package.kind.as_str()));
    line("sequence", package.sequence.to_string());
    if let Some(source) = &package.source {
        line("source", quote(source));
    }
    if let Some(oci) = &package.oci_digest {
        line("oci_digest", digest(oci));
    }
    line("statement", digest(&package.statement));
    line("manifest", digest(&package.manifest));
    let artifact = |artifact: &LockedArtifact| {
        let (name, digest) = (quote(&artifact.name), digest(&artifact.digest));
        format!("{{ name = {name}, digest = {digest}, size = {} }}", artifact.size)
    };
    line("artifacts", list(package.artifacts.iter().map(artifact)));
    line("signed_by", list(package.signed_by.iter().map(digest)));
    line("interface", digest(&package.interface));
    line("granted", list(package.granted.iter().map(|text| quote(text))));
    line("dependencies", list(package.dependencies.iter().map(|text| quote(text))));
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A TOML basic string on one line.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
