//! Rows come from verified releases, and stay; a ledger is files that people can read; a build gives the same bytes.

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_registry::index::{Ledger, Row, build, build_rows, pack};
use ice_registry::{DocumentKind, Signed};
use serde_json::{Value, json};

use super::market::{Market, WEEK, options, release, rows, version};
use crate::world::{NOW, World, key};

#[test]
fn a_row_tells_what_the_page_says() {
    let world = World::new();
    let verified = release(&world, |document| {
        document["components"][0]["capabilities"] = json!({"http": ["GET https://api.acme.example/*"]});
        document["components"][0]["schema"] =
            json!({"input": {"type": "object", "properties": {"path": {"type": "string", "examples": ["a.csv"]}}}});
        document["components"][0]["deprecated"] = json!({"since": "1.2.0", "replacement": "acme/table"});
    });
    let row = Row::new(&verified, Digest::of(b"oci"), NOW).unwrap();
    let told: Value = serde_json::from_slice(&row.to_line()).unwrap();
    let expected = json!({
        "name": "acme/csv_reader", "kind": "plugin", "description": "Fast CSV parsing with streaming support",
        "versions": [{
            "version": "1.2.3", "sequence": 1, "S": verified.statement(), "oci_digest": Digest::of(b"oci"), "size": 8,
            "first_seen": "2026-12-01T00:00:00Z", "yanked": null, "security": false,
        }],
        "tags": ["csv", "io"], "components": [{"node_type": "tool", "name": "csv_reader"}], "io": ["path"],
        "examples": ["a.csv"], "keyids": [key(7).public().id()], "cost": {"base": 0.0001, "per_token": 0},
        "deprecated": {"since": "1.2.0", "replacement": "acme/table"}, "licence": "Apache-2.0",
        "capabilities": ["http"],
    });
    assert_eq!(String::from_utf8(canonical(&told)).unwrap(), String::from_utf8(canonical(&expected)).unwrap());
    assert_eq!(Row::parse(&row.to_line()).unwrap(), row);
    let mut more = told;
    more["later"] = json!("a member that this version does not know");
    assert_eq!(Row::parse(&canonical(&more)).unwrap(), row);
}

#[test]
fn a_release_is_there_once_and_what_is_there_stays() {
    let mut market = Market::new();
    let before = market.ledger.clone();
    let again = release(&market.world, |_| {});
    market.ledger.add(&again, Digest::of(b"another oci digest"), NOW + 99).unwrap();
    assert_eq!(market.ledger, before);
    market.ledger.add(&release(&market.world, version("1.3.0", 7)), Digest::of(b"2"), NOW + 1).unwrap();
    let row = market.ledger.row("acme/csv_reader").unwrap();
    assert_eq!(row.versions[..1], before.row("acme/csv_reader").unwrap().versions[..]);
    assert_eq!((row.versions.len(), row.versions[1].first_seen), (2, NOW + 1));
    for (other, sequence, code) in [("1.4.0", 7, "E_ROLLBACK"), ("1.4.0", 3, "E_ROLLBACK"), ("1.3.0", 8, "E_EXISTS")] {
        let refused = market.ledger.add(&release(&market.world, version(other, sequence)), Digest::of(b"3"), NOW);
        assert_eq!(refused.unwrap_err().code.name(), code, "{other} {sequence}");
    }
}

#[test]
fn a_ledger_is_read_back_as_it_was_and_every_change_is_one_line() {
    let mut market = Market::new();
    let folder = market.world.home.path().join("ledger");
    let path = folder.join("rows/acme/csv_reader.jsonl");
    market.ledger.add(&release(&market.world, version("1.3.0", 2)), Digest::of(b"2"), NOW).unwrap();
    let lines = || std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let before = lines();
    assert_eq!(before.len(), 3);
    market.ledger.yank("acme/csv_reader", &"1.2.3".parse().unwrap(), "loses the last row").unwrap();
    market.ledger.mark_security("acme/csv_reader", &"1.3.0".parse().unwrap()).unwrap();
    let after = lines();
    assert_eq!((&after[0], after[1] == before[1], after[2] == before[2]), (&before[0], false, false));
    assert_eq!(Ledger::open(&folder).unwrap(), market.ledger);
    market.ledger.unyank("acme/csv_reader", &"1.2.3".parse().unwrap()).unwrap();
    assert_eq!(lines()[1], before[1]);
    for (name, version, reason, code) in [
        ("acme/none", "1.2.3", "x", "E_NOT_FOUND"),
        ("acme/csv_reader", "9.9.9", "x", "E_NOT_FOUND"),
        ("acme/csv_reader", "1.2.3", " ", "E_USAGE"),
        ("acme/csv_reader", "1.2.3", "a\u{202e}b", "E_TEXT"),
    ] {
        let refused = market.ledger.yank(name, &version.parse().unwrap(), reason);
        assert_eq!(refused.unwrap_err().code.name(), code, "{name} {version} {reason}");
    }
}

#[test]
fn a_ledger_that_somebody_broke_names_the_file() {
    let market = Market::new();
    let folder = market.world.home.path().join("ledger");
    let path = folder.join("rows/acme/csv_reader.jsonl");
    let good = std::fs::read_to_string(&path).unwrap();
    for text in [
        String::new(),
        "{}".to_owned(),
        good.replace("acme/csv_reader", "acme/other"),
        good.replace("\"sequence\":1", "\"sequence\":1,\"sequence\":2"),
        format!("{good}{}", good.lines().nth(1).unwrap()),
        good.replace("2026-12-01T00:00:00Z", "yesterday"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let problem = Ledger::open(&folder).expect_err(&text);
        assert!(problem.at.is_some_and(|at| at.file.is_some_and(|file| file.ends_with("csv_reader.jsonl"))), "{text}");
    }
    std::fs::write(&path, &good).unwrap();
    let twin = good.replace("acme/csv_reader", "acme/csv-reader");
    std::fs::write(folder.join("rows/acme/csv-reader.jsonl"), twin).unwrap();
    assert_eq!(Ledger::open(&folder).unwrap_err().code.name(), "E_NAME_TAKEN");
}

#[test]
fn the_same_rows_give_the_same_bytes_in_any_order() {
    let rows = rows(600);
    let built = build_rows(&rows, &options(1, 1, NOW)).unwrap();
    assert_eq!(build_rows(rows.iter().rev(), &options(1, 1, NOW)).unwrap(), built);
    let mut signed = Signed::new(DocumentKind::Index, &built.header);
    signed.sign(&key(20), "index").unwrap();
    let packed = pack(&built, &signed).unwrap();
    assert_eq!(pack(&built, &signed).unwrap(), packed);
    let manifest: Value = serde_json::from_slice(&packed.manifest).unwrap();
    assert_eq!(manifest["artifactType"], json!("application/vnd.iceos.index.v0+json"));
    assert_eq!(manifest["config"]["mediaType"], json!("application/vnd.iceos.envelope.v0+json"));
    assert_eq!(manifest["layers"].as_array().unwrap().len(), built.shards.len());
    assert!(built.shards.len() > 200 && built.shards.iter().all(|shard| shard.prefix.len() == 2));
    let other = build_rows(&rows, &options(2, 1, NOW)).unwrap();
    assert_eq!(pack(&other, &signed).unwrap_err().code.name(), "E_SIGNED_FORM");
}

#[test]
fn a_shard_over_one_mib_is_divided_and_every_row_is_in_exactly_one() {
    // Rows of 60 KiB: about twenty of them fill a shard, and two thousand put eight below each first byte.
    let filler = "x".repeat(900);
    let grow = |row: &Row| {
        let mut row: Value = serde_json::from_slice(&row.to_line()).unwrap();
        let version = row["versions"][0].clone();
        let versions = (1..150).map(|number| {
            let mut version = version.clone();
            version["version"] = json!(format!("1.0.{number}"));
            version["sequence"] = json!(number);
            version["yanked"] = json!(&filler[..800]);
            version
        });
        row["versions"] = versions.collect();
        Row::parse(&canonical(&row)).unwrap()
    };
    // Only names below a few first bytes, so that these overflow.
    let first = |row: &&Row| Digest::of(row.name.as_bytes()).hex().as_bytes()[0] == b'0';
    let rows: Vec<Row> = rows(3000).iter().filter(first).map(grow).collect();
    let built = build_rows(&rows, &options(1, 1, NOW)).unwrap();
    let lines: usize = built.shards.iter().map(|shard| shard.bytes.iter().filter(|byte| **byte == b'\n').count()).sum();
    assert_eq!(lines, rows.len());
    assert!(built.shards.iter().all(|shard| shard.bytes.len() <= 1 << 20));
    assert!(built.shards.iter().any(|shard| shard.prefix.len() > 2), "nothing was divided");
}

#[test]
fn what_a_header_promises_is_bounded() {
    let market = Market::new();
    for (version, lifetime) in [(0, WEEK), (1 << 53, WEEK), (1, 0), (1, WEEK + 1)] {
        let options = ice_registry::index::BuildOptions { lifetime, ..options(version, 1, NOW) };
        let refused = build(&market.ledger, &options).unwrap_err();
        assert_eq!(refused.code.name(), "E_SIGNED_FORM", "{version} {lifetime}");
    }
}
