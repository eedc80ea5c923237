//! `--no-dynamic`: exactly what the lock says runs, or nothing does, and the process says what stands in the way.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::home::{Home, Ran, root};

const BLUEPRINT: &str = "schema_version: '1.2.0'\nnodes: [{ id: w, type: tool, tool_name: aggregator_concat, tool_args: { inputs: [a, b] } }]\noutputs: { s: '{{ w.text }}' }\n";

fn run(home: &Home, more: &[&str]) -> Ran {
    let file = home.write("b.yaml", BLUEPRINT);
    home.run(&[more, &["run-blueprint", &file, "--json"]].concat())
}

/// Runs strictly; it has to be refused with this code and these words, before anything ran.
#[track_caller]
fn refused(home: &Home, code: &str, words: &[&str]) {
    let executions = || home.run(&["executions", "list", "--json"]).exits(0).json();
    let before = executions();
    // What is not there is R001, which is a matter of use; everything else is a refusal.
    let ran = run(home, &["--no-dynamic"]).exits(if code == "R001" { 2 } else { 3 });
    let problems = ran.json()["problems"].to_string();
    assert!(problems.contains(&format!("ICE-{code}")), "{problems}");
    for word in words {
        assert!(problems.contains(word), "{word}: {problems}");
    }
    assert_eq!(executions(), before, "nothing began");
}

#[track_caller]
fn runs(home: &Home, more: &[&str]) {
    assert_eq!(run(home, more).exits(0).json()["outputs"]["s"], "a\nb");
}

fn lock(home: &Home) -> String {
    std::fs::read_to_string(home.path().join("ice.lock")).unwrap()
}

/// Changes one line of the entry of this plugin.
fn edit_lock(home: &Home, name: &str, edit: impl Fn(&str) -> String) {
    let text = lock(home);
    let start = text.find(&format!("name = \"{name}\"")).unwrap();
    let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end);
    let entry: Vec<String> = text[start..end].lines().map(edit).collect();
    home.write("ice.lock", format!("{}{}{}", &text[..start], entry.join("\n"), &text[end..]));
}

/// Takes the entry of this plugin out.
fn unlock(home: &Home, name: &str) {
    let text = lock(home);
    let kept = text.split("\n[[package]]\n").filter(|entry| !entry.contains(&format!("name = \"{name}\"\n")));
    home.write("ice.lock", kept.collect::<Vec<_>>().join("\n[[package]]\n"));
}

fn artifact(home: &Home) -> PathBuf {
    let lock = lock(home);
    let entry = &lock[lock.find("iceos/aggregator").unwrap()..];
    let digest = entry.split("digest = \"sha256:").nth(1).unwrap().split('"').next().unwrap();
    home.path().join("store/blobs/sha256").join(digest)
}

#[test]
fn what_the_lock_lists_runs_and_nothing_is_fetched_for_it() {
    let home = Home::new();
    runs(&home, &["--no-dynamic"]);
    for value in ["1", "true", "yes"] {
        let file = home.file("b.yaml");
        let output = home.ice().env("ICE_NO_DYNAMIC", value).args(["run-blueprint", &file, "--json"]).output();
        Ran::from(output.unwrap()).exits(0);
        let output = home.ice().env("ICE_NO_DYNAMIC", value).args(["remove", "csv"]).output();
        assert!(Ran::from(output.unwrap()).exits(3).err.contains("ICE-T044"), "{value}");
    }
    let unplugged = home.run_unplugged(&["--no-dynamic", "run-blueprint", &home.file("b.yaml"), "--json"]);
    assert_eq!(unplugged.exits(0).json()["outputs"]["s"], "a\nb");
}

#[test]
fn a_component_the_lock_does_not_cover_is_named_or_warned_about_until_it_is_listed() {
    let home = Home::new();
    unlock(&home, "iceos/csv");
    refused(&home, "T045", &["iceos/csv"]);
    let warned = run(&home, &[]).exits(0);
    assert_eq!(warned.err.matches("warning[ICE-T045]").count(), 1, "{}", warned.err);
    assert_eq!(home.listed("iceos/csv", "1.0.0")["locked"], false);
    assert!(home.run(&["list"]).exits(0).out.contains("not in the lock"));
    let doctor = home.run(&["doctor", "--json"]).exits(0).json();
    let finding = doctor["checks"].as_array().unwrap().iter().find(|check| check["name"] == "lock").unwrap();
    assert_eq!(finding["ok"], false, "{doctor}");

    let manifest = "manifests/kits/aggregator.json";
    let lint = home.run(&["plugins", "lint", manifest]).exits(3);
    assert!(lint.err.contains("ICE-T045") && lint.err.contains("iceos/csv"), "{}", lint.err);
    home.run(&["plugins", "sign", "manifests/kits/csv.json", "--key", "test"]).exits(0);
    runs(&home, &[]);
    home.run(&["plugins", "lint", manifest]).exits(0);
    runs(&home, &["--no-dynamic"]);
}

#[test]
fn several_unlisted_plugins_are_one_warning_that_names_them_all() {
    let home = Home::new();
    std::fs::remove_file(home.path().join("ice.lock")).unwrap();
    let warned = run(&home, &[]).exits(0);
    assert_eq!(warned.err.matches("warning[ICE-T045]").count(), 1, "{}", warned.err);
    assert!(warned.err.contains("iceos/csv") && warned.err.contains("iceos/web"), "{}", warned.err);
    refused(&home, "T045", &["iceos/csv", "iceos/aggregator"]);
}

#[test]
fn a_lost_or_changed_component_is_named_before_anything_runs() {
    let home = Home::new();
    let blob = artifact(&home);
    let bytes = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    refused(&home, "R001", &["aggregator"]);
    home.run(&["verify", "aggregator"]).exits(3);
    std::fs::write(&blob, &bytes).unwrap();
    runs(&home, &["--no-dynamic"]);

    let other = Home::new();
    let mut changed = bytes;
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(artifact(&other), changed).unwrap();
    refused(&other, "T011", &["aggregator"]);
}

#[test]
fn a_plugin_that_is_gone_from_the_store_is_named_by_run_verify_and_list() {
    let home = Home::new();
    let before = lock(&home);
    home.run(&["remove", "csv", "--force"]).exits(0);
    assert!(!lock(&home).contains("name = \"iceos/csv\""));
    home.write("ice.lock", before);
    refused(&home, "R001", &["iceos/csv"]);
    let verified = home.run(&["verify"]).exits(3);
    assert!(verified.out.contains("MISSING iceos/csv 1.0.0"), "{}", verified.out);
    let rows = home.run(&["verify", "csv", "--json"]).exits(3).json();
    assert_eq!((&rows[0]["ok"], rows.as_array().unwrap().len()), (&json!(false), 1), "{rows}");
    home.run(&["verify", "memory"]).exits(0);
    let ran = home.run(&["verify", "nothing"]).exits(2);
    assert!(ran.err.contains("ICE-R001") && ran.err.contains("iceos/nothing"), "{}", ran.err);
    assert!(home.run(&["list"]).exits(0).err.contains("iceos/csv"));
}

#[test]
fn an_edited_lock_lets_nothing_else_in() {
    let clean = Home::new();
    let other = "sha256:00000000000000000000000000000000000000000000000000000000000000ff";
    for member in ["statement", "manifest", "interface", "signed_by", "artifacts", "sequence"] {
        let home = Home::new();
        edit_lock(&home, "iceos/aggregator", |line| match (line.split_once(" = "), member) {
            (Some(("sequence", _)), "sequence") => "sequence = 99".to_owned(),
            (Some(("signed_by", _)), "signed_by") => format!("signed_by = [\"{other}\"]"),
            (Some(("artifacts", old)), "artifacts") => {
                let digest = old.split('"').find(|part| part.starts_with("sha256:")).unwrap();
                line.replace(digest, other)
            }
            (Some((name, _)), _) if name == member => format!("{member} = \"{other}\""),
            _ => line.to_owned(),
        });
        assert_ne!(lock(&home), lock(&clean), "{member}");
        refused(&home, "T039", &["aggregator"]);
        home.run(&["verify", "aggregator"]).exits(3);
    }
}

/// An attacker who can write store and lock, and has a key that nobody believes.
#[test]
fn an_attackers_plugin_that_the_lock_pins_is_still_not_believed() {
    let attacker = Home::empty();
    attacker.run(&["keys", "generate", "test"]).exits(0);
    attacker.run(&["trust", "add", "test", "--scope", "iceos/*", "--yes"]).exits(0);
    attacker.release("aggregator", "1.0.0", |manifest| manifest["description"] = json!("mine")).exits(0);
    let home = Home::believing();
    for folder in ["store", "store/blobs", "store/blobs/sha256"] {
        std::fs::create_dir_all(home.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(attacker.path().join(folder)).unwrap().flatten().filter(|e| e.path().is_file()) {
            std::fs::copy(entry.path(), home.path().join(folder).join(entry.file_name())).unwrap();
        }
    }
    home.write("ice.lock", lock(&attacker));
    refused(&home, "T004", &["aggregator"]);
    let ran = run(&home, &[]);
    assert!(ran.code != Some(0) && !ran.out.contains("a\\nb"), "{}", ran.out);
    home.run(&["verify"]).exits(3);
}

#[test]
fn what_may_be_done_is_what_the_lock_says_whoever_widens_it() {
    let home = Home::new();
    home.run(&["plugins", "grant", "iceos/web", "http=", "http=GET https://a.example/*"]).exits(0);
    runs(&home, &["--no-dynamic"]);
    // Newer than the locked one and without any request: it must not be what is looked at.
    home.release("web", "1.0.1", |manifest| manifest["description"] = json!("newer")).exits(0);
    let locked = lock(&home);
    let toml = std::fs::read_to_string(home.path().join("ice.toml")).unwrap();
    home.write("ice.toml", toml.replace("https://a.example", "https://b.example"));
    let ran = run(&home, &["--no-dynamic"]).exits(3);
    assert!(ran.out.contains("ICE-T039") && ran.out.contains("b.example"), "{}", ran.out);
    home.write("ice.toml", &toml);
    runs(&home, &["--no-dynamic"]);

    // The same through a scope of the trust policy.
    home.write("ice.toml", toml.split("[grants.\"iceos/web\"]").next().unwrap());
    let policy = home.path().join("trust/policy.toml");
    let text = std::fs::read_to_string(&policy).unwrap();
    let scope = |rule: &str| std::fs::write(&policy, format!("{text}\n[scope.grant]\nhttp = [\"{rule}\"]\n")).unwrap();
    scope("GET https://a.example/*");
    let grants = home.run(&["plugins", "grants", "web", "--json"]).exits(0).json();
    assert!(grants[0]["may"].to_string().contains("a.example"), "a scope grants too: {grants}");
    assert_eq!(lock(&home), locked);
    runs(&home, &["--no-dynamic"]);
    scope("GET https://c.example/*");
    let ran = run(&home, &["--no-dynamic"]).exits(3);
    assert!(ran.out.contains("ICE-T039") && ran.out.contains("c.example"), "{}", ran.out);
}

#[test]
fn an_older_locked_version_is_judged_by_its_own_requests() {
    let home = Home::new();
    let first = lock(&home);
    home.release("web", "1.0.1", |manifest| {
        for component in manifest["components"].as_array_mut().unwrap() {
            component["capabilities"]["http"] = json!(["GET https://only.example/*"]);
        }
    })
    .exits(0);
    home.write("ice.lock", first);
    home.run(&["plugins", "grant", "iceos/web", "http=", "http=GET https://a.example/*"]).exits(0);
    runs(&home, &["--no-dynamic"]);
    let toml = std::fs::read_to_string(home.path().join("ice.toml")).unwrap();
    home.write("ice.toml", toml.replace("https://a.example", "https://b.example"));
    let ran = run(&home, &["--no-dynamic"]).exits(3);
    assert!(ran.out.contains("ICE-T039") && ran.out.contains("b.example"), "what 1.0.0 gets counts: {}", ran.out);
}

#[test]
fn a_development_key_counts_only_when_the_lock_lists_it() {
    let home = Home::believing();
    home.run(&["keys", "generate", "dev"]).exits(0);
    home.run(&["trust", "add", "dev", "--role", "dev", "--scope", "iceos/*", "--yes"]).exits(0);
    home.run(&["plugins", "sign", "manifests/kits/aggregator.json", "--key", "dev"]).exits(0);
    runs(&home, &["--no-dynamic"]);
    let keys = home.run(&["trust", "list", "--json"]).exits(0).json();
    let other = keys.as_array().unwrap().iter().find(|key| key["label"] == "test").unwrap()["keyid"].clone();
    edit_lock(&home, "iceos/aggregator", |line| match line.starts_with("signed_by") {
        true => format!("signed_by = [{other}]"),
        false => line.to_owned(),
    });
    refused(&home, "T039", &["aggregator"]);
}

/// Every command, and whether a host that changes nothing refuses it.
#[test]
fn every_way_in_is_closed_and_every_way_to_look_is_open() {
    let home = Home::new();
    let document = home.write("x.json", "{}");
    let archive = home.file("c.ice.tgz");
    home.run(&["bundle", "save", "chatkit", "-o", &archive]).exits(0);
    home.run(&["keys", "generate", "more"]).exits(0);
    let wasm = "plugins/target/components/kits/csv.wasm";
    let refused: &[&[&str]] = &[
        &["install"],
        &["install", "iceos/csv"],
        &["install", "--frozen"],
        &["update", "--yes"],
        &["remove", "csv"],
        &["bundle", "load", &archive, "--yes"],
        &["bundle", "build", "plugins/bundles/chatkit"],
        &["build", "plugins/target/components/bundles/chatkit.wasm"],
        &["plugins", "sign", "manifests/kits/csv.json", "--key", "test"],
        &["plugins", "grant", "web", "http=GET https://a.example/*"],
        &["plugins", "export", wasm, "--source", "plugins/kits/csv"],
        &["plugins", "build"],
        &["trust", "add", "more", "--scope", "acme/*", "--yes"],
        &["trust", "scope", "iceos/*", "--registry", "127.0.0.1:1/ice"],
        &["trust", "import-root", &document, "--yes"],
        &["registry", "add", "127.0.0.1:1/ice", "--plain-http"],
        &["registry", "remove", "127.0.0.1:1/ice"],
        &["login", "127.0.0.1:1", "--user", "a", "--password-stdin"],
        &["publish", "csv", "--to", "127.0.0.1:1/ice", "--yes"],
        &["attest", "list", "127.0.0.1:1/ice/iceos/csv:1.0.0"],
        &["index", "refresh"],
        &["index", "publish", "--key", "more", "--to", "127.0.0.1:1/ice"],
        &["outdated"],
        &["search", "csv", "--refresh"],
        &["bundle", "run", "seller_assistant", "--file", "plugins/bundles/seller_assistant/examples/items.csv"],
    ];
    let state = || (lock(&home), std::fs::read(home.path().join("store/index.json")).unwrap());
    let before = state();
    for args in refused {
        let ran = home.run(&[&["--no-dynamic"], *args].concat()).exits(3);
        assert!(ran.err.contains("error[ICE-T044]"), "{args:?}: {}", ran.err);
    }
    assert!(state() == before, "nothing changed");
    let open: &[&[&str]] = &[
        &["list"],
        &["verify"],
        &["info", "csv"],
        &["audit"],
        &["doctor"],
        &["trust", "list"],
        &["registry", "list"],
        &["plugins", "grants"],
        &["plugins", "lint", "manifests/kits/csv.json"],
        &["plugins", "precompile"],
        &["bundle", "list"],
        &["bundle", "save", "csv", "-o", &home.file("csv.ice.tgz")],
        &["executions", "list"],
        &["metering", "summary"],
        &["keys", "generate", "further"],
    ];
    for args in open {
        home.run(&[&["--no-dynamic"], *args].concat()).exits(0);
    }
    let help = home.run(&["install", "--help"]).exits(0).out;
    assert!(help.contains("--no-dynamic") && help.contains("ICE-T044"), "it is said where it is looked up: {help}");
}

/// Runs with these files in `ICEOS_EXTRA_PLUGINS`.
fn with_extra(home: &Home, file: &str, args: &[&str]) -> Ran {
    Ran::from(home.ice().env("ICEOS_EXTRA_PLUGINS", file).args(args).output().unwrap())
}

#[test]
fn extra_plugins_are_signed_archives_that_the_lock_lists() {
    let maker = Home::new();
    let archive = maker.file("aggregator.ice.tgz");
    maker.run(&["bundle", "save", "aggregator", "-o", &archive]).exits(0);
    let home = Home::believing();
    let blueprint = home.write("b.yaml", BLUEPRINT);
    let args = ["--no-dynamic", "run-blueprint", &blueprint, "--json"];
    for (file, code) in [
        (root().join("manifests").to_str().unwrap(), "T003"),
        ("manifests/kits/aggregator.json", "T003"),
        ("plugins/target/components/kits/aggregator.wasm", "T003"),
        ("/nowhere.ice.tgz", "C002"),
    ] {
        for args in [&args[1..], &args] {
            let ran = with_extra(&home, file, args);
            assert!(ran.code.is_some_and(|code| code == 2 || code == 3), "{file}: {}", ran.out);
            assert!(ran.out.contains(&format!("ICE-{code}")), "{file}: {}", ran.out);
        }
    }
    let ran = with_extra(&home, &archive, &args).exits(3);
    assert!(ran.out.contains("ICE-T045") && ran.out.contains("iceos/aggregator"), "{}", ran.out);
    assert_eq!(home.run(&["list", "--json"]).exits(0).json(), json!([]), "it did not come in");

    // Without the flag it runs, with a warning.
    let open = Home::believing();
    let ran = with_extra(&open, &archive, &["run-blueprint", &blueprint, "--json"]).exits(0);
    assert!(ran.err.contains("warning[ICE-T045]"), "{}", ran.err);

    let text = lock(&maker);
    let entries = text
        .split("\n[[package]]\n")
        .filter(|entry| entry.contains("version = 1\n") || entry.contains("\"iceos/aggregator\"\n"));
    home.write("ice.lock", entries.collect::<Vec<_>>().join("\n[[package]]\n"));
    let ran = with_extra(&home, &archive, &args).exits(0);
    assert_eq!(ran.json()["outputs"]["s"], "a\nb");

    let stranger = Home::empty();
    stranger.write("ice.lock", lock(&home));
    let ran = with_extra(&stranger, &archive, &args).exits(3);
    assert!(ran.out.contains("ICE-T019"), "an archive brings no trust: {}", ran.out);
}

/// Makes, signs and imports a list of what is taken back.
fn take_back(home: &Home, args: &[&str]) {
    let list = home.file("revoked.json");
    if !home.path().join("keys/rev.pem").exists() {
        home.run(&["keys", "generate", "rev"]).exits(0);
        home.run(&["trust", "add", "rev", "--role", "revocations", "--yes"]).exits(0);
    }
    let mut all = vec!["trust", "revocations", "new", "--reason", "stolen laptop", "--out", &list];
    if home.path().join("revoked.json").exists() {
        all.extend(["--after", &list]);
    }
    home.run(&[&all, args].concat()).exits(0);
    home.run(&["trust", "revocations", "sign", &list, "--key", "rev"]).exits(0);
    home.run(&["--no-dynamic", "trust", "revocations", "import", &list]).exits(0);
}

#[test]
fn what_was_taken_back_neither_runs_nor_is_installed_and_what_was_kept_does() {
    let home = Home::new();
    let row = home.listed("iceos/aggregator", "1.0.0");
    let (statement, key) = (row["statement"].as_str().unwrap(), row["signed_by"][0].as_str().unwrap());
    take_back(&home, &["--statement", statement, "--advisory", "https://acme.example/1"]);
    refused(&home, "T022", &["aggregator", "stolen laptop", "https://acme.example/1"]);
    assert!(run(&home, &[]).exits(3).out.contains("ICE-T022"));
    let ran = home.run(&["plugins", "sign", "manifests/kits/aggregator.json", "--key", "test"]).exits(3);
    assert!(ran.err.contains("ICE-T022"), "{}", ran.err);
    let report = home.run(&["audit", "aggregator", "--json"]).exits(3).json();
    let found = &report["plugins"][0]["findings"];
    assert_eq!((&found[0]["check"], &found[0]["level"]), (&json!("revoked"), &json!("error")), "{report}");

    // The key was stolen; what it signed before that is listed and runs on, anything else does not.
    let home = Home::new();
    let mut args = vec!["--key", key];
    let rows = home.run(&["list", "--json"]).exits(0).json();
    let kept = rows.as_array().unwrap().iter().filter(|row| row["name"] != "iceos/csv");
    let kept: Vec<String> = kept.map(|row| row["statement"].as_str().unwrap().to_owned()).collect();
    args.extend(kept.iter().flat_map(|statement| ["--keep", statement]));
    take_back(&home, &args);
    runs(&home, &[]);
    refused_for_csv(&home);
    let report = home.run(&["audit", "aggregator", "--json"]).exits(0).json();
    let revoked = |finding: &&Value| finding["check"] == "revoked";
    let found = report["plugins"][0]["findings"].as_array().unwrap().iter().find(revoked).unwrap().clone();
    assert_eq!(found["level"], "note", "{report}");
    let ran = home.release("search", "1.0.1", |_| {}).exits(3);
    assert!(ran.err.contains("ICE-T022"), "the key signs nothing new: {}", ran.err);
}

fn refused_for_csv(home: &Home) {
    let ran = home.run(&["verify", "csv"]).exits(3);
    assert!(ran.out.contains("ICE-T022"), "{}", ran.out);
    let ran = run(home, &["--no-dynamic"]).exits(3);
    assert!(ran.out.contains("ICE-T022") && ran.out.contains("iceos/csv"), "{}", ran.out);
}
