//! Search: exact names first, the same answer every time, every hit on exactly one page.

use std::collections::BTreeSet;

use ice_core::grant::Capability;
use ice_core::manifest::{Kind, canonical};
use ice_registry::index::{CursorKey, Index, Page, Query, Row, search};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::market::{Market, WEEK, market_of, rows};
use crate::world::NOW;

fn key() -> CursorKey {
    CursorKey::from_bytes([1; 32])
}

fn ask(text: &str) -> Query {
    Query { text: text.to_owned(), limit: 20, ..Query::default() }
}

fn names(page: &Page) -> Vec<&str> {
    page.hits.iter().map(|hit| hit.name.as_str()).collect()
}

fn row(base: &Row, change: impl FnOnce(&mut Value)) -> Row {
    let mut row: Value = serde_json::from_slice(&base.to_line()).unwrap();
    change(&mut row);
    Row::parse(&canonical(&row)).unwrap()
}

/// A few rows that differ in one thing each.
async fn shop() -> (Market, Index) {
    let base = rows(1).remove(0);
    let plain = |name: &str, description: &str| {
        row(&base, |row| {
            row["name"] = json!(name);
            row["description"] = json!(description);
            (row["tags"], row["components"], row["io"]) = (json!([]), json!([]), json!([]));
            row["capabilities"] = json!([]);
        })
    };
    let squat = "csv_reader csv_reader csv reader csv csv csv reader reader";
    let rows = [
        plain("acme/csv_reader", "Reads tables"),
        plain("evil/best", squat),
        plain("acme/mail", "Sends letters; can attach a csv file"),
        row(&plain("acme/table", "Rows and columns"), |row| row["io"] = json!(["delimiter"])),
        row(&plain("acme/net", "Fetches pages"), |row| row["capabilities"] = json!(["http"])),
        row(&plain("other/kit", "Tools of all kinds"), |row| {
            row["kind"] = json!("kit");
            row["licence"] = json!("MIT");
            row["iceos_min"] = json!("2.0.0");
        }),
        row(&plain("acme/gone", "Reads a csv badly"), |row| row["versions"][0]["yanked"] = json!("wrong")),
        plain("acme/odd", "A\u{fe0f} <b>bold</b>\nline of text"),
    ];
    let market = market_of(&rows, 6).await;
    let index = market.open(NOW).unwrap();
    (market, index)
}

#[tokio::test]
async fn an_exact_name_is_first_whatever_others_write_about_themselves() {
    let (_market, index) = shop().await;
    for text in ["acme/csv_reader", "csv_reader", " ACME/csv_reader "] {
        let page = search(&index, &ask(text), &key()).unwrap();
        assert_eq!(page.hits[0].name, "acme/csv_reader", "{text}");
        assert!(page.hits[0].why.exact && !page.hits[1].why.exact && page.hits[1].name == "evil/best", "{text}");
    }
    // A word in a name weighs more than the same word many times in a text.
    assert_eq!(search(&index, &ask("csv reader"), &key()).unwrap().hits[0].name, "acme/csv_reader");
}

#[tokio::test]
async fn of_two_plugins_with_the_short_name_the_one_seen_first_is_first() {
    let base = rows(1).remove(0);
    let named = |name: &str, seen: &str, description: &str| {
        row(&base, |row| {
            (row["name"], row["description"]) = (json!(name), json!(description));
            row["versions"][0]["first_seen"] = json!(seen);
        })
    };
    let late = named("abc/mailer", "2026-11-02T00:00:00Z", "mailer mailer mailer, the best mailer");
    let market = market_of(&[late, named("zed/mailer", "2026-11-01T00:00:00Z", "Sends letters")], 6).await;
    let index = market.open(NOW).unwrap();
    assert_eq!(names(&search(&index, &ask("mailer"), &key()).unwrap()), ["zed/mailer", "abc/mailer"]);
    assert_eq!(names(&search(&index, &ask("abc/mailer"), &key()).unwrap()), ["abc/mailer", "zed/mailer"]);
}

#[tokio::test]
async fn words_are_found_in_every_field_and_misspelt_names_by_likeness() {
    let (_market, index) = shop().await;
    for (text, expected) in [
        ("letters", "acme/mail"),
        ("delimiter", "acme/table"),
        ("csvreader", "acme/csv_reader"),
        ("tabel", "acme/table"),
    ] {
        let page = search(&index, &ask(text), &key()).unwrap();
        assert_eq!(page.hits.first().map(|hit| hit.name.as_str()), Some(expected), "{text}: {:?}", names(&page));
    }
    let page = search(&index, &ask("letters"), &key()).unwrap();
    let why = &page.hits[0].why;
    assert_eq!((why.exact, why.keyword, why.words.as_slice()), (false, Some(1), &["letters".to_owned()][..]));
    assert_eq!(page.model, "hashed-ngrams-v0");
    assert!(search(&index, &ask("zzzz qqqq"), &key()).unwrap().hits.is_empty());
}

#[tokio::test]
async fn filters_leave_out_before_anything_is_ranked() {
    let (_market, index) = shop().await;
    let all = search(&index, &ask(""), &key()).unwrap();
    let expected = ["acme/csv_reader", "acme/mail", "acme/net", "acme/odd", "acme/table", "evil/best", "other/kit"];
    assert_eq!(names(&all), expected, "everything by name, and nothing that is yanked");
    let cases: [(Query, &[&str]); 6] = [
        (Query { kind: Some(Kind::Kit), ..ask("") }, &["other/kit"]),
        (Query { capability: Some(Capability::Http), ..ask("") }, &["acme/net"]),
        (Query { scope: Some("other".to_owned()), ..ask("") }, &["other/kit"]),
        (Query { licence: Some("MIT".to_owned()), ..ask("") }, &["other/kit"]),
        (Query { host: Some("1.9.0".parse().unwrap()), scope: Some("other".to_owned()), ..ask("") }, &[]),
        (Query { scope: Some("evil".to_owned()), ..ask("csv_reader") }, &["evil/best"]),
    ];
    for (query, expected) in cases {
        assert_eq!(names(&search(&index, &query, &key()).unwrap()), expected, "{query:?}");
    }
    let ranked = search(&index, &Query { scope: Some("evil".to_owned()), ..ask("csv_reader") }, &key()).unwrap();
    assert_eq!(ranked.hits[0].why.keyword, Some(1), "ranks are counted among what passes");
}

#[tokio::test]
async fn what_a_publisher_wrote_comes_back_escaped() {
    let (_market, index) = shop().await;
    let page = search(&index, &ask("odd"), &key()).unwrap();
    assert_eq!(page.hits[0].description, "A <b>bold</b>line of text");
    assert!(page.hits.iter().all(|hit| !hit.description.contains('\n') && hit.description.chars().count() <= 120));
}

#[tokio::test]
async fn an_expired_index_answers_with_a_warning() {
    let (market, index) = shop().await;
    assert_eq!(search(&index, &ask("csv"), &key()).unwrap().warning, None);
    let late = market.open(NOW + WEEK + 5).unwrap();
    let page = search(&late, &ask("csv"), &key()).unwrap();
    assert_eq!((page.warning.unwrap().code.name(), page.age, page.index_version), ("E_STALE", WEEK + 5, 6));
    assert!(!page.hits.is_empty());
}

#[tokio::test]
async fn questions_are_bounded() {
    let (_market, index) = shop().await;
    let long = "x ".repeat(300);
    for query in [Query { limit: 0, ..ask("") }, Query { limit: 101, ..ask("") }, ask(&long)] {
        assert_eq!(search(&index, &query, &key()).unwrap_err().code.name(), "E_USAGE");
    }
}

/// Every page of a question, by pages of these sizes in turn.
fn pages(index: &Index, query: &Query, sizes: &[usize]) -> Vec<String> {
    let (mut found, mut cursor, mut turn) = (Vec::new(), None, 0);
    loop {
        let limit = sizes[turn % sizes.len()];
        let page = search(index, &Query { limit, cursor, ..query.clone() }, &key()).unwrap();
        assert!(page.hits.len() == limit || page.next.is_none(), "a page that is not the last is full");
        found.extend(page.hits.into_iter().map(|hit| hit.name));
        turn += 1;
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_hold_every_hit_exactly_once_in_one_order() {
    let market = market_of(&rows(250), 6).await;
    let (index, again) = (market.open(NOW).unwrap(), market.open(NOW).unwrap());
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) };
    let texts = prop_oneof![Just(""), Just("csv"), Just("mail calendar"), Just("invoise"), Just("acme3/csv_csv_0")];
    proptest!(config, |(text in texts, sizes in proptest::collection::vec(1_usize..=100, 1..4), filter: bool)| {
        let capability = filter.then_some(Capability::Http);
        let query = Query { capability, ..ask(text) };
        let whole = pages(&index, &query, &[100]);
        prop_assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), whole.len());
        prop_assert_eq!(&pages(&again, &query, &sizes), &whole);
        if text.is_empty() && !filter {
            prop_assert_eq!(whole.len(), 250);
        }
    });
}

#[tokio::test]
async fn a_cursor_is_for_one_question_of_one_index_under_one_key() {
    let market = market_of(&rows(80), 6).await;
    let index = market.open(NOW).unwrap();
    let query = Query { limit: 5, ..ask("csv") };
    let next = search(&index, &query, &key()).unwrap().next.unwrap();
    let with = |cursor: &str| Query { cursor: Some(cursor.to_owned()), ..query.clone() };
    assert!(search(&index, &with(&next), &key()).is_ok());
    let code = |index: &Index, query: &Query, key: &CursorKey| search(index, query, key).unwrap_err().code.name();
    assert_eq!(code(&index, &with(&next), &CursorKey::from_bytes([2; 32])), "E_USAGE");
    assert_eq!(code(&index, &Query { text: "mail".to_owned(), ..with(&next) }, &key()), "E_USAGE");
    assert_eq!(code(&index, &Query { kind: Some(Kind::Kit), ..with(&next) }, &key()), "E_USAGE");
    for at in 0..next.len() {
        let mut bytes = next.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(code(&index, &with(&changed), &key()), "E_USAGE", "character {at}");
    }
    for cursor in ["", "x", "\u{1f600}", &"A".repeat(600)] {
        assert_eq!(code(&index, &with(cursor), &key()), "E_USAGE", "{cursor}");
    }
    let newer = market_of(&rows(80), 7).await;
    assert_eq!(code(&newer.open(NOW).unwrap(), &with(&next), &key()), "E_INDEX_CHANGED");
    assert_eq!(format!("{:?}", key()), "CursorKey");
}
