//! `tests/blueprints/{ok,bad}/x.yaml` → `x.plan` | `x.err`. `UPDATE_EXPECT=1` writes what comes out.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use ice_core::blueprint::parse;
use proptest::prelude::*;

use super::*;
use stock::{catalog, library};

mod networks;
pub(crate) mod stock;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/blueprints").join(name)
}

/// The plan, or every problem, as a person reads it.
fn outcome(text: &str, file: &str) -> Result<String, String> {
    let planned = parse(text, file).and_then(|parsed| plan(&parsed, &catalog(), &library()));
    match planned {
        Ok(plan) => Ok(plan.to_string()),
        Err(problems) => Err(problems.iter().fold(String::new(), |mut out, problem| {
            writeln!(out, "{problem}").expect("writing to a string");
            out
        })),
    }
}

/// What comes of a document: its text and its name.
type Outcome<'a> = &'a dyn Fn(&str, &str) -> Result<String, String>;

/// Compares every `x.yaml` and `x.json` of a folder with its sibling, and finds siblings without a document.
fn check(folder: &Path, extension: &str, least: usize, outcome: Outcome<'_>) {
    let names = |path: PathBuf| path.file_name().and_then(|name| name.to_str()).expect("UTF-8 name").to_owned();
    let mut left: BTreeSet<String> =
        fs::read_dir(folder).expect("the folder is there").map(|entry| names(entry.expect("entry").path())).collect();
    let documents: Vec<String> =
        left.iter().filter(|name| name.ends_with(".yaml") || name.ends_with(".json")).cloned().collect();
    let mut wrong = Vec::new();
    for document in &documents {
        left.remove(document);
        let text = fs::read_to_string(folder.join(document)).expect("readable");
        let expected = document.replace(".yaml", "").replace(".json", "") + "." + extension;
        left.remove(&expected);
        let found = match (outcome(&text, document), extension) {
            (Ok(plan), "plan") => plan,
            (Err(problems), "err") => problems,
            (Ok(_), _) => panic!("{document} has no problem"),
            (Err(problems), _) => panic!("{document} has problems:\n{problems}"),
        };
        let path = folder.join(&expected);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, &found).expect("writable");
        } else if fs::read_to_string(&path).unwrap_or_default() != found {
            wrong.push(format!("--- {} should be\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "run again with UPDATE_EXPECT=1 and read the difference\n{}", wrong.join("\n"));
    assert_eq!(left, BTreeSet::new(), "files that no test reads");
    assert!(documents.len() >= least, "{} documents", documents.len());
}

#[test]
fn good_blueprints_plan_as_printed() {
    check(&folder("ok"), "plan", 12, &outcome);
}

#[test]
fn bad_blueprints_are_refused_as_printed() {
    check(&folder("bad"), "err", 40, &outcome);
}

fn kinds(path: &Path) -> BTreeSet<&'static str> {
    fn walk(graph: &Graph, kinds: &mut BTreeSet<&'static str>) {
        for node in &graph.nodes {
            kinds.insert(node.kind);
            node.node.graphs().into_iter().for_each(|inner| walk(inner, kinds));
        }
    }
    let mut kinds = BTreeSet::new();
    let parsed = parse(&fs::read_to_string(path).unwrap(), "x").unwrap();
    walk(&plan(&parsed, &catalog(), &library()).unwrap().graph, &mut kinds);
    kinds
}

#[test]
fn every_kind_has_a_good_example() {
    let documents = fs::read_dir(folder("ok")).unwrap().map(|entry| entry.unwrap().path());
    let documents = documents.filter(|path| path.extension().is_some_and(|extension| extension != "plan"));
    let known: BTreeSet<&str> = crate::nodes::NODES.iter().map(|kind| kind.name()).collect();
    assert_eq!(documents.flat_map(|path| kinds(&path)).collect::<BTreeSet<_>>(), known);
}

/// The SDK writes this file, in a test of its own.
#[test]
fn every_kind_can_be_built_by_code() {
    let known: BTreeSet<&str> = crate::nodes::NODES.iter().map(|kind| kind.name()).collect();
    assert_eq!(kinds(&folder("ok").join("built_by_code.json")), known, "`NodeBuilder` of sdk/rust lacks a kind");
}

/// The page for people names every field of every kind, and its examples are blueprints.
#[test]
fn the_page_on_nodes_is_whole() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/nodes.md")).expect("the page");
    let mut missing = Vec::new();
    for kind in crate::nodes::NODES {
        let title = format!("\n## `{}`\n", kind.name());
        let section = page.split_once(&title).map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
        let Some(section) = section else { panic!("`{}` has no section", kind.name()) };
        let unnamed = kind.keys().iter().filter(|key| !section.contains(&format!("`{key}`")));
        missing.extend(unnamed.map(|key| format!("{}.{key}", kind.name())));
        let (_, example) = section.split_once("```yaml\n").expect("an example");
        let example = example.split("```").next().unwrap_or_default();
        if let Err(problems) = outcome(example, kind.name()) {
            panic!("the example of `{}`:\n{problems}", kind.name());
        }
        assert!(example.contains(&format!("type: {}", kind.name())), "{}", kind.name());
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_code_of_a_blueprint_has_a_bad_example() {
    let mut all = String::new();
    for entry in fs::read_dir(folder("bad")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "err") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    use ice_core::problem::Code;
    // The bound on a document's size has its test where the bound is; networks and times have theirs in ice-core.
    let elsewhere = [Code::B028, Code::B029];
    let codes = Code::ALL.iter().filter(|code| code.letters().starts_with('B') && !elsewhere.contains(code));
    let missing: Vec<String> = codes.map(ToString::to_string).filter(|code| !all.contains(code.as_str())).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn problems_of_form_and_of_meaning_come_together() {
    let text = "schema_version: '9'\nnodes:\n  - {id: a, type: tool, tool_name: writer_tol, retires: 1}\n";
    let problems = outcome(text, "x.yaml").unwrap_err();
    for code in ["ICE-B009", "ICE-B014", "ICE-B002"] {
        assert!(problems.contains(code), "{problems}");
    }
}

fn chain(nodes: usize) -> String {
    let mut text = String::from("inputs: {required: [who]}\nnodes:\n");
    for index in 0..nodes {
        let (needed, notes) = match index {
            0 => (String::new(), "{{ inputs.who }}".to_owned()),
            _ => (format!("n{}", index - 1), format!("{{{{ n{}.summary }}}} {{{{ n0.summary }}}}", index - 1)),
        };
        writeln!(text, "- id: n{index}\n  type: tool\n  tool_name: writer_tool\n  dependencies: [{needed}]").unwrap();
        writeln!(text, "  tool_args: {{notes: \"{notes}\"}}").unwrap();
    }
    text
}

#[test]
fn a_long_chain_plans_with_references_to_its_start() {
    let parsed = parse(&chain(3000), "x").unwrap();
    let plan = plan(&parsed, &catalog(), &library()).unwrap();
    assert_eq!(plan.graph.nodes[2999].depends_on, [2998]);
    assert_eq!(plan.graph.nodes[2999].source("n0"), Some(&Source::Node { up: 0, index: 0 }));
    assert_eq!(plan.graph.nodes[2999].source("n1"), None);
}

#[test]
fn a_library_finds_the_newest_version_in_a_range() {
    let one = |id: &str| Arc::new(parse(&format!("id: {id}\nnodes: [{{id: a, type: tool}}]"), "x").unwrap());
    let mut library = Library::default();
    for version in ["1.0.0", "1.4.0", "2.0.0"] {
        library.add("news", Some(version.parse().unwrap()), one(version));
    }
    let found = |reference: &str| library.find(reference).and_then(|parsed| parsed.blueprint.id.clone());
    assert_eq!(found("news@^1").as_deref(), Some("1.4.0"));
    assert_eq!(found("news").as_deref(), Some("2.0.0"));
    assert_eq!(found("news@3"), None);
    assert_eq!(found("other"), None);
    assert_eq!(found("news@x y"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_graphs_plan_and_their_edges_agree(
        edges in proptest::collection::vec((0_usize..30, 0_usize..30), 0..90),
        order in Just((0..30).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let mut needed = vec![BTreeSet::new(); 30];
        for (a, b) in edges {
            if a != b {
                needed[a.max(b)].insert(a.min(b));
            }
        }
        let mut text = String::from("nodes:\n");
        for &node in &order {
            let names: Vec<String> = needed[node].iter().map(|other| format!("n{other}")).collect();
            let seen: Vec<String> = names.iter().map(|name| format!("{{{{ {name}.summary }}}}")).collect();
            writeln!(text, "- id: n{node}\n  type: tool\n  tool_name: writer_tool").unwrap();
            writeln!(text, "  dependencies: [{}]\n  tool_args: {{notes: \"{}\"}}", names.join(", "), seen.join("")).unwrap();
        }
        let parsed = parse(&text, "x").unwrap();
        let graph = plan(&parsed, &catalog(), &library()).unwrap().graph;
        for (position, node) in graph.nodes.iter().enumerate() {
            let wanted: BTreeSet<String> = needed[order[position]].iter().map(|other| format!("n{other}")).collect();
            let found: BTreeSet<String> = node.depends_on.iter().map(|&at| graph.nodes[at].id.to_string()).collect();
            prop_assert_eq!(wanted, found);
            for &at in &node.depends_on {
                prop_assert!(graph.nodes[at].dependents.contains(&position));
            }
            for (name, source) in &node.sees {
                let Source::Node { up: 0, index } = source else { panic!("only nodes are named") };
                prop_assert_eq!(graph.nodes[*index].id.as_str(), name);
                prop_assert!(node.depends_on.contains(index));
            }
        }
    }

    #[test]
    fn a_closed_circle_is_always_found(length in 1_usize..20, tail in 0_usize..5) {
        let mut text = String::from("nodes:\n");
        for index in 0..length + tail {
            let needed = if index < length { (index + 1) % length } else { index - 1 };
            writeln!(text, "- {{id: n{index}, type: tool, tool_name: writer_tool, tool_args: {{notes: x}}, dependencies: [n{needed}]}}").unwrap();
        }
        let problems = outcome(&text, "x").unwrap_err();
        prop_assert_eq!(problems.matches("ICE-B013").count(), 1, "{}", problems);
    }
}
