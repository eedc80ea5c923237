//! File pairs in `tests/manifests`, the eight rejects of canonical JSON, RFC 8785's own fixtures, parts and lint.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{expect, expect_file};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::grant::Capability;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/manifests").join(name)
}

fn documents(name: &str) -> Vec<(PathBuf, Value)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), parse_strict(&fs::read(&path).unwrap()).unwrap())).collect()
}

fn render(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn good_manifests_are_read_and_printed_as_they_were() {
    let documents = documents("ok");
    assert!(documents.len() >= 5);
    for (path, document) in documents {
        let bytes = canonical(&document);
        let manifest =
            Manifest::parse(&bytes).unwrap_or_else(|problems| panic!("{}\n{}", path.display(), render(&problems)));
        assert_eq!(manifest.canonical_bytes(), bytes, "{}", path.display());
        let artifacts: Vec<String> =
            manifest.artifacts().iter().map(|(digest, _)| digest.hex()[..12].to_owned()).collect();
        let summary = format!(
            "{} {} {}\nM {}\nA {}\ninterface {}\n",
            manifest.kind,
            manifest.name,
            manifest.version,
            Digest::of(&bytes),
            artifacts.join(" "),
            manifest.interface()
        );
        expect_file![path.with_extension("ok")].assert_eq(&summary);
    }
}

#[test]
fn bad_manifests_are_refused_with_every_problem() {
    let documents = documents("bad");
    assert!(documents.len() >= 15);
    for (path, document) in documents {
        let problems = Manifest::from_value(&document).expect_err(&path.display().to_string());
        expect_file![path.with_extension("err")].assert_eq(&render(&problems));
    }
}

#[test]
fn another_spelling_of_the_same_json_is_refused() {
    let document = documents("ok").into_iter().find(|(path, _)| path.ends_with("plugin.json")).unwrap().1;
    let text = String::from_utf8(canonical(&document)).unwrap();
    let rejects = [
        (
            "duplicate member",
            text.replacen("\"version\":\"1.2.3\"}", "\"version\":\"1.2.3\",\"version\":\"1.2.3\"}", 1),
        ),
        ("number beyond 2^53", text.replace("\"size\":8", "\"size\":9007199254740993")),
        ("needless fraction", text.replace("\"size\":8", "\"size\":8.0")),
        ("minus zero", text.replace("\"per_token\":0", "\"per_token\":-0")),
        ("trailing newline", format!("{text}\n")),
        ("byte order mark", format!("\u{feff}{text}")),
        ("needless escape", text.replace("csv_reader\",\"node", "\\u0063sv_reader\",\"node")),
        (
            "unsorted members",
            text.replace("\"sequence\":1,\"version\":\"1.2.3\"}", "\"version\":\"1.2.3\",\"sequence\":1}"),
        ),
    ];
    Manifest::parse(text.as_bytes()).unwrap();
    for (what, changed) in rejects {
        assert_ne!(changed, text, "{what}");
        let problems = Manifest::parse(changed.as_bytes()).expect_err(what);
        assert_eq!(problems[0].code, Code::T007, "{what}: {problems:?}");
    }
}

#[test]
fn canonical_json_is_rfc_8785s() {
    // The examples of RFC 8785: section 3.2.2 and 3.2.3 (sorting by UTF-16), and numbers of appendix B.
    let input = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
        "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
    let expected = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
    assert_eq!(String::from_utf8(canonical(&parse_strict(input.as_bytes()).unwrap())).unwrap(), expected);
    let sorted = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let document = canonical(&parse_strict(sorted.as_bytes()).unwrap());
    let positions: Vec<usize> = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
        .iter()
        .map(|word| String::from_utf8_lossy(&document).find(word).unwrap())
        .collect();
    assert!(positions.is_sorted(), "{positions:?}");
    for (bits, text) in [
        (0x0000_0000_0000_0001_u64, "5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0x4340_0000_0000_0001, "9007199254740994"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x8000_0000_0000_0000, "0"),
    ] {
        assert_eq!(String::from_utf8(canonical(&json!(f64::from_bits(bits)))).unwrap(), text);
    }
}

#[test]
fn deep_json_is_refused_before_it_is_read() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(parse_strict(deep.as_bytes()).unwrap_err().code, Code::M001);
    assert!(parse_strict(format!("{}{}", "[".repeat(64), "]".repeat(64)).as_bytes()).is_ok());
}

#[test]
fn emoji_and_scripts_are_plain_text_and_hidden_characters_are_not() {
    for good in ["naïve Ω 日本語 العربية", "love ❤\u{fe0f}", "line\nline\ttab"] {
        assert_eq!(hidden(good), None, "{good}");
    }
    for bad in
        ["\u{202e}x", "a\u{200b}b", "a\u{200d}b", "x\u{e0041}", "x\u{7}", "x\u{fe0f}\u{fe0f}", "\u{fe0f}", "a\u{ad}b"]
    {
        assert!(hidden(bad).is_some(), "{bad:?}");
    }
}

#[test]
fn names_that_read_the_same_are_found() {
    let codes = |name: &str| {
        let known = ["acme/csv_reader", "acme/search"];
        near_names(name, known).iter().map(|problem| problem.code).collect::<Vec<_>>()
    };
    assert_eq!(codes("acme/csv_reader"), []);
    assert_eq!(codes("acme/csv-reader"), [Code::T027]);
    assert_eq!(codes("acme/csvreader"), [Code::T027]);
    assert_eq!(codes("acme/csv_raeder"), [Code::T028]);
    assert_eq!(codes("acme/serch"), [Code::T028]);
    assert_eq!(codes("acme/other"), []);
}

#[test]
fn dates_have_one_spelling() {
    for (text, moment) in
        [("1970-01-01T00:00:00Z", 0), ("2026-11-20T13:38:01Z", 1_795_181_881), ("2024-02-29T23:59:59Z", 1_709_251_199)]
    {
        assert_eq!(parse_date(text), Some(moment), "{text}");
        assert_eq!(print_date(moment), text);
    }
    for text in [
        "2026-11-20",
        "2026-11-20T00:00:00",
        "2026-11-20t00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-11-20T24:00:00Z",
        "1969-12-31T23:59:59Z",
        "+026-11-20T00:00:00Z",
    ] {
        assert_eq!(parse_date(text), None, "{text}");
    }
}

const PLUGIN_TOML: &str = r#"
name = "iceos/web"
version = "1.0.0"
kind = "kit"
description = "Fetch pages."
license = "Apache-2.0"

[capabilities]
http = ["GET,POST https://*/*"]

[cost_estimate.http_get]
base = 0.001
"#;

fn part(name: &str, imports: &[Capability]) -> ExportedPart {
    ExportedPart {
        node_type: NodeType::Tool,
        name: name.to_owned(),
        description: format!("The {name} tool."),
        input_schema: json!({"type": "object"}),
        output_schema: json!({"type": "object"}),
        tags: Vec::new(),
        entrypoint: false,
        artifact: Digest::of(b"web"),
        size: 3,
        imports: imports.iter().copied().collect(),
    }
}

#[test]
fn a_manifest_is_put_together_from_its_parts() {
    let settings = PluginSettings::parse(PLUGIN_TOML).unwrap();
    let imports = [Capability::Log, Capability::Http];
    let parts = [part("http_post", &imports), part("http_get", &imports)];
    let manifest = from_parts(&settings, &parts, Vec::new(), "2026-11-20T00:00:00Z").unwrap();
    assert_eq!(Manifest::parse(&manifest.canonical_bytes()).unwrap(), manifest);
    let names: Vec<&str> = manifest.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["http_get", "http_post"]);
    assert_eq!(manifest.components[0].effects, Some(Effects::External));
    assert_eq!(manifest.components[0].import, "ice:plugin/tools@0.1.0#http_get");
    assert_eq!(lint(&manifest, ["iceos/web"]), []);
}

#[test]
fn declared_bounds_are_exactly_what_is_imported() {
    let settings = PluginSettings::parse(PLUGIN_TOML).unwrap();
    let problems =
        from_parts(&settings, &[part("http_get", &[Capability::Llm])], Vec::new(), "2026-11-20T00:00:00Z").unwrap_err();
    expect![[r#"
        error[ICE-T015]: the component imports `llm`, plugin.toml does not bound it
          help: add a `llm` entry to `[capabilities]` in plugin.toml, or stop using it
        error[ICE-T015]: plugin.toml asks for `http`, the component does not import it
          help: remove `http` from `[capabilities]` in plugin.toml
    "#]]
    .assert_eq(&render(&problems));
    let pure = PluginSettings { capabilities: Grant::default(), cost_estimate: BTreeMap::new(), ..settings };
    let manifest =
        from_parts(&pure, &[part("concat", &[Capability::Log])], Vec::new(), "2026-11-20T00:00:00Z").unwrap();
    assert_eq!(manifest.components[0].effects, Some(Effects::None));
}

#[test]
fn lint_finds_what_would_disappoint() {
    let settings = PluginSettings::parse(PLUGIN_TOML).unwrap();
    let mut manifest =
        from_parts(&settings, &[part("http_get", &[Capability::Http])], Vec::new(), "2026-11-20T00:00:00Z").unwrap();
    manifest.license = None;
    manifest.components[0].description.clear();
    manifest.components[0].schema =
        Some(IoSchema { input: json!({"type": "objekt"}), output: json!({"maximum": 0.123_456_789_012_345_67}) });
    let problems = lint(&manifest, ["iceos/we-b"]);
    let codes: Vec<Code> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::M006, Code::M006, Code::M004, Code::M006, Code::T027], "{}", render(&problems));
}

#[test]
fn an_unknown_key_of_plugin_toml_is_named_with_the_one_that_was_meant() {
    let problems = PluginSettings::parse(&PLUGIN_TOML.replace("license", "licence")).unwrap_err();
    expect![[r#"
        error[ICE-M003]: there is no key `licence`
          at: /licence
          help: did you mean `license`?
    "#]]
    .assert_eq(&render(&problems));
    let problems = PluginSettings::parse("name = 3\nversion = \"1.0.0\"\nkind = \"kit\"").unwrap_err();
    assert_eq!((problems[0].code, problems[0].at.as_ref().unwrap().line), (Code::M002, Some(1)));
}

#[test]
fn the_interface_changes_with_what_a_model_reads_and_with_nothing_else() {
    let settings = PluginSettings::parse(PLUGIN_TOML).unwrap();
    let manifest =
        from_parts(&settings, &[part("http_get", &[Capability::Http])], Vec::new(), "2026-11-20T00:00:00Z").unwrap();
    let mut described = manifest.clone();
    described.components[0].description.push('!');
    assert_ne!(described.interface(), manifest.interface());
    let mut rebuilt = manifest.clone();
    rebuilt.components[0].artifact = Digest::of(b"rebuilt");
    rebuilt.sequence = 2;
    assert_eq!(rebuilt.interface(), manifest.interface());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn reading_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn dates_print_and_read_back(moment in 0_u64..253_402_300_800) {
        prop_assert_eq!(parse_date(&print_date(moment)), Some(moment));
    }

    #[test]
    fn canonical_bytes_read_back_as_themselves(number in any::<f64>(), text in ".*") {
        let number = if number.is_finite() { number } else { 0.0 };
        let bytes = canonical(&json!({"text": text, "number": number, text.clone(): [number]}));
        prop_assert!(parse_canonical(&bytes).is_ok());
    }
}

#[test]
fn what_a_plugin_asks_for_is_what_all_of_its_components_ask_for() {
    let component = |name: &str, capabilities: Value| {
        json!({
            "node_type": "tool", "name": name, "import": format!("ice:plugin/tools@0.1.0#{name}"), "version": "1.0.0",
            "artifact": Digest::of(name.as_bytes()), "size": 8, "description": "", "capabilities": capabilities,
        })
    };
    let document = json!({
        "schema_version": "plugins.v0", "kind": "kit", "name": "acme/kit", "version": "1.0.0", "sequence": 1,
        "created": "2026-11-20T00:00:00Z",
        "components": [
            component("a", json!({"memory": {"read": ["a"], "write": []}})),
            component("b", json!({"http": ["GET https://b.example/*"], "memory": {"read": ["b"], "write": ["b"]}})),
            component("c", json!({"llm": {"models": ["default"]}, "secrets": {"KEY": ["c.example"]}})),
        ],
    });
    let manifest = Manifest::from_value(&document).unwrap();
    let all = manifest.asks();
    assert!(manifest.requested().len() == 3 && manifest.requested().iter().all(|(_, asked)| all.covers(asked)));
    let expected = ["llm=default", "http=GET https://b.example/*", "memory.read=a", "memory.read=b", "memory.write=b"];
    assert_eq!(widens(&Grant::default(), &all), [&expected[..], &["secrets.KEY=c.example"]].concat());
}
