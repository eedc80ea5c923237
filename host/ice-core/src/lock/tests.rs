//! The printed form, and that reading and printing agree.

use expect_test::expect;

use super::*;
use crate::schema::{Direction, Schema};

fn package(name: &str, version: &str) -> LockedPackage {
    LockedPackage {
        name: name.to_owned(),
        version: version.parse().unwrap(),
        kind: Kind::Plugin,
        sequence: 17,
        source: Some("oci://registry.acme.example/ice/acme/csv_reader".to_owned()),
        oci_digest: None,
        statement: Digest::of(b"S"),
        manifest: Digest::of(b"M"),
        artifacts: vec![LockedArtifact { name: "csv_reader".to_owned(), digest: Digest::of(b"A"), size: 8 }],
        signed_by: vec![Digest::of(b"K")],
        interface: Digest::of(b"I"),
        granted: vec!["http:GET https://a.example/\"x\"".to_owned()],
        dependencies: vec!["acme/search 1.0.4".to_owned()],
    }
}

#[test]
fn a_lock_is_sorted_and_reads_back() {
    let lock = Lock::new([package("b/b", "2.0.0"), package("a/a", "1.10.0"), package("a/a", "1.9.0")]);
    let text = lock.print();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    assert_eq!(Lock::parse(&text).unwrap().print(), text);
    let versions: Vec<String> = lock.packages().iter().map(|p| format!("{} {}", p.name, p.version)).collect();
    assert_eq!(versions, ["a/a 1.9.0", "a/a 1.10.0", "b/b 2.0.0"]);
    expect![[r#"
        version = 1

        [[package]]
        name = "acme/csv_reader"
        version = "1.2.3"
        kind = "plugin"
        sequence = 17
        source = "oci://registry.acme.example/ice/acme/csv_reader"
        statement = "sha256:8de0b3c47f112c59745f717a626932264c422a7563954872e237b223af4ad643"
        manifest = "sha256:08f271887ce94707da822d5263bae19d5519cb3614e0daedc4c7ce5dab7473f1"
        artifacts = [{ name = "csv_reader", digest = "sha256:559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88a08fdffd", size = 8 }]
        signed_by = ["sha256:86be9a55762d316a3026c2836d044f5fc76e34da10e1b45feee5f18be7edb177"]
        interface = "sha256:a83dd0ccbffe39d071cc317ddf6e97f5c6b1c87af91919271f9fa140b0508c6c"
        granted = ["http:GET https://a.example/\"x\""]
        dependencies = ["acme/search 1.0.4"]
    "#]]
    .assert_eq(&Lock::new([package("acme/csv_reader", "1.2.3")]).print());
}

#[test]
fn a_lock_that_cannot_be_read_says_where() {
    let problem = Lock::parse("version = 1\n[[package]]\nname = 3\n").unwrap_err();
    assert_eq!((problem.code, problem.at.unwrap().line), (Code::M007, Some(3)));
    assert!(Lock::parse("version = 2\n").unwrap_err().message.contains("version 2"));
    assert_eq!(Lock::parse("version = 1\n").unwrap(), Lock::default());
    let text = Lock::new([package("a/a", "1.0.0")]).print();
    assert_eq!(Lock::parse(&text.replace("a/a", "A/a")).unwrap_err().code, Code::T018);
    assert_eq!(Lock::parse(&text.replace("size = 8", "size = 8, extra = 1")).unwrap_err().code, Code::M007);
}

#[test]
fn an_entry_pins_the_plugin_and_not_where_it_came_from() {
    let entry = package("acme/csv", "1.0.0");
    let mirrored = LockedPackage {
        source: Some("oci://mirror.example/acme/csv".to_owned()),
        oci_digest: Some(Digest::of(b"other")),
        granted: Vec::new(),
        dependencies: Vec::new(),
        ..entry.clone()
    };
    assert!(entry.differs(&mirrored).is_empty());
    let changed = LockedPackage { statement: Digest::of(b"T"), sequence: 18, ..entry.clone() };
    assert_eq!(entry.differs(&changed), ["statement", "sequence"]);
    assert_eq!(entry.missing_signers(&[Digest::of(b"other"), Digest::of(b"K")]), []);
    assert_eq!(entry.missing_signers(&[Digest::of(b"other")]), [Digest::of(b"K")]);
}

#[test]
fn a_lock_finds_by_name_version_and_statement() {
    let lock = Lock::new([package("a/a", "1.10.0"), package("a/a", "1.9.0"), package("b/b", "1.0.0")]);
    assert_eq!(lock.find("a/a").unwrap().version, Version::new(1, 10, 0));
    assert_eq!(lock.get("a/a", &Version::new(1, 9, 0)).unwrap().version, Version::new(1, 9, 0));
    assert!(lock.find("a").is_none() && lock.get("b/b", &Version::new(2, 0, 0)).is_none());
    assert!(lock.covers(&Digest::of(b"S")) && !lock.covers(&Digest::of(b"M")));
}

#[test]
fn grants_are_written_as_rights_without_limits() {
    let grant: Grant = serde_json::from_value(serde_json::json!({
        "http": ["GET https://b.example/*", "GET https://a.example/*"], "executions": true,
        "secrets": {"KEY": ["a.example"]}, "limits": {"timeout_seconds": 3},
    }))
    .unwrap();
    let expected =
        ["executions:true", "http:GET https://a.example/*", "http:GET https://b.example/*", "secrets.KEY:a.example"];
    assert_eq!(granted_words(&grant), expected);
    assert_eq!(granted_words(&Grant::default()), Vec::<String>::new());
}

#[test]
fn what_is_permitted_reads_the_same_however_the_grant_was_written() {
    let document = serde_json::json!({
        "schema_version": "plugins.v0", "kind": "kit", "name": "acme/web", "version": "1.0.0", "sequence": 1,
        "created": "2026-11-20T00:00:00Z", "components": [{
            "node_type": "tool", "name": "get", "import": "ice:plugin/tools@0.1.0#get", "version": "1.0.0",
            "artifact": Digest::of(b"A"), "size": 8, "description": "",
            "capabilities": {"http": ["GET,POST https://*:*"], "memory": {"read": ["*"], "write": []}},
        }],
    });
    let manifest = Manifest::from_value(&document).unwrap();
    let asked = manifest.requested()[0].1.clone();
    let as_asked = permitted_words(&asked, &manifest);
    assert_eq!(as_asked, permitted_words(&asked.intersect(&asked), &manifest));
    assert_eq!(as_asked, ["http:GET,POST https://*:*/*", "memory.read:*"]);
    let narrower = Grant { http: vec!["GET https://a.example/x".to_owned()], ..Grant::default() };
    assert_eq!(permitted_words(&narrower, &manifest), ["http:GET https://a.example/x"]);
}

#[test]
fn the_schema_takes_what_is_printed_and_refuses_what_is_not_read() {
    let schema = Schema::compile(&schema(), Direction::Input).unwrap();
    let fits = |text: &str| schema.is_valid(&toml::from_str(text).unwrap());
    let mut whole = package("acme/csv_reader", "1.2.3");
    whole.oci_digest = Some(Digest::of(b"O"));
    let text = Lock::new([whole]).print();
    assert!(fits(&text) && fits("version = 1\n"));
    // Line by line: what the parser needs the schema needs, and what it does without the schema does without.
    for line in text.lines().filter(|line| line.contains(" = ")) {
        let less = text.replace(&format!("{line}\n"), "");
        assert_eq!(fits(&less), Lock::parse(&less).is_ok(), "without {line}");
        let (key, _) = line.split_once(" = ").unwrap();
        for other in [format!("{key} = [[[]]]"), format!("{key}x = 1\n{line}")] {
            let other = text.replace(line, &other);
            assert!(!fits(&other) && Lock::parse(&other).is_err(), "{other}");
        }
    }
    assert!(!fits("version = 2\n") && !fits(&text.replace("sha256:", "sha1:")));
}
