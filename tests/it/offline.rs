//! Bundles as files: the same bytes every time, read by others, loaded and run where there is no network.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::home::{Home, root};

const QUESTION: &[&str] = &[
    "--file",
    "LICENSE",
    "--query",
    "Does this license grant permission to use the trade names of the Licensor?",
    "--session",
    "s1",
    "--json",
];

fn ask(bundle: &str) -> Vec<&str> {
    [&["bundle", "run", bundle], QUESTION].concat()
}

fn outputs(answer: &Value) -> Value {
    assert_eq!(answer["status"], "completed", "{answer}");
    answer["outputs"].clone()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            // Written anew: other times than the original.
            std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// `chatkit` with everything it needs, from a home that has it.
fn saved(home: &Home) -> String {
    let file = home.file("x.ice.tgz");
    home.run(&["bundle", "save", "chatkit", "-o", &file]).exits(0);
    file
}

#[test]
fn the_same_folder_and_the_same_store_give_the_same_bytes() {
    let home = Home::new();
    let build = |folder: &str, out: &str| {
        let report = home.run(&["bundle", "build", folder, "--key", "test", "--out", out, "--json"]).exits(0).json();
        assert_eq!(report["plugins"].as_array().unwrap().len(), 3, "chatkit and what it needs: {report}");
        std::fs::read(out).unwrap()
    };
    let source = "plugins/bundles/chatkit";
    let first = build(source, &home.file("not/there/yet/a.ice.tgz"));
    assert_eq!(build(source, &home.file("b.ice.tgz")), first);
    let elsewhere = home.path().join("copy/of/chatkit");
    copy_folder(&root().join(source), &elsewhere);
    assert_eq!(
        build(elsewhere.to_str().unwrap(), &home.file("c.ice.tgz")),
        first,
        "neither times nor places are in it"
    );

    let one = std::fs::read(saved(&home)).unwrap();
    assert_eq!(std::fs::read(saved(&home)).unwrap(), one);
}

#[test]
fn an_archive_is_built_where_bundles_are_looked_for() {
    let home = Home::new();
    let here = tempfile::tempdir().unwrap();
    let source = root().join("plugins/bundles/chatkit");
    let output =
        home.ice().current_dir(here.path()).args(["bundle", "build"]).arg(source).args(["--key", "test"]).output();
    crate::home::Ran::from(output.unwrap()).exits(0);
    let file = here.path().join("dist/bundles/chatkit-1.0.0.ice.tgz");

    let other = Home::believing();
    let loaded = other.run(&["bundle", "load", file.to_str().unwrap(), "--yes", "--grant", "--json"]).exits(0).json();
    assert_eq!(loaded["installed"].as_array().unwrap().len(), 3, "{loaded}");
    other.run(&["bundle", "build", source_text(), "--key", "nobody"]).exits(2);
}

fn source_text() -> &'static str {
    "plugins/bundles/chatkit"
}

#[test]
fn skopeo_reads_an_archive_as_what_it_is() {
    let home = Home::new();
    let place = format!("oci-archive:{}:iceos/chatkit:1.0.0", saved(&home));
    let output = Command::new("skopeo").args(["inspect", "--raw", &place]).output();
    let output = output.unwrap_or_else(|error| panic!("`skopeo` is missing: run `make setup` ({error})"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.iceos.bundle.v0+json", "{manifest}");
    assert_eq!(
        manifest["annotations"]["io.iceos.statement"],
        home.listed("iceos/chatkit", "1.0.0")["statement"],
        "{manifest}"
    );
}

#[test]
fn without_a_network_a_bundle_is_loaded_and_gives_the_same_answer() {
    let home = Home::new();
    let file = saved(&home);
    let online = outputs(&home.run(&ask("chatkit")).exits(0).json());
    assert!(online["answer"].as_str().unwrap().contains("trade names"), "{online}");

    let other = Home::believing();
    other.run_unplugged(&["bundle", "load", &file, "--yes", "--grant"]).exits(0);
    assert_eq!(outputs(&other.run_unplugged(&ask("chatkit")).exits(0).json()), online);
    for name in ["iceos/chatkit", "iceos/memory", "iceos/chat_agent"] {
        let (here, there) = (home.listed(name, "1.0.0"), other.listed(name, "1.0.0"));
        assert_eq!(here["statement"], there["statement"]);
        assert_eq!(there["locked"], true, "{there}");
    }
    let strictly = [&["--no-dynamic"], &ask("chatkit")[..]].concat();
    assert!(outputs(&other.run_unplugged(&strictly).exits(0).json())["answer"].is_string());
    other.run_unplugged(&["verify"]).exits(0);
}

#[test]
fn without_a_network_a_file_is_run_on_a_home_that_only_believes_its_signer() {
    let home = Home::new();
    let file = saved(&home);
    let online = outputs(&home.run(&ask("chatkit")).exits(0).json());
    let other = Home::believing();
    let asked = other.run_unplugged(&ask(&file)).exits(2);
    assert!(asked.out.contains("--yes") && asked.out.contains("--grant"), "nobody said yes: {}", asked.out);
    let refused = other.run_unplugged(&[&ask(&file)[..], &["--yes"]].concat()).exits(3);
    assert!(refused.out.contains("ICE-G003"), "nobody permitted anything: {}", refused.out);
    assert_eq!(other.run(&["list", "--json"]).exits(0).json(), serde_json::json!([]), "and nothing is here");
    let consented = [&ask(&file)[..], &["--yes", "--grant"]].concat();
    assert_eq!(outputs(&other.run_unplugged(&consented).exits(0).json()), online);
    let strictly = [&["--no-dynamic"], &ask(&file)[..]].concat();
    other.run_unplugged(&strictly).exits(0);

    let stranger = Home::empty();
    let refused = stranger.run_unplugged(&[&ask(&file)[..], &["--yes", "--grant"]].concat()).exits(3);
    assert!(refused.out.contains("ICE-T019") && refused.out.contains("ice trust add"), "{}", refused.out);
}

/// One tar entry with this name and type; its content is empty.
fn entry(name: &str, kind: u8) -> Vec<u8> {
    let mut header = vec![0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(b"00000000000");
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend([0; 1024]);
    header
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_damaged_or_hostile_archive_is_refused_and_leaves_nothing() {
    let home = Home::new();
    let good = std::fs::read(saved(&home)).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let files = [
        ("flipped", "T001", flipped),
        ("cut", "T046", good[..good.len() / 2].to_vec()),
        ("longer", "T046", [&good[..], b"more"].concat()),
        ("twice", "T046", [&good[..], &good[..]].concat()),
        ("empty", "T046", Vec::new()),
        ("text", "T046", b"version = 1\n".to_vec()),
        ("outside", "T046", gzip(&entry("../victim", b'0'))),
        ("absolute", "T046", gzip(&entry("/tmp/victim", b'0'))),
        ("link", "T046", gzip(&entry("index.json", b'2'))),
        ("unknown", "T046", gzip(&entry("install.sh", b'0'))),
    ];
    for (name, code, bytes) in files {
        let other = Home::believing();
        let file = home.write(&format!("{name}.ice.tgz"), bytes);
        for args in [&["bundle", "load", &file, "--yes", "--grant"][..], &["bundle", "run", &file, "--yes", "--grant"]]
        {
            let ran = other.run(args).exits(3);
            assert!(ran.err.contains(&format!("error[ICE-{code}]")) && ran.err.contains(&file), "{name}: {}", ran.err);
        }
        assert_eq!(other.run(&["list", "--json"]).exits(0).json(), serde_json::json!([]), "{name}");
        let left = |folder: &str| std::fs::read_dir(other.path().join(folder)).into_iter().flatten().count();
        assert_eq!((left("store/blobs/sha256"), left("store/ingest")), (0, 0), "{name} left something");
        assert!(!other.path().join("ice.lock").exists() && !other.path().join("ice.toml").exists(), "{name}");
        assert!(!other.path().join("victim").exists() && !other.path().join("store/victim").exists(), "{name}");
    }
}

#[test]
fn what_was_taken_back_travels_in_the_archive_and_takes_effect() {
    let home = Home::new();
    home.run(&["keys", "generate", "rev"]).exits(0);
    home.run(&["trust", "add", "rev", "--role", "revocations", "--yes"]).exits(0);
    let csv = home.listed("iceos/csv", "1.0.0")["statement"].as_str().unwrap().to_owned();
    let list = home.file("revoked.json");
    let other = Home::new();
    other.run(&["verify", "csv"]).exits(0);
    let key = home.file("keys/rev.pub.pem");
    other.run(&["trust", "add", &key, "--role", "revocations", "--yes"]).exits(0);

    let new = ["trust", "revocations", "new", "--statement", &csv, "--reason", "drops rows", "--out", &list];
    home.run(&new).exits(0);
    home.run(&["trust", "revocations", "sign", &list, "--key", "rev"]).exits(0);
    home.run(&["trust", "revocations", "import", &list]).exits(0);
    let file = saved(&home);
    let load = ["bundle", "load", &file, "--yes", "--grant"];
    let ran = other.run_unplugged(&load).exits(3);
    assert!(ran.err.contains("ICE-T022") && ran.err.contains("ice remove iceos/csv"), "{}", ran.err);
    let ran = other.run(&["verify", "csv"]).exits(3);
    assert!(ran.out.contains("ICE-T022") && ran.out.contains("drops rows"), "{}", ran.out);
    let shown = other.run(&["trust", "revocations", "show", "--json"]).exits(0).json();
    assert_eq!(shown["statements"][0]["S"], csv.as_str(), "{shown}");
    let items = "plugins/bundles/seller_assistant/examples/items.csv";
    let ran = other.run(&["bundle", "run", "seller_assistant", "--file", items]);
    assert!(ran.code != Some(0) && ran.err.contains("ICE-T022"), "it runs no more: {}", ran.err);
    other.run(&["remove", "csv", "seller_assistant"]).exits(0);
    other.run_unplugged(&load).exits(0);

    // An archive that a process gets by way of its environment brings the list as well.
    let third = Home::new();
    third.run(&["trust", "add", &key, "--role", "revocations", "--yes"]).exits(0);
    let output = third.ice().env("ICEOS_EXTRA_PLUGINS", &file).args(["list"]).output().unwrap();
    crate::home::Ran::from(output).exits(0);
    third.run(&["verify", "csv"]).exits(3);

    // Nobody there is believed to take anything back: the plugins come, the list does not.
    let fourth = Home::new();
    fourth.run(&["bundle", "load", &file, "--yes", "--grant"]).exits(0);
    fourth.run(&["verify", "csv"]).exits(0);
}
