//! `Cargo.lock` of a new plugin workspace: the part of the SDK's own lock that every plugin needs.
//!
//! So plugins are built from the crates that the SDK was tested with, and what was fetched once for the SDK is enough: no
//! network is asked.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

/// The part of a lock that is read.
#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// `name`, or `name version` where there are several.
    #[serde(default)]
    dependencies: Vec<String>,
}

/// How a package begins in a lock.
const HEADING: &str = "\n[[package]]\n";

/// The lock of a workspace whose plugins need `roots`, from the workspace the SDK in folder `sdk` belongs to. `None` when
/// that has no lock, or one that cannot be read: then cargo chooses by itself.
pub(super) fn of_sdk(sdk: &Path, roots: &[String]) -> Option<String> {
    let manifest: toml::Table = std::fs::read_to_string(sdk.join("Cargo.toml")).ok()?.parse().ok()?;
    let workspace = manifest.get("package").and_then(|package| package.get("workspace")?.as_str()).unwrap_or(".");
    let text = std::fs::read_to_string(sdk.join(workspace).join("Cargo.lock")).ok()?;
    part(&text, roots)
}

/// The packages of `text` that `roots` need, directly or through others, word for word.
fn part(text: &str, roots: &[String]) -> Option<String> {
    let lock: Lock = toml::from_str(text).ok()?;
    let mut blocks = text.split(HEADING);
    let mut part = blocks.next()?.to_owned();
    let blocks: Vec<&str> = blocks.collect();
    if blocks.len() != lock.package.len() {
        return None;
    }
    let mut kept = BTreeSet::new();
    let mut open: Vec<&str> = roots.iter().map(String::as_str).collect();
    while let Some(wanted) = open.pop() {
        let mut words = wanted.split(' ');
        let (name, version) = (words.next()?, words.next());
        let fits = |package: &Package| package.name == name && version.is_none_or(|version| package.version == version);
        // A root the SDK's workspace does not have is left to cargo.
        for (index, package) in lock.package.iter().enumerate().filter(|(_, package)| fits(package)) {
            if kept.insert(index) {
                open.extend(package.dependencies.iter().map(String::as_str));
            }
        }
    }
    for index in kept {
        part += HEADING;
        part += blocks[index];
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"# made by cargo
version = 4

[[package]]
name = "a"
version = "1.0.0"
source = "registry+x"
checksum = "00"
dependencies = [
 "b 2.0.0",
]

[[package]]
name = "b"
version = "1.0.0"

[[package]]
name = "b"
version = "2.0.0"
dependencies = [
 "a",
]

[[package]]
name = "c"
version = "1.0.0"
"#;

    #[test]
    fn only_what_is_needed_is_kept_word_for_word() {
        let (before, after) = LOCK.split_once("[[package]]\nname = \"b\"\nversion = \"1.0.0\"\n\n").unwrap();
        let after = after.split("\n[[package]]\nname = \"c\"").next().unwrap();
        assert_eq!(part(LOCK, &["a".to_owned()]).unwrap(), format!("{before}{after}"));
        assert_eq!(part(LOCK, &[]).unwrap(), "# made by cargo\nversion = 4\n");
        assert_eq!(part("no lock", &["a".to_owned()]), None);
    }

    #[test]
    fn the_lock_of_the_sdk_is_found() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust");
        let roots = ["ice-sdk", "serde_json"].map(str::to_owned);
        let lock: Lock = toml::from_str(&of_sdk(&sdk, &roots).unwrap()).unwrap();
        let has = |name: &str| lock.package.iter().any(|package| package.name == name);
        assert!(has("ice-sdk") && has("ice-sdk-macros") && has("wit-bindgen") && has("serde_json"));
        assert!(!has("csv") && !has("kit_search"), "what single plugins of ours need is not in it");
        assert_eq!(of_sdk(Path::new("/nowhere"), &roots), None);
    }
}
