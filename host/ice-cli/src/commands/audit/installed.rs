//! An installed plugin as checks see it: its verdict, its manifest, and the crates its components say they are built from.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;

use auditable_serde::{DependencyKind, Source, VersionInfo};
use flate2::read::ZlibDecoder;
use ice_core::id::Digest;
use ice_core::manifest::{Manifest, printable};
use ice_core::problem::{Code, Problem};
use ice_registry::store::StoreEntry;
use ice_registry::{Store, Trust, Verified};
use semver::Version;
use serde::Serialize;

/// A list of a thousand crates has 100 KiB; a component decides what its list inflates to.
const LIST_BYTES_MAX: u64 = 8 << 20;

/// One crate in a component.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: Version,
    /// `crates.io`, `registry`, `git` or `local`.
    pub(super) source: String,
    /// Whether it only ran in the compiler.
    pub(super) build: bool,
}

impl fmt::Display for Crate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", printable(&self.name), self.version, if self.build { " (build)" } else { "" })
    }
}

/// An installed plugin.
pub(super) struct Installed {
    pub(super) name: String,
    pub(super) version: Version,
    /// What was signed, or why it is not believed.
    pub(super) verdict: Result<Verified<Manifest>, Problem>,
    /// The crates of all its components, sorted.
    pub(super) crates: Vec<Crate>,
    /// Components that carry no list.
    pub(super) without_list: Vec<Digest>,
    /// Lists that cannot be read.
    pub(super) unreadable: Vec<Problem>,
}

impl Installed {
    /// Reads one plugin: its envelope, and every byte of its components.
    pub(super) fn read(store: &Store, trust: &Trust, entry: &StoreEntry) -> Self {
        let mut plugin = Self {
            name: entry.name.clone(),
            version: entry.version.clone(),
            verdict: store.check(entry, trust),
            crates: Vec::new(),
            without_list: Vec::new(),
            unreadable: Vec::new(),
        };
        let Ok(verified) = &plugin.verdict else { return plugin };
        let mut crates = BTreeSet::new();
        for (artifact, _) in verified.value().artifacts() {
            match store.blob(verified, &artifact).and_then(|bytes| listed(&bytes)) {
                Ok(Some(list)) => crates.extend(list),
                Ok(None) => plugin.without_list.push(artifact),
                Err(problem) => plugin.unreadable.push(problem),
            }
        }
        plugin.crates = crates.into_iter().collect();
        plugin
    }

    /// The manifest of a plugin that verifies.
    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.verdict.as_ref().ok().map(Verified::value)
    }

    /// The licence its author gives.
    pub(super) fn licence(&self) -> Option<&str> {
        self.manifest()?.license.as_deref()
    }
}

/// The crates a component says it was built from; `None` when it says nothing. Fails with T036 when it says it in another
/// form than `cargo auditable`.
fn listed(component: &[u8]) -> Result<Option<BTreeSet<Crate>>, Problem> {
    let lists = ice_runtime::dependency_lists(component)?;
    let mut crates = BTreeSet::new();
    for list in &lists {
        crates.extend(parse(list)?);
    }
    Ok((!lists.is_empty()).then_some(crates))
}

fn parse(list: &[u8]) -> Result<Vec<Crate>, Problem> {
    let refuse = |why: String| {
        Problem::new(Code::T036, format!("a component's list of crates cannot be read: {}", printable(&why)))
    };
    let mut text = String::new();
    ZlibDecoder::new(list)
        .take(LIST_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| refuse(error.to_string()))?;
    if text.len() as u64 > LIST_BYTES_MAX {
        return Err(refuse(format!("it is larger than {LIST_BYTES_MAX} bytes")));
    }
    let info: VersionInfo = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    let row = |package: auditable_serde::Package| Crate {
        name: package.name,
        version: package.version,
        source: String::from(match package.source {
            Source::Other(text) => Source::Other(printable(&text)),
            known => known,
        }),
        build: package.kind == DependencyKind::Build,
    };
    Ok(info.packages.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_list_of_cargo_auditable_is_read() {
        // As `cargo auditable` 0.7 writes it.
        let text = br#"{"packages":[{"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"},
            {"name":"kit","version":"0.1.0-rc.1","source":"local","dependencies":[0],"root":true}],"format":1}"#;
        let crates = parse(&compressed(text)).unwrap();
        let shown: Vec<String> = crates.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["cc 1.0.0 (build)", "kit 0.1.0-rc.1"]);
        assert_eq!(crates[1].source, "local");
    }

    #[test]
    fn a_list_in_another_form_or_too_large_is_refused() {
        let large = vec![b' '; usize::try_from(LIST_BYTES_MAX).unwrap() + 1];
        for list in [b"plain".to_vec(), compressed(b"{}"), compressed(b"\xff"), compressed(&large)] {
            assert_eq!(parse(&list).unwrap_err().code, Code::T036);
        }
    }
}
