//! `ice blueprints`: check, diff, graph.

use crate::home::{Home, root};

const FIRST: &str = "id: r\ninputs: { a: int }\noutputs: { x: '{{ l.text }}', y: 1 }\nnodes:\n  - { id: l, type: llm, llm_config: { provider: echo, model: echo }, prompt: 'a {{ inputs.a }}' }\n";

#[test]
fn check_reports_the_problems_of_every_file() {
    let home = Home::empty();
    let good = home.write("good.yaml", FIRST);
    let bad = home.write("bad.yaml", FIRST.replace("type: llm", "type: lm"));
    let worse = home.write("worse.yaml", FIRST.replace("inputs.a", "nobody.a"));
    home.run(&["blueprints", "check", &good]).exits(0);
    let row = home.run(&["blueprints", "check", &good, "--json"]).exits(0).json()[0].clone();
    assert_eq!((&row["kinds"]["llm"], &row["outputs"][0]), (&1.into(), &"x".into()), "{row}");
    let ran = home.run(&["blueprints", "check", &good, &bad, &worse]).exits(2);
    assert!(ran.err.contains("bad.yaml:5:") && ran.err.contains("worse.yaml:5:"), "{}", ran.err);
    let ran = home.run(&["blueprints", "check", &bad, &worse, "--json"]).exits(2);
    assert!(ran.json()["problems"].as_array().unwrap().len() >= 2);
}

#[test]
fn diff_says_what_callers_notice() {
    let home = Home::empty();
    let before = home.write("a.yaml", FIRST);
    let after =
        home.write("b.yaml", FIRST.replace(", y: 1", "").replace("a: int", "a: int, b: str").replace("'a {{", "'b {{"));
    let ran = home.run(&["blueprints", "diff", &before, &after]).exits(0);
    for line in ["!- outputs.y: 1", "!+ inputs.b", " ~ nodes.l.prompt: \"a {{ inputs.a }}\" → \"b {{ inputs.a }}\""] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    home.run(&["blueprints", "diff", &before, &after, "--fail-on", "breaking"]).exits(1);
    let ran = home.run(&["blueprints", "diff", &before, &before, "--fail-on", "any", "--json"]).exits(0);
    assert_eq!(ran.json()["changes"], serde_json::json!([]));
}

#[test]
fn a_graph_of_a_bundle_is_drawn_in_every_notation() {
    let home = Home::new();
    let text = home.run(&["blueprints", "graph", "chatkit"]).exits(0).out;
    assert!(text.contains("flowchart TD") && text.contains("chat_agent"), "{text}");
    let text = home.run(&["blueprints", "graph", "chatkit.rag_chat", "--format", "dot"]).exits(0).out;
    assert!(text.starts_with("digraph"), "{text}");
    let file = home.file("x.svg");
    let flow = root().join("plugins/bundles/library_assistant/workflows/ask_my_library.yaml");
    home.run(&["blueprints", "graph", flow.to_str().unwrap(), "--output", &file]).exits(0);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("<svg "));
    let ran = home.run(&["blueprints", "graph", "chatkt"]).exits(2);
    assert!(ran.err.contains("chatkt"), "{}", ran.err);
}
