//! RustSec advisories out of a folder, and which of them are about a plugin's crates.
//!
//! Reads the form of the RustSec database, `crates/NAME/ID.md` with TOML in front, and of that only the folders of the
//! crates that are asked for. The crate `rustsec` is not used: it reads the whole database, and one advisory of a newer form
//! fails all of it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ice_core::manifest::printable;
use ice_core::problem::{Code, Problem};
use semver::{Comparator, Op, Version, VersionReq};
use serde::{Deserialize, Serialize};

use super::installed::{Crate, Installed};
use super::{Context, Finding, Level};

/// The largest advisory has 20 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Guests are compiled for this machine and system. An advisory that names others only is not about them.
const ARCH: &str = "wasm32";
const SYSTEMS: &[&str] = &["wasi", "wasip2"];

/// An advisory about a crate of a plugin.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Advisory {
    id: String,
    title: String,
    #[serde(rename = "crate")]
    name: String,
    version: Version,
    /// Requirements that patched versions satisfy; empty when there is no such version.
    patched: Vec<String>,
    /// `unmaintained`, `unsound` or `notice`; a vulnerability when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    informational: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// What stands in front of an advisory's text.
#[derive(Deserialize)]
struct Front {
    advisory: About,
    #[serde(default)]
    affected: Affected,
    versions: Versions,
}

#[derive(Deserialize)]
struct About {
    id: String,
    package: String,
    #[serde(default)]
    withdrawn: Option<toml::Value>,
    #[serde(default)]
    informational: Option<String>,
    #[serde(default)]
    url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Affected {
    arch: Vec<String>,
    os: Vec<String>,
}

#[derive(Deserialize)]
struct Versions {
    patched: Vec<VersionReq>,
    #[serde(default)]
    unaffected: Vec<VersionReq>,
}

/// A folder of advisories.
pub(super) struct Database {
    crates: PathBuf,
}

impl Database {
    /// The database in a folder; `None` when there is none.
    pub(super) fn open(folder: &Path) -> Option<Self> {
        let crates = folder.join("crates");
        crates.is_dir().then_some(Self { crates })
    }

    /// Everything known against one crate, in the order of ids. C002 when an advisory cannot be read: what it says could
    /// be what is looked for.
    fn about(&self, found: &Crate) -> Result<Vec<Advisory>, Problem> {
        // The name comes from inside a component: it must not lead out of the folder.
        let named = found.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !named || found.source == "local" {
            return Ok(Vec::new());
        }
        let folder = self.crates.join(&found.name);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(&folder, &error.to_string())),
        };
        let mut advisories = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&folder, &error.to_string()))?.path();
            if path.extension().is_some_and(|end| end == "md") {
                advisories.extend(read(&path, found)?);
            }
        }
        advisories.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(advisories)
    }
}

/// One finding an advisory about a crate of the plugin.
pub(super) fn check(plugin: &Installed, context: &Context) -> Result<Vec<Finding>, Problem> {
    let Some(database) = &context.database else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    for found in &plugin.crates {
        findings.extend(database.about(found)?.into_iter().map(|advisory| finding(plugin, found, advisory)));
    }
    Ok(findings)
}

fn finding(plugin: &Installed, found: &Crate, advisory: Advisory) -> Finding {
    let (level, what) = match advisory.informational.as_deref() {
        None => (Level::Error, "a vulnerability".to_owned()),
        Some(word) => (Level::Warning, format!("`{word}`")),
    };
    let patched = match advisory.patched.is_empty() {
        true => "no version is patched".to_owned(),
        false => format!("patched in {}", advisory.patched.join(" or ")),
    };
    let Advisory { id, title, .. } = &advisory;
    let message = format!("{id}, {what} in `{found}`: {title}; {patched}");
    let name = printable(&found.name);
    let help = match advisory.patched.is_empty() {
        true => format!("replace `{name}` in the sources of `{}`, then build and sign it again", plugin.name),
        false => format!(
            "`cargo update -p {name}` in the sources of `{}`, then build and sign it again; of another author's plugin, \
             install a newer version",
            plugin.name
        ),
    };
    Finding { advisory: Some(advisory), ..Finding::new(level, message, help) }
}

/// The advisory in a file, when it is about this version of the crate.
fn read(path: &Path, found: &Crate) -> Result<Option<Advisory>, Problem> {
    let refuse = |why: &str| unreadable(path, why);
    let size = std::fs::metadata(path).map_err(|error| refuse(&error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(refuse(&format!("it has {size} bytes, the limit is {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(&error.to_string()))?;
    let (front, body) = text
        .strip_prefix("```toml")
        .and_then(|rest| rest.split_once("\n```"))
        .ok_or_else(|| refuse("it does not begin with TOML"))?;
    let Front { advisory, affected, versions } = toml::from_str(front).map_err(|error| refuse(error.message()))?;
    let elsewhere =
        |named: &[String], ours: &[&str]| !named.is_empty() && !named.iter().any(|name| ours.contains(&name.as_str()));
    let is_in = |requirements: &[VersionReq]| requirements.iter().any(|wanted| within(wanted, &found.version));
    let harmless = advisory.withdrawn.is_some()
        || advisory.package != found.name
        || elsewhere(&affected.arch, &[ARCH])
        || elsewhere(&affected.os, SYSTEMS)
        || is_in(&versions.patched)
        || is_in(&versions.unaffected);
    let title = body.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("without a title");
    Ok((!harmless).then(|| Advisory {
        id: printable(&advisory.id),
        title: printable(title.trim()),
        name: found.name.clone(),
        version: found.version.clone(),
        patched: versions.patched.iter().map(ToString::to_string).collect(),
        informational: advisory.informational.as_deref().map(printable),
        url: advisory.url.as_deref().map(printable),
    }))
}

fn unreadable(path: &Path, why: &str) -> Problem {
    Problem::new(Code::C002, format!("an advisory cannot be read: {}", printable(why)))
        .file(path.display().to_string())
        .help("fetch the advisories again: `git pull` in their folder")
}

/// Whether a version is in the range. Cargo never picks a pre-release for `>=1.0`; here the question is where it lies.
fn within(range: &VersionReq, version: &Version) -> bool {
    if version.pre.is_empty() {
        return range.matches(version);
    }
    let release = Version::new(version.major, version.minor, version.patch);
    let holds = |bound: &Comparator| {
        let at = Version {
            major: bound.major,
            minor: bound.minor.unwrap_or_default(),
            patch: bound.patch.unwrap_or_default(),
            pre: bound.pre.clone(),
            build: semver::BuildMetadata::EMPTY,
        };
        let order = version.cmp_precedence(&at);
        match bound.op {
            Op::GreaterEq => order.is_ge(),
            Op::Greater => order.is_gt() && bound.matches(&release),
            Op::Less => order.is_lt(),
            Op::LessEq => order.is_le() || bound.matches(&release),
            // A pre-release of the first version in such a range lies before the range.
            _ => order.is_ge() && bound.matches(&release),
        }
    };
    range.comparators.iter().all(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An advisory as the RustSec database has it.
    const LEAK: &str = "```toml
[advisory]
id = \"RUSTSEC-2026-0001\"
package = \"leaky\"
date = \"2026-01-02\"
url = \"https://example.com/leaky\"
categories = [\"memory-exposure\"]
cvss = \"CVSS:4.0/AV:N/AC:L\"

[versions]
patched = [\">= 1.2.3\", \">= 1.1.9, < 1.2.0\"]
unaffected = [\"< 1.0.0\"]
```

# It leaks\u{1b}[2J

Under load.
";

    fn database(files: &[(&str, &str)]) -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("crates")).unwrap();
        for (name, text) in files {
            let path = folder.path().join("crates").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let database = Database::open(folder.path()).unwrap();
        (folder, database)
    }

    fn at(name: &str, version: &str) -> Crate {
        Crate { name: name.into(), version: version.parse().unwrap(), source: "crates.io".into(), build: false }
    }

    fn ids(database: &Database, found: &Crate) -> Vec<String> {
        database.about(found).unwrap().into_iter().map(|advisory| advisory.id).collect()
    }

    #[test]
    fn a_version_that_is_neither_patched_nor_unaffected_is_found() {
        let (_folder, database) = database(&[("leaky/RUSTSEC-2026-0001.md", LEAK)]);
        for version in ["1.0.0", "1.1.8", "1.2.0", "1.2.2", "1.2.3-rc.1", "1.1.0-beta"] {
            assert_eq!(ids(&database, &at("leaky", version)), ["RUSTSEC-2026-0001"], "{version}");
        }
        for version in ["0.9.9", "0.9.0-rc.1", "1.0.0-beta", "1.1.9", "1.2.3", "1.2.4-rc.1", "2.0.0"] {
            let expected: [String; 0] = [];
            assert_eq!(ids(&database, &at("leaky", version)), expected, "{version}");
        }
        let advisory = database.about(&at("leaky", "1.2.0")).unwrap().remove(0);
        assert_eq!(advisory.patched, [">=1.2.3", ">=1.1.9, <1.2.0"]);
        assert!(advisory.title.starts_with("It leaks") && !advisory.title.contains('\u{1b}'), "{}", advisory.title);
        assert_eq!(advisory.url.as_deref(), Some("https://example.com/leaky"));
    }

    #[test]
    fn what_is_withdrawn_or_about_another_machine_is_not_found() {
        let with = |line: &str| LEAK.replace("\n[versions]", &format!("{line}\n[versions]"));
        let windows = with("[affected]\nos = [\"windows\"]\n");
        let (_folder, others) = database(&[
            ("leaky/A.md", &with("withdrawn = \"2026-02-01\"\n")),
            ("leaky/B.md", &windows),
            ("leaky/C.md", &with("[affected]\narch = [\"x86\", \"x86_64\"]\n")),
            ("leaky/notes.txt", "no advisory"),
        ]);
        assert!(others.about(&at("leaky", "1.0.0")).unwrap().is_empty());
        let ours = windows.replace("\"windows\"", "\"windows\", \"wasi\"");
        let (_folder, ours) = database(&[("leaky/B.md", &ours)]);
        assert_eq!(ids(&ours, &at("leaky", "1.0.0")).len(), 1);
    }

    #[test]
    fn a_crate_of_the_workspace_and_a_name_that_leads_elsewhere_are_not_looked_up() {
        let (_folder, database) = database(&[("leaky/A.md", LEAK), ("../outside/A.md", LEAK)]);
        let local = Crate { source: "local".into(), ..at("leaky", "1.0.0") };
        assert!(database.about(&local).unwrap().is_empty());
        assert!(database.about(&at("../outside", "1.0.0")).unwrap().is_empty());
        assert!(database.about(&at("other", "1.0.0")).unwrap().is_empty());
    }

    #[test]
    fn an_advisory_that_cannot_be_read_is_told_and_not_skipped() {
        let large = "x".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1);
        for text in ["", "# no front", "```toml\n[advisory]\n```\n", "```toml\nnever closed", &large] {
            let (_folder, database) = database(&[("leaky/A.md", text)]);
            let problem = database.about(&at("leaky", "1.0.0")).unwrap_err();
            assert_eq!(problem.code, Code::C002);
            assert!(problem.to_string().contains("leaky/A.md"), "{problem}");
        }
    }

    #[test]
    fn a_vulnerability_is_an_error_and_what_is_unmaintained_a_warning() {
        let unmaintained = LEAK
            .replace("date =", "informational = \"unmaintained\"\ndate =")
            .replace("[\">= 1.2.3\", \">= 1.1.9, < 1.2.0\"]", "[]")
            .replace("0001", "0002");
        let (_folder, database) = database(&[("leaky/A.md", LEAK), ("leaky/B.md", &unmaintained)]);
        let plugin = Installed {
            name: "acme/shop".into(),
            version: Version::new(1, 0, 0),
            verdict: Err(Problem::new(Code::T003, "not needed here")),
            crates: vec![at("leaky", "1.2.0")],
            without_list: Vec::new(),
            unreadable: Vec::new(),
        };
        let trust = ice_registry::Trust::open(std::path::Path::new("/nowhere")).unwrap();
        let indexes = crate::wire::Indexes::default();
        let found = check(&plugin, &Context { database: Some(database), trust, indexes, now: 0 }).unwrap();
        assert_eq!(found.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Error, Level::Warning]);
        assert!(
            found[0].message.contains("RUSTSEC-2026-0001, a vulnerability in `leaky 1.2.0`"),
            "{}",
            found[0].message
        );
        assert!(found[0].message.ends_with("patched in >=1.2.3 or >=1.1.9, <1.2.0"), "{}", found[0].message);
        assert!(found[0].help.starts_with("`cargo update -p leaky`"), "{}", found[0].help);
        assert!(found[1].message.ends_with("no version is patched"), "{}", found[1].message);
        assert!(found[1].help.starts_with("replace `leaky`"), "{}", found[1].help);
    }
}
