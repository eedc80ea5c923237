use super::*;
use proptest::{prop_assert, prop_assert_eq, prop_assume, proptest};
use serde_json::json;

fn value(text: &str) -> Value {
    read_document(text, "x.yaml").unwrap_or_else(|problems| panic!("{text}: {problems:?}")).0
}

fn problems(text: &str) -> String {
    let found = match parse(text, "x.yaml") {
        Ok(parsed) => parsed.problems,
        Err(problems) => problems,
    };
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn yaml_and_json_give_the_same_value() {
    let yaml = "a: 1\nb: [x, 'y', \"z\"]\nc:\n  d: null\n  e: true\n  f: 1.5\n  g: |\n    two\n    lines\n";
    let expected = json!({
        "a": 1, "b": ["x", "y", "z"], "c": {"d": null, "e": true, "f": 1.5, "g": "two\nlines\n"}
    });
    assert_eq!(value(yaml), expected);
    assert_eq!(value(&expected.to_string()), expected);
    assert_eq!(value(&serde_json::to_string_pretty(&expected).unwrap()), expected);
    assert_eq!(value("\u{feff}a: 1"), json!({"a": 1}));
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, expected) in [
        ("~", json!(null)),
        ("null", json!(null)),
        ("True", json!(true)),
        ("yes", json!("yes")),
        ("on", json!("on")),
        ("012", json!(12)),
        ("-7", json!(-7)),
        ("+7", json!(7)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("18446744073709551615", json!(u64::MAX)),
        ("1e3", json!(1000.0)),
        (".5", json!(0.5)),
        ("1.2.0", json!("1.2.0")),
        ("2024-01-01", json!("2024-01-01")),
        ("'12'", json!("12")),
        ("!!str 12", json!("12")),
        ("infinity", json!("infinity")),
        ("nan", json!("nan")),
        ("e", json!("e")),
    ] {
        assert_eq!(value(&format!("k: {text}")), json!({"k": expected}), "{text}");
    }
}

#[test]
fn json_escapes_are_json_escapes() {
    let text = r#"{"a": "\u00e9\n\/\"\\\ud83d\ude00", "b":1,"c":[{"d":""}]}"#;
    assert_eq!(value(text), serde_json::from_str::<Value>(text).unwrap());
    let (document, positions) = read_document(text, "x.json").unwrap();
    assert_eq!(positions.of(&document, "/c/0/d"), Some((1, 53)));
    assert_eq!(positions.of(&document, "/b"), Some((1, 41)));
    let tabbed = "{\n\t\"a\":\t1,\n\t\"b\": [\n\t\t2\n\t]\n}";
    assert_eq!(value(tabbed), json!({"a": 1, "b": [2]}));
    let long = json!({"k".repeat(3000): 1, "v": "x".repeat(3000)});
    assert_eq!(value(&long.to_string()), long);
}

#[test]
fn every_value_has_a_line_and_a_column() {
    let text = "a: 1\nlist:\n  - x\n  - y: {z: 2}\n";
    let (value, positions) = read_document(text, "x.yaml").unwrap();
    let at = |pointer: &str| positions.of(&value, pointer).unwrap();
    assert_eq!(at(""), (1, 1));
    assert_eq!(at("/a"), (1, 4));
    assert_eq!(at("/list/0"), (3, 5));
    assert_eq!(at("/list/1/y/z"), (4, 12));
    assert_eq!(at("/list/1/y/none/deeper"), (4, 8));
}

#[test]
fn aliases_are_expanded_up_to_a_bound() {
    assert_eq!(value("a: &x [1, {b: 2}]\nc: *x\n"), json!({"a": [1, {"b": 2}], "c": [1, {"b": 2}]}));
    let mut bomb = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(problems(&bomb).contains("ICE-B027"), "{}", problems(&bomb));
    assert!(problems("a: &a [*a]").contains("ICE-B001"));
    assert!(problems("a: *nowhere").contains("ICE-B001"));
}

#[test]
fn what_json_cannot_say_is_a_problem_with_a_place() {
    for (text, needle) in [
        ("a: .nan", "x.yaml:1:4"),
        ("a: 1\na: 2", "the key `a` is already there\n  at: x.yaml:2:1"),
        ("{\"a\": 1,\n \"a\": 2}", "the key `a` is already there\n  at: x.yaml:2:2"),
        ("a: !custom 1", "tag"),
        ("? [1]\n: 2", "a key must be text"),
        ("a: 1\n---\nb: 2", "second document"),
        ("", "the document is empty"),
        ("# nothing", "the document is empty"),
        ("a: [1, 2", "ICE-B001"),
        ("a: 'x", "ICE-B001"),
        ("a:\n\tb: 1", "ICE-B001"),
        ("{\"a\": 1,, }", "ICE-B001"),
        ("[1]", "a blueprint is a mapping, this is a list"),
        ("just text", "a blueprint is a mapping, this is text"),
    ] {
        assert!(problems(text).contains(needle), "{text:?}: {}", problems(text));
    }
}

#[test]
fn deep_and_large_documents_are_refused() {
    assert!(problems(&"[".repeat(200_000)).contains("ICE-B0"));
    assert!(problems(&("{a: ".repeat(200) + "1" + &"}".repeat(200))).contains("ICE-B026"));
    assert!(problems(&"x".repeat(DOCUMENT_BYTES_MAX + 1)).contains("ICE-B027"));
}

#[test]
fn defaults_are_those_of_the_format() {
    let parsed = parse("nodes: [{id: a, type: tool, tool_name: t}]", "x.yaml").unwrap();
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let blueprint = parsed.blueprint;
    assert_eq!(blueprint.schema_version, "1.2.0");
    assert_eq!(blueprint.max_parallel, 16);
    assert_eq!(blueprint.failure_policy, FailurePolicy::ContinuePossible);
    assert_eq!(blueprint.nodes[0].config, json!({"tool_name": "t"}).as_object().unwrap().clone());
    assert_eq!(blueprint.nodes[0].pointer, "/nodes/0");
}

#[test]
fn failure_policies_have_three_spellings_each() {
    for (word, policy) in [
        ("halt", FailurePolicy::Halt),
        ("HALT", FailurePolicy::Halt),
        ("halt_on_first_error", FailurePolicy::Halt),
        ("CONTINUE_POSSIBLE", FailurePolicy::ContinuePossible),
        ("continue_if_possible", FailurePolicy::ContinuePossible),
        ("ALWAYS", FailurePolicy::Always),
        ("always_continue", FailurePolicy::Always),
    ] {
        let parsed = parse(&format!("failure_policy: {word}\nnodes: [{{id: a, type: tool}}]"), "x").unwrap();
        assert_eq!(parsed.blueprint.failure_policy, policy, "{word}");
    }
}

#[test]
fn inputs_are_names_or_literals_or_a_schema() {
    let spec = |inputs: &str| parse(&format!("inputs: {inputs}\nnodes: [{{id: a, type: t}}]"), "x").unwrap();
    let named = spec("{required: [a, {name: b, type: int, description: d}], optional: [{name: c, default: 7}]}");
    assert!(named.problems.is_empty(), "{:?}", named.problems);
    let schema = named.blueprint.inputs.schema.unwrap();
    assert_eq!(schema["required"], json!(["a", "b"]));
    assert_eq!(schema["properties"], json!({"a": {}, "b": {"type": "integer"}, "c": {}}));
    assert_eq!(named.blueprint.inputs.defaults, json!({"c": 7}).as_object().unwrap().clone());
    let literals = spec("{a: str}").blueprint.inputs;
    assert_eq!(literals.schema, Some(json!({"a": "str"})));
    let schema = spec("{type: object, required: [a], properties: {a: {default: 1}}}").blueprint.inputs;
    assert_eq!(schema.defaults, json!({"a": 1}).as_object().unwrap().clone());
    assert_eq!(spec("{}").blueprint.inputs, InputSpec::default());
}

#[test]
fn retries_are_read_from_both_forms() {
    let retry = |node: &str| {
        let parsed = parse(&format!("nodes: [{{id: a, type: t, {node}}}]"), "x").unwrap();
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        parsed.blueprint.nodes[0].retry.clone()
    };
    assert_eq!(retry("name: n"), None);
    let scalars = retry("retries: 2, backoff_seconds: 0.5").unwrap();
    assert_eq!((scalars.max_attempts, scalars.backoff_ms, scalars.strategy), (3, 500, Strategy::Exponential));
    let policy = retry("retries: 9, retry_policy: {max_attempts: 4, backoff_strategy: linear, jitter: none}").unwrap();
    assert_eq!((policy.max_attempts, policy.strategy, policy.jitter), (4, Strategy::Linear, Jitter::None));
}

#[test]
fn the_digest_is_that_of_the_meaning() {
    let digest = |text: &str| parse(text, "x").unwrap().blueprint.digest();
    let a = digest("nodes: [{id: a, type: tool}]\nid: x");
    assert_eq!(a, digest("{\"id\":\"x\",\"nodes\":[{\"type\":\"tool\",\"id\":\"a\"}]}"));
    assert_ne!(a, digest("{\"id\":\"y\",\"nodes\":[{\"type\":\"tool\",\"id\":\"a\"}]}"));
}

const SAMPLE: &str = "schema_version: \"1.2.0\"\ninputs: {required: [who]}\nnodes:\n  - id: a\n    type: tool\n    \
    tool_args: {notes: \"{{ inputs.who }}\"}\n    dependencies: [b]\n    retry_policy: {max_attempts: 2}\noutputs: {x: 1}\n";

proptest! {
    #[test]
    fn reading_never_panics(text in "[-a-c:{}\\[\\],&*!|>'\"%#? \n\t0-9.]{0,60}") {
        let _ = parse(&text, "x.yaml");
    }

    #[test]
    fn reading_a_changed_blueprint_never_panics(at in 0_usize..SAMPLE.len(), with in "[\\PC\n\t]{0,3}", cut in 0_usize..4) {
        prop_assume!(SAMPLE.is_char_boundary(at));
        let end = (at + cut).min(SAMPLE.len());
        let text = format!("{}{with}{}", &SAMPLE[..at], &SAMPLE[end..]);
        if let Ok(parsed) = parse(&text, "x.yaml") {
            for problem in &parsed.problems {
                let place = problem.at.clone().unwrap_or_default();
                prop_assert!(place.line.is_some() && place.column.is_some(), "{problem}");
            }
        }
    }

    #[test]
    fn json_of_any_kind_reads_as_serde_json_reads_it(text in "\\PC{0,20}", number: i64, float: f64) {
        prop_assume!(float.is_finite());
        let document = json!({"text": text, &text: [number, float, null, true], "nested": {"a": [[], {}]}});
        for written in [document.to_string(), serde_json::to_string_pretty(&document).expect("JSON")] {
            let (read, positions) = read_document(&written, "x.json").expect("JSON");
            prop_assert_eq!(&read, &document);
            let pretty = written.contains("\n  \"nested\"");
            prop_assert!(positions.of(&read, "/nested/a/1").is_some_and(|(line, _)| line > 1 || !pretty));
        }
    }
}
