//! `tests/networks/{ok,bad}/x.yaml` → `x.plan` | `x.err`. `UPDATE_EXPECT=1` writes what comes out.

use std::collections::BTreeMap;

use ice_core::blueprint::Parsed;
use ice_core::network::{self, Planned};
use ice_core::problem::Problem;
use ice_core::schedule::{MISFIRES, OVERLAPS, local};
use serde_json::Value;

use super::*;

/// The plan of the whole network and its schedules, or every problem, as a person reads it.
fn outcome(text: &str, file: &str, folder: &Path) -> Result<String, String> {
    let told = |problems: Vec<Problem>| {
        problems.iter().fold(String::new(), |mut out, problem| {
            writeln!(out, "{problem}").expect("writing to a string");
            out
        })
    };
    let network = network::parse(text, file).map_err(told)?;
    let (mut files, mut library) = (BTreeMap::new(), library());
    for name in network.files() {
        let text = fs::read_to_string(folder.join(name)).expect("a part of an example");
        let parsed = parse(&text, name).expect("a part is a blueprint");
        files.insert(name.to_owned(), parsed.blueprint.document.clone());
        library.add(name, None, std::sync::Arc::new(parsed));
    }
    let part = |chosen: &[String]| {
        Parsed::from_value(network.compile(chosen, &files))
            .and_then(|parsed| plan(&parsed, &catalog(), &library))
            .map_err(|problems| told(network.locate(chosen, problems)))
    };
    let mut shown = part(&[])?.to_string();
    for planned in &network.schedules {
        let nodes = part(&planned.members)?.graph.nodes.len();
        writeln!(shown, "{}", line(planned, nodes)).expect("writing to a string");
    }
    Ok(shown)
}

fn line(planned: &Planned, nodes: usize) -> String {
    let Planned { name, when, inputs, enabled, .. } = planned;
    let mut parts = vec![
        format!("schedule {name}: {nodes} nodes, `{}` in {}", when.cron, when.tz),
        format!("misfire {} at most {}", word(MISFIRES, when.misfire), when.max_catch_up),
        format!("overlap {}", word(OVERLAPS, when.overlap)),
        format!("inputs {}", Value::Object(inputs.clone())),
    ];
    parts.extend((when.jitter_ms > 0).then(|| format!("up to {} ms later", when.jitter_ms)));
    parts.extend(when.start.map(|at| format!("from {}", local(at, "UTC"))));
    parts.extend(when.end.map(|at| format!("until {}", local(at, "UTC"))));
    parts.extend((!enabled).then(|| "off".to_owned()));
    parts.join(", ")
}

/// How a choice is written.
fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).expect("every choice has a word").0
}

#[test]
fn good_networks_plan_as_printed() {
    check_networks("ok", "plan", 3);
}

#[test]
fn bad_networks_are_refused_as_printed() {
    check_networks("bad", "err", 11);
}

fn check_networks(name: &str, extension: &str, least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/networks").join(name);
    check(&folder, extension, least, &|text, file| outcome(text, file, &folder));
}

#[test]
fn the_example_on_the_page_about_schedules_plans() {
    let page = include_str!("../../../../docs/schedules.md");
    let example = page.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has one");
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/networks/parts");
    let shown = outcome(example, "news.yaml", &parts).unwrap_or_else(|problems| panic!("{problems}"));
    let schedules = shown.lines().filter(|line| line.starts_with("schedule "));
    let names: Vec<&str> = schedules.filter_map(|line| line.split([' ', ':']).nth(1)).collect();
    assert_eq!(names, ["news.fetch", "news", "news.late"], "as the page says");
}
