//! The contract as it is published: a golden print of the `ice:*` packages, and the rule that everything in them says
//! what it is. After a wanted change run `UPDATE_EXPECT=1 cargo test -p ice-runtime --test wit`.

use std::path::{Path, PathBuf};

use wit_component::{OutputToString, WitPrinter};
use wit_parser::{Docs, PackageId, Resolve, Type, TypeDefKind, TypeId};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The parsed contract and its own packages, sorted by name; the WASI packages beside them are other people's.
fn contract() -> (Resolve, Vec<PackageId>) {
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit")).expect("wit/ parses");
    let ours = resolve.packages.iter().filter(|(_, package)| package.name.namespace == "ice");
    let mut ours: Vec<(String, PackageId)> = ours.map(|(id, package)| (package.name.to_string(), id)).collect();
    ours.sort();
    let ids = ours.into_iter().map(|(_, id)| id).collect();
    (resolve, ids)
}

#[test]
fn the_printed_contract_is_the_golden_one() {
    let (resolve, packages) = contract();
    let mut printed = String::new();
    for package in packages {
        let mut printer = WitPrinter::new(OutputToString::default());
        printer.print(&resolve, package, &[]).unwrap();
        printed += &printer.output.to_string();
        printed.push('\n');
    }
    let golden = root().join("tests/wit.golden");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&golden, &printed).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let difference = expected.lines().zip(printed.lines()).position(|(old, new)| old != new);
    let line = difference.unwrap_or(expected.lines().count().min(printed.lines().count()));
    assert!(
        expected == printed,
        "the contract changed at line {} of tests/wit.golden:\n  was: {}\n  is:  {}\nif that is wanted: UPDATE_EXPECT=1 cargo test -p ice-runtime --test wit",
        line + 1,
        expected.lines().nth(line).unwrap_or("the end"),
        printed.lines().nth(line).unwrap_or("the end"),
    );
}

fn documented(docs: &Docs) -> bool {
    docs.contents.as_deref().is_some_and(|text| !text.trim().is_empty())
}

/// The cases of an `error` variant or enum, with their documentation.
fn cases(kind: &TypeDefKind) -> Vec<(&str, &Docs)> {
    match kind {
        TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| (case.name.as_str(), &case.docs)).collect(),
        TypeDefKind::Enum(cases) => cases.cases.iter().map(|case| (case.name.as_str(), &case.docs)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn everything_in_the_contract_says_what_it_is() {
    let (resolve, packages) = contract();
    let mut silent = Vec::new();
    let mut seen = 0;
    let mut check = |what: String, docs: &Docs| {
        seen += 1;
        if !documented(docs) {
            silent.push(what);
        }
    };
    for id in packages {
        let package = &resolve.packages[id];
        check(package.name.to_string(), &package.docs);
        for (name, world) in &package.worlds {
            check(format!("{}/{name}", package.name), &resolve.worlds[*world].docs);
        }
        for (name, interface) in &package.interfaces {
            let interface = &resolve.interfaces[*interface];
            for (item, function) in &interface.functions {
                check(format!("{}/{name}.{item}", package.name), &function.docs);
            }
            for (item, ty) in &interface.types {
                let ty = &resolve.types[*ty];
                // A `use` of another interface's type is documented there.
                if matches!(ty.kind, TypeDefKind::Type(Type::Id(_))) {
                    continue;
                }
                check(format!("{}/{name}.{item}", package.name), &ty.docs);
                if item == "error" {
                    cases(&ty.kind).into_iter().for_each(|(case, docs)| {
                        check(format!("{}/{name}.{item}.{case}", package.name), docs);
                    });
                }
            }
        }
    }
    assert!(seen > 80, "only {seen} items were found");
    assert!(silent.is_empty(), "undocumented: {silent:#?}");
}

#[test]
fn every_function_that_can_fail_says_with_what() {
    let (resolve, packages) = contract();
    let mut silent = Vec::new();
    for id in packages {
        let package = &resolve.packages[id];
        for (name, interface) in &package.interfaces {
            for (item, function) in &resolve.interfaces[*interface].functions {
                let fails = matches!(function.result, Some(Type::Id(id)) if is_result(&resolve, id));
                let docs = function.docs.contents.as_deref().unwrap_or_default();
                if fails && !docs.contains("Fails with") {
                    silent.push(format!("{}/{name}.{item}", package.name));
                }
            }
        }
    }
    assert!(silent.is_empty(), "these fail without saying with what: {silent:#?}");
}

fn is_result(resolve: &Resolve, id: TypeId) -> bool {
    matches!(resolve.types[id].kind, TypeDefKind::Result(_))
}
