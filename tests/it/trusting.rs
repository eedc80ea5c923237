//! Whom a home believes: keys, scopes, roots, and what happens to a trust folder that others can change.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::home::{Home, Ran};
use crate::registries::servers::DockerRegistry;

fn generate(home: &Home, names: &[&str]) {
    for name in names {
        home.run(&["keys", "generate", name]).exits(0);
    }
}

/// Makes a root in the file `<version>.json` of this home and signs it; `roots` are its root keys, all of them needed.
fn root(home: &Home, version: u32, roots: &[&str], signers: &[&str], publishers: &[&str]) -> String {
    let (file, before) = (home.file(&format!("{version}.json")), home.file(&format!("{}.json", version - 1)));
    let threshold = roots.len().to_string();
    let mut args = vec!["trust", "root", "new", "--index", "index", "--revocations", "rev", "--out", &file];
    args.extend(["--threshold", &threshold]);
    args.extend(roots.iter().flat_map(|key| ["--root", key]));
    args.extend(publishers.iter().flat_map(|publisher| ["--publisher", publisher]));
    if version > 1 {
        args.extend(["--after", &before]);
    }
    let made = home.run(&[&args[..], &["--json"]].concat()).exits(0).json();
    assert_eq!(made["version"], version, "{made}");
    for key in signers {
        home.run(&["trust", "root", "sign", &file, "--key", key]).exits(0);
    }
    file
}

fn import(home: &Home, files: &[&str]) -> Ran {
    home.run(&[&["trust", "import-root"], files, &["--yes"]].concat())
}

#[test]
fn roots_follow_one_another_with_old_and_new_keys_and_none_is_left_out() {
    let owner = Home::new();
    generate(&owner, &["a", "b", "c", "index", "rev"]);
    let publishers = ["iceos/*=test"];
    let half = root(&owner, 1, &["a", "b"], &["a"], &publishers);
    let home = Home::empty();
    let ran = import(&home, &[&half]).exits(3);
    assert!(ran.err.contains("error[ICE-T"), "one of two is not enough: {}", ran.err);
    let first = root(&owner, 1, &["a", "b"], &["a", "b"], &publishers);
    let shown = owner.run(&["trust", "root", "show", &first]).exits(0);
    assert!(shown.out.contains("2 of ") && shown.out.contains("iceos/*"), "{}", shown.out);
    let ran = home.run(&["trust", "import-root", &first]).exits(2);
    assert!(ran.err.contains("fingerprint") && ran.err.contains("--yes"), "{}", ran.err);
    assert!(home.run(&["trust", "list", "--json"]).exits(0).json().as_array().unwrap().is_empty());
    import(&home, &[&first]).exits(0);

    for (signers, why) in [(&["c"][..], "only the new"), (&["a", "c"], "too few old"), (&["a", "b"], "only the old")] {
        let second = root(&owner, 2, &["c"], signers, &publishers);
        let ran = import(&home, &[&second]).exits(3);
        assert!(ran.err.contains("ICE-T042"), "{why}: {}", ran.err);
    }
    let second = root(&owner, 2, &["c"], &["a", "b", "c"], &publishers);
    let third = root(&owner, 3, &["c"], &["c"], &publishers);
    let ran = import(&home, &[&third]).exits(3);
    assert!(ran.err.contains("ICE-T042"), "one is left out: {}", ran.err);
    let imported = import(&home, &[&second]).exits(0);
    assert!(imported.out.contains("root 2 is believed"), "{}", imported.out);
    import(&home, &[&third]).exits(0);
    // A home that comes late takes them all at once, in any order.
    let late = Home::empty();
    import(&late, &[&third, &first, &second]).exits(0);
    assert!(late.run(&["trust", "list"]).exits(0).err.contains("root 3, until"));

    let other = root(&owner, 3, &["c"], &["c"], &["iceos/*=test", "acme/*=c"]);
    let ran = import(&home, &[&other]).exits(3);
    assert!(ran.err.contains("ICE-T042"), "another root of the same version: {}", ran.err);
}

#[test]
fn publishers_of_a_root_are_believed_without_a_policy_and_their_registry_is_named_beside() {
    let owner = Home::new();
    generate(&owner, &["a", "index", "rev"]);
    let first = root(&owner, 1, &["a"], &["a"], &["iceos/*=test"]);
    let home = Home::empty();
    import(&home, &[&first]).exits(0);
    assert!(!home.path().join("trust/policy.toml").exists());
    let listed = home.run(&["trust", "list", "--json"]).exits(0).json();
    let with = |member: &str, word: &str| -> Vec<Value> {
        listed.as_array().unwrap().iter().filter(|row| row[member].to_string().contains(word)).cloned().collect()
    };
    assert_eq!((with("roles", "root").len(), with("roles", "index").len()), (1, 1), "{listed}");
    let publisher = &with("scopes", "iceos/*")[0];
    assert_eq!(publisher["from"], "root", "{listed}");
    let keyid = publisher["keyid"].as_str().unwrap();
    assert!(home.run(&["trust", "show", &keyid[7..19]]).exits(0).out.contains("BEGIN PUBLIC KEY"));
    let ran = home.run(&["trust", "remove", keyid]).exits(2);
    assert!(ran.err.contains("ICE-R001"), "the root's to change: {}", ran.err);
    let doctor = home.run(&["doctor"]);
    assert!(!doctor.out.contains("nobody is trusted") && doctor.out.contains("root 1"), "{}", doctor.out);

    let archive = owner.file("a.ice.tgz");
    owner.run(&["bundle", "save", "aggregator", "-o", &archive]).exits(0);
    home.run(&["bundle", "load", &archive, "--yes"]).exits(0);
    home.run(&["verify"]).exits(0);

    // From a registry, once it is said which.
    let registry = DockerRegistry::start();
    let prefix = format!("{}/ice", registry.address());
    owner.run(&["registry", "add", &prefix, "--plain-http"]).exits(0);
    owner.run(&["publish", "csv", "--to", &prefix, "--yes"]).exits(0);
    home.run(&["registry", "add", &prefix, "--plain-http"]).exits(0);
    let ran = home.run(&["install", "csv", "--yes"]).exits(3);
    assert!(ran.err.contains("ICE-T019") && ran.err.contains("ice trust scope 'iceos/*'"), "{}", ran.err);
    home.run(&["trust", "scope", "iceos/*", "--registry", &prefix]).exits(0);
    home.run(&["install", "csv", "--yes"]).exits(0);
    let shown = home.run(&["trust", "show", "iceos/csv", "--json"]).exits(0).json();
    assert_eq!((&shown["registry"], &shown["keys"][0]), (&json!(prefix), &json!(keyid)), "{shown}");

    // The next root names somebody else: what is said beside the scope gives the old key nothing.
    owner.run(&["keys", "generate", "next"]).exits(0);
    let second = root(&owner, 2, &["a"], &["a"], &["iceos/*=next"]);
    import(&home, &[&second]).exits(0);
    let ran = home.run(&["verify"]).exits(3);
    assert!(ran.out.contains("ICE-T004"), "{}", ran.out);
    let third = root(&owner, 3, &["a"], &["a"], &[]);
    import(&home, &[&third]).exits(0);
    let ran = home.run(&["install", "csv", "--yes"]).exits(3);
    assert!(ran.err.contains("ICE-T019"), "no keys, no scope: {}", ran.err);
    let ran = home.run(&["trust", "scope", "acme/*", "--registry", &prefix]).exits(2);
    assert!(ran.err.contains("ICE-R001"), "nobody names it: {}", ran.err);
}

#[test]
fn what_ends_soon_is_told_by_list_and_doctor() {
    let owner = Home::empty();
    generate(&owner, &["a", "index", "rev"]);
    let file = owner.file("1.json");
    let new = |days: &str| {
        let args = ["trust", "root", "new", "--root", "a", "--index", "index", "--revocations", "rev"];
        let all = [&args[..], &["--publisher", "iceos/*=a", "--days", days, "--out", &file]].concat();
        let ran = owner.run(&all);
        if ran.code == Some(0) {
            owner.run(&["trust", "root", "sign", &file, "--key", "a"]).exits(0);
        }
        ran
    };
    for (days, word) in [("6", "7 days"), ("20", "30 days"), ("80", "90 days")] {
        let home = Home::empty();
        new(days).exits(0);
        import(&home, &[&file]).exits(0);
        for args in [&["trust", "list"][..], &["doctor"]] {
            let ran = home.run(args);
            let text = ran.out + &ran.err;
            assert!(text.contains("ICE-T043") && text.contains(word), "{args:?} {days}: {text}");
        }
    }
    let home = Home::empty();
    new("400").exits(0);
    import(&home, &[&file]).exits(0);
    assert!(!home.run(&["doctor"]).out.contains("ICE-T043"));
    new("0").exits(0);
    let ran = import(&Home::empty(), &[&file]).exits(3);
    assert!(ran.err.contains("ICE-T043"), "one that has ended is not taken: {}", ran.err);
    let ran = new("18446744073709551615");
    assert!(ran.code == Some(3) && ran.err.contains("error[ICE-T049]"), "{}", ran.err);
}

#[test]
fn a_weak_key_a_folder_of_others_and_a_link_are_refused() {
    let home = Home::empty();
    // The point of order 1, in the frame that every ed25519 public key has.
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
    let file = home.write("weak.pem", weak);
    let ran = home.run(&["trust", "add", &file, "--scope", "acme/*", "--yes"]).exits(3);
    assert!(ran.err.contains("error[ICE-T005]"), "{}", ran.err);
    for (name, content) in
        [("text", "hello"), ("empty", ""), ("other", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")]
    {
        let file = home.write(name, content);
        let ran = home.run(&["trust", "add", &file, "--scope", "acme/*", "--yes"]).exits(3);
        assert!(ran.err.contains("error[ICE-T025]"), "{name}: {}", ran.err);
    }
    assert!(home.run(&["trust", "list", "--json"]).exits(0).json().as_array().unwrap().is_empty());

    let home = Home::new();
    let trust = home.path().join("trust");
    let mode = |mode: u32| std::fs::set_permissions(&trust, std::fs::Permissions::from_mode(mode)).unwrap();
    for bits in [0o770, 0o702, 0o777] {
        mode(bits);
        for args in [&["trust", "list"][..], &["list"], &["verify"], &["bundle", "run", "getting_started.llm_only"]] {
            let ran = home.run(args).exits(3);
            assert!(ran.err.contains("error[ICE-T010]") && ran.err.contains("chmod"), "{bits:o} {args:?}: {}", ran.err);
        }
    }
    mode(0o700);
    home.run(&["verify"]).exits(0);
    let policy = trust.join("policy.toml");
    let elsewhere = home.path().join("policy.toml");
    std::fs::rename(&policy, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &policy).unwrap();
    assert!(home.run(&["list"]).exits(3).err.contains("error[ICE-T010]"));
}

#[test]
fn keys_are_added_shown_and_removed_and_scopes_bounded() {
    let home = Home::new();
    generate(&home, &["one", "two"]);
    let ran = home.run(&["trust", "add", "one", "--scope", "acme/*"]).exits(2);
    assert!(ran.err.contains("--yes"), "nobody said yes: {}", ran.err);
    let believed = || home.run(&["trust", "list", "--json"]).exits(0).json().as_array().unwrap().len();
    assert_eq!(believed(), 1);
    let ran = home.run(&["trust", "add", "one", "--scope", "acme/*", "--threshold", "2", "--yes"]).exits(3);
    assert!(ran.err.contains("ICE-T024"), "{}", ran.err);
    let ran = home.run(&["trust", "show", "acme/csv"]).exits(3);
    assert!(ran.err.contains("ICE-T019"), "what was refused is not half believed: {}", ran.err);
    home.run(&["trust", "add", "one", "--scope", "acme/*", "--owner", "Acme", "--yes"]).exits(0);
    home.run(&["trust", "add", "two", "--scope", "acme/*", "--threshold", "2", "--cooldown-hours", "24", "--yes"])
        .exits(0);
    assert_eq!(believed(), 3);
    let scope = home.run(&["trust", "show", "acme/csv", "--json"]).exits(0).json();
    assert_eq!((&scope["threshold"], &scope["cooldown_hours"]), (&json!(2), &json!(24)), "{scope}");
    assert_eq!(scope["keys"].as_array().unwrap().len(), 2, "{scope}");
    let rows = home.run(&["trust", "list", "--json"]).exits(0).json();
    let one = rows.as_array().unwrap().iter().find(|row| row["label"] == "one").unwrap().clone();
    assert_eq!((&one["owner"], &one["scopes"][0]), (&json!("Acme"), &json!("acme/*")));
    let keyid = one["keyid"].as_str().unwrap();
    let ran = home.run(&["trust", "remove", keyid]).exits(3);
    assert!(ran.err.contains("ICE-T024"), "fewer keys than the scope needs: {}", ran.err);
    home.run(&["trust", "scope", "acme/*", "--threshold", "1"]).exits(0);
    home.run(&["trust", "remove", keyid]).exits(0);
    assert_eq!(believed(), 2);

    let test = rows.as_array().unwrap().iter().find(|row| row["label"] == "test").unwrap()["keyid"].clone();
    home.run(&["trust", "remove", test.as_str().unwrap()]).exits(0);
    let ran = home.run(&["bundle", "run", "getting_started.llm_only"]);
    assert!(ran.code != Some(0) && ran.err.contains("ICE-T019"), "who is not believed does not run: {}", ran.err);
}

#[test]
fn older_and_foreign_lists_of_revocations_are_refused() {
    let home = Home::new();
    generate(&home, &["rev", "other"]);
    let list = |version: &str, key: &str, more: &[&str]| {
        let file = home.file(version);
        let statement = format!("sha256:{}", "ab".repeat(32));
        let args = ["trust", "revocations", "new", "--statement", &statement, "--reason", "r", "--out", &file];
        home.run(&[&args[..], more].concat()).exits(0);
        home.run(&["trust", "revocations", "sign", &file, "--key", key]).exits(0);
        file
    };
    let first = list("r1", "rev", &[]);
    let import = |file: &str| home.run(&["trust", "revocations", "import", file]);
    assert!(import(&first).exits(3).err.contains("--role revocations"), "nobody may sign one yet");
    home.run(&["trust", "add", "rev", "--role", "revocations", "--yes"]).exits(0);
    import(&first).exits(0);
    let second = list("r2", "rev", &["--after", &first]);
    import(&second).exits(0);
    assert!(import(&first).exits(3).err.contains("ICE-T021"));
    assert!(import(&list("r3", "other", &["--after", &second])).exits(3).err.contains("ICE-T004"));
    let shown = home.run(&["trust", "revocations", "show", "--json"]).exits(0).json();
    assert_eq!(shown["version"], 2, "{shown}");
}

/// The subcommands that a page of help names.
fn subcommands(home: &Home, path: &[&str]) -> Vec<String> {
    let help = home.run(&[path, &["--help"]].concat()).exits(0);
    assert!(!help.out.is_empty() && help.err.is_empty(), "{path:?}");
    let lines = help.out.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A name stands two spaces in; what goes on below it stands further in.
    let named = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = named.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_with_an_example_where_it_takes_something() {
    let home = Home::empty();
    let mut seen = 0;
    for command in subcommands(&home, &[]) {
        let inner = subcommands(&home, &[&command]);
        for sub in &inner {
            for third in subcommands(&home, &[&command, sub]) {
                subcommands(&home, &[&command, sub, &third]);
            }
        }
        seen += 1 + inner.len();
    }
    assert!(seen > 40, "{seen}");
    for command in [
        "install", "update", "remove", "publish", "search", "info", "outdated", "audit", "verify", "list", "login",
        "logout",
    ] {
        let help = home.run(&[command, "--help"]).exits(0).out;
        assert!(help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn commands_that_only_look_answer_with_json_on_an_empty_home() {
    let home = Home::empty();
    for args in [
        &["list"][..],
        &["verify"],
        &["audit"],
        &["doctor"],
        &["trust", "list"],
        &["trust", "revocations", "show"],
        &["registry", "list"],
        &["plugins", "grants"],
        &["bundle", "list"],
        &["index", "queue", "--folder", &home.file("index")],
        &["index", "refresh"],
        &["install"],
        &["install", "--frozen"],
        &["update"],
        &["executions", "list"],
        &["metering", "summary"],
    ] {
        let ran = home.run(&[args, &["--json"]].concat());
        assert!(matches!(ran.code, Some(0 | 2)) && !ran.err.contains("panicked"), "{args:?}: {}", ran.err);
        let value = ran.json();
        assert!(ran.code == Some(0) || value["ok"] == false, "{args:?}: {value}");
    }
}

#[test]
fn bad_input_is_a_problem_with_its_exit_code_and_never_a_panic() {
    let home = Home::new();
    let text = home.write("text", "hello");
    let json = home.write("x.json", "{}");
    let zeros = format!("sha256:{}", "0".repeat(64));
    let table: &[(&[&str], i32, &str)] = &[
        (&["install", "acme/csv", "--yes"], 3, "ICE-T019"),
        (&["install", "аcme/csv", "--yes"], 3, "ICE-T018"),
        (&["install", "csv@not-a-version", "--yes"], 2, "ICE-"),
        (&["install", "../csv", "--yes"], 3, "ICE-T018"),
        (&["install", "acme/csv", "--frozen"], 3, "ICE-T040"),
        (&["install", "acme/csv", "--locked"], 3, "ICE-T040"),
        (&["update", "nothing", "--yes"], 2, "ICE-R001"),
        (&["remove", "nothing"], 2, "ICE-R001"),
        (&["remove", "csv"], 3, "ICE-R010"),
        (&["verify", "nothing"], 2, "ICE-R001"),
        (&["info", "nothing"], 2, "ICE-R001"),
        (&["search", "csv"], 2, "ICE-R001"),
        (&["outdated", "--offline"], 2, "ICE-R001"),
        (&["publish", "nothing", "--to", "127.0.0.1:1/ice"], 2, "ICE-R001"),
        (&["publish", "csv"], 2, "--to HOST/PREFIX"),
        (&["publish", "csv", "--to", "not a place"], 2, "ICE-R014"),
        (&["publish", "csv@x", "--to", "127.0.0.1:1/ice"], 2, "ICE-C001"),
        (&["attest", "list", "nonsense"], 2, "ICE-R014"),
        (&["attest", "add", "127.0.0.1:1/p/q:1", "--manifest", "/nowhere", "--key", "test"], 2, "ICE-C002"),
        (&["bundle", "save", "nothing"], 2, "ICE-R001"),
        (&["bundle", "save", "csv@9.9.9"], 2, "ICE-R001"),
        (&["bundle", "save", "csv@x"], 2, "ICE-C001"),
        (&["bundle", "save", "csv", "-o", "/proc/nowhere/x.ice.tgz"], 2, "ICE-C002"),
        (&["bundle", "load", "/nowhere.ice.tgz"], 2, "ICE-C002"),
        (&["bundle", "load", &text], 3, "ICE-T003"),
        (&["bundle", "run", "/nowhere.ice.tgz"], 2, "ICE-C002"),
        (&["bundle", "build", "/nowhere", "--key", "test"], 2, "ICE-C002"),
        (&["bundle", "build", "plugins/bundles/chatkit", "--key", "nobody"], 2, "ICE-C002"),
        (&["bundle", "build", "plugins/bundles/chatkit", "--key", &text], 3, "ICE-T"),
        (&["trust", "add", "/nowhere", "--scope", "acme/*", "--yes"], 2, "ICE-C002"),
        (&["trust", "add", "test", "--scope", "*", "--yes"], 3, "ICE-T024"),
        (&["trust", "add", "test", "--scope", "acme*", "--yes"], 3, "ICE-T024"),
        (&["trust", "add", "test", "--scope", "acme/*", "--registry", "not a place", "--yes"], 2, "ICE-R014"),
        (&["trust", "add", "test", "--role", "king", "--yes"], 3, "ICE-T024"),
        (&["trust", "add", "test"], 2, "--scope"),
        (&["trust", "remove", "ffff"], 2, "ICE-R001"),
        (&["trust", "remove", ""], 2, "ICE-R001"),
        (&["trust", "show", "ffff"], 2, "ICE-R001"),
        (&["trust", "show", "acme/csv"], 3, "ICE-T019"),
        (&["trust", "show", "NOT/A NAME"], 3, "ICE-T018"),
        (&["trust", "scope", "acme/*", "--registry", "a.example/ice"], 2, "ICE-R001"),
        (&["trust", "scope", "iceos/*"], 2, "--registry"),
        (&["trust", "import-root", "/nowhere"], 2, "ICE-C002"),
        (&["trust", "import-root", &json, "--yes"], 3, "ICE-T049"),
        (&["trust", "root", "show", &text], 3, "ICE-T"),
        (&["trust", "root", "sign", &json, "--key", "test"], 3, "ICE-T049"),
        (
            &[
                "trust",
                "root",
                "new",
                "--root",
                "nobody",
                "--index",
                "test",
                "--revocations",
                "test",
                "--out",
                &home.file("r"),
            ],
            2,
            "ICE-C002",
        ),
        (
            &[
                "trust",
                "root",
                "new",
                "--root",
                "test",
                "--threshold",
                "2",
                "--index",
                "test",
                "--revocations",
                "test",
                "--out",
                &home.file("r"),
            ],
            3,
            "ICE-T049",
        ),
        (&["trust", "revocations", "new", "--reason", "x", "--out", &home.file("r")], 2, "ICE-C001"),
        (
            &["trust", "revocations", "new", "--statement", "sha1:00", "--reason", "x", "--out", &home.file("r")],
            3,
            "ICE-T012",
        ),
        (
            &[
                "trust",
                "revocations",
                "new",
                "--statement",
                &zeros,
                "--reason",
                "x",
                "--after",
                &text,
                "--out",
                &home.file("r"),
            ],
            3,
            "ICE-T",
        ),
        (&["trust", "revocations", "import", &json], 3, "ICE-T049"),
        (&["registry", "add", "not a place"], 2, "ICE-"),
        (&["registry", "add", "registry.acme.example/ice", "--plain-http"], 2, "ICE-C006"),
        (&["registry", "add", "registry.acme.example/ice", "--auth", "shout"], 2, "ICE-C006"),
        (&["registry", "remove", "registry.acme.example/ice"], 2, "ICE-R001"),
        (&["plugins", "sign", "/nowhere", "--key", "test"], 2, "ICE-C002"),
        (&["plugins", "sign", &text, "--key", "test"], 2, "ICE-M001"),
        (&["plugins", "lint", &text], 2, "ICE-M001"),
        (&["plugins", "lint", "/nowhere"], 2, "ICE-C002"),
    ];
    let mut wrong = Vec::new();
    for (args, code, word) in table {
        let ran = home.run(args);
        let said = ran.err.contains(word) && ran.err.contains("error") && !ran.err.contains("panicked");
        if ran.code != Some(*code) || !said {
            wrong.push(format!("{args:?}: {:?} instead of {code} with {word}: {}{}", ran.code, ran.out, ran.err));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    home.run(&["verify"]).exits(0);
    assert!(!home.path().join("r").exists());
}
