//! The text of `wit/`, compiled in, so that making a component needs no file and no network.
//!
//! Turns core modules into components of one of its worlds. What a component may import is decided by
//! [`inspect`](crate::inspect); what it does with it, by the gate.

use std::path::Path;

use ice_core::problem::{Code, Problem};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve, UnresolvedPackageGroup};

/// The package that says what plugins export.
const MAIN: (&str, &str) = ("plugin.wit", include_str!("../../../wit/plugin.wit"));

macro_rules! packages {
    ($($file:literal)*) => { &[$((concat!("deps/", $file), include_str!(concat!("../../../wit/deps/", $file))),)*] };
}

/// The packages it uses, one file a package.
const PACKAGES: &[(&str, &str)] = packages![
    "ice-llm@0.1.0.wit"
    "ice-log@0.1.0.wit"
    "ice-memory@0.1.0.wit"
    "ice-orchestrator@0.1.0.wit"
    "ice-secrets@0.1.0.wit"
    "ice-types@0.1.0.wit"
    "wasi-cli@0.2.12.wit"
    "wasi-clocks@0.2.12.wit"
    "wasi-filesystem@0.2.12.wit"
    "wasi-http@0.2.12.wit"
    "wasi-io@0.2.12.wit"
    "wasi-random@0.2.12.wit"
    "wasi-sockets@0.2.12.wit"
];

/// The contract as files: the name of each below `wit/`, and its text. The first is the main package.
pub fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    std::iter::once(MAIN).chain(PACKAGES.iter().copied())
}

/// Returns the parsed contract and its main package.
pub fn resolve() -> (Resolve, PackageId) {
    let parse = |(path, text): &(&str, &str)| {
        UnresolvedPackageGroup::parse(Path::new(path), text)
            .map_err(|(sources, error)| error.render(&sources))
            .expect("wit/ was parsed by the tests of this crate")
    };
    let mut resolve = Resolve::default();
    let main = resolve
        .push_groups(parse(&MAIN), PACKAGES.iter().map(parse).collect())
        .expect("wit/ was resolved by the tests of this crate");
    (resolve, main)
}

/// Makes a component of `world` (`kit`, `agent` or `bundle`) out of a core module that follows the canonical ABI.
/// The component imports what the module imports and nothing else. The same module gives the same bytes.
///
/// Fails with T036 when the module does not export what the world asks for, or imports what the world does not offer.
pub fn componentize(module: &[u8], world: &str) -> Result<Vec<u8>, Problem> {
    let (resolve, main) = resolve();
    let refuse = |error: &dyn std::fmt::Display| {
        Problem::new(Code::T036, format!("the core module does not fit the world `{world}`: {error:#}"))
            .help("compare its imports and exports with `wit/plugin.wit`")
    };
    let world_id = resolve.select_world(&[main], Some(world)).map_err(|error| refuse(&error))?;
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, world_id, StringEncoding::UTF8, false)
        .map_err(|error| refuse(&error))?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| refuse(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_wit_is_compiled_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let mut found: Vec<(String, String)> = Vec::new();
        for (folder, prefix) in [(folder.clone(), ""), (folder.join("deps"), "deps/")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    found.push((format!("{prefix}{name}"), std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        found.sort();
        let mut compiled: Vec<(String, String)> =
            std::iter::once(&MAIN).chain(PACKAGES).map(|(path, text)| ((*path).into(), (*text).into())).collect();
        compiled.sort();
        assert_eq!(found, compiled, "add the file to `PACKAGES` or remove it");
    }

    #[test]
    fn a_module_without_the_exports_of_its_world_is_refused() {
        let problem = componentize(b"\0asm\x01\0\0\0", "bundle").unwrap_err();
        assert_eq!(problem.code, Code::T036);
        assert!(problem.message.contains("`bundle`"), "{problem}");
    }
}
