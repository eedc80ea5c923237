//! How an index comes to a machine: only what changed, all or nothing, and what it says then.

use std::io::Write as _;

use ice_core::id::Digest;
use ice_registry::index::{BuildOptions, Cache, Row, build, build_rows};
use ice_registry::{DocumentKind, Signed};
use serde_json::{Value, json};

use super::market::{Market, WEEK, market_of, options, release, rows, version};
use crate::world::{NOW, key};

#[tokio::test]
async fn a_first_refresh_fetches_everything_and_a_second_only_the_manifest() {
    let market = market_of(&rows(300), 6).await;
    let shards = market.open(NOW).unwrap().header().shards.len();
    market.shelf.asked.lock().unwrap().clear();
    let again = market.refresh(NOW + 60).await.unwrap();
    assert_eq!((again.version, again.age, again.shards_fetched, again.shards_kept), (6, 60, 0, shards));
    assert_eq!(again.bytes_fetched, market.shelf.manifest.as_ref().unwrap().len() as u64);
    assert!(market.shelf.asked.lock().unwrap().is_empty());
    let index = market.open(NOW + 60).unwrap();
    assert_eq!(index.names().count(), 300);
    assert_eq!(market.state.index("registry.example/ice").unwrap().unwrap().refreshed, NOW + 60);
}

/// Gives every hundredth row a release, as a day of publishing would.
fn one_percent(rows: &[Row]) -> Vec<Row> {
    let change = |(number, row): (usize, &Row)| {
        if !number.is_multiple_of(100) {
            return row.clone();
        }
        let mut row: Value = serde_json::from_slice(&row.to_line()).unwrap();
        let mut release = row["versions"][0].clone();
        release["version"] = json!("1.3.0");
        release["sequence"] = json!(2);
        release["S"] = json!(Digest::of(format!("new {number}").as_bytes()));
        row["versions"].as_array_mut().unwrap().push(release);
        Row::parse(&serde_json::to_vec(&row).unwrap()).unwrap()
    };
    rows.iter().enumerate().map(change).collect()
}

#[tokio::test]
async fn of_ten_thousand_plugins_with_one_percent_changed_only_the_changed_shards_are_fetched() {
    let before = rows(10_000);
    let mut market = market_of(&before, 6).await;
    let all = *market.shelf.bytes.lock().unwrap();
    let old = market.open(NOW).unwrap().header().shards.clone();
    let built = build_rows(&one_percent(&before), &options(7, 1, NOW)).unwrap();
    market.shelf.publish(&built, &key(20));
    let refreshed = market.refresh(NOW).await.unwrap();
    let index = market.open(NOW).unwrap();
    let changed: Vec<_> = index.header().shards.iter().filter(|shard| !old.contains(shard)).collect();
    assert_eq!(refreshed.shards_fetched, changed.len());
    assert_eq!(refreshed.shards_kept, index.header().shards.len() - changed.len());
    assert!(changed.len() <= 100 && refreshed.shards_kept > 150, "{refreshed:?}");
    let fixed = (market.shelf.manifest.as_ref().unwrap().len() + market.shelf.header().len()) as u64;
    assert_eq!(refreshed.bytes_fetched, fixed + changed.iter().map(|shard| shard.size).sum::<u64>());
    assert_eq!(refreshed.bytes_fetched, *market.shelf.bytes.lock().unwrap());
    assert_eq!(index.rows().filter(|row| row.versions.len() == 2).count(), 100);
    let line = format!(
        "10000 plugins, 100 changed: {} of {all} bytes, {} of {} shards, {fixed} bytes of manifest and header\n",
        refreshed.bytes_fetched,
        changed.len(),
        index.header().shards.len()
    );
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_refresh_that_breaks_off_anywhere_leaves_the_old_index_whole_and_the_next_one_goes_on() {
    let before = rows(120);
    let mut market = market_of(&before, 6).await;
    let after: Vec<Row> = rows(160).split_off(10);
    let built = build_rows(&after, &options(7, 1, NOW)).unwrap();
    market.shelf.publish(&built, &key(20));
    for patience in [0, 1, 2, 5, 9] {
        market.shelf.patience = Some(patience);
        market.shelf.asked.lock().unwrap().clear();
        assert_eq!(market.refresh(NOW).await.unwrap_err().code.name(), "E_UNAVAILABLE", "after {patience} blobs");
        let index = market.open(NOW).unwrap();
        assert_eq!((index.header().version, index.rows().count()), (6, 120), "after {patience} blobs");
    }
    market.shelf.patience = None;
    let refreshed = market.refresh(NOW).await.unwrap();
    let index = market.open(NOW).unwrap();
    assert_eq!((index.header().version, index.rows().count()), (7, 150));
    assert!(refreshed.shards_kept > 60, "what came before the break is used: {refreshed:?}");
    // Nothing of the old index is left over.
    let blobs = market.world.home.path().join("index/registry.example_2fice/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), index.header().shards.len());
}

#[tokio::test]
async fn an_expired_index_is_shown_with_its_age_and_installs_nothing() {
    let market = Market::new();
    market.refresh(NOW).await.unwrap();
    let index = market.open(NOW + WEEK - 1).unwrap();
    assert_eq!((index.age(), index.stale()), (WEEK - 1, None));
    let available = index.available("acme/csv_reader").unwrap();
    assert_eq!((available.len(), available[0].first_seen, available[0].statement.is_some()), (1, Some(NOW), true));
    let missing = index.available("acme/csv_raeder").unwrap_err();
    assert_eq!((missing.code.name(), missing.help.unwrap().contains("acme/csv_reader")), ("E_NOT_FOUND", true));
    let index = market.open(NOW + WEEK).unwrap();
    assert_eq!(index.stale().unwrap().code.name(), "E_STALE");
    assert_eq!(index.available("acme/csv_reader").unwrap_err().code.name(), "E_STALE");
    assert!(index.row("acme/csv_reader").is_some());
}

#[tokio::test]
async fn yanks_and_security_releases_reach_whoever_installs() {
    let mut market = Market::new();
    market.ledger.add(&release(&market.world, version("1.3.0", 2)), Digest::of(b"2"), NOW).unwrap();
    market.ledger.yank("acme/csv_reader", &"1.2.3".parse().unwrap(), "loses the last row").unwrap();
    market.ledger.mark_security("acme/csv_reader", &"1.3.0".parse().unwrap()).unwrap();
    market.publish(6, NOW);
    market.refresh(NOW).await.unwrap();
    let available = market.open(NOW).unwrap().available("acme/csv_reader").unwrap();
    let told: Vec<_> = available.iter().map(|one| (one.yanked.as_deref(), one.security)).collect();
    assert_eq!(told, [(Some("loses the last row"), false), (None, true)]);
}

#[tokio::test]
async fn revocations_come_with_the_index_and_only_as_its_header_names_them() {
    let mut market = Market::new();
    let mut list = Signed::new(DocumentKind::Revocations, &json!({"version": 1}));
    list.sign(&key(30), "revocations").unwrap();
    let bytes = list.to_bytes();
    let built = build(&market.ledger, &BuildOptions { revocations: Some(&bytes), ..options(6, 1, NOW) }).unwrap();
    market.shelf.publish(&built, &key(20));
    let other = market.shelf.blobs.insert(Digest::of(&bytes), b"{}".to_vec());
    assert_eq!(market.refresh(NOW).await.unwrap_err().code.name(), "E_DIGEST");
    market.shelf.blobs.insert(Digest::of(&bytes), other.unwrap());
    market.refresh(NOW).await.unwrap();
    let keys = market.keys.iter().map(|key| (key.public().id(), key.public())).collect();
    let signers = ice_registry::Signers { keys, threshold: 1 };
    assert_eq!(market.cache.revocations(&signers).unwrap(), Some(bytes));
}

#[tokio::test]
async fn an_absent_index_is_said_to_be_absent() {
    let mut market = Market::new();
    assert_eq!(market.open(NOW).unwrap_err().code.name(), "E_NOT_FOUND");
    market.shelf.manifest = None;
    assert_eq!(market.refresh(NOW).await.unwrap_err().code.name(), "E_NOT_FOUND");
}

#[tokio::test]
async fn two_refreshes_at_once_leave_one_whole_index() {
    let market = market_of(&rows(60), 6).await;
    let (one, two) = tokio::join!(market.refresh(NOW), market.refresh(NOW + 1));
    assert_eq!((one.unwrap().version, two.unwrap().version), (6, 6));
    assert_eq!(market.open(NOW).unwrap().rows().count(), 60);
}

#[test]
fn two_prefixes_never_share_a_folder_and_none_leaves_it() {
    let home = tempfile::tempdir().unwrap();
    let prefixes = ["a/b", "a_b", "a_2fb", "A/b", "a:5000/b", "a/b/", "..", ".", "../x", "a.b/c", "a/b.c"];
    let mut caches: Vec<String> = Vec::new();
    for prefix in prefixes {
        let text = format!("{:?}", Cache::of(home.path(), prefix).unwrap()).replace(&format!("{prefix:?}"), "");
        let folder = text.split("/index/").nth(1).unwrap().to_owned();
        assert!(!folder.contains('/') && !folder.starts_with('.'), "{folder}");
        assert!(!caches.contains(&folder), "{prefix}: {folder}");
        caches.push(folder);
    }
    for prefix in ["", "a b", "a\nb", "\u{430}/b", &"x".repeat(256)] {
        assert_eq!(Cache::of(home.path(), prefix).unwrap_err().code.name(), "E_REFERENCE", "{prefix}");
    }
}
