//! The tools as the host calls them: through JSON, on a scripted host.

use ice_sdk::testing::{self, Host};
use ice_sdk::{ToolError, http};
use serde_json::{Value, json};

use crate::KIT;

fn call(tool: &str, input: Value) -> Result<Value, ToolError> {
    testing::call(&KIT, tool, &input)
}

fn ingest(name: &str, text: &str) -> Value {
    let input = json!({
        "source_type": "text", "source": text, "name": name, "chunk_size": 50, "overlap": 0,
        "metadata": { "category": "guide", "tags": ["north"] },
    });
    call("ingestion_tool", input).unwrap()
}

const LIGHTHOUSE: &str = "# Skarvik\n\nThe tower was built in 1871.\n\nA ticket costs 12 euros. Dogs stay outside.";

#[test]
fn a_written_text_is_found_with_its_source() {
    let _host = Host::install();
    let written = call("memory_write_tool", json!({ "key": "k", "content": "granite tower" })).unwrap();
    assert_eq!(written["ok"], true);
    assert_eq!(written["scope"], "default");
    let found = call("memory_search_tool", json!({ "query": "tower" })).unwrap();
    assert_eq!(found["retrieval"], "keyword");
    assert_eq!(found["results"][0]["key"], "k");
    assert_eq!(found["results"][0]["text"], "granite tower");
    assert!(found["results"][0].get("file").is_none());
    assert_eq!(call("memory_search_tool", json!({ "query": "cheese" })).unwrap()["retrieval"], "none");
}

#[test]
fn a_document_is_kept_in_pieces_that_say_where_they_are_from() {
    let host = Host::install();
    let read = ingest("tiny.md", LIGHTHOUSE);
    assert_eq!(read["media_type"], "text/markdown");
    assert_eq!(read["chunks"], 2);
    assert_eq!(read["ingested"][1]["key"], "doc:tiny.md:1");
    assert_eq!(host.keys("kb"), ["doc:tiny.md:0", "doc:tiny.md:1"]);
    let found =
        call("memory_search_tool", json!({ "query": "ticket", "scope": "kb", "category": "guide", "tags": ["north"] }));
    let hit = &found.unwrap()["results"][0];
    assert_eq!((&hit["file"], &hit["chunk"], &hit["line"]), (&json!("tiny.md"), &json!(1), &json!(5)));
    let (start, end) = (hit["start"].as_u64().unwrap() as usize, hit["end"].as_u64().unwrap() as usize);
    assert_eq!(hit["text"], LIGHTHOUSE[start..end]);
    let other = call("memory_search_tool", json!({ "query": "ticket", "scope": "kb", "tags": ["south"] })).unwrap();
    assert_eq!(other["results"], json!([]));
}

#[test]
fn reading_the_same_document_again_changes_nothing() {
    let host = Host::install();
    ingest("tiny.md", LIGHTHOUSE);
    let writes = host.memory_writes();
    let again = ingest("tiny.md", &LIGHTHOUSE.replace('\n', "\r\n"));
    assert_eq!((&again["skipped"], &again["ingested"]), (&json!(2), &json!([])));
    assert_eq!(host.memory_writes(), writes);
}

#[test]
fn a_shorter_version_leaves_no_piece_of_the_longer_one() {
    let host = Host::install();
    ingest("a", LIGHTHOUSE);
    ingest("a:0", "A neighbour whose name looks like a key of the other.");
    let shorter = ingest("a", "Gone.");
    assert_eq!((&shorter["chunks"], &shorter["forgotten"]), (&json!(1), &json!(1)));
    assert_eq!(host.keys("kb"), ["doc:a%3A0:0", "doc:a%3A0:1", "doc:a:0"]);
}

#[test]
fn an_interrupted_reading_is_finished_by_the_next() {
    let host = Host::install();
    ingest("a", LIGHTHOUSE);
    ice_sdk::memory::forget("kb", "doc:a:0").unwrap();
    let shorter = ingest("a", "Gone.");
    assert_eq!(shorter["forgotten"], 1);
    assert_eq!(host.keys("kb"), ["doc:a:0"]);
}

#[test]
fn formats_are_told_by_their_content() {
    let _host = Host::install();
    for (name, source, media_type, text) in [
        ("x", "<!doctype html><p>Caf&eacute; o\u{fb03}ce</p>", "text/html", "Café office"),
        ("x", "{\"a\": {\"b\": [1, \"two\"]}}", "application/json", "a.b[0]: 1\na.b[1]: two"),
        ("x.csv", "name;cost\nLamp;4\n", "text/csv", "name: Lamp; cost: 4"),
        ("x.md", "# T", "text/markdown", "# T"),
        ("x", "{ not json", "text/plain", "{ not json"),
    ] {
        let read = call(
            "ingestion_tool",
            json!({ "source_type": "file", "source": source, "name": name, "scope": media_type }),
        );
        assert_eq!(read.unwrap()["media_type"], media_type);
        let kept = ice_sdk::memory::recent(media_type, "", 1).unwrap();
        assert_eq!(kept[0].text, text);
    }
}

#[test]
fn what_is_not_text_is_refused_by_field() {
    let _host = Host::install();
    let refused = |input: Value| call("ingestion_tool", input).unwrap_err().to_string();
    for (input, message) in [
        (json!({ "source_type": "text", "source": "%PDF-1.7" }), "source: is a PDF"),
        (json!({ "source_type": "text", "source": "a\0b" }), "source: holds zero bytes"),
        (json!({ "source_type": "file", "source": "/w==", "encoding": "base64" }), "source: is not UTF-8 text: byte 0"),
        (json!({ "source_type": "file", "source": "%", "encoding": "base64" }), "source: is not base64"),
        (json!({ "source_type": "text", "source": " \n " }), "source: holds no text"),
        (
            json!({ "source_type": "text", "source": "x", "media_type": "image/png" }),
            "media_type: `image/png` cannot be read",
        ),
        (json!({ "source_type": "text", "source": "x", "overlap": 500 }), "overlap: must be less than half"),
        (json!({ "source_type": "text", "source": "x", "chunk_size": 5 }), "chunk_size: must be 50 to 16000"),
        (json!({ "source_type": "ftp", "source": "x" }), "source_type: unknown variant `ftp`"),
        (json!({ "source_type": "text", "source": "{", "media_type": "application/json" }), "source: is not JSON"),
    ] {
        let error = refused(input);
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_url_is_read_through_the_host() {
    let host = Host::install();
    host.answer_http(200, &[("Content-Type", "text/html; charset=utf-8")], "<p>Granite</p>");
    host.answer_http(503, &[("Retry-After", "7")], "busy");
    host.answer_http(404, &[], "no such page");
    let url = |url: &str| call("ingestion_tool", json!({ "source_type": "url", "source": url }));
    let read = url("https://example.com/a").unwrap();
    assert_eq!((&read["file"], &read["media_type"]), (&json!("https://example.com/a"), &json!("text/html")));
    assert_eq!(url("https://example.com/b"), Err(ToolError::Retry(std::time::Duration::from_secs(7))));
    assert_eq!(url("https://example.com/c"), Err(ToolError::failed("status 404: no such page")));
    assert!(url("example.com").unwrap_err().to_string().starts_with("source: URL `example.com` is not absolute"));
    host.fail_http(http::Error::Denied("add `example.org`".into()));
    assert_eq!(url("https://example.org/"), Err(ToolError::failed("the request was denied: add `example.org`")));
}

#[test]
fn a_session_lists_its_own_turns_and_counts_them() {
    let _host = Host::install();
    for (key, text) in [("chat:s:000001", "one"), ("chat:s:000002", "two"), ("chat:t:000009", "other")] {
        call(
            "memory_write_tool",
            json!({ "key": key, "content": text, "scope": "chat", "metadata": { "query": text } }),
        )
        .unwrap();
    }
    let recent = call("recent_session_tool", json!({ "session_id": "s", "scope": "chat", "limit": 1 })).unwrap();
    assert_eq!(recent["items"], json!([{ "key": "chat:s:000002", "text": "two", "metadata": { "query": "two" } }]));
    assert_eq!(recent["total"], 2);
    let empty = call("recent_session_tool", json!({ "session_id": "new", "scope": "chat" })).unwrap();
    assert_eq!(empty, json!({ "items": [], "total": 0 }));
    assert!(
        call("recent_session_tool", json!({ "session_id": "s:1" }))
            .unwrap_err()
            .to_string()
            .starts_with("session_id: ")
    );
}

#[test]
fn a_long_session_is_counted_by_its_newest_number() {
    let _host = Host::install();
    for number in 1..=120 {
        let key = format!("chat:s:{number:06}");
        call("memory_write_tool", json!({ "key": key, "content": "x", "scope": "kb" })).unwrap();
    }
    assert_eq!(call("recent_session_tool", json!({ "session_id": "s" })).unwrap()["total"], 120);
}

#[test]
fn a_summary_is_made_of_sentences_and_links_back() {
    let host = Host::install();
    ingest("a", LIGHTHOUSE);
    let summary = call("memory_summarize_tool", json!({ "scope": "kb" })).unwrap();
    assert_eq!(summary["backlinks"], json!(["doc:a:1", "doc:a:0"]));
    assert!(summary["summary"].as_str().unwrap().contains("The tower was built in 1871."));
    let key = summary["summary_key"].as_str().unwrap();
    assert!(host.keys("kb").contains(&key.to_owned()));
    assert!(host.llm_requests().is_empty());
    let again = call("memory_summarize_tool", json!({ "scope": "kb" })).unwrap();
    assert_eq!(again["backlinks"], summary["backlinks"], "a summary is not summarised");
}

#[test]
fn a_model_writes_the_summary_when_it_is_asked_to() {
    let host = Host::install();
    ingest("a", LIGHTHOUSE);
    host.answer_llm("A tower with tickets.");
    let summary = call("memory_summarize_tool", json!({ "model": "default", "style": "one line" })).unwrap();
    assert_eq!((&summary["summary"], &summary["model"]), (&json!("A tower with tickets."), &json!("test/model")));
    assert_eq!(host.llm_requests()[0].model, "");
    host.answer_llm_offline("echo");
    assert!(call("memory_summarize_tool", json!({ "model": "default" })).unwrap().get("model").is_none());
    let nothing = call("memory_summarize_tool", json!({ "scope": "empty" })).unwrap_err();
    assert_eq!(nothing.to_string(), "scope: `empty` holds nothing to summarise");
}

#[test]
fn sizes_the_host_refuses_are_the_callers_mistake() {
    let _host = Host::install();
    let error = call("memory_write_tool", json!({ "key": "k", "content": "x".repeat(70_000) })).unwrap_err();
    assert!(matches!(&error, ToolError::InvalidInput(invalid) if invalid.message.contains("at most 65536")), "{error}");
}

#[test]
fn every_tool_is_documented() {
    assert_eq!(testing::undocumented(&KIT.describe()), Vec::<String>::new());
    let names: Vec<String> = KIT.describe().into_iter().map(|tool| tool.name).collect();
    assert_eq!(
        names,
        ["memory_write_tool", "memory_search_tool", "recent_session_tool", "ingestion_tool", "memory_summarize_tool"]
    );
}
