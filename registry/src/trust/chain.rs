//! The roots of this machine, `trust/root/<version>.json`: each was signed by those before it.
//!
//! A file that does not fit the chain stops everything instead of being passed over: the newest root may be the one
//! that took a stolen key away.

use std::path::{Path, PathBuf};

use ice_core::manifest::{UnixSeconds, print_date, printable};
use ice_core::problem::{Code, Problem};

use super::root::{Role, Root};
use crate::files::{self, Guard};
use crate::signed::{DocumentKind, SIGNED_BYTES_MAX, Signed};

/// A root a day for almost three years. Each costs a few checks of signatures whenever the store is opened.
const ROOTS_MAX: usize = 1_000;

/// A root with the document it was read from.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Link {
    pub(super) root: Root,
    pub(super) document: Signed,
}

/// The believed roots.
// Invariant: versions follow each other without a gap, and each link was checked against the one before.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Chain {
    links: Vec<Link>,
}

impl Chain {
    /// Reads the folder. T042 for a gap, a file under another name than its version, and a root that does not follow;
    /// T010 for what others could change.
    pub(super) fn read(folder: &Path) -> Result<Self, Problem> {
        let mut chain = Self::default();
        for (version, path) in paths(folder)? {
            let at = |problem: Problem| problem.file(path.display().to_string());
            let Some(bytes) = files::read_guarded(&path, Guard::Own, SIGNED_BYTES_MAX as u64)? else { continue };
            let document = Signed::parse(&bytes).map_err(at)?;
            let root = chain.follow(document).map_err(at)?;
            if root.version() != version {
                let message = format!("the file holds root {}", root.version());
                return Err(at(Problem::new(Code::T042, message).help(format!("name it `{}.json`", root.version()))));
            }
        }
        Ok(chain)
    }

    /// Puts a root at the end (T042).
    pub(super) fn follow(&mut self, document: Signed) -> Result<&Root, Problem> {
        if self.links.len() == ROOTS_MAX {
            return Err(Problem::new(Code::T042, format!("there are more than {ROOTS_MAX} roots"))
                .help("keep the newest ones: a chain may begin with any of them"));
        }
        let root = match self.links.last() {
            Some(last) => last.root.check_next(&document)?,
            None => Root::check_first(&document)?,
        };
        self.links.push(Link { root, document });
        Ok(&self.links[self.links.len() - 1].root)
    }

    /// The root that counts.
    pub(super) fn current(&self) -> Option<&Root> {
        self.links.last().map(|link| &link.root)
    }

    /// Every root, oldest first.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    pub(super) fn version(&self) -> u64 {
        self.current().map_or(0, Root::version)
    }

    /// Oldest root since which the keys of the index are those of today; 0 without a root.
    pub(super) fn index_keys_since(&self) -> u64 {
        let keys = |root: &Root| -> Vec<_> { root.roles().index.keys().keys().copied().collect() };
        let today = self.current().map(keys);
        let same = self.links.iter().rev().take_while(|link| Some(keys(&link.root)) == today);
        same.last().map_or(0, |link| link.root.version())
    }

    /// Roles that may have signed documents of this kind, the one of today first.
    pub(super) fn roles(&self, kind: DocumentKind) -> impl Iterator<Item = &Role> {
        self.links.iter().rev().map(move |link| link.root.roles().of(kind))
    }

    /// T043 when the newest root has expired. Those before it need not be valid: they only say who signs the next.
    pub(super) fn check_expiry(&self, now: UnixSeconds) -> Result<(), Problem> {
        let Some(root) = self.current().filter(|root| now >= root.expires()) else { return Ok(()) };
        let message = format!("root {} expired on {}", root.version(), print_date(root.expires()));
        Err(Problem::new(Code::T043, message).help(format!(
            "get root {} and import it: `ice trust import-root {}.json`; what is installed goes on running",
            root.version() + 1,
            root.version() + 1
        )))
    }

    /// Adds the documents that are new, in the order of their versions; returns how many. Those that are known already
    /// must be the same (T042).
    pub(super) fn extend(&mut self, documents: &[Signed]) -> Result<usize, Problem> {
        let mut sorted = Vec::new();
        for document in documents {
            sorted.push((Root::unchecked(document)?.version(), document));
        }
        sorted.sort_by_key(|(version, _)| *version);
        let mut added = 0;
        for (version, document) in sorted {
            if self.links.is_empty() || version > self.version() {
                self.follow(document.clone())?;
                added += 1;
                continue;
            }
            // A root before the first one here can change nothing anymore.
            let known = self.links.iter().find(|link| link.root.version() == version);
            if let Some(known) = known
                && known.document.digest()? != document.digest()?
            {
                let message = format!("this is another root {version} than the one that is believed here");
                return Err(Problem::new(Code::T042, message)
                    .help("ask those who hold the root keys why there are two; believe neither before"));
            }
        }
        Ok(added)
    }
}

/// The files of the folder by version. A root under a name of another form would be one that nobody reads.
fn paths(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Problem> {
    let mut found = Vec::new();
    if !files::check_folder(folder)? {
        return Ok(found);
    }
    let failed = |error: std::io::Error| files::io_problem(Code::C002, "read", folder, &error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let stem = path.file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        let version = stem.parse::<u64>().ok().filter(|version| version.to_string() == stem);
        let version = version.ok_or_else(|| {
            Problem::new(Code::T042, format!("`{}.json` is not the name of a root", printable(stem)))
                .help("roots are `1.json`, `2.json` and so on; move the file away")
                .file(path.display().to_string())
        })?;
        found.push((version, path));
    }
    found.sort_unstable();
    Ok(found)
}
