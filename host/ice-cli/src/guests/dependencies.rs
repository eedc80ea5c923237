//! The crates a guest is built from, out of the workspace's lock: what `cargo auditable` calls the audit data.
//!
//! `cargo auditable` itself cannot be used: it wants to be the linker of every crate, and knows no components. The form
//! is its format 1, zlib-compressed JSON. Where it stands in a component belongs to `ice_runtime::dependency_list`.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use auditable_serde::{DependencyKind, Package, Source, VersionInfo};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use ice_core::problem::{Code, Problem};
use serde::Deserialize;

use super::{Guest, Toolchain};

/// How `cargo metadata` spells the registry everybody means.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The form of [`VersionInfo`] in which proc-macros count as dependencies of the build.
const FORMAT: u32 = 1;

/// The part of `cargo metadata` that is read.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetaPackage>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetaPackage {
    id: String,
    name: String,
    version: semver::Version,
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Dependency {
    /// The strongest way in which it is needed; `None` when only tests need it.
    fn needed(&self) -> Option<DependencyKind> {
        let of = |kind: &Kind| match kind.kind.as_deref() {
            None => Some(DependencyKind::Runtime),
            Some("build") => Some(DependencyKind::Build),
            Some(_) => None,
        };
        self.dep_kinds.iter().filter_map(of).max()
    }
}

/// What the crates of a plugin workspace are built from.
pub(super) struct Lists(Metadata);

impl Lists {
    /// Asks cargo, which has just built the workspace, so that the lock is there. Fails with C005.
    pub(super) fn read(toolchain: &Toolchain, plugins: &Path) -> Result<Self, Problem> {
        let fail = |why: String| {
            Problem::new(Code::C005, format!("cargo does not say what the plugins are built from: {why}"))
                .file(plugins.display().to_string())
                .help("run `cargo metadata --locked` in that folder to see why")
        };
        let mut command = toolchain.metadata();
        command.arg("--manifest-path").arg(plugins.join("Cargo.toml"));
        let output = command.stdin(Stdio::null()).output().map_err(|error| fail(error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(fail(said.lines().next().unwrap_or("it says nothing").to_owned()));
        }
        serde_json::from_slice(&output.stdout).map(Self).map_err(|error| fail(error.to_string()))
    }

    /// The list of one guest, compressed. Fails with C005 when the guest is no crate of the workspace.
    pub(super) fn of(&self, guest: &Guest) -> Result<Vec<u8>, Problem> {
        // Cargo resolves links in paths, so both sides are.
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let manifest = real(&guest.folder.join("Cargo.toml"));
        let root =
            self.0.packages.iter().find(|package| real(&package.manifest_path) == manifest).ok_or_else(|| {
                Problem::new(Code::C005, format!("`{}` is no crate of the plugin workspace", guest.label()))
                    .file(manifest.display().to_string())
            })?;
        Ok(compress(&closure(&self.0, &root.id)))
    }
}

/// Everything `root` is built from, in an order that depends on names and versions only.
fn closure(metadata: &Metadata, root: &str) -> VersionInfo {
    let packages: HashMap<&str, &MetaPackage> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: HashMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let is_macro =
        |id: &str| packages[id].targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"));

    let mut needed: BTreeMap<&str, DependencyKind> = BTreeMap::from([(root, DependencyKind::Runtime)]);
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        let parent_kind = needed[parent];
        for child in &nodes[parent].deps {
            let Some(mut kind) = child.needed() else { continue };
            // What runs in the compiler only needs the rest of its own closure there.
            kind = kind.min(parent_kind);
            if is_macro(&child.pkg) {
                kind = DependencyKind::Build;
            }
            if needed.get(child.pkg.as_str()).is_none_or(|known| *known < kind) {
                needed.insert(&child.pkg, kind);
                open.push(&child.pkg);
            }
        }
    }

    let mut ids: Vec<&str> = needed.keys().copied().collect();
    ids.sort_by_key(|id| (&packages[id].name, &packages[id].version, &packages[id].source));
    let index: HashMap<&str, usize> = ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
    let package = |id: &&str| {
        let MetaPackage { name, version, source, .. } = packages[id];
        let deps = nodes[id].deps.iter().filter(|child| child.needed().is_some());
        let mut dependencies: Vec<usize> = deps.filter_map(|child| index.get(child.pkg.as_str()).copied()).collect();
        dependencies.sort_unstable();
        let source = source.as_deref().map_or(Source::Local, source_of);
        let (name, version) = (name.clone(), version.clone());
        Package { name, version, source, kind: needed[id], dependencies, root: *id == root }
    };
    VersionInfo { packages: ids.iter().map(package).collect(), format: FORMAT }
}

fn source_of(text: &str) -> Source {
    match text {
        CRATES_IO => Source::CratesIo,
        other => Source::from(other.split('+').next().unwrap_or(other)),
    }
}

fn compress(list: &VersionInfo) -> Vec<u8> {
    let text = serde_json::to_vec(list).expect("a list of crates prints");
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&text).and_then(|()| encoder.finish()).expect("a vector takes everything")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(name: &str, source: Option<&str>, kind: &str) -> Value {
        json!({ "id": format!("id-{name}"), "name": name, "version": "1.2.3", "source": source,
            "manifest_path": format!("/p/{name}/Cargo.toml"), "targets": [{ "kind": [kind] }] })
    }

    fn node(name: &str, deps: &[(&str, Option<&str>)]) -> Value {
        let deps: Vec<Value> = deps
            .iter()
            .map(|(name, kind)| json!({ "pkg": format!("id-{name}"), "dep_kinds": [{ "kind": kind }] }))
            .collect();
        json!({ "id": format!("id-{name}"), "deps": deps })
    }

    fn metadata() -> Metadata {
        serde_json::from_value(json!({
            "packages": [
                package("kit", None, "cdylib"), package("neighbour", None, "cdylib"),
                package("serde", Some(CRATES_IO), "lib"), package("derive", Some(CRATES_IO), "proc-macro"),
                package("syn", Some(CRATES_IO), "lib"), package("shared", Some("git+https://x.example/y#1"), "lib"),
                package("cc", Some(CRATES_IO), "lib"), package("proptest", Some(CRATES_IO), "lib"),
            ],
            "resolve": { "nodes": [
                node("kit", &[("serde", None), ("cc", Some("build")), ("proptest", Some("dev"))]),
                node("neighbour", &[("proptest", None)]),
                node("serde", &[("derive", None), ("shared", None)]),
                node("derive", &[("syn", None), ("shared", None)]),
                node("syn", &[]), node("shared", &[]), node("cc", &[]), node("proptest", &[]),
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn the_list_is_the_closure_of_one_crate() {
        let list = closure(&metadata(), "id-kit");
        let rows: Vec<(&str, DependencyKind)> =
            list.packages.iter().map(|package| (package.name.as_str(), package.kind)).collect();
        let (build, runtime) = (DependencyKind::Build, DependencyKind::Runtime);
        let expected = [("cc", build), ("derive", build), ("kit", runtime), ("serde", runtime), ("shared", runtime)];
        assert_eq!(rows[..5], expected, "what the compiler and the guest both need is needed by the guest");
        assert_eq!(rows[5..], [("syn", build)], "tests and neighbours are not in it");
        let kit = &list.packages[2];
        assert_eq!((kit.root, &kit.source, &kit.dependencies), (true, &Source::Local, &vec![0, 3]));
        assert_eq!((&list.packages[3].source, &list.packages[4].source), (&Source::CratesIo, &Source::Git));
    }

    #[test]
    fn the_order_of_cargos_answer_does_not_matter() {
        let mut other = metadata();
        other.packages.reverse();
        other.resolve.nodes.reverse();
        other.resolve.nodes.iter_mut().for_each(|node| node.deps.reverse());
        assert_eq!(compress(&closure(&other, "id-kit")), compress(&closure(&metadata(), "id-kit")));
    }
}
