use super::*;

const NEWS: &str = r#"
api_version: network.v1
name: news
inputs: {required: [city]}
members:
  - {id: fetch, blueprint: fetch.yaml, inputs: {city: '{{ city }}'}, schedule: "0 6 * * *"}
  - {id: report, ref: tools.report, after: fetch, inputs: {text: '{{ fetch.text }}'}, retries: 2}
  - {id: other, blueprint: ./fetch.yaml}
schedules:
  - {cron: '0 7 * * 1-5', tz: Europe/Oslo, inputs: {city: Oslo}}
  - {name: part, cron: '@daily', members: [report], overlap: queue}
outputs: {report: '{{ report.out }}'}
budget: {max_cost_usd: 1.5}
"#;

#[test]
fn a_network_is_one_blueprint_of_workflow_nodes() {
    let network = parse(NEWS, "news.yaml").unwrap();
    assert_eq!(network.files().into_iter().collect::<Vec<_>>(), ["./fetch.yaml", "fetch.yaml"]);
    let files: BTreeMap<String, Value> = [("fetch.yaml".into(), json!({"nodes": []}))].into();
    let document = network.compile(&[], &files);
    assert_eq!(document["blueprints"], json!({"fetch.yaml": {"nodes": []}}));
    assert_eq!(
        document["nodes"][1],
        json!({"id": "report", "type": "workflow", "workflow_ref": "tools.report", "dependencies": ["fetch"],
            "inputs": {"text": "{{ fetch.text }}"}, "retries": 2})
    );
    assert_eq!(document["outputs"], json!({"report": "{{ report.out }}"}));
    assert_eq!(document["budget"], json!({"max_cost_usd": 1.5}));
    let part = network.compile(&["report".into()], &files);
    let ids: Vec<&str> = part["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["fetch", "report"], "with everything it comes after");
    let names: Vec<&str> = network.schedules.iter().map(|planned| planned.name.as_str()).collect();
    assert_eq!(names, ["news.fetch", "news", "news.part"]);
}

#[test]
fn the_form_of_the_original_is_read() {
    let text = "api_version: network.v0\nname: old\nglobal: {max_parallel: 2, region: eu}\nworkflows:\n  \
        - {ref: a.yaml, id: a, schedule: '*/5 * * * *'}\n  - {ref: b.yaml, id: b, after: [a]}\n";
    let network = parse(text, "old.yaml").unwrap();
    let document = network.compile(&[], &BTreeMap::new());
    assert_eq!((&document["max_parallel"], &document["metadata"]["global"]), (&json!(2), &json!({"region": "eu"})));
    assert_eq!(network.schedules[0].when, When::new("*/5 * * * *"));
}

#[test]
fn every_problem_is_reported_with_its_line() {
    let text = "api_version: network.v9\nmembrs: []\nmembers:\n  - {id: a, blueprint: a.yaml, after: [bb]}\n  \
        - {id: a, ref: 'news:flow', schedule: '99 * * * *'}\n  - {id: bbb, blueprint: b.yaml, type: tool}\n  - {id: '1'}\n\
        schedules:\n  - {cron: '0 0 30 2 *', tz: Europe/Osslo, members: [z], overlap: quue}\n";
    let problems = parse(text, "x.yaml").unwrap_err();
    let mut found: Vec<(String, u32)> = problems
        .iter()
        .map(|problem| (problem.code.letters().to_owned(), problem.at.as_ref().and_then(|at| at.line).unwrap()))
        .collect();
    found.sort_by_key(|(code, line)| (*line, code.clone()));
    let expected = [
        ("B009", 1),
        ("B002", 2),
        ("B012", 4),
        ("B007", 5),
        ("B016", 5),
        ("B028", 5),
        ("B002", 6),
        ("B003", 7),
        ("B006", 7),
        ("B005", 9),
        ("B012", 9),
        ("B028", 9),
        ("B029", 9),
    ];
    assert_eq!(found, expected.map(|(code, line)| (code.to_owned(), line)), "{problems:#?}");
}

#[test]
fn members_that_come_after_each_other_are_a_circle() {
    let text = "members:\n  - {id: a, blueprint: a.yaml, after: b}\n  - {id: b, blueprint: b.yaml, after: a}\n";
    let problems = parse(text, "x.yaml").unwrap_err();
    assert_eq!((problems.len(), problems[0].code), (1, Code::B013));
}
