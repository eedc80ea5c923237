//! The resolver: what it chooses, what it says when nothing fits, and that it is right for any graph.

use std::collections::{BTreeMap, BTreeSet};

use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use ice_registry::Available;
use ice_registry::resolve::{
    Answer, Ask, Facts, Held, Known, NAMES_MAX, Question, Refusal, Requirement, STEPS_MAX, solve,
};
use proptest::prelude::*;
use semver::Version;

/// Name, version, what it needs.
type Graph = BTreeMap<(String, Version), Vec<(String, String)>>;

fn requirement(name: &str, req: &str, by: &str) -> Requirement {
    Requirement { name: name.to_owned(), req: req.parse().unwrap(), statement: None, by: by.to_owned() }
}

fn statement(name: &str, version: &Version) -> Digest {
    Digest::of(format!("{name} {version}").as_bytes())
}

/// As in [`Graph`], written down.
type Line<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

fn graph(lines: &[Line<'_>]) -> Graph {
    let owned = |needs: &[(&str, &str)]| needs.iter().map(|(n, r)| ((*n).to_owned(), (*r).to_owned())).collect();
    lines.iter().map(|(name, version, needs)| (((*name).to_owned(), version.parse().unwrap()), owned(needs))).collect()
}

fn facts(graph: &Graph, name: &str, version: &Version) -> Facts {
    let by = format!("`{name}` {version}");
    let needs = &graph[&(name.to_owned(), version.clone())];
    Facts {
        statement: statement(name, version),
        requirements: needs.iter().map(|(name, req)| requirement(name, req, &by)).collect(),
    }
}

/// Answers what is asked until there is an end.
fn answer(question: &Question, graph: &Graph, mut known: Known) -> Result<BTreeMap<String, Version>, Problem> {
    loop {
        let asks = match solve(question, &known)? {
            Answer::Chosen(chosen) => return Ok(chosen),
            Answer::Ask(asks) => asks,
        };
        assert!(!asks.is_empty());
        for ask in asks {
            match ask {
                Ask::Versions(name) => {
                    assert!(!known.versions.contains_key(&name), "asked twice");
                    let versions = graph.keys().filter(|(other, _)| *other == name);
                    let versions = versions.map(|(_, version)| Available::of(version.clone())).collect();
                    known.versions.insert(name, versions);
                }
                Ask::Facts(name, version) => {
                    let facts = facts(graph, &name, &version);
                    assert!(known.facts.insert((name, version), Ok(facts)).is_none(), "asked twice");
                }
            }
        }
    }
}

fn chosen(question: &Question, graph: &Graph) -> Vec<String> {
    let chosen = answer(question, graph, Known::default()).unwrap();
    chosen.into_iter().map(|(name, version)| format!("{name} {version}")).collect()
}

fn asked(roots: &[(&str, &str)]) -> Question {
    let roots = roots.iter().map(|(name, req)| requirement(name, req, "this command")).collect();
    Question { roots, held: BTreeMap::new() }
}

fn held(mut question: Question, held: &[(&str, Held)]) -> Question {
    question.held = held.iter().map(|(name, held)| ((*name).to_owned(), held.clone())).collect();
    question
}

#[test]
fn the_newest_that_fits_is_chosen_with_what_it_needs() {
    let graph = graph(&[
        ("a/app", "1.0.0", &[("a/lib", "^1")]),
        ("a/app", "1.1.0", &[("a/lib", "^1.2")]),
        ("a/lib", "1.2.0", &[]),
        ("a/lib", "1.9.0", &[]),
        ("a/lib", "2.0.0", &[]),
        ("a/lib", "1.10.0-rc.1", &[]),
    ]);
    assert_eq!(chosen(&asked(&[("a/app", "*")]), &graph), ["a/app 1.1.0", "a/lib 1.9.0"]);
    assert_eq!(chosen(&asked(&[("a/lib", "=1.10.0-rc.1")]), &graph), ["a/lib 1.10.0-rc.1"]);
}

#[test]
fn an_older_version_is_taken_when_the_newest_fits_with_nothing() {
    let graph = graph(&[
        ("a/app", "1.0.0", &[("a/lib", "^1")]),
        ("a/app", "1.1.0", &[("a/lib", "^2")]),
        ("a/other", "1.0.0", &[("a/lib", "^1")]),
        ("a/lib", "1.0.0", &[]),
        ("a/lib", "2.0.0", &[]),
    ]);
    let question = asked(&[("a/app", "*"), ("a/other", "*")]);
    assert_eq!(chosen(&question, &graph), ["a/app 1.0.0", "a/lib 1.0.0", "a/other 1.0.0"]);
}

#[test]
fn what_the_lock_has_stays_and_is_not_looked_up() {
    let graph = graph(&[("a/lib", "1.0.0", &[]), ("a/lib", "1.5.0", &[]), ("a/lib", "2.0.0", &[])]);
    let version = |text: &str| text.parse::<Version>().unwrap();
    let firm = held(asked(&[("a/lib", "^1")]), &[("a/lib", Held::Firm(version("1.0.0")))]);
    assert_eq!(chosen(&firm, &graph), ["a/lib 1.0.0"]);
    let Answer::Ask(asks) = solve(&firm, &Known::default()).unwrap() else { panic!("it was not known yet") };
    assert_eq!(asks, BTreeSet::from([Ask::Facts("a/lib".to_owned(), version("1.0.0"))]));
    let preferred = held(asked(&[("a/lib", "^2")]), &[("a/lib", Held::Preferred(version("1.0.0")))]);
    assert_eq!(chosen(&preferred, &graph), ["a/lib 2.0.0"]);
    let firm = held(asked(&[("a/lib", "^2")]), &[("a/lib", Held::Firm(version("1.0.0")))]);
    let problem = answer(&firm, &graph, Known::default()).unwrap_err();
    assert_eq!(problem.code, Code::R010);
    assert!(problem.help.unwrap().contains("`ice update a/lib`"));
}

#[test]
fn who_wants_what_is_said_when_nothing_fits() {
    let graph = graph(&[
        ("a/app", "1.0.0", &[("a/lib", "^1")]),
        ("a/other", "3.0.0", &[("a/lib", "^2")]),
        ("a/lib", "1.0.0", &[]),
        ("a/lib", "2.0.0", &[]),
    ]);
    let problem = answer(&asked(&[("a/app", "*"), ("a/other", "*")]), &graph, Known::default()).unwrap_err();
    assert_eq!(problem.code, Code::R010);
    assert!(problem.message.contains("`a/app` 1.0.0 wants ^1"), "{problem}");
    assert!(problem.message.contains("`a/other` 3.0.0 wants ^2"), "{problem}");
    let problem = answer(&asked(&[("a/lib", "^9")]), &graph, Known::default()).unwrap_err();
    assert_eq!(problem.help.unwrap(), "there is 2.0.0, 1.0.0");
    let pre = self::graph(&[("a/lib", "1.0.0-rc.1", &[])]);
    let problem = answer(&asked(&[("a/lib", "*")]), &pre, Known::default()).unwrap_err();
    assert!(problem.help.unwrap().contains("`a/lib@=1.0.0-rc.1`"));
}

#[test]
fn yanked_versions_are_passed_over_and_kept_where_they_are_locked() {
    let one = |version: &str, yanked: Option<&str>| Available {
        yanked: yanked.map(str::to_owned),
        ..Available::of(version.parse().unwrap())
    };
    let graph = graph(&[("a/lib", "1.0.0", &[]), ("a/lib", "1.1.0", &[])]);
    let known = |versions: Vec<Available>| Known {
        versions: BTreeMap::from([("a/lib".to_owned(), versions)]),
        ..Known::default()
    };
    let question = asked(&[("a/lib", "^1")]);
    let some = known(vec![one("1.1.0", Some("broken")), one("1.0.0", None)]);
    assert_eq!(answer(&question, &graph, some).unwrap()["a/lib"], Version::new(1, 0, 0));
    let all = known(vec![one("1.1.0", Some("broken")), one("1.0.0", Some("old"))]);
    let problem = answer(&question, &graph, all.clone()).unwrap_err();
    assert_eq!(problem.code.name(), "E_YANKED");
    assert!(problem.message.contains("1.1.0 was yanked: broken"), "{problem}");
    let locked = held(question, &[("a/lib", Held::Preferred(Version::new(1, 1, 0)))]);
    assert_eq!(answer(&locked, &graph, all).unwrap()["a/lib"], Version::new(1, 1, 0));
}

#[test]
fn a_refused_version_makes_room_for_an_older_one_or_stops_everything() {
    let graph = graph(&[("a/lib", "1.0.0", &[]), ("a/lib", "1.1.0", &[])]);
    let refused = |refusal: Refusal| Known {
        facts: BTreeMap::from([(("a/lib".to_owned(), Version::new(1, 1, 0)), Err(refusal))]),
        ..Known::default()
    };
    let problem = Problem::new(Code::T022, "revoked");
    let other = refused(Refusal::Other(problem.clone()));
    assert_eq!(answer(&asked(&[("a/lib", "*")]), &graph, other.clone()).unwrap()["a/lib"], Version::new(1, 0, 0));
    assert_eq!(answer(&asked(&[("a/lib", "=1.1.0")]), &graph, other).unwrap_err(), problem);
    let stop = refused(Refusal::Stop(problem.clone()));
    assert_eq!(answer(&asked(&[("a/lib", "*")]), &graph, stop).unwrap_err(), problem);
}

#[test]
fn a_pinned_dependency_is_exactly_that_plugin() {
    let graph = graph(&[("a/lib", "1.0.0", &[]), ("a/lib", "1.1.0", &[])]);
    let mut question = asked(&[("a/lib", "*")]);
    question.roots[0].statement = Some(statement("a/lib", &Version::new(1, 0, 0)));
    assert_eq!(chosen(&question, &graph), ["a/lib 1.0.0"]);
    question.roots[0].statement = Some(Digest::of(b"another"));
    let problem = answer(&question, &graph, Known::default()).unwrap_err();
    assert_eq!(problem.code, Code::R010);
    assert!(problem.message.contains("exactly"), "{problem}");
}

#[test]
fn plugins_that_need_each_other_are_fine() {
    let graph = graph(&[("a/one", "1.0.0", &[("a/two", "^1")]), ("a/two", "1.0.0", &[("a/one", "^1")])]);
    assert_eq!(chosen(&asked(&[("a/one", "*")]), &graph), ["a/one 1.0.0", "a/two 1.0.0"]);
}

#[test]
fn a_set_that_fights_itself_ends() {
    // Twelve names of twelve versions each; every one wants a last name in a version that is not there.
    let mut graph = Graph::new();
    for name in 0..12 {
        for version in 0..12 {
            let needs = vec![("a/z".to_owned(), format!("^{}", version + 2))];
            graph.insert((format!("a/n{name}"), Version::new(1, version, 0)), needs);
        }
    }
    for version in 2..14 {
        graph.insert(("a/z".to_owned(), Version::new(version, 0, 0)), vec![("a/n0".to_owned(), "^9".to_owned())]);
    }
    let roots: Vec<String> = (0..12).map(|name| format!("a/n{name}")).collect();
    let roots: Vec<(&str, &str)> = roots.iter().map(|name| (name.as_str(), "*")).collect();
    let problem = answer(&asked(&roots), &graph, Known::default()).unwrap_err();
    assert_eq!(problem.code, Code::R010);
    assert!(problem.message.contains(&STEPS_MAX.to_string()) || problem.message.contains("wants"), "{problem}");
}

#[test]
fn a_plugin_that_needs_hundreds_is_refused() {
    let needs: Vec<(String, String)> = (0..NAMES_MAX).map(|number| (format!("a/n{number}"), "*".to_owned())).collect();
    let mut graph = Graph::from([(("a/app".to_owned(), Version::new(1, 0, 0)), needs.clone())]);
    graph.extend(needs.into_iter().map(|(name, _)| ((name, Version::new(1, 0, 0)), Vec::new())));
    let problem = answer(&asked(&[("a/app", "*")]), &graph, Known::default()).unwrap_err();
    assert_eq!(problem.code, Code::R010);
    assert!(problem.message.contains(&NAMES_MAX.to_string()), "{problem}");
}

const NAMES: [&str; 4] = ["a/a", "a/b", "a/c", "a/d"];
const REQS: [&str; 6] = ["*", "^1", "^2", "=1.0.0", ">=1.1", "<2"];

fn graphs() -> impl Strategy<Value = Graph> {
    let version = (1..3_u64, 0..2_u64).prop_map(|(major, minor)| Version::new(major, minor, 0));
    let need = (0..NAMES.len(), 0..REQS.len()).prop_map(|(n, r)| (NAMES[n].to_owned(), REQS[r].to_owned()));
    let node = ((0..NAMES.len()).prop_map(|n| NAMES[n].to_owned()), version);
    proptest::collection::btree_map(node, proptest::collection::vec(need, 0..3), 1..14)
}

fn root_sets() -> impl Strategy<Value = Vec<(usize, usize)>> {
    proptest::collection::vec((0..NAMES.len(), 0..REQS.len()), 1..4)
}

/// Whether every requirement of the roots and of what is chosen is met.
fn satisfies(question: &Question, graph: &Graph, chosen: &BTreeMap<String, Version>) -> bool {
    let met = |requirement: &Requirement| chosen.get(&requirement.name).is_some_and(|v| requirement.req.matches(v));
    question.roots.iter().all(met)
        && chosen.iter().all(|(name, version)| facts(graph, name, version).requirements.iter().all(met))
}

/// Every way to choose at most one version of each name.
fn every_choice(graph: &Graph) -> Vec<BTreeMap<String, Version>> {
    let mut choices = vec![BTreeMap::new()];
    for name in NAMES {
        let versions: Vec<&Version> = graph.keys().filter(|(other, _)| other == name).map(|(_, v)| v).collect();
        let with = choices.iter().flat_map(|choice| {
            versions.iter().map(move |version| {
                let mut choice: BTreeMap<String, Version> = choice.clone();
                choice.insert(name.to_owned(), (*version).clone());
                choice
            })
        });
        let with: Vec<_> = with.collect();
        choices.extend(with);
    }
    choices
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_choice_meets_every_requirement_and_is_found_when_there_is_one(graph in graphs(), roots in root_sets()) {
        let roots: Vec<(&str, &str)> = roots.into_iter().map(|(n, r)| (NAMES[n], REQS[r])).collect();
        let question = asked(&roots);
        match answer(&question, &graph, Known::default()) {
            Ok(chosen) => prop_assert!(satisfies(&question, &graph, &chosen), "{chosen:?}"),
            Err(problem) => {
                prop_assert_eq!(problem.code, Code::R010);
                let missed = every_choice(&graph).into_iter().find(|choice| satisfies(&question, &graph, choice));
                prop_assert!(missed.is_none(), "{missed:?} was not found");
            }
        }
    }

    #[test]
    fn the_order_of_what_is_given_does_not_matter(
        graph in graphs(),
        roots in root_sets().prop_flat_map(|roots| (Just(roots.clone()), Just(roots).prop_shuffle())),
    ) {
        let named = |roots: Vec<(usize, usize)>| {
            asked(&roots.into_iter().map(|(n, r)| (NAMES[n], REQS[r])).collect::<Vec<_>>())
        };
        let (one, other) = (named(roots.0), named(roots.1));
        let backwards = Known {
            versions: NAMES.iter().map(|name| {
                let versions = graph.keys().rev().filter(|(other, _)| other == name);
                ((*name).to_owned(), versions.map(|(_, version)| Available::of(version.clone())).collect())
            }).collect(),
            ..Known::default()
        };
        prop_assert_eq!(answer(&one, &graph, Known::default()), answer(&other, &graph, backwards));
    }
}
