//! From the crates inside a component to an advisory about one of them.

use serde_json::{Value, json};

use crate::home::{Home, root};

/// The version of a crate that a plugin says it was built from.
fn version_in(report: &Value, plugin: &str, name: &str) -> Option<String> {
    let plugin = report["plugins"].as_array()?.iter().find(|row| row["name"] == plugin)?;
    let found = plugin["crates"].as_array()?.iter().find(|row| row["name"] == name)?;
    Some(found["version"].as_str()?.to_owned())
}

fn advise(home: &Home, name: &str, front: &str, patched: &str) -> String {
    let folder = home.path().join("advisories/crates").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"{name}\"\ndate = \"2026-11-01\"\n{front}\n\n\
         [versions]\npatched = [{patched}]\n```\n\n# A quoted field is read twice\n\nNobody should.\n"
    );
    std::fs::write(folder.join("RUSTSEC-2026-9999.md"), text).unwrap();
    home.path().join("advisories").to_str().unwrap().to_owned()
}

#[test]
fn a_vulnerable_crate_is_found_by_the_version_in_the_lock() {
    let home = Home::new();
    let report = home.run(&["audit", "--json"]).exits(0).json();
    let lock = std::fs::read_to_string(root().join("plugins/Cargo.lock")).unwrap();
    let version = version_in(&report, "iceos/csv", "csv").unwrap();
    assert!(lock.contains(&format!("name = \"csv\"\nversion = \"{version}\"")), "{version}");
    assert_eq!(version_in(&report, "iceos/search", "csv"), None, "a neighbour's crates are not listed");
    assert_eq!((&report["advisories"], &report["errors"]), (&json!(false), &json!(0)), "{report}");
    assert!(report["help"].as_str().unwrap().contains("git clone"), "{report}");
    let ran = home.run(&["audit"]).exits(0);
    assert!(ran.err.contains("RustSec/advisory-db") && ran.err.contains("advisory-db`"), "{}", ran.err);

    let db = advise(&home, "csv", "url = \"https://example.com/csv\"", "\">= 99.0.0\"");
    let ran = home.run(&["audit", "--db", &db, "--json"]).exits(3);
    let report = ran.json();
    let csv = report["plugins"].as_array().unwrap().iter().find(|row| row["name"] == "iceos/csv").unwrap();
    let finding = csv["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "advisory").unwrap();
    assert_eq!(
        finding["advisory"],
        json!({
            "id": "RUSTSEC-2026-9999", "title": "A quoted field is read twice", "crate": "csv", "version": version,
            "patched": [">=99.0.0"], "url": "https://example.com/csv",
        })
    );
    assert_eq!((&finding["level"], &csv["licence"]), (&json!("error"), &json!("Apache-2.0")));
    let ran = home.run(&["audit", "csv", "--db", &db]).exits(3);
    let expected = format!(
        "RUSTSEC-2026-9999, a vulnerability in `csv {version}`: A quoted field is read twice; patched in >=99.0.0"
    );
    assert!(ran.out.contains(&expected) && ran.out.contains("cargo update -p csv"), "{}", ran.out);
    home.run(&["audit", "search", "--db", &db]).exits(0);

    advise(&home, "csv", "", "\">= 0.1.0\"");
    home.run(&["audit", "--db", &db]).exits(0);
    advise(&home, "csv", "informational = \"unmaintained\"", "");
    home.run(&["audit", "--db", &db]).exits(0);
    home.run(&["audit", "--db", &db, "--deny", "warnings"]).exits(3);
}

#[test]
fn names_and_folders_that_do_not_exist_are_problems() {
    let home = Home::new();
    let ran = home.run(&["audit", "nothing"]).exits(2);
    assert!(ran.err.contains("error[ICE-R001]") && ran.err.contains("`iceos/nothing`"), "{}", ran.err);
    let ran = home.run(&["audit", "--db", "/nowhere"]).exits(2);
    assert!(ran.err.contains("error[ICE-C002]") && ran.err.contains("git clone"), "{}", ran.err);
}

#[test]
fn what_went_out_of_use_is_told_where_it_is_used_and_a_changed_plugin_is_refused() {
    let home = Home::new();
    let manifest = home.path().join("csv.json");
    let mut document: Value =
        serde_json::from_slice(&std::fs::read(root().join("manifests/kits/csv.json")).unwrap()).unwrap();
    document["version"] = json!("1.0.1");
    document["sequence"] = json!(2);
    document["components"][0]["version"] = json!("1.0.1");
    document["components"][0]["deprecated"] = json!({ "since": "1.0.1", "replacement": "csv_reader" });
    document.as_object_mut().unwrap().remove("license");
    std::fs::write(&manifest, document.to_string()).unwrap();
    let signed = home.run(&["plugins", "sign", manifest.to_str().unwrap(), "--key", "test"]).exits(0);
    let words = "`csv_loader` of `iceos/csv` is deprecated since 1.0.1, use `csv_reader`";
    assert!(signed.err.contains("warning[ICE-") && signed.err.contains(words), "{}", signed.err);
    let listed = home.run(&["list"]).exits(0);
    assert!(listed.err.contains(words), "{}", listed.err);
    let items = "plugins/bundles/seller_assistant/examples/items.csv";
    let ran = home.run(&["bundle", "run", "seller_assistant", "--file", items]).exits(0);
    assert_eq!(ran.err.matches(words).count(), 1, "{}", ran.err);
    let ran = home.run(&["bundle", "run", "getting_started.llm_only"]).exits(0);
    assert!(!ran.err.contains("deprecated"), "it does not use it: {}", ran.err);

    let ran = home.run(&["audit", "csv"]).exits(0);
    assert!(ran.out.contains("`csv_loader` is deprecated since 1.0.1, use `csv_reader`"), "{}", ran.out);
    assert!(ran.out.contains("it names no licence"), "{}", ran.out);
    home.run(&["audit", "csv", "--deny", "warnings"]).exits(3);

    let artifact = document["components"][0]["artifact"].as_str().unwrap().replace("sha256:", "");
    let blob = home.path().join("store/blobs/sha256").join(artifact);
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let ran = home.run(&["audit", "csv", "--json"]).exits(3);
    let report = ran.json();
    assert_eq!(report["plugins"][0]["findings"][0]["check"], "verified", "{report}");
}
